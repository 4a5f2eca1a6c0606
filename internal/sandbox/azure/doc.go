// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package azure simulates the parts of Azure that a connector meets (login, Resource Manager, instance metadata),
// with state, faults and Azure's own error bodies; it runs no containers and may never talk to the real Azure.
package azure
