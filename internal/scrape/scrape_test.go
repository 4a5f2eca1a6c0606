// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package scrape

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

const (
	tokenReviews  = "/apis/authentication.k8s.io/v1/tokenreviews"
	accessReviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

	metrics = "connectors 3"
)

// apiServer is an API server's two endpoints, with what it knows of tokens and rights.
type apiServer struct {
	*httptest.Server

	mu     sync.Mutex
	tokens map[string]authenticationv1.TokenReviewStatus
	access func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus
	// failures are what is answered next in place of a review, by the endpoint.
	failures map[string][]http.HandlerFunc
	// tokensAsked and accessAsked are what it was asked.
	tokensAsked []authenticationv1.TokenReviewSpec
	accessAsked []authorizationv1.SubjectAccessReviewSpec
}

// newAPIServer knows alice, who may get /metrics, and bob, who may not.
func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{
		tokens: map[string]authenticationv1.TokenReviewStatus{
			"token-of-alice": {Authenticated: true, User: authenticationv1.UserInfo{
				Username: "alice", UID: "uid-of-alice", Groups: []string{"scrapers", "system:authenticated"},
				Extra: map[string]authenticationv1.ExtraValue{"example.com/pod": {"prometheus-0", "prometheus-1"}},
			}},
			"token-of-bob":      {Authenticated: true, User: authenticationv1.UserInfo{Username: "bob"}},
			"token-of-nobody":   {},
			"token-out-of-date": {Error: "[invalid bearer token, service account token has expired]"},
			"token-of-a-riddle": {Error: "the keys of the issuer can't be read"},
		},
		access: func(spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
			allowed := spec.User == "alice" && *spec.NonResourceAttributes == authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
			return authorizationv1.SubjectAccessReviewStatus{Allowed: allowed}
		},
		failures: map[string][]http.HandlerFunc{},
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || (r.URL.Path != tokenReviews && r.URL.Path != accessReviews) {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if failure := s.answer(r.URL.Path, review); failure != nil {
		failure(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(review)
}

// answer fills a review in, or returns what is answered in its place.
func (s *apiServer) answer(path string, review runtime.Object) http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch review := review.(type) {
	case *authenticationv1.TokenReview:
		s.tokensAsked = append(s.tokensAsked, review.Spec)
		review.Status = s.tokens[review.Spec.Token]
		review.Spec = authenticationv1.TokenReviewSpec{}
	case *authorizationv1.SubjectAccessReview:
		s.accessAsked = append(s.accessAsked, review.Spec)
		review.Status = s.access(review.Spec)
	}
	next := s.failures[path]
	if len(next) == 0 {
		return nil
	}
	s.failures[path] = next[1:]
	return next[0]
}

func (s *apiServer) fail(path string, failures ...http.HandlerFunc) {
	s.failures[path] = append(s.failures[path], failures...)
}

// asked returns how often a token and an access was asked for.
func (s *apiServer) asked() [2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return [2]int{len(s.tokensAsked), len(s.accessAsked)}
}

// refuses answers as an API server does that refuses a request.
func refuses(code int, reason metav1.StatusReason, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
		})
	}
}

// hangs answers nothing, until nobody waits for an answer.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// resets breaks the connection off.
func resets(w http.ResponseWriter, _ *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if err := connection.(*net.TCPConn).SetLinger(0); err != nil {
		panic(err)
	}
	connection.Close()
}

// scraped is metrics behind the filter.
type scraped struct {
	http.Handler
	*gate
	api   *apiServer
	clock *clocktesting.FakePassiveClock
	// served are the requests that came through.
	served []*http.Request
	// logged is all that was logged.
	logged strings.Builder
}

func newScraped(t *testing.T) *scraped {
	t.Helper()
	s := &scraped{api: newAPIServer(t), clock: clocktesting.NewFakePassiveClock(time.Now())}
	var err error
	s.gate, err = newGate(&rest.Config{Host: s.api.URL, QPS: -1}, s.api.Client(), s.clock)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	s.again.Duration = time.Millisecond
	s.Handler = filtered(t, s.filter, funcr.New(func(prefix, args string) {
		fmt.Fprintln(&s.logged, prefix, args)
	}, funcr.Options{Verbosity: 10}), func(r *http.Request) { s.served = append(s.served, r) })
	return s
}

// filtered are metrics behind a filter.
func filtered(t *testing.T, filter func(logr.Logger, http.Handler) (http.Handler, error), log logr.Logger, served func(*http.Request)) http.Handler {
	t.Helper()
	handler, err := filter(log, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served(r)
		fmt.Fprint(w, metrics)
	}))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return handler
}

