// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The errors are what a person reads in the condition Resolved: each names the remedy.
func TestErrors(t *testing.T) {
	key := client.ObjectKey{Name: "node"}
	for want, err := range map[string]error{
		"Node node exists and was not made by this operator: delete it, or set another spec.node.namePrefix": &NotOwnedError{Kind: "Node", Key: key},
		"Deployment system/node exists and was not made by this operator: delete it, or set another spec.node.namePrefix": &NotOwnedError{
			Kind: "Deployment", Key: client.ObjectKey{Namespace: "system", Name: "node"},
		},
		"Node node belongs to connector other: set another spec.node.namePrefix": &NotOwnedError{Kind: "Node", Key: key, Connector: "other"},
		"the former node node is still being removed":                            &PredecessorError{Node: "node"},
		"connector other, which was first, has a node of the name node, too: set another spec.node.namePrefix, or delete one of the two": &RivalError{
			Node: "node", Connector: "other",
		},
		"connector other, which is being deleted, still has node node": &RivalError{Node: "node", Connector: "other", Leaving: true},
	} {
		NewWithT(t).Expect(err).To(MatchError(want))
	}
}
