// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
	"github.com/virtual-kubelet/connector-operator/internal/identity"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// How a virtual kubelet is told which taint it makes its Node with (azure-aci v1.6.4, cmd/virtual-kubelet/main.go).
const (
	ArgumentNoTaint     = "--disable-taint"
	VariableTaintKey    = "VKUBELET_TAINT_KEY"
	VariableTaintValue  = "VKUBELET_TAINT_VALUE"
	VariableTaintEffect = "VKUBELET_TAINT_EFFECT"
)

const (
	mountPath   = "/etc/virtual-kubelet"
	kubeletPort = 10250
	userID      = 65532

	// startupTimeout is long because the process reads every container group of its resource group
	// before it makes the Node; a shorter one than that takes would be a crash loop.
	startupTimeout = "15m"

	// lostMachineSeconds is how long the pod stays on a machine that is not ready or not reachable. Without the
	// virtual kubelet, its Node is not ready either, and the pods on that leave after the usual 300 seconds: by then
	// the virtual kubelet has to run elsewhere, or it finds nothing but pods to end.
	lostMachineSeconds = 30

	// metadataAddress is where managed identities get their tokens, which no proxy can reach.
	metadataAddress = "169.254.169.254"
)

func deployment(resolved resolve.Resolved, node resolve.Node, secretChecksum string) (*applyappsv1.DeploymentApplyConfiguration, error) {
	pod, err := podSpec(resolved, node)
	if err != nil {
		return nil, err
	}
	labels := node.Labels(node.Version)
	maps.Copy(labels, node.Pod.Labels)
	annotations := map[string]string{AnnotationChecksum: secretChecksum}
	maps.Copy(annotations, node.Pod.Annotations)
	return applyappsv1.Deployment(node.Name, resolved.Namespace).
		WithLabels(node.Labels(node.Version)).
		WithSpec(applyappsv1.DeploymentSpec().
			WithReplicas(1).
			WithRevisionHistoryLimit(2).
			// Two processes with one node name would fight over its container groups.
			WithStrategy(applyappsv1.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)).
			WithSelector(applymetav1.LabelSelector().WithMatchLabels(node.Selector())).
			WithTemplate(applycorev1.PodTemplateSpec().
				WithLabels(labels).
				WithAnnotations(annotations).
				WithSpec(pod))), nil
}

func podSpec(resolved resolve.Resolved, node resolve.Node) (*applycorev1.PodSpecApplyConfiguration, error) {
	affinity, err := affinity(node.Pod.Affinity)
	if err != nil {
		return nil, fmt.Errorf("spec.virtualKubelet.affinity: %w", err)
	}
	spec := applycorev1.PodSpec().
		WithServiceAccountName(node.Name).
		WithAutomountServiceAccountToken(true).
		WithEnableServiceLinks(false).
		WithPriorityClassName(node.Pod.PriorityClassName).
		// The process ends at once on a signal.
		WithTerminationGracePeriodSeconds(10).
		WithSecurityContext(applycorev1.PodSecurityContext().
			WithRunAsNonRoot(true).
			WithRunAsUser(userID).
			WithRunAsGroup(userID).
			WithFSGroup(userID).
			WithSeccompProfile(applycorev1.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithAffinity(affinity).
		WithContainers(container(resolved, node)).
		WithVolumes(applycorev1.Volume().WithName("config").
			WithSecret(applycorev1.SecretVolumeSource().WithSecretName(node.Name).WithDefaultMode(0o440)))
	if len(node.Pod.NodeSelector) > 0 {
		spec.WithNodeSelector(node.Pod.NodeSelector)
	}
	spec.WithTolerations(tolerations(node.Pod.Tolerations)...)
	for _, name := range node.PullSecrets {
		spec.WithImagePullSecrets(applycorev1.LocalObjectReference().WithName(name))
	}
	return spec, nil
}

// tolerations adds to what is given how long the pod stays on a machine that is lost, where that does not say it.
func tolerations(given []v1alpha1.Toleration) []*applycorev1.TolerationApplyConfiguration {
	out := make([]*applycorev1.TolerationApplyConfiguration, 0, len(given)+2)
	for _, toleration := range given {
		out = append(out, tolerate(toleration))
	}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		said := slices.ContainsFunc(given, func(t v1alpha1.Toleration) bool {
			return (t.Key == "" || string(t.Key) == key) && (t.Effect == "" || string(t.Effect) == string(corev1.TaintEffectNoExecute))
		})
		if !said {
			out = append(out, applycorev1.Toleration().WithKey(key).WithOperator(corev1.TolerationOpExists).
				WithEffect(corev1.TaintEffectNoExecute).WithTolerationSeconds(lostMachineSeconds))
		}
	}
	return out
}

func tolerate(given v1alpha1.Toleration) *applycorev1.TolerationApplyConfiguration {
	out := applycorev1.Toleration()
	if given.Key != "" {
		out.WithKey(string(given.Key))
	}
	if given.Operator != "" {
		out.WithOperator(corev1.TolerationOperator(given.Operator))
	}
	if given.Value != "" {
		out.WithValue(string(given.Value))
	}
	if given.Effect != "" {
		out.WithEffect(corev1.TaintEffect(given.Effect))
	}
	out.TolerationSeconds = given.TolerationSeconds
	return out
}

// affinity adds to what is given, which has the form of Kubernetes's own, that the pod runs on Linux and not on a
// virtual node.
func affinity(given *v1alpha1.Affinity) (*applycorev1.AffinityApplyConfiguration, error) {
	out := applycorev1.Affinity()
	if given != nil {
		content, err := json.Marshal(given)
		if err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
		if err := json.Unmarshal(content, out); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
	}
	if out.NodeAffinity == nil {
		out.WithNodeAffinity(applycorev1.NodeAffinity())
	}
	required := out.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		required = applycorev1.NodeSelector().WithNodeSelectorTerms(applycorev1.NodeSelectorTerm())
		out.NodeAffinity.WithRequiredDuringSchedulingIgnoredDuringExecution(required)
	}
	for i := range required.NodeSelectorTerms {
		required.NodeSelectorTerms[i].WithMatchExpressions(
			applycorev1.NodeSelectorRequirement().WithKey(corev1.LabelOSStable).
				WithOperator(corev1.NodeSelectorOpIn).WithValues("linux"),
			applycorev1.NodeSelectorRequirement().WithKey(identity.LabelVirtualNode).
				WithOperator(corev1.NodeSelectorOpNotIn).WithValues(identity.VirtualNode),
		)
	}
	return out, nil
}

