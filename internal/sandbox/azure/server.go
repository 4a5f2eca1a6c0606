// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/utils/clock"
)

// Server is a simulated Azure. It is safe for concurrent use.
type Server struct {
	clock clock.Clock

	mu          sync.Mutex
	world       world
	faults      []*Fault
	lastFaultID int
	requests    map[requested]int
	executions  map[string]execution
}

// Option changes how a Server works.
type Option func(*Server)

// WithClock gives the Server another clock than the machine's.
func WithClock(c clock.Clock) Option {
	return func(s *Server) { s.clock = c }
}

// NewServer makes a Server whose world starts as the config has it.
func NewServer(config Config, options ...Option) (*Server, error) {
	s := &Server{clock: clock.RealClock{}, requests: map[requested]int{}, executions: map[string]execution{}}
	for _, option := range options {
		option(s)
	}
	world, err := newWorld(config)
	if err != nil {
		return nil, err
	}
	s.world = world
	return s, nil
}

// Handler serves login and Resource Manager of every cloud, told apart by the Host header. TLS is its caller's business.
func (s *Server) Handler() http.Handler {
	logins := make(map[Cloud]http.Handler, len(clouds))
	for cloud := range clouds {
		logins[cloud] = s.loginHandler(cloud)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostname(r)
		if cloud, ok := cloudOfHost(host, func(e endpoints) []string { return e.login }); ok {
			logins[cloud].ServeHTTP(w, r)
			return
		}
		if cloud, ok := cloudOfHost(host, func(e endpoints) []string { return e.resourceManager }); ok {
			s.serveResourceManager(w, r, cloud)
			return
		}
		http.Error(w, fmt.Sprintf("host %q is not one of %s", host, strings.Join(Hosts(), ", ")), http.StatusMisdirectedRequest)
	})
}

func hostname(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// requested is what requests are counted by: the operation, the subscription or the client ID that it was asked of, and
// who asked.
type requested struct{ scope, operation, userAgent string }

// Requests returns how many requests came for each operation since the last reset.
func (s *Server) Requests() map[string]int { return s.RequestsIn("", "") }

// RequestsIn returns how many came for what lies in a subscription, by its resource ID, or for tokens of a client, by
// its ID, of the clients whose User-Agent begins with a text; empty is everywhere and everybody.
func (s *Server) RequestsIn(scope, userAgent string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for r, count := range s.requests {
		if inScope(r.scope, scope) && strings.HasPrefix(r.userAgent, userAgent) {
			counts[r.operation] += count
		}
	}
	return counts
}

// countedIn is the subscription of a resource ID, or the client ID that it is.
func countedIn(resourceID string) string {
	parts := strings.SplitN(strings.ToLower(resourceID), "/", 4)
	return strings.Join(parts[:min(3, len(parts))], "/")
}

// ResetRequests starts the counts anew.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.requests)
}

// Listeners are where Serve listens; a nil one is left out.
type Listeners struct {
	// TLS carries login and Resource Manager, its certificate names Hosts.
	TLS net.Listener
	// Streams carries what commands in containers say.
	Streams net.Listener
	// InstanceMetadata is 169.254.169.254:80.
	InstanceMetadata net.Listener
	// Control is a Unix socket.
	Control net.Listener
}

// shutdownGrace is what requests under way get to end in.
const shutdownGrace = 2 * time.Second

// Serve serves until the context ends or a listener fails; it closes the listeners.
func (s *Server) Serve(ctx context.Context, listeners Listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	serve := func(name string, listener net.Listener, handler http.Handler) {
		if listener == nil {
			return
		}
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			BaseContext:       func(net.Listener) context.Context { return ctx },
		}
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s on %s: %w", name, listener.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
			defer cancel()
			if server.Shutdown(grace) != nil {
				return server.Close()
			}
			return nil
		})
	}
	serve("login and resource manager", listeners.TLS, s.Handler())
	serve("streams", listeners.Streams, s.Streams())
	serve("instance metadata", listeners.InstanceMetadata, s.InstanceMetadata())
	serve("control", listeners.Control, s.Control())
	return group.Wait()
}
