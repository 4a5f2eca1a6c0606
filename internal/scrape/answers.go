// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package scrape

import (
	"crypto/sha256"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// most is how many answers are kept of each kind; few look at the metrics.
const most = 256

// question stands for what was asked. It is a hash, so that no token is kept.
type question [sha256.Size]byte

// answer is what the API server says.
type answer struct {
	yes    bool
	reason string
	// user is whose a token is.
	user authenticationv1.UserInfo
}

// answers keeps answers for a while. Those that refuse have room of their own: whoever sends token after token pushes no
// answer out that lets somebody in.
type answers struct {
	yes, no       *cache.LRUExpireCache
	yesFor, noFor time.Duration
}

func newAnswers(yesFor, noFor time.Duration, c clock.PassiveClock) answers {
	return answers{
		yes:    cache.NewLRUExpireCacheWithClock(most, c),
		no:     cache.NewLRUExpireCacheWithClock(most, c),
		yesFor: yesFor,
		noFor:  noFor,
	}
}

func (a *answers) get(asked question) (answer, bool) {
	for _, kept := range []*cache.LRUExpireCache{a.yes, a.no} {
		if found, ok := kept.Get(asked); ok {
			given, ok := found.(answer)
			return given, ok
		}
	}
	return answer{}, false
}

func (a *answers) add(asked question, given answer) {
	if given.yes {
		a.yes.Add(asked, given, a.yesFor)
	} else {
		a.no.Add(asked, given, a.noFor)
	}
}
