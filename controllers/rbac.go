// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers

// The operator's rights. What is bound to a namespace is a Role there; the ClusterRole and the Role that
// virtual kubelets are bound to are written by hand in config/rbac. What a right can't say is said by the
// policies of config/restriction: a write that is new here may need a change there.

// Its own kind.
// +kubebuilder:rbac:groups=connector.virtual-kubelet.io,resources=virtualkubeletconnectors,verbs=list;watch;patch
// +kubebuilder:rbac:groups=connector.virtual-kubelet.io,resources=virtualkubeletconnectors/status,verbs=patch

// What is made for each node: server-side apply creates and patches, retire deletes. Secrets are the
// users' too: they are read in this namespace only.
// +kubebuilder:rbac:groups="",namespace=vk-connector-system,resources=secrets;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,namespace=vk-connector-system,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=vk-connector-system,resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterrolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,namespace=kube-node-lease,resources=rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=vk-connector-virtual-kubelet,verbs=bind
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,namespace=kube-node-lease,resources=roles,resourceNames=vk-connector-virtual-kubelet,verbs=bind

// Nodes: labels, cordon, removal with their Leases.
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=kube-node-lease,resources=leases,verbs=delete

// The addresses that container groups in a subnet need.
// +kubebuilder:rbac:groups="",namespace=kube-system,resources=services,resourceNames=kube-dns,verbs=list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,namespace=default,resources=endpointslices,resourceNames=kubernetes,verbs=list;watch

// Draining by eviction, with spec.removal also by deletion, and the pod that a container group was made for.
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create

// Events, leader election, and who may read the metrics.
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=vk-connector-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=vk-connector-system,resources=leases,resourceNames=vk-connector-operator,verbs=get;update
// +kubebuilder:rbac:groups="",namespace=vk-connector-system,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
