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
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/observe"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

func TestEnumerate(t *testing.T) {
	groups := []string{"a", "b", "c", "d", "e", "f", "g"}
	for n, want := range map[int]string{
		0: "container groups",
		1: "container group a",
		2: "2 container groups: a, b",
		5: "5 container groups: a, b, c, d, e",
		6: "6 container groups: a, b, c, d, e and 1 more",
		7: "7 container groups: a, b, c, d, e and 2 more",
	} {
		NewWithT(t).Expect(enumerate(groups[:n])).To(Equal(want))
	}
}

// What keeps Azure from being asked, or from deleting, is told of one container group as of many.
func TestNotAsked(t *testing.T) {
	const place = " in resource group  of subscription , and billed: no; mend that, or set spec.removal.orphanedContainerGroups to Retain to leave "
	for name, test := range map[string]struct {
		groups []string
		be     bool
		want   string
	}{
		"one":           {[]string{"a"}, true, "container group a is left" + place + "it there"},
		"many":          {[]string{"a", "b"}, true, "2 container groups: a, b are left" + place + "them there"},
		"one, perhaps":  {[]string{"a"}, false, "container group a may be left" + place + "it there"},
		"some, perhaps": {nil, false, "container groups may be left" + place + "them there"},
	} {
		t.Run(name, func(t *testing.T) {
			v := visit{progress: &Progress{}}
			if test.be {
				v.refused(&azure.Problem{Message: "no"}, test.groups)
			} else {
				v.notAsked(&azure.Problem{Message: "no"}, test.groups)
			}
			NewWithT(t).Expect(v.progress.Message).To(Equal(test.want))
		})
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{1: "1 pod", 2: "2 pods", 0: "0 pods"} {
		NewWithT(t).Expect(count(n)).To(Equal(want))
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
				g.Expect(claimed).To(BeTrue())
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
	g.Expect(err).To(MatchError("nothing tells where node node was: its Secret is gone, and its other objects lack the annotation connector.virtual-kubelet.io/place"))
	g.Expect(claimed).To(BeTrue(), "something was started somewhere")
}

// What is not known is not nothing: the removal waits for somebody, unless what may be left is to be left.
func TestANodeOfWhichNothingTellsWhereItWas(t *testing.T) {
	g := NewWithT(t)
	node := &observe.Node{Name: "node", Hash: "hash", Secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{identity.AnnotationClaim: "hash"}, Labels: map[string]string{identity.LabelOS: "windows"},
		},
	}}
	progress, err := (&Retirer{Live: fake.NewClientBuilder().Build()}).Retire(t.Context(), node, resolve.Resolved{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonAzureNotAsked))
	g.Expect(progress.Message).To(HavePrefix("read azure.json of Secret node: "))
	g.Expect(progress.Stuck).To(BeTrue())
	g.Expect(progress.Node).To(Equal("node"))
	g.Expect(progress.OSType).To(Equal(v1alpha1.OSTypeWindows))

	w := newWorld(t)
	w.node.Secret.Data = nil
	spec := w.spec(v1alpha1.OrphanPolicyRetain)
	progress = w.retire(t.Context(), spec)
	g.Expect(progress.Reason).To(Equal(v1alpha1.ReasonRemoving))
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

// What is left of a node whose Secret somebody has deleted tells where its container groups are, also to a spec that
// tells of another place by now.
func TestRecordByWhatIsLeft(t *testing.T) {
	place := `{"cloud":"AzureChinaCloud","tenantId":"tenant","subscriptionId":"subscription","aadClientId":"client","resourceGroup":"group","location":"chinaeast2","vnetName":"","vnetResourceGroup":""}`
	annotated := func(place string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Annotations: map[string]string{identity.AnnotationPlace: place}}
	}
	want := started()
	want.ClientSecret = ""
	for name, node := range map[string]*observe.Node{
		"a Deployment":         {Deployment: &appsv1.Deployment{ObjectMeta: annotated(place)}},
		"a ServiceAccount":     {ServiceAccount: &corev1.ServiceAccount{ObjectMeta: annotated(place)}},
		"a ClusterRoleBinding": {ClusterRoleBinding: &rbacv1.ClusterRoleBinding{ObjectMeta: annotated(place)}},
		"a RoleBinding":        {RoleBinding: &rbacv1.RoleBinding{ObjectMeta: annotated(place)}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config, claimed, err := record(node, resolve.Resolved{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(claimed).To(BeTrue())
			g.Expect(config).To(Equal(want))
		})
	}
	g := NewWithT(t)
	edited := &observe.Node{
		Name: "node", Hash: "hash", Secret: &corev1.Secret{Data: map[string][]byte{render.AzureKey: []byte("{")}},
		Deployment: &appsv1.Deployment{ObjectMeta: annotated(place)},
	}
	config, claimed, err := record(edited, resolve.Resolved{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(claimed).To(BeTrue(), "what was started was claimed, though somebody has taken the annotation off")
	g.Expect(config).To(Equal(want))
}

func TestServing(t *testing.T) {
	up := &appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1}}
	with := func(status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}}}
	}
	for name, test := range map[string]struct {
		node observe.Node
		want bool
	}{
		"no Deployment":                 {observe.Node{Node: with(corev1.ConditionTrue)}, false},
		"not available":                 {observe.Node{Deployment: &appsv1.Deployment{}, Node: with(corev1.ConditionTrue)}, false},
		"at work":                       {observe.Node{Deployment: up, Node: with(corev1.ConditionTrue)}, true},
		"at work, its Node deleted":     {observe.Node{Deployment: up}, true},
		"at work, its Node just made":   {observe.Node{Deployment: up, Node: &corev1.Node{}}, true},
		"hanging":                       {observe.Node{Deployment: up, Node: with(corev1.ConditionUnknown)}, false},
		"saying itself that it is down": {observe.Node{Deployment: up, Node: with(corev1.ConditionFalse)}, false},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(serving(&test.node)).To(Equal(test.want)) })
	}
}
