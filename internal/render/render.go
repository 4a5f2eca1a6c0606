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
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
	applyrbacv1 "k8s.io/client-go/applyconfigurations/rbac/v1"

	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

const (
	// KubeletRole is the name of the ClusterRole that virtual kubelets are bound to, and of the Role in
	// LeaseNamespace. The operator's installation brings both.
	KubeletRole = "vk-connector-virtual-kubelet"
	// LeaseNamespace is where nodes renew their Leases.
	LeaseNamespace = corev1.NamespaceNodeLease
	// ContainerName is the name of the virtual kubelet's container.
	ContainerName = "virtual-kubelet"

	// AnnotationChecksum on the pod template restarts the virtual kubelet when its Secret changes: the
	// process reads it once.
	AnnotationChecksum = "connector.virtual-kubelet.io/secret-checksum"

	// AzureKey is the key of a node's Secret that holds an AzureConfig.
	AzureKey = "azure.json"
	// ClientCAKey is the key of a node's Secret that holds the CA of those who may call its API.
	ClientCAKey = "client-ca.crt"

	mountPath   = "/etc/virtual-kubelet"
	kubeletPort = 10250
	userID      = 65532

	// startupTimeout is long because the process reads every container group of its resource group
	// before it makes the Node; a shorter one than that takes would be a crash loop.
	startupTimeout = "15m"
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
	return Children{
		Secret:             secret,
		ServiceAccount:     serviceAccount(resolved, node),
		ClusterRoleBinding: clusterRoleBinding(resolved, node),
		RoleBinding:        roleBinding(resolved, node),
		Deployment:         deployment(resolved, node, checksum(secret.Data)),
	}, nil
}

// AzureConfig is the credential file of AKS, the form that the virtual kubelet reads
// (azure-aci v1.6.4, pkg/auth/authentication.go).
type AzureConfig struct {
	Cloud             string `json:"cloud"`
	TenantID          string `json:"tenantId"`
	SubscriptionID    string `json:"subscriptionId"`
	ClientID          string `json:"aadClientId"`
	ClientSecret      string `json:"aadClientSecret"`
	ResourceGroup     string `json:"resourceGroup"`
	Location          string `json:"location"`
	VNetName          string `json:"vnetName"`
	VNetResourceGroup string `json:"vnetResourceGroup"`
}

// AzureConfigOf returns the file for a target and a region.
func AzureConfigOf(target azure.Target, location string) AzureConfig {
	return AzureConfig{
		Cloud:          string(target.Cloud),
		TenantID:       target.TenantID,
		SubscriptionID: target.SubscriptionID,
		ClientID:       target.ClientID,
		ClientSecret:   target.ClientSecret,
		ResourceGroup:  target.ResourceGroup,
		Location:       location,
		// Without a subnet the network is never looked up, but the process does not start without a name.
		VNetName:          "none",
		VNetResourceGroup: target.ResourceGroup,
	}
}

func secret(resolved resolve.Resolved, node resolve.Node, serving discover.Certificate) (*applycorev1.SecretApplyConfiguration, error) {
	config, err := json.Marshal(AzureConfigOf(resolved.Target, node.Location))
	if err != nil {
		return nil, fmt.Errorf("write %s of node %s: %w", AzureKey, node.Name, err)
	}
	return applycorev1.Secret(node.Name, resolved.Namespace).
		WithLabels(node.Labels(node.Version)).
		WithAnnotations(map[string]string{identity.AnnotationClaim: node.Hash()}).
		WithType(corev1.SecretTypeOpaque).
		WithData(map[string][]byte{
			AzureKey:                config,
			discover.CertificateKey: serving.Certificate,
			discover.PrivateKeyKey:  serving.PrivateKey,
			ClientCAKey:             resolved.ClientCA,
		}), nil
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
	return applyrbacv1.RoleBinding(node.Name, LeaseNamespace).
		WithLabels(node.Labels(node.Version)).
		WithRoleRef(applyrbacv1.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("Role").WithName(KubeletRole)).
		WithSubjects(subject(resolved, node))
}

func subject(resolved resolve.Resolved, node resolve.Node) *applyrbacv1.SubjectApplyConfiguration {
	return applyrbacv1.Subject().
		WithKind(rbacv1.ServiceAccountKind).WithNamespace(resolved.Namespace).WithName(node.Name)
}

