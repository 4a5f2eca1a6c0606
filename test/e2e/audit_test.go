// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	. "github.com/onsi/gomega"

	"github.com/virtual-kubelet/connector-operator/test/world"
)

// account is a ServiceAccount in the operator's namespace, as the API server names it.
func account(name string) string { return "system:serviceaccount:" + namespace + ":" + name }

// isLeadership tells the election of a leader and events, of which an operator that rests has some.
func isLeadership(r world.Request) bool {
	return r.ObjectRef.Resource == "leases" && r.ObjectRef.Namespace == namespace || r.ObjectRef.Resource == "events"
}

// audit is a place in the API server's audit log.
type audit struct{ world.Audit }

// auditEnd is the present end of the log.
func auditEnd() audit {
	end, err := own.AuditEnd()
	Expect(err).NotTo(HaveOccurred())
	return audit{end}
}

// requestsOf reads the requests of users since then, by user.
func (a audit) requestsOf(users ...string) map[string][]world.Request {
	requests, err := a.Requests(func(r world.Request) bool { return slices.Contains(users, r.User.Username) })
	Expect(err).NotTo(HaveOccurred())
	found := map[string][]world.Request{}
	for _, r := range requests {
		found[r.User.Username] = append(found[r.User.Username], r)
	}
	return found
}

// counted is a table of requests, by what they do.
func counted(requests []world.Request) string {
	counts, writes := map[string]int{}, 0
	for _, r := range requests {
		counts[r.String()]++
		if r.Writes() {
			writes++
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d requests, %d of them writes\n", len(requests), writes)
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, "%4d %s\n", counts[what], what)
	}
	return text.String()
}
