// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// How long a status that only tells how far something is on its way may wait to be stored: most of what it says is
// outdated before anybody has read it, and each write costs the API server, and all who watch, as much as that of a Deployment.
const (
	// firstStatusPatience is for the first status of a connector: Azure has mostly answered by then.
	firstStatusPatience = 2 * time.Second
	statusPatience      = 5 * time.Second
)

// drafts are the statuses that have been found and are not stored yet, by the names of their connectors.
type drafts struct {
	mu sync.Mutex
	of map[string]draft
}

type draft struct {
	uid    types.UID
	status v1alpha1.VirtualKubeletConnectorStatus
	// since is when the stored status began to be outdated.
	since time.Time
}

// recall puts a draft in place of a connector's stored status, as if it were stored, and returns what is.
func (d *drafts) recall(connector *v1alpha1.VirtualKubeletConnector) v1alpha1.VirtualKubeletConnectorStatus {
	stored := connector.Status
	d.mu.Lock()
	defer d.mu.Unlock()
	if kept, ok := d.of[connector.Name]; ok && kept.uid == connector.UID {
		kept.status.DeepCopyInto(&connector.Status)
	}
	return stored
}

// keep keeps a status that is not stored now, and returns since when the stored one is outdated.
func (d *drafts) keep(connector *v1alpha1.VirtualKubeletConnector, computed v1alpha1.VirtualKubeletConnectorStatus, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	since := now
	if kept, ok := d.of[connector.Name]; ok && kept.uid == connector.UID {
		since = kept.since
	}
	if d.of == nil {
		d.of = map[string]draft{}
	}
	d.of[connector.Name] = draft{uid: connector.UID, status: computed, since: since}
	return since
}

// drop forgets a connector's draft.
func (d *drafts) drop(connector string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.of, connector)
}