// get asks for metrics with a header, and returns the status and the content of the answer.
func get(handler http.Handler, authorization string) (status int, content string) {
	return ask(handler, http.MethodGet, "/metrics", authorization)
}

func ask(handler http.Handler, method, path, authorization string) (status int, content string) {
	request := httptest.NewRequest(method, path, http.NoBody)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}

const (
	unauthorized = "Unauthorized"
	failed       = "Authentication failed"
	bobDenied    = "Authorization denied for user bob"
	aliceDenied  = "Authorization denied for user alice"
	aliceFailed  = "Authorization for user alice failed"
)

func TestWhoMayLook(t *testing.T) {
	for name, test := range map[string]struct {
		method, path, header string
		prepare              func(*apiServer)

		status  int
		content string
		// asked is how often a token and an access are asked for.
		asked [2]int
	}{
		"who has a token and the right": {
			header: "Bearer token-of-alice", status: 200, content: metrics, asked: [2]int{1, 1},
		},
		"a scheme in lower case": {
			header: "bearer token-of-alice", status: 200, content: metrics, asked: [2]int{1, 1},
		},
		"spaces around": {
			header: "  Bearer token-of-alice ", status: 200, content: metrics, asked: [2]int{1, 1},
		},
		"more after the token": {
			header: "Bearer token-of-alice more", status: 200, content: metrics, asked: [2]int{1, 1},
		},
		"no header":      {status: 401, content: unauthorized},
		"another scheme": {header: "Basic token-of-alice", status: 401, content: unauthorized},
		"a token alone":  {header: "token-of-alice", status: 401, content: unauthorized},
		"a scheme alone": {header: "Bearer", status: 401, content: unauthorized},
		"an empty token": {header: "Bearer ", status: 401, content: unauthorized},
		"two spaces":     {header: "Bearer  token-of-alice", status: 401, content: unauthorized},
		"a token of nobody": {
			header: "Bearer token-of-nobody", status: 401, content: unauthorized, asked: [2]int{1, 0},
		},
		"a token that is over": {
			header: "Bearer token-out-of-date", status: 401, content: unauthorized, asked: [2]int{1, 0},
		},
		"a token that the API server can't review": {
			header: "Bearer token-of-a-riddle", status: 500, content: failed, asked: [2]int{1, 0},
		},
		"who has a token and not the right": {
			header: "Bearer token-of-bob", status: 403, content: bobDenied, asked: [2]int{1, 1},
		},
		"another path": {
			path: "/metrics/more", header: "Bearer token-of-alice", status: 403, content: aliceDenied, asked: [2]int{1, 1},
		},
		"a query, which is none of the path": {
			path: "/metrics?name=up", header: "Bearer token-of-alice", status: 200, content: metrics, asked: [2]int{1, 1},
		},
		"another method": {
			method: http.MethodPost, header: "Bearer token-of-alice", status: 403, content: aliceDenied, asked: [2]int{1, 1},
		},
		"both allowed and denied": {
			prepare: func(s *apiServer) {
				s.access = func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
					return authorizationv1.SubjectAccessReviewStatus{Allowed: true, Denied: true}
				}
			},
			header: "Bearer token-of-alice", status: 500, content: aliceFailed, asked: [2]int{1, 1},
		},
		"no API server": {
			prepare: func(s *apiServer) { s.Close() },
			header:  "Bearer token-of-alice", status: 500, content: failed,
		},
		"the operator may not review tokens": {
			prepare: func(s *apiServer) { s.fail(tokenReviews, refuses(403, metav1.StatusReasonForbidden, "forbidden")) },
			header:  "Bearer token-of-alice", status: 500, content: failed, asked: [2]int{1, 0},
		},
		"the operator may not review access": {
			prepare: func(s *apiServer) { s.fail(accessReviews, refuses(403, metav1.StatusReasonForbidden, "forbidden")) },
			header:  "Bearer token-of-alice", status: 500, content: aliceFailed, asked: [2]int{1, 1},
		},
		"errors that pass": {
			prepare: func(s *apiServer) {
				s.fail(tokenReviews,
					refuses(500, metav1.StatusReasonInternalError, "no etcd"),
					refuses(429, metav1.StatusReasonTooManyRequests, "too many"),
					refuses(504, metav1.StatusReasonTimeout, "too slow"),
				)
				s.fail(accessReviews, resets, refuses(429, metav1.StatusReasonTooManyRequests, "too many"))
			},
			header: "Bearer token-of-alice", status: 200, content: metrics, asked: [2]int{4, 3},
		},
		"reviews of tokens that never work": {
			prepare: func(s *apiServer) {
				for range 9 {
					s.fail(tokenReviews, refuses(500, metav1.StatusReasonInternalError, "no etcd"))
				}
			},
			header: "Bearer token-of-alice", status: 500, content: failed, asked: [2]int{5, 0},
		},
		"reviews of access that never work": {
			prepare: func(s *apiServer) {
				for range 9 {
					s.fail(accessReviews, refuses(429, metav1.StatusReasonTooManyRequests, "too many"))
				}
			},
			header: "Bearer token-of-alice", status: 500, content: aliceFailed, asked: [2]int{1, 5},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newScraped(t)
			if test.prepare != nil {
				test.prepare(s.api)
			}
			if test.method == "" {
				test.method = http.MethodGet
			}
			if test.path == "" {
				test.path = "/metrics"
			}
			status, content := ask(s, test.method, test.path, test.header)
			g.Expect(status).To(Equal(test.status))
			g.Expect(content).To(Equal(test.content))
			g.Expect(s.api.asked()).To(Equal(test.asked))
			if status == http.StatusOK {
				g.Expect(s.served).To(HaveLen(1))
				g.Expect(s.served[0].Header).NotTo(HaveKey("Authorization"))
				g.Expect(s.logged.String()).To(BeEmpty())
				return
			}
			g.Expect(s.served).To(BeEmpty())
			message := test.content
			if status == http.StatusUnauthorized {
				message = failed
			}
			g.Expect(s.logged.String()).To(ContainSubstring(`"msg"=%q`, message))
			// What is the operator's or the API server's fault is an error, and what somebody tries is none.
			g.Expect(strings.Contains(s.logged.String(), `"error"=`)).To(Equal(status == http.StatusInternalServerError))
		})
	}
}

