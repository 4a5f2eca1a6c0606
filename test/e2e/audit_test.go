// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
)

// account is a ServiceAccount in the operator's namespace, as the API server names it.
func account(name string) string { return "system:serviceaccount:" + namespace + ":" + name }

// request is one that the API server has answered.
type request struct {
	Stage     string `json:"stage"`
	Verb      string `json:"verb"`
	User      user   `json:"user"`
	ObjectRef object `json:"objectRef"`
	URI       string `json:"requestURI"`
}

type user struct {
	Username string `json:"username"`
}

type object struct {
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Namespace   string `json:"namespace"`
	Name        string `json:"name"`
}

// String is what a request does, without to which object.
func (r request) String() string {
	if r.ObjectRef.Resource == "" {
		return r.Verb + " " + r.URI
	}
	if r.ObjectRef.Subresource == "" {
		return r.Verb + " " + r.ObjectRef.Resource
	}
	return r.Verb + " " + r.ObjectRef.Resource + "/" + r.ObjectRef.Subresource
}

func (r request) writes() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// isLeadership tells the election of a leader and events, of which an operator that rests has some.
func (r request) isLeadership() bool {
	return r.ObjectRef.Resource == "leases" && r.ObjectRef.Namespace == namespace || r.ObjectRef.Resource == "events"
}

// audit is a place in the API server's audit log.
type audit int64

// auditEnd is the present end of the log.
func auditEnd() audit {
	info, err := os.Stat(box.AuditLog())
	Expect(err).NotTo(HaveOccurred())
	return audit(info.Size())
}

// requestsOf reads the requests of users since then, by user.
func (a audit) requestsOf(users ...string) map[string][]request {
	file, err := os.Open(box.AuditLog())
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(file.Close()).To(Succeed()) }()
	_, err = file.Seek(int64(a), io.SeekStart)
	Expect(err).NotTo(HaveOccurred())
	found := map[string][]request{}
	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			return found // a line without an end is still being written
		}
		Expect(err).NotTo(HaveOccurred())
		var r request
		Expect(json.NewDecoder(bytes.NewReader(line)).Decode(&r)).To(Succeed())
		if r.Stage == "ResponseComplete" && slices.Contains(users, r.User.Username) {
			found[r.User.Username] = append(found[r.User.Username], r)
		}
	}
}

// counted is a table of requests, by what they do.
func counted(requests []request) string {
	counts, writes := map[string]int{}, 0
	for _, r := range requests {
		counts[r.String()]++
		if r.writes() {
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
