// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package retire

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

func TestNames(t *testing.T) {
	groups := make([]azure.ContainerGroup, 0, 7)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		groups = append(groups, azure.ContainerGroup{Name: name})
	}
	for n, want := range map[int]string{
		1: "container group a",
		2: "2 container groups: a, b",
		5: "5 container groups: a, b, c, d, e",
		6: "6 container groups: a, b, c, d, e and 1 more",
		7: "7 container groups: a, b, c, d, e and 2 more",
	} {
		NewWithT(t).Expect(names(groups[:n])).To(Equal(want))
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{1: "1 pod", 2: "2 pods", 0: "0 pods"} {
		NewWithT(t).Expect(count(n, "pod")).To(Equal(want))
	}
}

func TestBudget(t *testing.T) {
	refused := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
	refused.ErrStatus.Details.Causes = []metav1.StatusCause{
		{Type: "Other", Message: "something else"},
		{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget web needs 1 healthy pods and has 1 currently"},
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a budget":         {refused, "The disruption budget web needs 1 healthy pods and has 1 currently"},
		"a wrapped one":    {errors.Join(refused), "The disruption budget web needs 1 healthy pods and has 1 currently"},
		"a busy server":    {apierrors.NewTooManyRequests("try again later", 1), "try again later"},
		"another refusal":  {errors.New("no"), "no"},
		"without its data": {&apierrors.StatusError{ErrStatus: metav1.Status{Message: "no details"}}, "no details"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(budget(test.err)).To(Equal(test.want))
		})
	}
}

func TestDeployments(t *testing.T) {
	for name, test := range map[string]struct {
		edit             func(*appsv1.Deployment)
		running, settled bool
	}{
		"wanted, with a pod":      {func(d *appsv1.Deployment) { d.Status.Replicas = 1 }, true, false},
		"wanted, without a pod":   {func(*appsv1.Deployment) {}, true, true},
		"wanted, by default":      {func(d *appsv1.Deployment) { d.Spec.Replicas = nil }, true, true},
		"stopped, not seen":       {func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0); d.Generation = 3 }, false, false},
		"stopped, still counting": {func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0); d.Status.Replicas = 1 }, false, false},
		"stopped":                 {func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](0) }, false, true},
		"being deleted": {func(d *appsv1.Deployment) {
			d.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			d.Status.Replicas = 1
		}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			deployment := &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Generation: 2},
				Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)},
				Status:     appsv1.DeploymentStatus{ObservedGeneration: 2},
			}
			test.edit(deployment)
			g.Expect(running(deployment)).To(Equal(test.running))
			g.Expect(settled(deployment)).To(Equal(test.settled))
		})
	}
	g := NewWithT(t)
	g.Expect(running(nil)).To(BeFalse())
	g.Expect(settled(nil)).To(BeTrue())
	g.Expect(available(&appsv1.Deployment{})).To(BeFalse())
	g.Expect(available(&appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1}})).To(BeTrue())
}

func started() render.AzureConfig {
	return render.AzureConfig{
		Cloud: "AzureChinaCloud", TenantID: "tenant", ClientID: "client", ClientSecret: "first secret",
		SubscriptionID: "subscription", ResourceGroup: "group", Location: "chinaeast2",
	}
}

func TestTarget(t *testing.T) {
	credential := func(tenant, client, secret string) azure.Credential {
		return azure.Credential{
			Cloud: v1alpha1.CloudChina, Type: v1alpha1.CredentialTypeServicePrincipal, TenantID: tenant, ClientID: client, ClientSecret: secret,
		}
	}
	own := azure.Target{Credential: credential("tenant", "client", "first secret"), SubscriptionID: "subscription", ResourceGroup: "group"}
	public := credential("tenant", "client", "second secret")
	public.Cloud = v1alpha1.CloudPublic
	for name, test := range map[string]struct {
		live   azure.Credential
		secret string
	}{
		"a renewed secret":                            {credential("tenant", "client", "second secret"), "second secret"},
		"in another case":                             {credential("TENANT", "Client", "second secret"), "second secret"},
		"a secret that is gone":                       {credential("tenant", "client", ""), "first secret"},
		"another client's":                            {credential("tenant", "other", "second secret"), "first secret"},
		"another tenant's":                            {credential("other", "client", "second secret"), "first secret"},
		"another cloud's":                             {public, "first secret"},
		"of a connector that does not exist any more": {azure.Credential{}, "first secret"},
	} {
		t.Run(name, func(t *testing.T) {
			want := own
			want.ClientSecret = test.secret
			got := target(started(), test.live)
			NewWithT(t).Expect(got).To(Equal(want), "secret %q", got.ClientSecret)
		})
	}
}