// TestFilter tests what the metrics server is handed.
func TestFilter(t *testing.T) {
	g := NewWithT(t)
	api := newAPIServer(t)
	filter, err := Filter(&rest.Config{Host: api.URL}, api.Client())
	g.Expect(err).NotTo(HaveOccurred())
	handler := filtered(t, filter, logr.Discard(), func(*http.Request) {})
	status, content := get(handler, "Bearer token-of-alice")
	g.Expect(status).To(Equal(http.StatusOK))
	g.Expect(content).To(Equal(metrics))
	status, _ = get(handler, "Bearer token-of-bob")
	g.Expect(status).To(Equal(http.StatusForbidden))
}

// TestWhatIsAsked tests that the API server is asked of the user that it has told, and of all of it.
func TestWhatIsAsked(t *testing.T) {
	g := NewWithT(t)
	s := newScraped(t)
	get(s, "Bearer token-of-alice")
	get(s, "Bearer token-of-bob")
	g.Expect(s.api.tokensAsked).To(Equal([]authenticationv1.TokenReviewSpec{{Token: "token-of-alice"}, {Token: "token-of-bob"}}))
	getMetrics := &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
	g.Expect(s.api.accessAsked).To(Equal([]authorizationv1.SubjectAccessReviewSpec{
		{
			NonResourceAttributes: getMetrics,
			User:                  "alice", UID: "uid-of-alice", Groups: []string{"scrapers", "system:authenticated"},
			Extra: map[string]authorizationv1.ExtraValue{"example.com/pod": {"prometheus-0", "prometheus-1"}},
		},
		{NonResourceAttributes: getMetrics, User: "bob"},
	}))
}

// TestAnswersAreKept tests for how long, and that the API server is asked again right after.
func TestAnswersAreKept(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		token string
		// steps are how much later it is asked again, and how often a token and an access have been asked for then.
		steps []step
	}{
		"who may": {"token-of-alice", []step{
			{0, [2]int{1, 1}}, {minute, [2]int{1, 1}}, {1, [2]int{2, 1}},
			{minute, [2]int{2, 1}}, {2 * minute, [2]int{3, 1}}, {minute - 1, [2]int{3, 1}}, {1, [2]int{3, 2}}, {1, [2]int{4, 2}},
		}},
		"who may not": {"token-of-bob", []step{
			{0, [2]int{1, 1}}, {30 * time.Second, [2]int{1, 1}}, {1, [2]int{1, 2}}, {30 * time.Second, [2]int{2, 2}}, {1, [2]int{2, 3}},
		}},
		"who is nobody": {"token-of-nobody", []step{
			{0, [2]int{1, 0}}, {10 * time.Second, [2]int{1, 0}}, {1, [2]int{2, 0}},
		}},
		"whose token is over": {"token-out-of-date", []step{
			{0, [2]int{1, 0}}, {10 * time.Second, [2]int{1, 0}}, {1, [2]int{2, 0}},
		}},
		"an error, which is no answer": {"token-of-a-riddle", []step{{0, [2]int{1, 0}}, {0, [2]int{2, 0}}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newScraped(t)
			var first int
			for i, step := range test.steps {
				s.clock.SetTime(s.clock.Now().Add(step.later))
				status, _ := get(s, "Bearer "+test.token)
				if i == 0 {
					first = status
				}
				g.Expect(status).To(Equal(first), "step %d", i)
				g.Expect(s.api.asked()).To(Equal(step.asked), "step %d", i)
			}
		})
	}
}

