// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

const (
	secretKey    = "clientSecret"
	wrongSecret  = "not-the-secret"
	tenant       = azure.DefaultTenantID
	first        = "first"
	second       = "second"
	missing      = "missing"
	defaultTaint = "virtual-kubelet.io/provider"
	ownTaint     = "example.com/own"
	userLabel    = "example.com/label"
)

// lane is a connector that has what it needs in Azure for itself, so that what is done to one is nothing to
// the others.
type lane struct {
	name string
	// subscription and client are the connector's own in Azure.
	subscription, client string
	// secret is what Azure accepts.
	secret  string
	secrets int
}

var lanes atomic.Uint32

// newLane makes the place in Azure, and the Secret. There is no connector yet.
func newLane(ctx context.Context) (*lane, error) {
	n := lanes.Add(1)
	l := &lane{
		name:         fmt.Sprintf("l%03d", n),
		subscription: fmt.Sprintf("%08x-0000-4000-8000-000000000000", n),
		client:       fmt.Sprintf("%08x-1111-4111-8111-111111111111", n),
		secret:       "the-secret-of-l" + fmt.Sprint(n),
	}
	err := errors.Join(
		cloud().SetSubscription(ctx, azure.Subscription{
			ID: l.subscription, TenantID: tenant, Providers: []string{"Microsoft.ContainerInstance", "Microsoft.Network"},
		}),
		cloud().SetResourceGroup(ctx, azure.ResourceGroup{SubscriptionID: l.subscription, Name: first, Location: "eastus"}),
		cloud().SetResourceGroup(ctx, azure.ResourceGroup{SubscriptionID: l.subscription, Name: second, Location: "eastus"}),
		cloud().SetServicePrincipal(ctx, azure.ServicePrincipal{
			TenantID: tenant, ClientID: l.client, ObjectID: l.client, Secrets: []azure.ClientSecret{{Value: azure.Secret(l.secret)}},
		}),
		cloud().SetRoleAssignments(ctx, l.client, azure.Contributor(l.client, l.scope())),
	)
	if err != nil {
		return nil, fmt.Errorf("make a lane: %w", err)
	}
	err = l.putSecret(ctx, l.secret)
	return l, err
}

// scope is what the lane has in Azure.
func (l *lane) scope() string { return "/subscriptions/" + l.subscription }

func (l *lane) key() client.ObjectKey { return client.ObjectKey{Name: l.name} }

func (l *lane) secretName() string { return l.name + "-credentials" }

// node is the name of the node of an operating system, as long as the connector is as it was made.
func (l *lane) node(os v1alpha1.OSType) string { return nodeName(l.connector(), os) }

func nodeName(c *v1alpha1.VirtualKubeletConnector, os v1alpha1.OSType) string {
	return identity.NodeName(identity.Prefix(c), os, string(c.Spec.ContainerGroups.Location))
}

// owns reports whether an object of a name was made for the lane.
func (l *lane) owns(name string) bool { return strings.Contains("-"+name+"-", "-"+l.name+"-") }

// connector is a connector without anything special.
func (l *lane) connector(os ...v1alpha1.OSType) *v1alpha1.VirtualKubeletConnector {
	return &v1alpha1.VirtualKubeletConnector{
		ObjectMeta: metav1.ObjectMeta{Name: l.name},
		Spec: v1alpha1.VirtualKubeletConnectorSpec{
			OSTypes: os,
			ContainerGroups: v1alpha1.ContainerGroups{
				SubscriptionID: v1alpha1.GUID(l.subscription), ResourceGroup: first, Location: "eastus",
			},
			Node: v1alpha1.Node{Labels: map[string]v1alpha1.LabelValue{userLabel: "a"}},
			Credentials: v1alpha1.Credentials{
				Type: v1alpha1.CredentialTypeServicePrincipal,
				ServicePrincipal: &v1alpha1.ServicePrincipal{
					TenantID: tenant, ClientID: v1alpha1.GUID(l.client),
					ClientSecretRef: v1alpha1.SecretKeyReference{Name: v1alpha1.ObjectName(l.secretName()), Key: secretKey},
				},
			},
		},
	}
}

func (l *lane) get(ctx context.Context) (*v1alpha1.VirtualKubeletConnector, error) {
	var c v1alpha1.VirtualKubeletConnector
	err := k8s.Get(ctx, l.key(), &c)
	return &c, err
}

// change edits the connector as it is now; one that is not there, or that goes, stays so.
func (l *lane) change(ctx context.Context, edit func(*v1alpha1.VirtualKubeletConnectorSpec)) error {
	return until(ctx, 10*time.Second, "change the connector", func(ctx context.Context) error {
		c, err := l.get(ctx)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		edit(&c.Spec)
		return client.IgnoreNotFound(k8s.Update(ctx, c))
	})
}

