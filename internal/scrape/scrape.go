// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package scrape lets only those look at the metrics whom the API server lets; it never decides that by itself, and never
// keeps or tells anybody else a token.
package scrape

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// invalidToken is what an API server says of every token that is of nobody, often with a reason beside it.
const invalidToken = "invalid bearer token"

// Filter serves metrics to those whose bearer token the API server knows, by a TokenReview, and whom it lets at the path
// of their request, by a SubjectAccessReview.
func Filter(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	g, err := newGate(config, httpClient, clock.RealClock{})
	if err != nil {
		return nil, err
	}
	return g.filter, nil
}

// gate asks the API server who somebody is and what they may.
type gate struct {
	tokens         authenticationclient.TokenReviewInterface
	access         authorizationclient.SubjectAccessReviewInterface
	authentication answers
	authorization  answers
	// again is how often and how soon a question is asked again where the API server was not able to answer it; timeout is
	// for all of that.
	again   wait.Backoff
	timeout time.Duration
}

func newGate(config *rest.Config, httpClient *http.Client, c clock.PassiveClock) (*gate, error) {
	authentication, err := authenticationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the client that reviews tokens: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make the client that reviews access: %w", err)
	}
	return &gate{
		tokens:         authentication.TokenReviews(),
		access:         authorization.SubjectAccessReviews(),
		authentication: newAnswers(time.Minute, 10*time.Second, c),
		authorization:  newAnswers(5*time.Minute, 30*time.Second, c),
		again:          wait.Backoff{Duration: 500 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5},
		timeout:        10 * time.Second,
	}, nil
}

func (g *gate) filter(log logr.Logger, handler http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r.Header)
		if token == "" {
			log.V(4).Info("Authentication failed", "reason", "there is no bearer token")
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		known, err := g.authenticate(r.Context(), token)
		if err != nil {
			log.Error(err, "Authentication failed")
			http.Error(w, "Authentication failed", http.StatusInternalServerError)
			return
		}
		if !known.yes {
			log.V(4).Info("Authentication failed", "reason", known.reason)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		// What serves the metrics has no use for the token.
		r.Header.Del("Authorization")

		let, err := g.authorize(r.Context(), known.user, r)
		if err != nil {
			message := fmt.Sprintf("Authorization for user %s failed", known.user.Username)
			log.Error(err, message)
			http.Error(w, message, http.StatusInternalServerError)
			return
		}
		if !let.yes {
			message := "Authorization denied for user " + known.user.Username
			log.V(4).Info(message, "reason", let.reason)
			http.Error(w, message, http.StatusForbidden)
			return
		}
		handler.ServeHTTP(w, r)
	}), nil
}

// bearer returns the token that a request brings, and nothing where it brings none.
func bearer(header http.Header) string {
	parts := strings.SplitN(strings.TrimSpace(header.Get("Authorization")), " ", 3)
	if len(parts) < 2 || !strings.EqualFold(parts[0], "bearer") {
		return ""
	}
	return parts[1]
}

// authenticate tells whose a token is.
func (g *gate) authenticate(ctx context.Context, token string) (answer, error) {
	given, err := g.ask(ctx, &g.authentication, sha256.Sum256([]byte(token)), func(ctx context.Context) (answer, error) {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
		review, err := g.tokens.Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return answer{}, fmt.Errorf("review the token: %w", err)
		}
		said := review.Status.Error
		switch {
		case review.Status.Authenticated:
			return answer{yes: true, user: review.Status.User}, nil
		case said != "" && !strings.Contains(said, invalidToken):
			return answer{}, fmt.Errorf("review the token: the API server was not able to: %s", said)
		case strings.Contains(said, token):
			said = invalidToken
		}
		return answer{reason: said}, nil
	})
	if err != nil && strings.Contains(err.Error(), token) {
		err = errors.New("review the token: what the API server said of it repeats it, and is not told")
	}
	return given, err
}

// authorize tells whether somebody may do what a request asks for.
func (g *gate) authorize(ctx context.Context, user authenticationv1.UserInfo, r *http.Request) (answer, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
		User:                  user.Username,
		UID:                   user.UID,
		Groups:                user.Groups,
		Extra:                 extra(user),
	}}
	asked, err := json.Marshal(review.Spec)
	if err != nil {
		return answer{}, fmt.Errorf("review the access: %w", err)
	}
	return g.ask(ctx, &g.authorization, sha256.Sum256(asked), func(ctx context.Context) (answer, error) {
		reviewed, err := g.access.Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return answer{}, fmt.Errorf("review the access: %w", err)
		}
		said := reviewed.Status
		if said.Allowed && said.Denied {
			return answer{}, errors.New("review the access: the API server both allows and denies it")
		}
		return answer{yes: said.Allowed, reason: said.Reason}, nil
	})
}

func extra(user authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	if user.Extra == nil {
		return nil
	}
	out := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, values := range user.Extra {
		out[key] = authorizationv1.ExtraValue(values)
	}
	return out
}

// ask returns what was answered a short while ago, and asks the API server else. An error is no answer, and is not kept.
func (g *gate) ask(ctx context.Context, kept *answers, asked question, put func(context.Context) (answer, error)) (answer, error) {
	if given, ok := kept.get(asked); ok {
		return given, nil
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	var given answer
	var failed error
	over := wait.ExponentialBackoffWithContext(ctx, g.again, func(ctx context.Context) (bool, error) {
		given, failed = put(ctx)
		if passes(failed) {
			return false, nil
		}
		return true, failed
	})
	// That the time is over says less than why the last attempt failed.
	if err := cmp.Or(failed, over); err != nil {
		return answer{}, err
	}
	kept.add(asked, given)
	return given, nil
}

// passes tells whether an error is likely to be gone in a moment.
func passes(err error) bool {
	if err == nil {
		return false
	}
	_, told := apierrors.SuggestsClientDelay(err)
	return told || apierrors.IsInternalError(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err)
}