func container(resolved resolve.Resolved, node resolve.Node) *applycorev1.ContainerApplyConfiguration {
	tcp := applycorev1.TCPSocketAction().WithPort(intstr.FromInt32(kubeletPort))
	return applycorev1.Container().
		WithName(ContainerName).
		WithImage(node.Reference).
		WithImagePullPolicy(node.PullPolicy).
		WithCommand("virtual-kubelet").
		WithArgs(arguments(node)...).
		WithEnv(environment(resolved, node)...).
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

func arguments(node resolve.Node) []string {
	args := []string{
		"--nodename=" + node.Name,
		"--os=" + string(node.OSType),
		"--log-level=" + string(node.LogLevel),
		"--startup-timeout=" + startupTimeout,
		// Not --authentication-token-webhook: in this release it lets everybody in.
		"--client-verify-ca=" + mountPath + "/" + ClientCAKey,
	}
	if node.Taint == nil {
		args = append(args, ArgumentNoTaint)
	}
	if node.Network != nil && node.Network.ClusterDomain != "" {
		args = append(args, "--cluster-domain="+node.Network.ClusterDomain)
	}
	return args
}

// environment has everything that the virtual kubelet reads from nowhere else
// (azure-aci v1.6.4, cmd/virtual-kubelet/main.go, pkg/provider/aci.go and pkg/network/aci_network.go). There is no
// client id in it: with one, the process takes every identity for a service principal.
func environment(resolved resolve.Resolved, node resolve.Node) []*applycorev1.EnvVarApplyConfiguration {
	env := []*applycorev1.EnvVarApplyConfiguration{
		variable("AKS_CREDENTIAL_LOCATION", mountPath+"/"+AzureKey),
		variable("APISERVER_CERT_LOCATION", mountPath+"/"+discover.CertificateKey),
		variable("APISERVER_KEY_LOCATION", mountPath+"/"+discover.PrivateKeyKey),
		applycorev1.EnvVar().WithName("VKUBELET_POD_IP").WithValueFrom(applycorev1.EnvVarSource().
			WithFieldRef(applycorev1.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath("status.podIP"))),
	}
	add := func(name, value string) {
		if value != "" {
			env = append(env, variable(name, value))
		}
	}
	if taint := node.Taint; taint != nil {
		// The process takes a value that is set and empty for the empty value.
		env = append(env, variable(VariableTaintKey, taint.Key), variable(VariableTaintValue, taint.Value),
			variable(VariableTaintEffect, string(taint.Effect)))
	}
	add("ACI_QUOTA_CPU", node.Capacity.CPU)
	add("ACI_QUOTA_MEMORY", node.Capacity.Memory)
	add("ACI_QUOTA_POD", node.Capacity.Pods)
	if network := node.Network; network != nil {
		add("ACI_SUBNET_NAME", network.Subnet.Name)
		add("CLUSTER_CIDR", network.ClusterCIDR)
		add("KUBE_DNS_IP", network.DNSServiceIP)
		add("MASTER_URI", network.APIServerURI)
	}
	if resolved.Workspace != nil {
		add("LOG_ANALYTICS_AUTH_LOCATION", mountPath+"/"+LogAnalyticsKey)
		add("CLUSTER_RESOURCE_ID", resolved.ClusterResourceID)
	}
	return append(env, proxy(node.Proxy)...)
}

// noProxy are the variables that name whom a program reaches without a proxy.
var noProxy = map[string]bool{"NO_PROXY": true, "no_proxy": true}

// proxy hands on the operator's proxy, but not for the API server and the instance metadata.
func proxy(given []corev1.EnvVar) []*applycorev1.EnvVarApplyConfiguration {
	if len(given) == 0 {
		return nil
	}
	direct := "$(KUBERNETES_SERVICE_HOST)," + metadataAddress
	var env []*applycorev1.EnvVarApplyConfiguration
	told := false
	for _, v := range given {
		// Kubernetes would take $(…) in it for a reference.
		v.Value = strings.ReplaceAll(v.Value, "$", "$$")
		if noProxy[v.Name] {
			told = true
			if v.Value != "" {
				v.Value += ","
			}
			v.Value += direct
		}
		env = append(env, variable(v.Name, v.Value))
	}
	if !told {
		env = append(env, variable("NO_PROXY", direct))
	}
	return env
}

// variable leaves an empty value out, as the API server does; the process gets it all the same.
func variable(name, value string) *applycorev1.EnvVarApplyConfiguration {
	variable := applycorev1.EnvVar().WithName(name)
	if value != "" {
		variable.WithValue(value)
	}
	return variable
}

func requirements(resources corev1.ResourceRequirements) *applycorev1.ResourceRequirementsApplyConfiguration {
	out := applycorev1.ResourceRequirements().WithRequests(resources.Requests)
	if len(resources.Limits) > 0 {
		out.WithLimits(resources.Limits)
	}
	return out
}
