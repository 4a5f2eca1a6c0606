// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Package render turns a desired node into the objects that make it, as typed apply configurations in
// the order to apply them; it is pure.
package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	// KubeletRole is the name of the ClusterRole that virtual kubelets are bound to, and of the Role in
	// LeaseNamespace, unless there is a ClusterRole in its place. The operator's installation brings them.
	KubeletRole = "vk-connector-virtual-kubelet"
	// LeaseNamespace is where nodes renew their Leases.
	LeaseNamespace = corev1.NamespaceNodeLease
	// ContainerName is the name of the virtual kubelet's container.
	ContainerName = "virtual-kubelet"

	// AnnotationChecksum on the pod template restarts the virtual kubelet when its Secret changes: the
	// process reads it once.
	AnnotationChecksum = "connector.virtual-kubelet.io/secret-checksum"

	// AnnotationTemplate on the Deployment is a checksum of its pod template as it was rendered, which tells a change of
	// what is wanted from somebody's edit.
	AnnotationTemplate = "connector.virtual-kubelet.io/template-checksum"

	// AzureKey is the key of a node's Secret that holds an AzureConfig.
	AzureKey = "azure.json"
	// ClientCAKey is the key of a node's Secret that holds the CA of those who may call its API.
	ClientCAKey = "client-ca.crt"
	// LogAnalyticsKey is the key of a node's Secret that holds the Log Analytics workspace, where there is one.
	LogAnalyticsKey = "loganalytics.json"
)

// Children are the objects of one node, one of each kind.
type Children struct {
	Secret             *applycorev1.SecretApplyConfiguration
	ServiceAccount     *applycorev1.ServiceAccountApplyConfiguration
	ClusterRoleBinding *applyrbacv1.ClusterRoleBindingApplyConfiguration
	RoleBinding        *applyrbacv1.RoleBindingApplyConfiguration
	Deployment         *applyappsv1.DeploymentApplyConfiguration
}

// Node renders the objects of a desired node.
func Node(resolved resolve.Resolved, node resolve.Node, serving discover.Certificate) (Children, error) {
	secret, err := secret(resolved, node, serving)
	if err != nil {
		return Children{}, err
	}
	deployment, err := deployment(resolved, node, checksum(secret.Data))
	if err != nil {
		return Children{}, err
	}
	place, err := place(resolved, node)
	if err != nil {
		return Children{}, err
	}
	annotate := map[string]string{identity.AnnotationPlace: place}
	template, err := json.Marshal(deployment.Spec.Template)
	if err != nil {
		return Children{}, fmt.Errorf("write the pod template of node %s: %w", node.Name, err)
	}
	deployment.WithAnnotations(annotate).
		WithAnnotations(map[string]string{AnnotationTemplate: checksum(map[string][]byte{"template": template})})
	return Children{
		Secret:             secret,
		ServiceAccount:     serviceAccount(resolved, node).WithAnnotations(annotate),
		ClusterRoleBinding: clusterRoleBinding(resolved, node).WithAnnotations(annotate),
		RoleBinding:        roleBinding(resolved, node).WithAnnotations(annotate),
		Deployment:         deployment,
	}, nil
}

// place says where a node's container groups are, without the secret.
func place(resolved resolve.Resolved, node resolve.Node) (string, error) {
	target := resolved.Target
	target.ClientSecret = ""
	content, err := json.Marshal(AzureConfigOf(target, node.Location, node.Network))
	if err != nil {
		return "", fmt.Errorf("write the place of node %s: %w", node.Name, err)
	}
	return string(content), nil
}

// Steady returns those of the objects that restart nothing.
func (c Children) Steady() Children {
	c.Secret, c.Deployment = nil, nil
	return c
}

// Restarts reports whether a rendered Deployment restarts a virtual kubelet: whether it differs from what the operator
// applied before, whatever others have made of that.
func (c Children) Restarts(live *appsv1.Deployment) bool {
	return live.Annotations[AnnotationTemplate] != c.Deployment.Annotations[AnnotationTemplate]
}

// AzureConfig is the credential file of AKS, the form that the virtual kubelet reads
// (azure-aci v1.6.4, pkg/auth/authentication.go).
type AzureConfig struct {
	Cloud                  string `json:"cloud"`
	TenantID               string `json:"tenantId"`
	SubscriptionID         string `json:"subscriptionId"`
	ClientID               string `json:"aadClientId"`
	ClientSecret           string `json:"aadClientSecret,omitempty"`
	ResourceGroup          string `json:"resourceGroup"`
	Location               string `json:"location"`
	VNetName               string `json:"vnetName"`
	VNetResourceGroup      string `json:"vnetResourceGroup"`
	UserAssignedIdentityID string `json:"userAssignedIdentityID,omitempty"`
}

// managedIdentity stands in place of a client id where the identity is a managed one.
const managedIdentity = "msi"

