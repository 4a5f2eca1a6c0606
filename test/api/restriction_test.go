// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/apply"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/render"
)

// Who is restricted, and the nodes of the cluster that the restrictions are tried in.
const (
	operatorName = "vk-connector-operator"
	virtualNode  = "virtual-kubelet-aci-linux-eastus"
	// strippedNode is virtual, and somebody has taken its labels off; markedNode has nothing but what the operator set.
	strippedNode = "virtual-kubelet-aci-windows-eastus"
	markedNode   = "virtual-kubelet-aci-linux-westus"
	machine      = "worker"
	// forgedMachine says of itself that it is virtual, machineOfCloud even in its name.
	forgedMachine  = "worker-forged"
	machineOfCloud = "worker-linux-1a"
	cloudMachine   = "worker-linux-eastus"
	// goneNode has pods and no Node.
	goneNode = "virtual-kubelet-gone-linux-eastus"
)

// request is a request of a user, and the policy that refuses it with which message; empty where it is allowed.
type request struct {
	do              func(context.Context, client.Client) error
	policy, message string
}

func (r request) check(ctx context.Context, g Gomega, user client.Client) {
	err := r.do(ctx, user)
	if r.policy == "" {
		g.Expect(err).NotTo(HaveOccurred())
		return
	}
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(HaveSuffix("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", r.policy, r.policy, r.message)))
}

var virtualLabels = map[string]string{identity.LabelVirtualNode: identity.VirtualNode, identity.LabelManagedBy: identity.ManagedBy}

func clusterRoleBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	}
}

func roleBinding(in, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects:   subjects,
	}
}

func serviceAccount(in, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: in, Name: name}
}

func lease(in, name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name}}
}

func node(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// restrictedPod is one that the operator's namespace takes.
func restrictedPod(in, name, node string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:                     node,
			AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "pod", Image: "example.com/image",
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// Requests, of an object by its name.
func create(object client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		copied, ok := object.DeepCopyObject().(client.Object)
		if !ok {
			return errors.New("not an object")
		}
		return c.Create(ctx, copied)
	}
}

func remove(object client.Object) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error { return c.Delete(ctx, object) }
}

func merge(object client.Object, patch string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
}

func mergeStatus(object client.Object, patch string) func(context.Context, client.Client) error {
	return func(ctx context.Context, c client.Client) error {
		return c.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, []byte(patch)))
	}
}

const label = `{"metadata":{"labels":{"example.com/a":"b"}}}`

// leaseClusterRole is the one that an installation by OLM has.
const leaseClusterRole = "vk-connector-virtual-kubelet-lease"

// world is what is there before the requests.
func world() []client.Object {
	stripped := node(strippedNode, nil)
	stripped.Annotations = map[string]string{"virtual-kubelet.io/last-applied-node-status": "{}"}
	cloud := node(cloudMachine, virtualLabels)
	cloud.Spec.ProviderID = "azure:///machine"
	ours, children := serviceAccount(namespace, virtualNode), map[string]string{identity.LabelManagedBy: identity.ManagedBy}
	unlabelled := clusterRoleBinding("unlabelled-linux-eastus", render.KubeletRole, ours)
	anew := clusterRoleBinding("anew-linux-eastus", "view", ours)
	anew.Labels = children
	return []client.Object{
		node(virtualNode, map[string]string{identity.LabelVirtualNode: identity.VirtualNode}), stripped,
		node(machine, nil), node(forgedMachine, virtualLabels), node(machineOfCloud, nil), cloud,
		unlabelled, anew, clusterRoleBinding("others", "view", ours),
		clusterRoleBinding(virtualNode, render.KubeletRole, ours),
		roleBinding(render.LeaseNamespace, virtualNode, "Role", render.KubeletRole, ours),
		roleBinding(render.LeaseNamespace, "others", "Role", "others", ours),
		lease(render.LeaseNamespace, virtualNode), lease(render.LeaseNamespace, machine),
		lease(namespace, operatorName), lease(namespace, "others"), lease("default", operatorName),
		restrictedPod(namespace, "kubelet", machine, children), restrictedPod(namespace, "operator", machine, nil),
		restrictedPod("default", "virtual", virtualNode, nil), restrictedPod("default", "left", goneNode, nil),
		restrictedPod("default", "real", machine, nil), restrictedPod("default", "pending", "", nil),
	}
}

