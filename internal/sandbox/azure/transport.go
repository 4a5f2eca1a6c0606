// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// Transport carries an SDK client's requests to a Server in the same process, by host.
// It is both an http.RoundTripper and the SDK's policy.Transporter.
type Transport struct {
	api, instanceMetadata http.Handler
}

// Transport returns a way to the Server without a network.
func (s *Server) Transport() *Transport {
	return &Transport{api: s.Handler(), instanceMetadata: s.InstanceMetadata()}
}

// Do implements the SDK's policy.Transporter.
func (t *Transport) Do(r *http.Request) (*http.Response, error) {
	return t.RoundTrip(r)
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == instanceMetadataHost {
		return roundTrip(t.instanceMetadata, r)
	}
	return roundTrip(t.api, r)
}

// roundTrip has a handler answer a client's request as a server would: an aborted answer is an error of the connection.
func roundTrip(handler http.Handler, r *http.Request) (response *http.Response, err error) {
	served := r.Clone(r.Context())
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	if served.Body == nil {
		served.Body = http.NoBody
	}
	defer func() {
		switch recovered := recover(); recovered {
		case nil:
		case http.ErrAbortHandler:
			response, err = nil, io.ErrUnexpectedEOF
		default:
			panic(recovered) //nolint:forbidigo // It is passed on, not begun here.
		}
	}()
	answer := &answer{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(answer, served)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status:        strconv.Itoa(answer.status) + " " + http.StatusText(answer.status),
		StatusCode:    answer.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        answer.header,
		Body:          io.NopCloser(&answer.body),
		ContentLength: int64(answer.body.Len()),
		Request:       r,
	}, nil
}

// answer is an http.ResponseWriter in memory.
type answer struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(data []byte) (int, error) { return a.body.Write(data) }
