// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenKey signs access tokens. It is no secret: it only tells this Azure's tokens from others, also after a restart.
var tokenKey = []byte("simulated Azure")

// claims are what an access token says. Clients never look into it.
type claims struct {
	jwt.RegisteredClaims
	TenantID string `json:"tid"`
	ClientID string `json:"appid"`
	ObjectID string `json:"oid"`
}

func (s *Server) mintToken(cloud Cloud, p principal) (token string, expires time.Time, err error) {
	now := s.lock()
	expires = now.Add(s.world.timing.TokenLifetime)
	s.mu.Unlock()
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    issuer(p.tenantID),
			Audience:  jwt.ClaimStrings{clouds[cloud].audiences[0] + "/"},
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		TenantID: p.tenantID,
		ClientID: p.clientID,
		ObjectID: p.objectID,
	}).SignedString(tokenKey)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign the access token: %w", err)
	}
	return token, expires, nil
}

func issuer(tenantID string) string {
	return "https://sts.windows.net/" + tenantID + "/"
}

// checkToken finds out whose an access token is.
func (s *Server) checkToken(cloud Cloud, token string) (principal, *apiError) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return tokenKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithTimeFunc(s.clock.Now), jwt.WithExpirationRequired())
	const timeForm = "1/2/2006 3:04:05 PM"
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return principal{}, unauthorized(cloud, c.TenantID, "ExpiredAuthenticationToken",
			"The access token expiry UTC time '%s' is earlier than current UTC time '%s'.",
			c.ExpiresAt.UTC().Format(timeForm), s.clock.Now().UTC().Format(timeForm))
	case err != nil:
		return principal{}, unauthorized(cloud, "", "InvalidAuthenticationToken", "The access token is invalid.")
	}
	if got, ok := cloudOfAudience(c.Audience[0]); !ok || got != cloud {
		return principal{}, unauthorized(cloud, c.TenantID, "InvalidAuthenticationTokenAudience",
			"The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences '%s/','%s/'.",
			c.Audience[0], clouds[cloud].audiences[0], clouds[cloud].audiences[1])
	}
	return principal{tenantID: c.TenantID, clientID: c.ClientID, objectID: c.ObjectID}, nil
}