func (l *lane) delete(ctx context.Context, propagation metav1.DeletionPropagation) error {
	c := &v1alpha1.VirtualKubeletConnector{ObjectMeta: metav1.ObjectMeta{Name: l.name}}
	return client.IgnoreNotFound(k8s.Delete(ctx, c, client.PropagationPolicy(propagation)))
}

// putSecret makes the user's Secret, or changes it.
func (l *lane) putSecret(ctx context.Context, value string) error {
	return until(ctx, 10*time.Second, "put the Secret", func(ctx context.Context) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: l.secretName()}}
		err := k8s.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		secret.Data = map[string][]byte{secretKey: []byte(value)}
		if apierrors.IsNotFound(err) {
			return k8s.Create(ctx, secret)
		}
		if err != nil {
			return err
		}
		return k8s.Update(ctx, secret)
	})
}

func (l *lane) dropSecret(ctx context.Context) error {
	return client.IgnoreNotFound(k8s.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: l.secretName()}}))
}

// rotate makes Azure accept another secret only, and puts that into the Secret.
func (l *lane) rotate(ctx context.Context) error {
	l.secrets++
	l.secret = fmt.Sprintf("secret-%d-of-%s", l.secrets, l.name)
	if err := cloud().SetClientSecret(ctx, l.client, l.secret, time.Time{}); err != nil {
		return err
	}
	return l.putSecret(ctx, l.secret)
}

// disturb makes a fault in the lane's part of Azure, and returns what ends it.
func (l *lane) disturb(ctx context.Context, fault azure.Fault) (end func(context.Context) error, err error) {
	scopes := []string{l.scope()}
	switch fault.Operation {
	case "Token":
		scopes = []string{l.client}
	case "*":
		scopes = append(scopes, l.client)
	}
	var ids []int
	for _, scope := range scopes {
		fault.Scope = scope
		added, err := cloud().AddFault(ctx, fault)
		if err != nil {
			return nil, err
		}
		ids = append(ids, added.ID)
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, id := range ids {
			errs = append(errs, cloud().RemoveFault(ctx, id))
		}
		return errors.Join(errs...)
	}, nil
}

// groups are the container groups of the lane, in the order of their names.
func (l *lane) groups(ctx context.Context) ([]azure.ContainerGroup, error) {
	groups, err := cloud().ContainerGroups(ctx)
	return slices.DeleteFunc(groups, func(g azure.ContainerGroup) bool { return g.SubscriptionID != l.subscription }), err
}

// pod makes a pod for the lane's node of an operating system. It ends within a second.
func (l *lane) pod(ctx context.Context, name string, os v1alpha1.OSType) (*corev1.Pod, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: userNamespace, Name: name, Labels: map[string]string{"lane": l.name}},
		Spec:       l.podSpec(os),
	}
	return pod, k8s.Create(ctx, pod)
}

func (l *lane) podSpec(os v1alpha1.OSType) corev1.PodSpec {
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: new(int64(1)),
		AutomountServiceAccountToken:  new(false),
		NodeSelector: map[string]string{
			identity.LabelConnector: l.name, corev1.LabelOSStable: strings.ToLower(string(os)),
		},
		// Not all taints: a cordon is one.
		Tolerations: []corev1.Toleration{
			{Key: defaultTaint, Operator: corev1.TolerationOpExists}, {Key: ownTaint, Operator: corev1.TolerationOpExists},
		},
		Containers: []corev1.Container{{Name: "web", Image: "mcr.microsoft.com/azuredocs/aci-helloworld"}},
	}
}

// condition is zero where it is absent.
func condition(c *v1alpha1.VirtualKubeletConnector, conditionType string) metav1.Condition {
	if found := meta.FindStatusCondition(c.Status.Conditions, conditionType); found != nil {
		return *found
	}
	return metav1.Condition{}
}

// until waits until nothing is wrong any more, and returns what still is when the time is over.
func until(ctx context.Context, timeout time.Duration, what string, wrong func(context.Context) error) error {
	return untilEvery(ctx, period, timeout, what, wrong)
}

func untilEvery(ctx context.Context, period, timeout time.Duration, what string, wrong func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, period, timeout, true, func(ctx context.Context) (bool, error) {
		if err := wrong(ctx); err != nil {
			if ctx.Err() == nil {
				last = err
			}
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("%s, within %s: %w", what, timeout, cmp.Or(last, err))
	}
	return nil
}