func TestTargetOfAManagedIdentity(t *testing.T) {
	g := NewWithT(t)
	config := started()
	config.ClientID, config.ClientSecret, config.UserAssignedIdentityID = "msi", "", "identity"
	live := azure.Credential{
		Cloud: v1alpha1.CloudChina, Type: v1alpha1.CredentialTypeServicePrincipal, TenantID: "tenant", ClientID: "identity", ClientSecret: "s",
	}
	got := target(config, live)
	g.Expect(got.Credential).To(Equal(azure.Credential{
		Cloud: v1alpha1.CloudChina, Type: v1alpha1.CredentialTypeManagedIdentity, TenantID: "tenant", ClientID: "identity",
	}), "it is no service principal's secret")
	g.Expect(got.Usable()).To(BeTrue())
}

func TestRecord(t *testing.T) {
	config, err := json.Marshal(started())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	secret := func(claim string, data []byte) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{identity.AnnotationClaim: claim}},
			Data:       map[string][]byte{render.AzureKey: data},
		}
	}
	for name, test := range map[string]struct {
		secret  *corev1.Secret
		config  render.AzureConfig
		claimed bool
		fails   bool
	}{
		"claimed":            {secret: secret("hash", config), config: started(), claimed: true},
		"no Secret":          {},
		"no claim":           {secret: secret("", config)},
		"another's claim":    {secret: secret("other", config)},
		"claimed, no record": {secret: secret("hash", nil), fails: true},
		"claimed, garbage":   {secret: secret("hash", []byte("{")), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, claimed, err := record(&observe.Node{Name: "node", Hash: "hash", Secret: test.secret}, resolve.Resolved{})
			if test.fails {
				g.Expect(err).To(MatchError(ContainSubstring("read azure.json of Secret node: ")))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(test.config))
			g.Expect(claimed).To(Equal(test.claimed))
		})
	}
}

// Somebody deletes the Secret of a node that retires: of a node that the spec still describes, the spec
// tells where its container groups are; otherwise they would be left behind.
func TestRecordOfADeletedSecret(t *testing.T) {
	g := NewWithT(t)
	spec := resolve.Resolved{
		Connector: "aci",
		Place: discover.Place{Location: "eastus", Target: azure.Target{
			Credential:     azure.Credential{Cloud: v1alpha1.CloudPublic, TenantID: "tenant", ClientID: "client"},
			SubscriptionID: "subscription", ResourceGroup: "group",
		}},
	}
	hash := identity.Node{
		Name: "node", Cloud: v1alpha1.CloudPublic, TenantID: "tenant", SubscriptionID: "subscription", ResourceGroup: "group", Location: "eastus",
	}.Hash()
	started := &observe.Node{Name: "node", Hash: hash, Deployment: &appsv1.Deployment{}}
	config, claimed, err := record(started, spec)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(claimed).To(BeTrue())
	g.Expect(config.ResourceGroup).To(Equal("group"))

	_, claimed, err = record(&observe.Node{Name: "node", Hash: hash}, spec)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(claimed).To(BeFalse(), "it was never started")
	_, claimed, err = record(&observe.Node{Name: "node", Hash: "other", Deployment: &appsv1.Deployment{}}, spec)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(claimed).To(BeFalse(), "the spec tells nothing of it")
}

