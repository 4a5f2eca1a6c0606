// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Bodies of the control API that are no type of the world.
type (
	clientSecretBody struct {
		ClientID string    `json:"clientID"`
		Secret   string    `json:"secret"`
		Expires  time.Time `json:"expires,omitzero"`
	}
	roleAssignmentsBody struct {
		ClientID    string           `json:"clientID"`
		Assignments []RoleAssignment `json:"assignments"`
	}
	denyAssignmentsBody struct {
		Scope       string           `json:"scope"`
		Assignments []DenyAssignment `json:"assignments"`
	}
	providerBody struct {
		SubscriptionID string `json:"subscriptionID"`
		Namespace      string `json:"namespace"`
		Registered     bool   `json:"registered"`
	}
	errorBody struct {
		Error string `json:"error"`
	}
)

// Control serves the control API as JSON, for Client. Whoever reaches it rules this Azure: serve it on a Unix socket.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /container-groups", get(s.ContainerGroups))
	mux.Handle("PUT /container-groups", set(s.PutContainerGroup))
	mux.Handle("DELETE /container-groups", set(func(g ContainerGroup) error {
		return s.DeleteContainerGroup(g.SubscriptionID, g.ResourceGroup, g.Name)
	}))
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, s.RequestsIn(r.URL.Query().Get("scope"), r.URL.Query().Get("userAgent")))
	})
	mux.Handle("DELETE /requests", do(s.ResetRequests))
	mux.Handle("GET /faults", get(s.Faults))
	mux.Handle("POST /faults", exchange(s.AddFault))
	mux.Handle("DELETE /faults", do(s.ClearFaults))
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, errorBody{fmt.Sprintf("fault %q: not a number", r.PathValue("id"))})
			return
		}
		s.RemoveFault(id)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.Handle("PUT /subscriptions", set(func(c Subscription) error { s.SetSubscription(c); return nil }))
	mux.Handle("PUT /service-principals", set(func(sp ServicePrincipal) error { s.SetServicePrincipal(sp); return nil }))
	mux.Handle("PUT /client-secret", set(func(b clientSecretBody) error { return s.SetClientSecret(b.ClientID, b.Secret, b.Expires) }))
	mux.Handle("PUT /role-assignments", set(func(b roleAssignmentsBody) error { return s.SetRoleAssignments(b.ClientID, b.Assignments...) }))
	mux.Handle("PUT /deny-assignments", set(func(b denyAssignmentsBody) error { return s.SetDenyAssignments(b.Scope, b.Assignments...) }))
	mux.Handle("PUT /resource-groups", set(s.SetResourceGroup))
	mux.Handle("DELETE /resource-groups", set(func(g ResourceGroup) error { return s.DeleteResourceGroup(g.SubscriptionID, g.Name) }))
	mux.Handle("PUT /virtual-networks", set(s.SetVirtualNetwork))
	mux.Handle("PUT /managed-clusters", set(s.SetManagedCluster))
	mux.Handle("DELETE /managed-clusters", set(func(m ManagedCluster) error {
		return s.DeleteManagedCluster(m.SubscriptionID, m.ResourceGroup, m.Name)
	}))
	mux.Handle("PUT /locations", set(func(l Location) error { s.SetLocation(l); return nil }))
	mux.Handle("PUT /providers", set(func(b providerBody) error { return s.SetProvider(b.SubscriptionID, b.Namespace, b.Registered) }))
	mux.Handle("PUT /quota", set(func(q Quota) error { s.SetQuota(q); return nil }))
	mux.Handle("PUT /timing", set(func(t Timing) error { s.SetTiming(t); return nil }))
	return mux
}

func get[T any](read func() T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, read()) })
}

func do(act func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		act()
		w.WriteHeader(http.StatusNoContent)
	})
}

func set[T any](write func(T) error) http.Handler {
	return exchange(func(body T) (struct{}, error) { return struct{}{}, write(body) })
}

func exchange[In, Out any](serve func(In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body In
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			writeJSON(w, http.StatusBadRequest, errorBody{fmt.Sprintf("body: %v", err)})
			return
		}
		answer, err := serve(body)
		if err != nil {
			writeJSON(w, http.StatusBadRequest, errorBody{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, answer)
	})
}