// restrictions are the requests by who makes them.
var restrictions = map[string]map[string]request{
	"system:serviceaccount:" + namespace + ":" + operatorName: {
		"binds a virtual kubelet": {do: func(ctx context.Context, c client.Client) error {
			return c.Apply(ctx, applyrbacv1.ClusterRoleBinding("new-linux-eastus").
				WithRoleRef(applyrbacv1.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(render.KubeletRole)).
				WithSubjects(applyrbacv1.Subject().WithKind(rbacv1.ServiceAccountKind).WithNamespace(namespace).WithName("new-linux-eastus")),
				apply.FieldOwner)
		}},
		"binds its Lease": {do: create(roleBinding(render.LeaseNamespace, "new-linux-eastus", "Role", render.KubeletRole,
			serviceAccount(namespace, "new-linux-eastus")))},
		"binds its Lease by a ClusterRole": {do: create(roleBinding(render.LeaseNamespace, "olm-linux-eastus", "ClusterRole", leaseClusterRole,
			serviceAccount(namespace, "olm-linux-eastus")))},
		"labels a binding":                       {do: merge(clusterRoleBinding(virtualNode, ""), label)},
		"removes a binding":                      {do: remove(clusterRoleBinding(virtualNode, ""))},
		"removes a binding of a Lease":           {do: remove(roleBinding(render.LeaseNamespace, virtualNode, "", ""))},
		"removes a binding without labels":       {do: remove(clusterRoleBinding("unlabelled-linux-eastus", ""))},
		"removes a binding that was made anew":   {do: remove(clusterRoleBinding("anew-linux-eastus", ""))},
		"labels a virtual node":                  {do: merge(node(virtualNode, nil), label)},
		"cordons a virtual node without labels":  {do: merge(node(strippedNode, nil), `{"spec":{"unschedulable":true}}`)},
		"cordons a node that only it has marked": {do: merge(node(markedNode, nil), `{"spec":{"unschedulable":true}}`)},
		"removes a virtual node":                 {do: remove(node(virtualNode, nil))},
		"removes a virtual node without labels":  {do: remove(node(strippedNode, nil))},
		"removes the Lease of a virtual node":    {do: remove(lease(render.LeaseNamespace, virtualNode))},
		"leads":                                  {do: merge(lease(namespace, operatorName), `{"spec":{"holderIdentity":"me"}}`)},
		"removes a virtual kubelet's pod":        {do: remove(restrictedPod(namespace, "kubelet", "", nil))},
		"removes a pod of a virtual node":        {do: remove(restrictedPod("default", "virtual", "", nil))},
		"removes a pod whose Node is gone":       {do: remove(restrictedPod("default", "left", "", nil))},
		"writes what is not restricted":          {do: merge(restrictedPod("default", "real", "", nil), label)},

		"binds a virtual kubelet to more": {
			do:     create(clusterRoleBinding(virtualNode+"-2", "cluster-admin", serviceAccount(namespace, virtualNode+"-2"))),
			policy: "vk-connector-operator-bindings",
			message: "ClusterRoleBinding " + virtualNode + "-2 is of ClusterRole cluster-admin, " +
				"and the operator writes bindings of vk-connector-virtual-kubelet only: write it as another user",
		},
		"binds somebody else": {
			do:     create(clusterRoleBinding("theirs", render.KubeletRole, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: "theirs"})),
			policy: "vk-connector-operator-bindings",
			message: "ClusterRoleBinding theirs has a subject other than ServiceAccount vk-connector-system/theirs, " +
				"and the operator binds a node to its own only: write it as another user",
		},
		"binds the account of another namespace": {
			do: create(roleBinding(render.LeaseNamespace, "theirs", "Role", render.KubeletRole,
				serviceAccount(namespace, "theirs"), serviceAccount("default", "theirs"))),
			policy: "vk-connector-operator-bindings",
			message: "RoleBinding theirs has a subject other than ServiceAccount vk-connector-system/theirs, " +
				"and the operator binds a node to its own only: write it as another user",
		},
		"binds what no virtual node is named as": {
			do:     create(clusterRoleBinding("theirs", render.KubeletRole, serviceAccount(namespace, "theirs"))),
			policy: "vk-connector-operator-bindings",
			message: "ClusterRoleBinding theirs has not the name of a virtual node, " +
				"and the operator binds those only: write it as another user",
		},
		"binds it for a Lease": {
			do:     create(roleBinding(render.LeaseNamespace, "theirs", "Role", render.KubeletRole, serviceAccount(namespace, "theirs"))),
			policy: "vk-connector-operator-bindings",
			message: "RoleBinding theirs has not the name of a virtual node, " +
				"and the operator binds those only: write it as another user",
		},
		"adds itself to a binding": {
			do:     merge(clusterRoleBinding(virtualNode, ""), `{"subjects":[{"kind":"ServiceAccount","namespace":"`+namespace+`","name":"`+operatorName+`"}]}`),
			policy: "vk-connector-operator-bindings",
			message: "ClusterRoleBinding " + virtualNode + " has a subject other than ServiceAccount vk-connector-system/" + virtualNode +
				", and the operator binds a node to its own only: write it as another user",
		},
		"binds a ClusterRole in a namespace": {
			do:     create(roleBinding("default", "theirs", "ClusterRole", render.KubeletRole, serviceAccount(namespace, "theirs"))),
			policy: "vk-connector-operator-bindings",
			message: "RoleBinding theirs is of ClusterRole vk-connector-virtual-kubelet, " +
				"and the operator writes bindings of vk-connector-virtual-kubelet only: write it as another user",
		},
		"binds Leases of another namespace": {
			do:     create(roleBinding("default", "theirs", "ClusterRole", leaseClusterRole, serviceAccount(namespace, "theirs"))),
			policy: "vk-connector-operator-bindings",
			message: "RoleBinding theirs is of ClusterRole vk-connector-virtual-kubelet-lease, " +
				"and the operator writes bindings of vk-connector-virtual-kubelet only: write it as another user",
		},
		"claims a binding of others by a label": {
			do:     merge(clusterRoleBinding("others", ""), `{"metadata":{"labels":{"app.kubernetes.io/managed-by":"vk-connector-operator"}}}`),
			policy: "vk-connector-operator-bindings",
			message: "ClusterRoleBinding others is of ClusterRole view, " +
				"and the operator writes bindings of vk-connector-virtual-kubelet only: write it as another user",
		},
		"removes a binding of others": {
			do:     remove(roleBinding(render.LeaseNamespace, "others", "", "")),
			policy: "vk-connector-operator-bindings",
			message: "RoleBinding others is of Role others, " +
				"and the operator writes bindings of vk-connector-virtual-kubelet only: write it as another user",
		},
		"cordons a machine": {
			do:     merge(node(machine, nil), `{"spec":{"unschedulable":true}}`),
			policy: "vk-connector-operator-nodes", message: notVirtual(machine),
		},
		"claims a machine by a label": {
			do:     merge(node(machineOfCloud, nil), `{"metadata":{"labels":{"type":"virtual-kubelet"}}}`),
			policy: "vk-connector-operator-nodes", message: notVirtual(machineOfCloud),
		},
		"removes a machine": {
			do:     remove(node(machine, nil)),
			policy: "vk-connector-operator-nodes", message: notVirtual(machine),
		},
		"removes a machine with forged labels": {
			do:     remove(node(forgedMachine, nil)),
			policy: "vk-connector-operator-nodes", message: notVirtual(forgedMachine),
		},
		"removes a machine of a cloud with a forged name": {
			do:     remove(node(cloudMachine, nil)),
			policy: "vk-connector-operator-nodes",
			message: "Node " + cloudMachine + " is the machine azure:///machine of a cloud, and the operator writes no such: " +
				"rename the machine, or delete its Node yourself if it is to go",
		},
		"removes the Lease of a machine": {
			do:     remove(lease(render.LeaseNamespace, machine)),
			policy: "vk-connector-operator-leases", message: notItsLease(render.LeaseNamespace, machine),
		},
		"takes another leadership": {
			do:     create(lease(namespace, "another")),
			policy: "vk-connector-operator-leases", message: notItsLease(namespace, "another"),
		},
		"renews another leadership": {
			do:     merge(lease(namespace, "others"), `{"spec":{"holderIdentity":"me"}}`),
			policy: "vk-connector-operator-leases", message: notItsLease(namespace, "others"),
		},
		"renews a leadership of its name elsewhere": {
			do:     merge(lease("default", operatorName), `{"spec":{"holderIdentity":"me"}}`),
			policy: "vk-connector-operator-leases", message: notItsLease("default", operatorName),
		},
		"renews the Lease of a virtual node": {
			do:     merge(lease(render.LeaseNamespace, virtualNode), `{"spec":{"holderIdentity":"me"}}`),
			policy: "vk-connector-operator-leases", message: notItsLease(render.LeaseNamespace, virtualNode),
		},
		"removes a pod of a machine": {
			do:     remove(restrictedPod("default", "real", "", nil)),
			policy: "vk-connector-operator-pods", message: notItsPod("default/real on node " + machine),
		},
		"removes a pod that waits": {
			do:     remove(restrictedPod("default", "pending", "", nil)),
			policy: "vk-connector-operator-pods", message: notItsPod("default/pending on node (none)"),
		},
		"removes another pod of its namespace": {
			do:     remove(restrictedPod(namespace, "operator", "", nil)),
			policy: "vk-connector-operator-pods", message: notItsPod(namespace + "/operator on node " + machine),
		},
	},
	"system:serviceaccount:" + namespace + ":" + virtualNode: {
		"reports on its node":    {do: mergeStatus(node(virtualNode, nil), `{"status":{"phase":"Running"}}`)},
		"renews its Lease":       {do: merge(lease(render.LeaseNamespace, virtualNode), `{"spec":{"holderIdentity":"me"}}`)},
		"reports on its pod":     {do: mergeStatus(restrictedPod("default", "virtual", "", nil), `{"status":{"phase":"Running"}}`)},
		"ends its pod":           {do: remove(restrictedPod("default", "virtual", "", nil))},
		"is no other's business": {do: merge(clusterRoleBinding("others", ""), label)},

		"makes another node": {
			do:     create(node("worker-2", nil)),
			policy: "vk-connector-virtual-kubelet-nodes", message: notItself("may write that Node only, and not Node worker-2"),
		},
		"labels a machine": {
			do:     mergeStatus(node(machine, nil), label),
			policy: "vk-connector-virtual-kubelet-nodes", message: notItself("may write that Node only, and not Node " + machine),
		},
		"labels another virtual node": {
			do:     mergeStatus(node(strippedNode, nil), label),
			policy: "vk-connector-virtual-kubelet-nodes", message: notItself("may write that Node only, and not Node " + strippedNode),
		},
		"makes another Lease": {
			do:      create(lease(render.LeaseNamespace, "another")),
			policy:  "vk-connector-virtual-kubelet-leases",
			message: notItself("may write the Lease of that node only, and not Lease kube-node-lease/another"),
		},
		"renews the Lease of a machine": {
			do:      merge(lease(render.LeaseNamespace, machine), `{"spec":{"holderIdentity":"me"}}`),
			policy:  "vk-connector-virtual-kubelet-leases",
			message: notItself("may write the Lease of that node only, and not Lease kube-node-lease/" + machine),
		},
		"reports on a pod of a machine": {
			do:      mergeStatus(restrictedPod("default", "real", "", nil), `{"status":{"phase":"Failed"}}`),
			policy:  "vk-connector-virtual-kubelet-pods",
			message: notItself("may write and delete the pods of that node only, and not Pod default/real of node " + machine),
		},
		"ends a pod of another virtual node": {
			do:      remove(restrictedPod("default", "left", "", nil)),
			policy:  "vk-connector-virtual-kubelet-pods",
			message: notItself("may write and delete the pods of that node only, and not Pod default/left of node " + goneNode),
		},
		"ends a pod that waits": {
			do:      remove(restrictedPod("default", "pending", "", nil)),
			policy:  "vk-connector-virtual-kubelet-pods",
			message: notItself("may write and delete the pods of that node only, and not Pod default/pending of node (none)"),
		},
	},
	"system:serviceaccount:" + namespace + ":new-linux-eastus": {
		"makes its node":  {do: create(node("new-linux-eastus", nil))},
		"makes its Lease": {do: create(lease(render.LeaseNamespace, "new-linux-eastus"))},
	},
	// Nobody else is restricted.
	"system:serviceaccount:" + namespace + ":default": {
		"cordons a machine":          {do: merge(node(machine, nil), `{"spec":{"unschedulable":true}}`)},
		"removes a pod of a machine": {do: remove(restrictedPod("default", "real", "", nil))},
	},
	"system:serviceaccount:default:build-linux-amd64": {
		"labels a machine":           {do: mergeStatus(node(machine, nil), label)},
		"removes a pod of a machine": {do: remove(restrictedPod("default", "real", "", nil))},
		"takes a leadership":         {do: create(lease("default", "another"))},
		"binds anybody":              {do: create(clusterRoleBinding("theirs", "view", serviceAccount("default", "default")))},
	},
}