type step struct {
	later time.Duration
	asked [2]int
}

// TestARightThatIsTakenBack tests that an answer which has changed counts as soon as the former one is over.
func TestARightThatIsTakenBack(t *testing.T) {
	g := NewWithT(t)
	s := newScraped(t)
	look := func() int {
		status, _ := get(s, "Bearer token-of-alice")
		return status
	}
	g.Expect(look()).To(Equal(http.StatusOK))
	access := s.api.access
	s.api.access = func(authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
		return authorizationv1.SubjectAccessReviewStatus{}
	}
	s.clock.SetTime(s.clock.Now().Add(5*time.Minute + 1))
	g.Expect(look()).To(Equal(http.StatusForbidden))
	s.api.access = access
	s.clock.SetTime(s.clock.Now().Add(30*time.Second + 1))
	g.Expect(look()).To(Equal(http.StatusOK))
	delete(s.api.tokens, "token-of-alice")
	s.clock.SetTime(s.clock.Now().Add(time.Minute + 1))
	g.Expect(look()).To(Equal(http.StatusUnauthorized))
}

// TestFailuresAreNotKept tests that metrics are served as soon as the API server is well again.
func TestFailuresAreNotKept(t *testing.T) {
	for _, path := range []string{tokenReviews, accessReviews} {
		t.Run(path, func(t *testing.T) {
			g := NewWithT(t)
			s := newScraped(t)
			s.api.fail(path, refuses(403, metav1.StatusReasonForbidden, "forbidden"))
			status, _ := get(s, "Bearer token-of-alice")
			g.Expect(status).To(Equal(http.StatusInternalServerError))
			status, _ = get(s, "Bearer token-of-alice")
			g.Expect(status).To(Equal(http.StatusOK))
		})
	}
}

// TestTokensAreNotConfused tests that what was answered of one token, path or method is not said of another.
func TestTokensAreNotConfused(t *testing.T) {
	g := NewWithT(t)
	s := newScraped(t)
	for range 3 {
		for _, test := range []struct {
			method, path, token string
			status              int
		}{
			{http.MethodGet, "/metrics", "token-of-alice", http.StatusOK},
			{http.MethodGet, "/metrics", "token-of-bob", http.StatusForbidden},
			{http.MethodGet, "/metrics", "token-of-nobody", http.StatusUnauthorized},
			{http.MethodGet, "/metrics", "token-of-alic", http.StatusUnauthorized},
			{http.MethodGet, "/metrics", "token-of-alicea", http.StatusUnauthorized},
			{http.MethodPost, "/metrics", "token-of-alice", http.StatusForbidden},
			{http.MethodGet, "/", "token-of-alice", http.StatusForbidden},
		} {
			status, _ := ask(s, test.method, test.path, "Bearer "+test.token)
			g.Expect(status).To(Equal(test.status), "%v", test)
		}
	}
	g.Expect(s.api.asked()).To(Equal([2]int{5, 4}))
}

// TestTwoTokensOfOneUser tests that a user whose token is renewed keeps the answer.
func TestTwoTokensOfOneUser(t *testing.T) {
	g := NewWithT(t)
	s := newScraped(t)
	s.api.tokens["next-token-of-alice"] = s.api.tokens["token-of-alice"]
	for _, token := range []string{"token-of-alice", "next-token-of-alice"} {
		status, _ := get(s, "Bearer "+token)
		g.Expect(status).To(Equal(http.StatusOK))
	}
	g.Expect(s.api.asked()).To(Equal([2]int{2, 1}))
	// Other groups are somebody else.
	other := s.api.tokens["token-of-alice"]
	other.User.Groups = []string{"guests"}
	s.api.tokens["other-token-of-alice"] = other
	get(s, "Bearer other-token-of-alice")
	g.Expect(s.api.asked()).To(Equal([2]int{3, 2}))
}