// The status of a removal that fails at once is written too, and needs a reason.
func TestProgressHasAReasonFromTheStart(t *testing.T) {
	g := NewWithT(t)
	progress, err := (&Retirer{}).Retire(t.Context(), &observe.Node{Name: "node", Hash: "hash", Secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{identity.AnnotationClaim: "hash"}, Labels: map[string]string{identity.LabelOS: "windows"},
		},
	}}, resolve.Resolved{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(progress.Reason).NotTo(BeEmpty())
	g.Expect(progress.Message).NotTo(BeEmpty())
	g.Expect(progress.Node).To(Equal("node"))
	g.Expect(progress.OSType).To(Equal(v1alpha1.OSTypeWindows))
}

func TestOSType(t *testing.T) {
	labelled := func(os string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Labels: map[string]string{identity.LabelOS: os}}
	}
	for name, test := range map[string]struct {
		node observe.Node
		want v1alpha1.OSType
	}{
		"of the Secret":     {observe.Node{Secret: &corev1.Secret{ObjectMeta: labelled("linux")}, Node: &corev1.Node{}}, v1alpha1.OSTypeLinux},
		"of the Deployment": {observe.Node{Deployment: &appsv1.Deployment{ObjectMeta: labelled("windows")}, Node: &corev1.Node{}}, v1alpha1.OSTypeWindows},
		"of the Node":       {observe.Node{Node: &corev1.Node{ObjectMeta: labelled("windows")}}, v1alpha1.OSTypeWindows},
		"of nothing":        {observe.Node{}, ""},
		"of another world":  {observe.Node{Secret: &corev1.Secret{ObjectMeta: labelled("plan9")}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(test.node.OSType()).To(Equal(test.want))
		})
	}
}

func TestCordoned(t *testing.T) {
	at := time.Unix(1000, 0)
	now := &metav1.Time{Time: at}
	for name, test := range map[string]struct {
		managers []metav1.ManagedFieldsEntry
		want     time.Time
	}{
		"nobody":            {},
		"the operator":      {[]metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: now}, {Manager: string(retireOwner), Operation: "Apply", Time: now}}, at},
		"a person":          {[]metav1.ManagedFieldsEntry{{Manager: "kubectl-cordon", Operation: "Update", Time: now}}, time.Time{}},
		"the labels' owner": {[]metav1.ManagedFieldsEntry{{Manager: identity.ManagedBy, Operation: "Apply", Time: now}}, time.Time{}},
		"another write":     {[]metav1.ManagedFieldsEntry{{Manager: string(retireOwner), Operation: "Update", Time: now}}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{ManagedFields: test.managers}}
			g.Expect(cordonedAt(node)).To(Equal(test.want))
			g.Expect(Cordoned(node)).To(Equal(!test.want.IsZero()))
		})
	}
	NewWithT(t).Expect(Cordoned(nil)).To(BeFalse())
}

// What Azure said before the node was empty says nothing of what is left, so that moment may not move on.
func TestMomentsAreRemembered(t *testing.T) {
	g := NewWithT(t)
	start := time.Unix(1000, 0)
	clk := clocktesting.NewFakePassiveClock(start)
	r := &Retirer{Clock: clk}
	g.Expect(r.since("a", pods)).To(Equal(start))
	clk.SetTime(start.Add(time.Minute))
	g.Expect(r.since("a", pods)).To(Equal(start))
	g.Expect(r.since("b", pods)).To(Equal(start.Add(time.Minute)))
	g.Expect(r.since("a", virtualKubelet)).To(Equal(start.Add(time.Minute)))

	r.Forget("a")
	clk.SetTime(start.Add(time.Hour))
	g.Expect(r.since("a", pods)).To(Equal(start.Add(time.Hour)))
	g.Expect(r.since("a", virtualKubelet)).To(Equal(start.Add(time.Hour)))
	g.Expect(r.since("b", pods)).To(Equal(start.Add(time.Minute)))
	(&Retirer{}).Forget("a")
}