func deployment(resolved resolve.Resolved, node resolve.Node, secretChecksum string) *applyappsv1.DeploymentApplyConfiguration {
	return applyappsv1.Deployment(node.Name, resolved.Namespace).
		WithLabels(node.Labels(node.Version)).
		WithSpec(applyappsv1.DeploymentSpec().
			WithReplicas(1).
			WithRevisionHistoryLimit(2).
			// Two processes with one node name would fight over its container groups.
			WithStrategy(applyappsv1.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(node.Selector())).
			WithTemplate(applycorev1.PodTemplateSpec().
				WithLabels(node.Labels(node.Version)).
				WithAnnotations(map[string]string{AnnotationChecksum: secretChecksum}).
				WithSpec(podSpec(node))))
}

func podSpec(node resolve.Node) *applycorev1.PodSpecApplyConfiguration {
	spec := applycorev1.PodSpec().
		WithServiceAccountName(node.Name).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithPriorityClassName("system-cluster-critical").
		// The process ends at once on a signal.
		WithTerminationGracePeriodSeconds(10).
		WithSecurityContext(applycorev1.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(userID).
			WithRunAsGroup(userID).
			WithFSGroup(userID).
			WithSeccompProfile(applycorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithAffinity(applycorev1.Affinity().WithNodeAffinity(applycorev1.NodeAffinity().
			WithRequiredDuringSchedulingIgnoredDuringExecution(applycorev1.NodeSelector().WithNodeSelectorTerms(
				applycorev1.NodeSelectorTerm().WithMatchExpressions(
					applycorev1.NodeSelectorRequirement().WithKey(corev1.LabelOSStable).
						WithOperator(corev1.NodeSelectorOpIn).WithValues("linux"),
					applycorev1.NodeSelectorRequirement().WithKey(identity.LabelVirtualNode).
						WithOperator(corev1.NodeSelectorOpNotIn).WithValues(identity.VirtualNode),
				))))).
		WithContainers(container(node)).
		WithVolumes(applycorev1.Volume().WithName("config").
			WithSecret(applycorev1.SecretVolumeSource().WithSecretName(node.Name).WithDefaultMode(0o440)))
	for _, name := range node.PullSecrets {
		spec.WithImagePullSecrets(applycorev1.LocalObjectReference().WithName(name))
	}
	return spec
}

func container(node resolve.Node) *applycorev1.ContainerApplyConfiguration {
	tcp := applycorev1.TCPSocketAction().WithPort(intstr.FromInt32(kubeletPort))
	return applycorev1.Container().
		WithName(ContainerName).
		WithImage(node.Image).
		WithImagePullPolicy(node.PullPolicy).
		WithCommand("virtual-kubelet").
		WithArgs(
			"--nodename="+node.Name,
			"--os="+string(node.OSType),
			"--log-level="+string(node.LogLevel),
			"--startup-timeout="+startupTimeout,
			// Not --authentication-token-webhook: in this release it lets everybody in.
			"--client-verify-ca="+mountPath+"/"+ClientCAKey,
		).
		WithEnv(
			env("AKS_CREDENTIAL_LOCATION", mountPath+"/"+AzureKey),
			env("APISERVER_CERT_LOCATION", mountPath+"/"+discover.CertificateKey),
			env("APISERVER_KEY_LOCATION", mountPath+"/"+discover.PrivateKeyKey),
			applycorev1.EnvVar().WithName("VKUBELET_POD_IP").WithValueFrom(applycorev1.EnvVarSource().
				WithFieldRef(applycorev1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("status.podIP"))),
		).
		WithPorts(applycorev1.ContainerPort().WithName("kubelet").WithContainerPort(kubeletPort).WithProtocol(corev1.ProtocolTCP)).
		WithResources(requirements(node.Resources)).
		// The process logs every probe as a failed handshake, so probes are rare.
		WithStartupProbe(applycorev1.Probe().WithTCPSocket(tcp).WithPeriodSeconds(1).WithFailureThreshold(120)).
		WithLivenessProbe(applycorev1.Probe().WithTCPSocket(tcp).WithPeriodSeconds(60).WithTimeoutSeconds(5).WithFailureThreshold(3)).
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(applycorev1.SecurityContext().
			WithAllowPrivilegeEscalation(false).
			WithReadOnlyRootFilesystem(true).
			WithCapabilities(applycorev1.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(applycorev1.VolumeMount().WithName("config").WithMountPath(mountPath).WithReadOnly(true))
}

func env(name, value string) *applycorev1.EnvVarApplyConfiguration {
	return applycorev1.EnvVar().WithName(name).WithValue(value)
}

func requirements(resources corev1.ResourceRequirements) *applycorev1.ResourceRequirementsApplyConfiguration {
	out := applycorev1.ResourceRequirements().WithRequests(resources.Requests)
	if len(resources.Limits) > 0 {
		out.WithLimits(resources.Limits)
	}
	return out
}