// TestManyTokens tests that the memory for answers has an end, and that strangers do not push out whom it lets in.
func TestManyTokens(t *testing.T) {
	g := NewWithT(t)
	s := newScraped(t)
	get(s, "Bearer token-of-alice")
	for i := range most + 10 {
		get(s, fmt.Sprintf("Bearer token-%d", i))
	}
	g.Expect(s.authentication.no.Keys()).To(HaveLen(most))
	asked := s.api.asked()
	status, _ := get(s, "Bearer token-of-alice")
	g.Expect(status).To(Equal(http.StatusOK))
	g.Expect(s.api.asked()).To(Equal(asked))
	get(s, "Bearer token-0")
	g.Expect(s.api.asked()).To(Equal([2]int{asked[0] + 1, asked[1]}), "the oldest was forgotten")
}

// TestAnAPIServerThatHangs tests that a request ends, by itself and with whoever sent it.
func TestAnAPIServerThatHangs(t *testing.T) {
	for _, path := range []string{tokenReviews, accessReviews} {
		t.Run(path, func(t *testing.T) {
			g := NewWithT(t)
			s := newScraped(t)
			s.api.fail(path, hangs)
			s.timeout = 50 * time.Millisecond
			status, _ := get(s, "Bearer token-of-alice")
			g.Expect(status).To(Equal(http.StatusInternalServerError))

			s.api.fail(path, hangs)
			s.timeout = time.Hour
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody).WithContext(ctx)
			request.Header.Set("Authorization", "Bearer token-of-alice")
			recorder := httptest.NewRecorder()
			s.ServeHTTP(recorder, request)
			g.Expect(recorder.Code).To(Equal(http.StatusInternalServerError))
			g.Expect(s.served).To(BeEmpty())
		})
	}
}

// TestTheTimes tests those that other tests make short.
func TestTheTimes(t *testing.T) {
	g := NewWithT(t)
	made, err := newGate(&rest.Config{}, http.DefaultClient, clock.RealClock{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made.timeout).To(Equal(10 * time.Second))
	waits, again := time.Duration(0), made.again
	for again.Steps > 1 {
		waits += again.Step()
	}
	g.Expect(waits).To(BeNumerically("~", 4500*time.Millisecond, time.Second), "it leaves time for the requests")
}

// TestNoTokenIsTold tests that a token is in no answer, in no log and in nothing that is kept, even where the API server
// repeats it.
func TestNoTokenIsTold(t *testing.T) {
	const token = "secret-of-carol"
	for name, test := range map[string]struct {
		reviewed authenticationv1.TokenReviewStatus
		prepare  func(*apiServer)
		status   int
	}{
		"who may not": {
			reviewed: authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "carol"}},
			status:   http.StatusForbidden,
		},
		"invalid":                   {status: http.StatusUnauthorized},
		"invalid, and repeated":     {authenticationv1.TokenReviewStatus{Error: "invalid bearer token " + token}, nil, http.StatusUnauthorized},
		"not reviewed":              {authenticationv1.TokenReviewStatus{Error: "no keys"}, nil, http.StatusInternalServerError},
		"not reviewed, and told of": {authenticationv1.TokenReviewStatus{Error: "no keys for " + token}, nil, http.StatusInternalServerError},
		"an error that repeats it": {
			prepare: func(s *apiServer) {
				s.fail(tokenReviews, refuses(400, metav1.StatusReasonBadRequest, "what is "+token+"?"), refuses(400, metav1.StatusReasonBadRequest, token))
			},
			status: http.StatusInternalServerError,
		},
		"no API server": {prepare: func(s *apiServer) { s.Close() }, status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := newScraped(t)
			s.api.tokens[token] = test.reviewed
			if test.prepare != nil {
				test.prepare(s.api)
			}
			for range 2 {
				status, content := get(s, "Bearer "+token)
				g.Expect(status).To(Equal(test.status))
				g.Expect(content).NotTo(ContainSubstring(token))
			}
			g.Expect(strings.Count(s.logged.String(), "\n")).To(Equal(2))
			g.Expect(s.logged.String()).NotTo(ContainSubstring(token))
			for _, kept := range []*answers{&s.authentication, &s.authorization} {
				for _, asked := range append(kept.yes.Keys(), kept.no.Keys()...) {
					given, ok := kept.get(asked.(question))
					g.Expect(ok).To(BeTrue())
					g.Expect(fmt.Sprintf("%s %v", asked, given)).NotTo(ContainSubstring(token))
				}
			}
		})
	}
}