// AzureConfigOf returns the file for a target and a region, with or without a virtual network.
func AzureConfigOf(target azure.Target, location string, network *resolve.Network) AzureConfig {
	config := AzureConfig{
		Cloud:          string(target.Cloud),
		SubscriptionID: target.SubscriptionID,
		ResourceGroup:  target.ResourceGroup,
		Location:       location,
		// Without a subnet the network is never looked up, but the process does not start without a name.
		VNetName:          "none",
		VNetResourceGroup: target.ResourceGroup,
	}
	config = config.With(target.Credential)
	if network != nil {
		config.VNetName, config.VNetResourceGroup = network.Subnet.Network.Name, network.Subnet.Network.ResourceGroup
	}
	return config
}

// With returns the file with another identity of the same cloud.
func (c AzureConfig) With(credential azure.Credential) AzureConfig {
	c.TenantID, c.ClientID, c.ClientSecret, c.UserAssignedIdentityID = credential.TenantID, credential.ClientID, credential.ClientSecret, ""
	if credential.Type == v1alpha1.CredentialTypeManagedIdentity {
		c.ClientID, c.UserAssignedIdentityID = managedIdentity, credential.ClientID
	}
	return c
}

// Target returns where container groups are made with the file.
func (c AzureConfig) Target() azure.Target {
	target := azure.Target{
		Credential: azure.Credential{
			Cloud:        v1alpha1.CloudName(c.Cloud),
			Type:         v1alpha1.CredentialTypeServicePrincipal,
			TenantID:     c.TenantID,
			ClientID:     c.ClientID,
			ClientSecret: c.ClientSecret,
		},
		SubscriptionID: c.SubscriptionID,
		ResourceGroup:  c.ResourceGroup,
	}
	if c.ClientID == managedIdentity {
		target.Type, target.ClientID = v1alpha1.CredentialTypeManagedIdentity, c.UserAssignedIdentityID
	}
	return target
}

// logAnalytics is the file that the virtual kubelet reads the workspace from (azure-aci v1.6.4, pkg/analytics).
type logAnalytics struct {
	WorkspaceID  string `json:"workspaceId"`
	WorkspaceKey string `json:"workspaceKey"`
}

func secret(resolved resolve.Resolved, node resolve.Node, serving discover.Certificate) (*applycorev1.SecretApplyConfiguration, error) {
	config, err := json.Marshal(AzureConfigOf(resolved.Target, node.Location, node.Network))
	if err != nil {
		return nil, fmt.Errorf("write %s of node %s: %w", AzureKey, node.Name, err)
	}
	data := map[string][]byte{
		AzureKey:                config,
		discover.CertificateKey: serving.Certificate,
		discover.PrivateKeyKey:  serving.PrivateKey,
		ClientCAKey:             resolved.ClientCA,
	}
	if workspace := resolved.Workspace; workspace != nil {
		data[LogAnalyticsKey], err = json.Marshal(logAnalytics{WorkspaceID: workspace.ID, WorkspaceKey: string(workspace.Key)})
		if err != nil {
			return nil, fmt.Errorf("write %s of node %s: %w", LogAnalyticsKey, node.Name, err)
		}
	}
	return applycorev1.Secret(node.Name, resolved.Namespace).
		WithLabels(node.Labels(node.Version)).
		WithAnnotations(map[string]string{identity.AnnotationClaim: node.Hash()}).
		WithType(corev1.SecretTypeOpaque).
		WithData(data), nil
}

func checksum(data map[string][]byte) string {
	hash := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(hash, "%s %d\n", key, len(data[key]))
		hash.Write(data[key])
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func serviceAccount(resolved resolve.Resolved, node resolve.Node) *applycorev1.ServiceAccountApplyConfiguration {
	return applycorev1.ServiceAccount(node.Name, resolved.Namespace).
		WithLabels(node.Labels(node.Version)).
		WithAutomountServiceAccountToken(false)
}

func clusterRoleBinding(resolved resolve.Resolved, node resolve.Node) *applyrbacv1.ClusterRoleBindingApplyConfiguration {
	return applyrbacv1.ClusterRoleBinding(node.Name).
		WithLabels(node.Labels(node.Version)).
		WithRoleRef(applyrbacv1.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(KubeletRole)).
		WithSubjects(subject(resolved, node))
}

func roleBinding(resolved resolve.Resolved, node resolve.Node) *applyrbacv1.RoleBindingApplyConfiguration {
	role := applyrbacv1.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(KubeletRole)
	if resolved.LeaseClusterRole != "" {
		role.WithKind("ClusterRole").WithName(resolved.LeaseClusterRole)
	}
	return applyrbacv1.RoleBinding(node.Name, LeaseNamespace).
		WithLabels(node.Labels(node.Version)).
		WithRoleRef(role).
		WithSubjects(subject(resolved, node))
}

func subject(resolved resolve.Resolved, node resolve.Node) *applyrbacv1.SubjectApplyConfiguration {
	return applyrbacv1.Subject().
		WithKind(rbacv1.ServiceAccountKind).WithNamespace(resolved.Namespace).WithName(node.Name)
}
