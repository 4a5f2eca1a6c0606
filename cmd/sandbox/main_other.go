// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

// Command sandbox tells that this machine can't carry a sandbox.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "sandbox: a sandbox needs Linux, this is %s: use a Linux machine, or install the operator on a cluster of your own\n", runtime.GOOS)
	os.Exit(1)
}
