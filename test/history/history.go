// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package history makes up what users and the world do to a connector, from a seed, and cuts a history that
// breaks something down to what does. It knows no cluster and no clock.
package history

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Kind is what an action does.
type Kind string

// Kinds of actions: those of users on connectors and on what belongs to them, and faults.
const (
	Create    Kind = "create"
	Delete    Kind = "delete"
	Change    Kind = "change"
	Secret    Kind = "secret"
	Pod       Kind = "pod"
	DropPod   Kind = "drop-pod"
	DropNode  Kind = "drop-node"
	DropLease Kind = "drop-lease"
	DropChild Kind = "drop-child"
	EditChild Kind = "edit-child"
	EditNode  Kind = "edit-node"

	KillOperator Kind = "kill-operator"
	KillKubelet  Kind = "kill-kubelet"
	StopKubelet  Kind = "stop-kubelet"
	Azure        Kind = "azure"
)

// Action is one thing that somebody does. In a state in which it can't be done, it does nothing, so that a
// part of a history is a history.
type Action struct {
	Kind Kind
	// What is one of the choices of its kind.
	What string
	// For is how long a fault lasts.
	For time.Duration
	// Pause is the time until the next action.
	Pause time.Duration
}

func (a Action) String() string {
	text := strings.TrimSpace(fmt.Sprintf("%s %s", a.Kind, a.What))
	if a.For > 0 {
		text += fmt.Sprintf(" for %s", a.For)
	}
	if a.Pause > 0 {
		text += fmt.Sprintf(", then %s of nothing", a.Pause)
	}
	return text
}

// History is a list of actions, in their order.
type History []Action

func (h History) String() string {
	var text strings.Builder
	for i, a := range h {
		fmt.Fprintf(&text, "%3d. %s\n", i+1, a)
	}
	return text.String()
}

// choice is a kind of action with what it can be, and how often it is taken.
type choice struct {
	kind    Kind
	weight  int
	what    []string
	longest time.Duration
}

// choices are all that can happen. What is listed twice is taken twice as often.
var choices = []choice{
	{kind: Create, weight: 5, what: []string{""}},
	{kind: Delete, weight: 4, what: []string{"background", "foreground", "orphan"}},
	{kind: Change, weight: 16, what: []string{
		"logLevel=debug", "logLevel=info", "label=a", "label=b", "taint=own", "taint=none", "taint=default",
		"osTypes=Linux", "osTypes=Windows", "osTypes=Linux,Windows", "osTypes=Linux,Windows",
		"resourceGroup=first", "resourceGroup=second", "resourceGroup=missing", "location=eastus", "location=westus",
		"namePrefix=other", "namePrefix=", "image=missing", "image=",
		"removal=Force", "removal=Drain", "removal=Timeout", "suspend=true", "suspend=false", "suspend=false",
	}},
	{kind: Secret, weight: 5, what: []string{"wrong", "right", "right", "rotated", "deleted"}},
	{kind: Pod, weight: 9, what: []string{"Linux", "Linux", "Windows", "Linux set"}},
	{kind: DropPod, weight: 5, what: []string{"gracefully", "at once"}},
	{kind: DropNode, weight: 2, what: []string{"Linux", "Windows"}},
	{kind: DropLease, weight: 1, what: []string{"Linux", "Windows"}},
	{kind: DropChild, weight: 4, what: []string{
		"Deployment", "Secret", "ServiceAccount", "ClusterRoleBinding", "RoleBinding", "Pod",
	}},
	{kind: EditChild, weight: 3, what: []string{"Deployment", "Secret", "ClusterRoleBinding", "RoleBinding"}},
	{kind: EditNode, weight: 2, what: []string{"taint", "label"}},
	{kind: KillOperator, weight: 3, what: []string{""}},
	{kind: KillKubelet, weight: 3, what: []string{"Linux", "Windows"}},
	{kind: StopKubelet, weight: 2, what: []string{"Linux", "Windows"}, longest: 8 * time.Second},
	{kind: Azure, weight: 8, longest: 8 * time.Second, what: crossed(
		[]string{"*", "ContainerGroups.*", "ContainerGroups.List", "ContainerGroups.Delete", "ContainerGroups.Get", "ContainerGroups.Create", "Token"},
		[]string{"401", "403", "404", "409", "429", "500", "503", "drop", "delay", "lag"})},
}

func crossed(a, b []string) []string {
	all := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			all = append(all, x+" "+y)
		}
	}
	return all
}

const (
	fewest, most = 3, 9
	// longestPause is enough for what an action has begun to be over, or not.
	longestPause = 4 * time.Second
	step         = 100 * time.Millisecond
)

// Generate makes up a history. The same seed gives the same history.
func Generate(seed uint64) History {
	random := rand.New(rand.NewPCG(seed, 0))
	h := History{{Kind: Create, Pause: pause(random)}}
	for range fewest + random.IntN(most-fewest+1) {
		c := pick(random)
		a := Action{Kind: c.kind, What: c.what[random.IntN(len(c.what))], Pause: pause(random)}
		if c.longest > 0 {
			a.For = time.Second + upTo(random, c.longest-time.Second)
		}
		h = append(h, a)
	}
	if random.IntN(4) > 0 {
		// Else every third one would end without a connector, and there would be little to look at.
		h = append(h, Action{Kind: Create, Pause: pause(random)})
	}
	return h
}

// pause is none at all half of the time: what happens at once is what goes wrong.
func pause(random *rand.Rand) time.Duration {
	if random.IntN(2) == 0 {
		return 0
	}
	return upTo(random, longestPause)
}

func upTo(random *rand.Rand, longest time.Duration) time.Duration {
	return time.Duration(random.IntN(int(longest/step)+1)) * step
}

func pick(random *rand.Rand) choice {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	at := random.IntN(total)
	for _, c := range choices {
		if at < c.weight {
			return c
		}
		at -= c.weight
	}
	return choices[0]
}

// Shrink looks for a shorter history that fails as well, and tries at most so many.
func Shrink(h History, tries int, fails func(History) bool) History {
	for size := len(h) / 2; size > 0; {
		shorter := false
		for from := 0; from < len(h) && tries > 0; from += size {
			candidate := without(h, from, min(from+size, len(h)))
			if len(candidate) == 0 {
				continue
			}
			tries--
			if fails(candidate) {
				h, shorter = candidate, true
				break
			}
		}
		if !shorter || size > len(h) {
			size /= 2
		}
	}
	return h
}

func without(h History, from, to int) History {
	rest := make(History, 0, len(h)-(to-from))
	rest = append(rest, h[:from]...)
	return append(rest, h[to:]...)
}
