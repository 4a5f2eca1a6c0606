// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Package sandbox brings sandboxes up and takes them down; it does so on Linux only.
package sandbox
