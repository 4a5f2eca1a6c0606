// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"errors"
	"net/http"
	"strings"
	"sync"
)

// errKilled is what a connection of an operator that is no more ends with.
var errKilled = errors.New("the operator was killed")

// errUnheard is what an operator that lives gets in place of an answer.
var errUnheard = errors.New("the connection broke before the answer came")

// cut says what happens at a write, which is always done.
type cut string

const (
	// answered kills the operator when it has the answer.
	answered cut = "killed after the answer"
	// lost kills the operator before it has the answer.
	lost cut = "killed before the answer"
	// unheard breaks the connection before the answer comes, and lets the operator live.
	unheard cut = "the answer lost"
)

// fuse is on all connections of an operator. It counts what the operator writes, and cuts connections at one write.
type fuse struct {
	mu     sync.Mutex // writes go one by one, so that none is under way beside the one that is the last
	writes []string
	at     int
	cut    cut
	dead   bool
}

// arm starts the count anew; at zero the operator is left alone.
func (f *fuse) arm(at int, c cut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes, f.at, f.cut = nil, at, c
}

// written returns the writes since the fuse was armed.
func (f *fuse) written() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.writes...)
}

func (f *fuse) blown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// blow cuts all connections.
func (f *fuse) blow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// toCluster puts the fuse on the connections to the API server.
func (f *fuse) toCluster(next http.RoundTripper) http.RoundTripper {
	return wire{fuse: f, next: next.RoundTrip, writes: func(r *http.Request) bool {
		return r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/events")
	}}
}

// toAzure puts the fuse on the connections to Azure.
func (f *fuse) toAzure(next http.RoundTripper) wire {
	return wire{fuse: f, next: next.RoundTrip, writes: func(r *http.Request) bool {
		return r.Method == http.MethodDelete
	}}
}

// wire is a connection with a fuse; it is both an http.RoundTripper and the Azure SDK's policy.Transporter.
type wire struct {
	fuse   *fuse
	next   func(*http.Request) (*http.Response, error)
	writes func(*http.Request) bool
}

func (w wire) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if !w.writes(r) {
		if w.fuse.blown() {
			return nil, errKilled
		}
		return w.next(r)
	}
	w.fuse.mu.Lock()
	defer w.fuse.mu.Unlock()
	if w.fuse.dead {
		return nil, errKilled
	}
	response, err := w.next(r)
	w.fuse.writes = append(w.fuse.writes, r.Method+" "+r.URL.Path)
	if len(w.fuse.writes) != w.fuse.at {
		return response, err
	}
	w.fuse.dead = w.fuse.cut != unheard
	if w.fuse.cut == answered || err != nil {
		return response, err
	}
	response.Body.Close()
	if w.fuse.dead {
		return nil, errKilled
	}
	return nil, errUnheard
}
