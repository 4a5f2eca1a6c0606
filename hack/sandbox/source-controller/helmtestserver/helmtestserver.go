// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package helmtestserver is empty: only tests of source-controller import the original, which not every mirror of modules
// has, and go mod tidy asks for it all the same.
package helmtestserver
