// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault makes Azure misbehave. Without Status and Drop a request is only delayed or answered from an older state.
type Fault struct {
	// ID is given when the fault is added.
	ID int `json:"id"`
	// Operation is a glob over the operations that Requests counts: "ContainerGroups.Delete", "Token", "*".
	Operation string `json:"operation"`
	// Scope limits the fault to what lies in a resource ID, or to tokens of a client, by its ID; empty is everywhere.
	Scope string `json:"scope,omitempty"`
	// Status, Code and Message are answered in Azure's form; Code and Message have defaults for each status.
	Status  int    `json:"status,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Body is answered in place of Azure's form: a proxy's page, garbage. It needs a Status.
	Body string `json:"body,omitempty"`
	// RetryAfter is sent in whole seconds with the Status.
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
	// Drop cuts the connection without an answer.
	Drop bool `json:"drop,omitempty"`
	// Delay holds the request back.
	Delay time.Duration `json:"delay,omitempty"`
	// Lag makes lists show the state of that time ago.
	Lag time.Duration `json:"lag,omitempty"`
	// Times is how many requests it hits, zero is all.
	Times int `json:"times,omitempty"`
	// For is how long it lasts, zero is until it is cleared.
	For time.Duration `json:"for,omitempty"`

	until time.Time
}

// maxLag is how long what was deleted is remembered for lagging lists.
const maxLag = 15 * time.Minute

// Validate says what is wrong with a fault.
func (f Fault) Validate() error {
	if _, err := path.Match(f.Operation, ""); err != nil || f.Operation == "" {
		return fmt.Errorf("operation %q: not a glob such as ContainerGroups.Delete or *", f.Operation)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d: not an HTTP status between 200 and 599", f.Status)
	}
	if f.Body != "" && f.Status == 0 {
		return fmt.Errorf("operation %q: a body needs a status", f.Operation)
	}
	if f.Lag > maxLag {
		return fmt.Errorf("lag %s: at most %s is remembered", f.Lag, maxLag)
	}
	if f.Status == 0 && !f.Drop && f.Delay <= 0 && f.Lag <= 0 {
		return fmt.Errorf("operation %q: give a status, a delay, a lag or drop", f.Operation)
	}
	return nil
}

// AddFault switches a fault on and returns it with its ID.
func (s *Server) AddFault(f Fault) (Fault, error) {
	if err := f.Validate(); err != nil {
		return Fault{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastFaultID++
	f.ID = s.lastFaultID
	if f.For > 0 {
		f.until = s.clock.Now().Add(f.For)
	}
	s.faults = append(s.faults, &f)
	return f, nil
}

// Faults lists the faults that are still on.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expireFaults()
	faults := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		faults = append(faults, *f)
	}
	return faults
}

// RemoveFault switches a fault off; one that is over is none.
func (s *Server) RemoveFault(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return f.ID == id })
}

// ClearFaults switches all faults off.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) expireFaults() {
	now := s.clock.Now()
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return !f.until.IsZero() && !now.Before(f.until) })
}

func (f *Fault) matches(operation, resourceID string) bool {
	ok, err := path.Match(strings.ToLower(f.Operation), strings.ToLower(operation))
	return err == nil && ok && inScope(resourceID, f.Scope)
}

// inScope tells whether a resource ID is the scope or lies in it.
func inScope(resourceID, scope string) bool {
	resourceID, scope = strings.ToLower(resourceID), strings.TrimRight(strings.ToLower(scope), "/")
	return resourceID == scope || strings.HasPrefix(resourceID, scope+"/") || scope == ""
}

// disturbance is what the faults do to one request.
type disturbance struct {
	delay  time.Duration
	lag    time.Duration
	answer *Fault
}

// disturb counts a request and takes what the faults have for it.
func (s *Server) disturb(r *http.Request, operation, resourceID string) disturbance {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[requested{countedIn(resourceID), operation, r.UserAgent()}]++
	s.expireFaults()
	var d disturbance
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool {
		if !f.matches(operation, resourceID) || ((f.Status != 0 || f.Drop) && d.answer != nil) {
			return false
		}
		d.delay += f.Delay
		d.lag = max(d.lag, f.Lag)
		if f.Status != 0 || f.Drop {
			hit := *f
			d.answer = &hit
		}
		if f.Times == 0 {
			return false
		}
		f.Times--
		return f.Times == 0
	})
	return d
}

// wait holds a request back; it is false when the client has left before.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

var faultDefaults = map[int]apiError{
	http.StatusUnauthorized:        {code: "InvalidAuthenticationToken", message: "The access token is invalid."},
	http.StatusForbidden:           {code: "AuthorizationFailed", message: "The client does not have authorization to perform the action."},
	http.StatusNotFound:            {code: "ResourceNotFound", message: "The resource was not found."},
	http.StatusConflict:            {code: "Conflict", message: "The request conflicts with the state of the resource."},
	http.StatusTooManyRequests:     {code: "TooManyRequests", message: "The request is being throttled as the limit has been reached for operation type."},
	http.StatusInternalServerError: {code: "InternalServerError", message: "Encountered internal server error."},
	http.StatusServiceUnavailable:  {code: "ServiceUnavailable", message: "The service is unavailable."},
}

// answerFault writes a fault's answer: raw, or by write in the form of the endpoint that was asked.
func (s *Server) answerFault(w http.ResponseWriter, f *Fault, write func(*apiError)) {
	if f.Drop {
		panic(http.ErrAbortHandler) //nolint:forbidigo // It is how a handler drops its connection.
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(max(1, f.RetryAfter.Round(time.Second)/time.Second))))
	}
	if f.Body != "" {
		w.Header().Set("Content-Type", http.DetectContentType([]byte(f.Body)))
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body))
		return
	}
	standard := faultDefaults[f.Status]
	write(newError(f.Status, cmp.Or(f.Code, standard.code, "Fault"), "%s",
		cmp.Or(f.Message, standard.message, http.StatusText(f.Status))))
}
