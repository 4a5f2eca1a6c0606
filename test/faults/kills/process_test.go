// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerinstance/armcontainerinstance/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// process stands in for azure-aci 1.6.4 in one pod: as that one, it reads its credentials once, deletes at its start
// the container groups of its node that have no pod, makes its Node only where there is none, and never again.
type process struct {
	machine  *machine
	node     string
	osType   string
	location string
	group    string
	groups   *armcontainerinstance.ContainerGroupsClient
	// known are the pods whose container groups it has made or found.
	known map[types.UID]bool
}

// credentials are what azure-aci reads of azure.json.
type credentials struct {
	TenantID       string `json:"tenantId"`
	SubscriptionID string `json:"subscriptionId"`
	ClientID       string `json:"aadClientId"`
	ClientSecret   string `json:"aadClientSecret"`
	ResourceGroup  string `json:"resourceGroup"`
	Location       string `json:"location"`
}

func startProcess(ctx context.Context, m *machine, pod *corev1.Pod) (*process, error) {
	p := &process{machine: m, known: map[types.UID]bool{}}
	taint := &corev1.Taint{}
	for _, arg := range pod.Spec.Containers[0].Args {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "--nodename":
			p.node = value
		case "--os":
			p.osType = value
		case "--disable-taint":
			taint = nil
		}
	}
	for _, v := range pod.Spec.Containers[0].Env {
		switch {
		case taint == nil:
		case v.Name == "VKUBELET_TAINT_KEY":
			taint.Key = v.Value
		case v.Name == "VKUBELET_TAINT_VALUE":
			taint.Value = v.Value
		case v.Name == "VKUBELET_TAINT_EFFECT":
			taint.Effect = corev1.TaintEffect(v.Value)
		}
	}
	var secret corev1.Secret
	if err := m.k8s.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: p.node}, &secret); err != nil {
		return nil, err
	}
	var own credentials
	if err := json.Unmarshal(secret.Data["azure.json"], &own); err != nil {
		return nil, fmt.Errorf("azure.json: %w", err)
	}
	options := policy.ClientOptions{Cloud: azcloud.AzurePublic, Transport: m.cloud.Transport(), Retry: policy.RetryOptions{MaxRetries: -1}}
	credential, err := azidentity.NewClientSecretCredential(own.TenantID, own.ClientID, own.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	p.group, p.location = own.ResourceGroup, own.Location
	p.groups, err = armcontainerinstance.NewContainerGroupsClient(own.SubscriptionID, credential,
		&arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	if err != nil {
		return nil, err
	}
	m.tally.started(p.node)
	if err := p.deleteDangling(ctx); err != nil {
		return nil, err
	}
	if err := p.register(ctx, taint); err != nil {
		return nil, err
	}
	return p, nil
}

// deleteDangling deletes the container groups that carry the node's name and have no pod in this cluster.
func (p *process) deleteDangling(ctx context.Context) error {
	for pager := p.groups.NewListByResourceGroupPager(p.group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, group := range page.Value {
			if ptr.Deref(group.Tags["NodeName"], "") != p.node {
				continue
			}
			key := client.ObjectKey{Namespace: ptr.Deref(group.Tags["Namespace"], ""), Name: ptr.Deref(group.Tags["PodName"], "")}
			err := p.machine.k8s.Get(ctx, key, &corev1.Pod{})
			if apierrors.IsNotFound(err) {
				_, err = p.groups.BeginDelete(ctx, p.group, *group.Name, nil)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *process) register(ctx context.Context, taint *corev1.Taint) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: p.node, Labels: map[string]string{
			"type": "virtual-kubelet", "kubernetes.io/role": "agent",
			corev1.LabelHostname: p.node, corev1.LabelOSStable: strings.ToLower(p.osType),
		}},
		Status: ready("5000", "v1.25.0-vk-azure-aci-1.6.4"),
	}
	if taint != nil {
		node.Spec.Taints = []corev1.Taint{*taint}
	}
	return register(ctx, p.machine.k8s, node)
}

// sync serves the pods on the node.
func (p *process) sync(ctx context.Context, pods []corev1.Pod, renew bool) error {
	if renew {
		if err := renewLease(ctx, p.machine.k8s, p.node); err != nil {
			return err
		}
	}
	for i := range pods {
		pod := &pods[i]
		if pod.Spec.NodeName != p.node {
			continue
		}
		if err := p.serve(ctx, pod); err != nil {
			return fmt.Errorf("pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func (p *process) serve(ctx context.Context, pod *corev1.Pod) error {
	name := pod.Namespace + "-" + pod.Name
	if !pod.DeletionTimestamp.IsZero() {
		if _, err := p.groups.BeginDelete(ctx, p.group, name, nil); err != nil {
			return err
		}
		return remove(ctx, p.machine.k8s, pod)
	}
	if p.known[pod.UID] {
		return run(ctx, p.machine.k8s, pod, "10.1.0.1")
	}
	found, err := p.groups.Get(ctx, p.group, name, nil)
	switch {
	case err == nil && ptr.Deref(found.Tags["NodeName"], "") == p.node:
		p.known[pod.UID] = true
		return nil
	case err == nil:
		return fmt.Errorf("container group %s is another node's", name)
	}
	p.machine.tally.put(name)
	_, err = p.groups.BeginCreateOrUpdate(ctx, p.group, name, armcontainerinstance.ContainerGroup{
		Location: &p.location,
		Tags: map[string]*string{
			"NodeName": &p.node, "Namespace": &pod.Namespace, "PodName": &pod.Name, "UID": new(string(pod.UID)),
		},
		Properties: &armcontainerinstance.ContainerGroupPropertiesProperties{
			OSType: new(armcontainerinstance.OperatingSystemTypes(p.osType)),
			Containers: []*armcontainerinstance.Container{{
				Name: &pod.Spec.Containers[0].Name,
				Properties: &armcontainerinstance.ContainerProperties{
					Image: &pod.Spec.Containers[0].Image,
					Resources: &armcontainerinstance.ResourceRequirements{
						Requests: &armcontainerinstance.ResourceRequests{CPU: new(1.0), MemoryInGB: new(1.5)},
					},
				},
			}},
		},
	}, nil)
	p.known[pod.UID] = err == nil
	return err
}
