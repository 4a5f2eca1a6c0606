// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"os"
	"time"
)

func elapsed(since time.Time) string {
	return time.Since(since).Round(100 * time.Millisecond).String()
}

// azureGroups prints the container groups that Azure has.
func (d *demo) azureGroups(ctx context.Context) func() error {
	return func() error {
		d.Print("   $ bin/sandbox azure groups --name %s\n", d.Sandbox.Name())
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return d.Exec(ctx, nil, self, "azure", "groups", "--name", d.Sandbox.Name())
	}
}
