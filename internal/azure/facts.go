// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
)

// question is something that Azure is asked again and again. Connectors that ask the same share the answer.
type question struct {
	key string
	// kind is what is asked, whomever and whatever about.
	kind       string
	credential Credential
	// who is the key of the credential.
	who string
	// subscriptionID is whose limits the question counts towards; empty for those of Microsoft Entra.
	subscriptionID string
	// resourceGroup is where listed container groups are.
	resourceGroup string
	ask           func(context.Context, *Session) (any, error)
	explain       func(error) *Problem
	// quiet answers are told only when there is a problem, or none any more.
	quiet bool
	// once is asked only when somebody wants to know, and not again and again.
	once bool
	// unsettled answers are about to change, by themselves or because somebody mends what they say.
	unsettled func(answer any) bool
}

func (c Credential) question(kind, subscriptionID string, rest ...string) question {
	who := c.key()
	key := append([]string{who, kind, subscriptionID}, rest...)
	return question{
		key: strings.ToLower(strings.Join(key, "/")), kind: kind, credential: c, who: who, subscriptionID: subscriptionID,
	}
}

func (c Credential) token() question { return c.question("token", "") }

func unsettled[T any](wrong func(T) bool) func(any) bool {
	return func(answer any) bool {
		value, ok := answer.(T)
		return ok && wrong(value)
	}
}

// subject is what is asked with a credential, for the explanation of errors.
func (c Credential) subject(subscriptionID, name, field string) subject {
	return subject{credential: c, subscriptionID: subscriptionID, name: name, subscription: field}
}

const (
	containerGroupsField = "spec.containerGroups.subscriptionID"
	managedClusterField  = "spec.managedCluster.subscriptionID"
)

// Token says whether Microsoft Entra gives the identity tokens.
func (i *Inventory) Token(connector string, c Credential) Answer[struct{}] {
	q := c.token()
	q.ask = func(ctx context.Context, s *Session) (any, error) { return struct{}{}, s.CheckToken(ctx) }
	q.explain = c.subject("", "a token of "+c.String(), "").explain
	return look[struct{}](i, connector, q)
}

// ManagedCluster says what an AKS cluster is like.
func (i *Inventory) ManagedCluster(connector string, c Credential, ref v1alpha1.ManagedCluster) Answer[ManagedCluster] {
	q := c.question("managedCluster", string(ref.SubscriptionID), string(ref.ResourceGroup), ref.Name)
	q.ask = func(ctx context.Context, s *Session) (any, error) { return s.ManagedCluster(ctx, ref) }
	name := fmt.Sprintf("managed cluster %s in resource group %s of subscription %s", ref.Name, ref.ResourceGroup, ref.SubscriptionID)
	subject := c.subject(string(ref.SubscriptionID), name, managedClusterField)
	subject.namespace = clusterNamespace
	subject.absent = Problem{Reason: v1alpha1.ReasonManagedClusterNotFound, Message: fmt.Sprintf(
		"%s does not exist: check spec.managedCluster; az aks list --subscription %s -o table shows those that do", name, ref.SubscriptionID)}
	subject.forbidden = Problem{Reason: v1alpha1.ReasonManagedClusterForbidden, Message: fmt.Sprintf(
		"%s may not read %s: az role assignment create --assignee %s --role Reader --scope /subscriptions/%s/resourceGroups/%s/providers/%s/managedClusters/%s",
		c, name, c.ClientID, ref.SubscriptionID, ref.ResourceGroup, clusterNamespace, ref.Name)}
	subject.proves = true
	q.explain = subject.explain
	return look[ManagedCluster](i, connector, q)
}

// ResourceGroup says where a resource group is.
func (i *Inventory) ResourceGroup(connector string, target Target) Answer[ResourceGroup] {
	q := target.question("resourceGroup", target.SubscriptionID, target.ResourceGroup)
	q.ask = func(ctx context.Context, s *Session) (any, error) {
		return s.ResourceGroup(ctx, target.SubscriptionID, target.ResourceGroup)
	}
	q.explain = func(err error) *Problem { return Explain(target, err) }
	return look[ResourceGroup](i, connector, q)
}

// registerError is why the provider could not be registered.
type registerError struct{ cause error }

func (e *registerError) Error() string { return e.cause.Error() }

func (e *registerError) Unwrap() error { return e.cause }