func notVirtual(node string) string {
	return "Node " + node + " is not one of a connector, and the operator writes no other: " +
		"take off the labels app.kubernetes.io/managed-by and connector.virtual-kubelet.io/connector if it has them, " +
		"or delete it yourself if it is to go"
}

func notItsLease(in, name string) string {
	return "Lease " + in + "/" + name + " is neither a virtual node's to delete nor that of the operator's leadership to write: write it as another user"
}

func notItsPod(pod string) string {
	return "Pod " + pod + " is neither on a virtual node nor a virtual kubelet, and the operator deletes no other: delete it as another user"
}

func notItself(what string) string {
	return "the virtual kubelet of node " + virtualNode + " " + what + ": look at the image of Deployment vk-connector-system/" + virtualNode
}

// TestRestrictions tries what the policies of config/restriction leave to users who may do everything else.
func TestRestrictions(t *testing.T) {
	g := NewWithT(t)
	installNamespace(t)
	kubectl(t, "apply", "-k", "../../config/restriction")
	t.Cleanup(func() { kubectl(t, "delete", "-k", "../../config/restriction") })
	for _, object := range world() {
		g.Expect(k8s.Create(t.Context(), object)).To(Succeed(), object.GetName())
		t.Cleanup(func() {
			g.Expect(k8s.Delete(context.WithoutCancel(t.Context()), object, client.GracePeriodSeconds(0))).To(Succeed(), object.GetName())
		})
	}
	marked := node(markedNode, nil)
	g.Expect(k8s.Create(t.Context(), marked)).To(Succeed())
	g.Expect(k8s.Apply(t.Context(), applycorev1.Node(markedNode).WithLabels(map[string]string{"example.com/a": "b"}), apply.FieldOwner)).To(Succeed())
	t.Cleanup(func() { g.Expect(k8s.Delete(context.WithoutCancel(t.Context()), marked)).To(Succeed()) })

	users := map[string]client.Client{}
	for name := range restrictions {
		config := rest.CopyConfig(admin)
		// As who may do all: what is refused is refused by a policy.
		config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:masters"}}
		user, err := client.New(config, client.Options{Scheme: k8s.Scheme()})
		g.Expect(err).NotTo(HaveOccurred())
		users[name] = client.NewDryRunClient(user)
	}
	// A policy counts a moment after it was made: what is refused is tried first, until it is.
	refused := sets.New[string]()
	for _, allowed := range []bool{false, true} {
		for name, requests := range restrictions {
			for what, request := range requests {
				if allowed != (request.policy == "") {
					continue
				}
				refused.Insert(request.policy)
				t.Run(name+" "+what, func(t *testing.T) {
					g := NewWithT(t)
					if allowed {
						request.check(t.Context(), g, users[name])
						return
					}
					g.Eventually(func(g Gomega) { request.check(t.Context(), g, users[name]) }).WithTimeout(30 * time.Second).Should(Succeed())
				})
			}
		}
	}
	g.Expect(refused.Delete("")).To(Equal(restrictionPolicies(t)), "each policy is tried")
}

// restrictionPolicies are the policies of config/restriction; each is bound under its own name.
func restrictionPolicies(t *testing.T) sets.Set[string] {
	t.Helper()
	g := NewWithT(t)
	files, err := filepath.Glob("../../config/restriction/*.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	policies, bound := sets.New[string](), sets.New[string]()
	for _, file := range files {
		content, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
			var object admissionv1.ValidatingAdmissionPolicyBinding
			if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
				break
			}
			switch object.Kind {
			case "ValidatingAdmissionPolicy":
				policies.Insert(object.Name)
			case "ValidatingAdmissionPolicyBinding":
				g.Expect(object.Spec.PolicyName).To(Equal(object.Name))
				bound.Insert(object.Name)
			}
		}
	}
	g.Expect(bound).To(Equal(policies))
	return policies
}
