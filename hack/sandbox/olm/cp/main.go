// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command cp is the part of the common command that OLM calls in its own image: cp -Rv SOURCE TARGET.
package main

import (
	"fmt"
	"os"

	"github.com/otiai10/copy"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 || args[0] != "-Rv" {
		return fmt.Errorf("use cp -Rv SOURCE TARGET, and not %q", args)
	}
	fmt.Printf("'%s' -> '%s'\n", args[1], args[2])
	return copy.Copy(args[1], args[2])
}