// Provider says whether the resource provider of container groups is registered. With register it is registered
// where it is not.
func (i *Inventory) Provider(connector string, c Credential, subscriptionID string, register bool) Answer[Provider] {
	q := c.question("provider", subscriptionID, fmt.Sprint(register))
	q.ask = func(ctx context.Context, s *Session) (any, error) {
		provider, err := s.Provider(ctx, subscriptionID)
		if err != nil || !register || provider.State == ProviderRegistered || provider.State == ProviderRegistering {
			return provider, err
		}
		if err := s.RegisterProvider(ctx, subscriptionID); err != nil {
			return Provider{}, &registerError{err}
		}
		return s.Provider(ctx, subscriptionID)
	}
	q.unsettled = unsettled(func(p Provider) bool { return p.State != ProviderRegistered })
	subject := c.subject(subscriptionID, "resource provider "+ProviderNamespace+" of subscription "+subscriptionID, containerGroupsField)
	subject.forbidden = Problem{Reason: v1alpha1.ReasonLookForbidden, Message: fmt.Sprintf(
		"%s may not look whether resource provider %s is registered: az provider show --namespace %s --subscription %s --query registrationState shows it",
		c, ProviderNamespace, ProviderNamespace, subscriptionID)}
	q.explain = func(err error) *Problem {
		problem := subject.explain(err)
		var failed *registerError
		if !errors.As(err, &failed) {
			return problem
		}
		if isForbidden(failed.cause) {
			return &Problem{Reason: v1alpha1.ReasonRegistrationForbidden, Proven: true, Message: fmt.Sprintf(
				"resource provider %s is not registered, and %s may not register it: az provider register --namespace %s --subscription %s",
				ProviderNamespace, c, ProviderNamespace, subscriptionID)}
		}
		return &Problem{Reason: v1alpha1.ReasonProviderNotRegistered, Proven: true, RetryAfter: problem.RetryAfter, Message: fmt.Sprintf(
			"resource provider %s is not registered, and could not be: %s", ProviderNamespace, problem.Message)}
	}
	return look[Provider](i, connector, q)
}

// Region says what a region offers a subscription.
func (i *Inventory) Region(connector string, c Credential, subscriptionID, location string) Answer[Region] {
	q := c.question("region", subscriptionID, location)
	q.ask = func(ctx context.Context, s *Session) (any, error) { return s.Region(ctx, subscriptionID, location) }
	subject := c.subject(subscriptionID, "region "+location+" of subscription "+subscriptionID, containerGroupsField)
	subject.forbidden = Problem{Reason: v1alpha1.ReasonLookForbidden, Message: fmt.Sprintf("%s may not look what region %s offers", c, location)}
	q.explain = subject.explain
	q.unsettled = unsettled(func(r Region) bool { return len(r.OSTypes) < 2 || len(r.Exhausted) > 0 })
	return look[Region](i, connector, q)
}

// Rights say what an identity may not do in a resource group.
func (i *Inventory) Rights(connector string, target Target) Answer[Rights] {
	q := target.question("rights", target.SubscriptionID, target.ResourceGroup)
	q.ask = func(ctx context.Context, s *Session) (any, error) {
		return s.Rights(ctx, target.SubscriptionID, target.ResourceGroup)
	}
	q.explain = func(err error) *Problem { return Explain(target, err) }
	q.unsettled = unsettled(func(r Rights) bool { return len(r.Missing) > 0 || r.DeniedBy != "" })
	return look[Rights](i, connector, q)
}

// Subnet says what a subnet is like.
func (i *Inventory) Subnet(connector string, c Credential, subscriptionID string, ref SubnetRef) Answer[Subnet] {
	q := c.question("subnet", subscriptionID, ref.Network.ResourceGroup, ref.Network.Name, ref.Name)
	q.ask = func(ctx context.Context, s *Session) (any, error) { return s.Subnet(ctx, subscriptionID, ref) }
	subject := c.subject(subscriptionID, ref.String(), containerGroupsField)
	subject.namespace = networkNamespace
	subject.absent = Problem{Reason: v1alpha1.ReasonSubnetNotFound, Message: fmt.Sprintf(
		"%s does not exist: check spec.network.subnet, or az network vnet subnet create --subscription %s --resource-group %s --vnet-name %s --name %s --delegations %s --address-prefixes PREFIX",
		ref, subscriptionID, ref.Network.ResourceGroup, ref.Network.Name, ref.Name, ContainerGroupDelegation)}
	subject.forbidden = Problem{Reason: v1alpha1.ReasonLookForbidden, Message: fmt.Sprintf(
		"%s may not read %s: %s", c, ref, GrantOnSubnet(c, subscriptionID, ref))}
	q.explain = subject.explain
	q.unsettled = unsettled(func(s Subnet) bool {
		return len(s.Missing) > 0 || len(s.UsedBy) > 0 || s.RouteTable != "" || (len(s.Delegations) > 0 && !s.Delegated())
	})
	return look[Subnet](i, connector, q)
}

// GrantOnResourceGroup returns the command that lets an identity make container groups.
func GrantOnResourceGroup(target Target) string {
	return fmt.Sprintf("az role assignment create --assignee %s --role Contributor --scope /subscriptions/%s/resourceGroups/%s",
		target.ClientID, target.SubscriptionID, target.ResourceGroup)
}

// GrantOnSubnet returns the command that lets an identity join a subnet.
func GrantOnSubnet(c Credential, subscriptionID string, ref SubnetRef) string {
	return fmt.Sprintf("az role assignment create --assignee %s --role \"Network Contributor\" --scope /subscriptions/%s/resourceGroups/%s/providers/%s/virtualNetworks/%s/subnets/%s",
		c.ClientID, subscriptionID, ref.Network.ResourceGroup, networkNamespace, ref.Network.Name, ref.Name)
}
