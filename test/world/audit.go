// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// Request is one that the API server has answered.
type Request struct {
	Stage string `json:"stage"`
	Verb  string `json:"verb"`
	User  struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	URI            string    `json:"requestURI"`
	At             time.Time `json:"requestReceivedTimestamp"`
	ResponseStatus struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"responseStatus"`
}

// String is what a request does, without to which object.
func (r Request) String() string {
	if r.ObjectRef.Resource == "" {
		return r.Verb + " " + r.URI
	}
	if r.ObjectRef.Subresource == "" {
		return r.Verb + " " + r.ObjectRef.Resource
	}
	return r.Verb + " " + r.ObjectRef.Resource + "/" + r.ObjectRef.Subresource
}

// Writes reports whether the request could change something.
func (r Request) Writes() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// Audit is a place in the API server's audit log.
type Audit struct {
	path   string
	offset int64
}

// AuditStart is the beginning of the log.
func (w *World) AuditStart() Audit { return Audit{path: w.Box.AuditLog()} }

// AuditEnd is the present end of the log.
func (w *World) AuditEnd() (Audit, error) { return AuditEnd(w.Box.AuditLog()) }

// AuditEnd is the present end of a log.
func AuditEnd(path string) (Audit, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Audit{}, err
	}
	return Audit{path: path, offset: info.Size()}, nil
}

// Requests reads the requests that were answered since then, as far as they are wanted.
func (a Audit) Requests(wanted func(Request) bool) (found []Request, err error) {
	err = a.Each(func(r Request) {
		if wanted(r) {
			found = append(found, r)
		}
	})
	return found, err
}

// Each calls a function with each request that was answered since then.
func (a Audit) Each(see func(Request)) error {
	file, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return err
	}
	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a line without an end is still being written
		}
		if err != nil {
			return err
		}
		var r Request
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		if r.Stage == "ResponseComplete" {
			see(r)
		}
	}
}
