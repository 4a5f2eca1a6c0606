// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of a VirtualKubeletConnector. All but NetworkReady, Retiring, ContainerGroupsRetained, Suspended,
// Reconciling and Stalled are there from the first status on, and are Unknown until something is known.
const (
	// ConditionReady is True when every desired node is ready and nothing is proven bad.
	ConditionReady = "Ready"

	// ConditionResolved is True when the spec and what it points to are understood, and every desired
	// node's name is claimed in its resource group.
	ConditionResolved = "Resolved"

	// ConditionProviderRegistered is True when the resource provider of container groups is registered in
	// the subscription, and offers them in the region for every operating system asked for.
	ConditionProviderRegistered = "ProviderRegistered"

	// ConditionAzureAccessible is True when Azure accepted the credentials on the resource group.
	ConditionAzureAccessible = "AzureAccessible"

	// ConditionNetworkReady is True when container groups can be placed in the subnet; there only with one.
	ConditionNetworkReady = "NetworkReady"

	// ConditionLinuxNodeReady is True when the Linux node is ready; there only if Linux is asked for.
	ConditionLinuxNodeReady = "LinuxNodeReady"

	// ConditionWindowsNodeReady is True when the Windows node is ready; there only if Windows is asked for.
	ConditionWindowsNodeReady = "WindowsNodeReady"

	// ConditionRetiring is True while a node is being removed; absent otherwise.
	ConditionRetiring = "Retiring"

	// ConditionContainerGroupsRetained is True while container groups without a pod are left in Azure, and billed, as
	// spec.removal.orphanedContainerGroups asks for; absent otherwise.
	ConditionContainerGroupsRetained = "ContainerGroupsRetained"

	// ConditionSuspended is True while spec.suspend keeps the operator from changing anything; absent
	// otherwise.
	ConditionSuspended = "Suspended"

	// ConditionReconciling is True while the operator works towards the spec; absent otherwise
	// (the convention of kstatus).
	ConditionReconciling = "Reconciling"

	// ConditionStalled is True when the operator can't go on until somebody acts; absent otherwise
	// (the convention of kstatus).
	ConditionStalled = "Stalled"
)

// NodeReadyCondition returns the type of the condition that speaks of the node of an operating system.
func NodeReadyCondition(os OSType) string { return string(os) + "NodeReady" }

// Reasons of the condition Ready, beside those of the conditions that it sums up.
const (
	// ReasonReady: every desired node is ready.
	ReasonReady = "Ready"
	// ReasonDeleting: the connector is being deleted.
	ReasonDeleting = "Deleting"
)

// Reasons of the condition Resolved.
const (
	// ReasonResolved: the spec and what it points to are understood.
	ReasonResolved = "Resolved"
	// ReasonDefaultsPending: Azure has not yet said what the defaults are that the spec leaves to it.
	ReasonDefaultsPending = "DefaultsPending"
	// ReasonManagedClusterNotFound: the AKS cluster of spec.managedCluster does not exist.
	ReasonManagedClusterNotFound = "ManagedClusterNotFound"
	// ReasonManagedClusterForbidden: the identity may not read the AKS cluster of spec.managedCluster.
	ReasonManagedClusterForbidden = "ManagedClusterForbidden"
	// ReasonDefaultNotFound: what the spec leaves to a default is found nowhere.
	ReasonDefaultNotFound = "DefaultNotFound"
	// ReasonImageNotAllowed: the operator's flag --allowed-image-repositories does not allow the image.
	ReasonImageNotAllowed = "ImageNotAllowed"
	// ReasonConflictingConnector: another connector, which was first, comes to the same name of a node.
	ReasonConflictingConnector = "ConflictingConnector"
	// ReasonSecretNotFound: a Secret that the spec points to does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretIncomplete: the Secret lacks a key, or the value is not one that can be used.
	ReasonSecretIncomplete = "SecretIncomplete"
	// ReasonClientCANotFound: the cluster does not publish the CA of its API server's client certificate.
	ReasonClientCANotFound = "ClientCANotFound"
	// ReasonNodeNameTooLong: a node's name would be longer than 63 characters.
	ReasonNodeNameTooLong = "NodeNameTooLong"
	// ReasonNodeNameInUse: container groups in the resource group carry the node's name, and no pod
	// here owns them; starting would delete them.
	ReasonNodeNameInUse = "NodeNameInUse"
	// ReasonNotOwned: an object of the name that is needed exists, and is not this connector's.
	ReasonNotOwned = "NotOwned"
	// ReasonClaimPending: Azure has not yet been asked whether the node's name is free.
	ReasonClaimPending = "ClaimPending"
	// ReasonInvalidSpec: the API server refused what the spec asks for.
	ReasonInvalidSpec = "InvalidSpec"
)

// Reasons of the conditions ProviderRegistered, AzureAccessible and NetworkReady alike.
const (
	// ReasonNotChecked: the check has not been made yet, or what it needs is missing.
	ReasonNotChecked = "NotChecked"
	// ReasonLookForbidden: the identity may not look at what the condition is about.
	ReasonLookForbidden = "LookForbidden"
	// ReasonAzureUnavailable: Azure did not answer, or not in a way that proves anything.
	ReasonAzureUnavailable = "AzureUnavailable"
	// ReasonThrottled: Azure asked to be asked less; the operator waits as long as it said.
	ReasonThrottled = "Throttled"
)

// Reasons of the condition ProviderRegistered.
const (
	// ReasonProviderRegistered: the provider is registered, and offers what is asked for.
	ReasonProviderRegistered = "Registered"
	// ReasonProviderRegistering: the provider is being registered.
	ReasonProviderRegistering = "Registering"
	// ReasonProviderNotRegistered: the provider is not registered in the subscription.
	ReasonProviderNotRegistered = "ProviderNotRegistered"
	// ReasonRegistrationForbidden: the identity may not register the provider.
	ReasonRegistrationForbidden = "RegistrationForbidden"
	// ReasonRegistrationIgnored: spec.providerRegistration is Ignore.
	ReasonRegistrationIgnored = "RegistrationIgnored"
	// ReasonLocationNotAvailable: the region does not run container groups.
	ReasonLocationNotAvailable = "LocationNotAvailable"
	// ReasonOSTypeNotAvailable: the region does not run container groups of an operating system asked for.
	ReasonOSTypeNotAvailable = "OSTypeNotAvailable"
)

// Reasons of the condition AzureAccessible.
const (
	// ReasonAccessible: Azure accepted the credentials on the resource group.
	ReasonAccessible = "Accessible"
	// ReasonQuotaExhausted: Azure accepts the credentials, and runs no more container groups in the region.
	ReasonQuotaExhausted = "QuotaExhausted"
	// ReasonCredentialsRejected: Microsoft Entra refused a token, or Azure refused the token.
	ReasonCredentialsRejected = "CredentialsRejected"
	// ReasonSecretExpired: Microsoft Entra refused a token because the client secret is expired.
	ReasonSecretExpired = "SecretExpired"
	// ReasonTenantNotFound: Microsoft Entra does not know the tenant.
	ReasonTenantNotFound = "TenantNotFound"
	// ReasonCloudMismatch: the credentials belong to another cloud than the connector.
	ReasonCloudMismatch = "CloudMismatch"
	// ReasonForbidden: the identity lacks rights on the resource group. Of the conditions Resolved and Retiring: the API server
	// forbids the operator something.
	ReasonForbidden = "Forbidden"
	// ReasonDenied: a deny assignment, a policy or a lock takes rights on the resource group away.
	ReasonDenied = "Denied"
	// ReasonResourceGroupLocked: AKS lets nobody write to the cluster's node resource group.
	ReasonResourceGroupLocked = "ResourceGroupLocked"
	// ReasonResourceGroupNotFound: the resource group does not exist in the subscription.
	ReasonResourceGroupNotFound = "ResourceGroupNotFound"
	// ReasonSubscriptionNotFound: the subscription does not exist in the tenant.
	ReasonSubscriptionNotFound = "SubscriptionNotFound"
	// ReasonSubscriptionDisabled: the subscription is disabled.
	ReasonSubscriptionDisabled = "SubscriptionDisabled"
)

// Reasons of the condition NetworkReady.
const (
	// ReasonNetworkReady: container groups can be placed in the subnet.
	ReasonNetworkReady = "SubnetUsable"
	// ReasonSubnetNotFound: the subnet, or its virtual network, does not exist.
	ReasonSubnetNotFound = "SubnetNotFound"
	// ReasonSubnetDelegatedElsewhere: the subnet is delegated to another service.
	ReasonSubnetDelegatedElsewhere = "SubnetDelegatedElsewhere"
	// ReasonSubnetInUse: the subnet is not delegated, and can't be, because something else is in it.
	ReasonSubnetInUse = "SubnetInUse"
	// ReasonSubnetHasRouteTable: the virtual kubelet does not start with a subnet that has a route table.
	ReasonSubnetHasRouteTable = "SubnetHasRouteTable"
	// ReasonSubnetInOtherLocation: the virtual network is in another region than the container groups.
	ReasonSubnetInOtherLocation = "SubnetInOtherLocation"
	// ReasonSubnetTooSmall: the subnet has no room for a container group.
	ReasonSubnetTooSmall = "SubnetTooSmall"
	// ReasonSubnetJoinForbidden: the identity may not place container groups in the subnet.
	ReasonSubnetJoinForbidden = "SubnetJoinForbidden"
)

// Reasons of the condition ContainerGroupsRetained.
const (
	// ReasonRetained: spec.removal.orphanedContainerGroups is Retain.
	ReasonRetained = "Retained"
)

// Reasons of the condition Suspended.
const (
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
)

// Reasons of LinuxNodeReady, WindowsNodeReady and of a node's own Ready.
const (
	// ReasonNodeReady: the virtual kubelet is available and its Node is Ready.
	ReasonNodeReady = "NodeReady"
	// ReasonStarting: the virtual kubelet is starting.
	ReasonStarting = "Starting"
	// ReasonUnschedulable: no node of the cluster takes the virtual kubelet's pod.
	ReasonUnschedulable = "Unschedulable"
	// ReasonImageNotPulled: the virtual kubelet's image can't be pulled.
	ReasonImageNotPulled = "ImageNotPulled"
	// ReasonContainerNotCreated: the virtual kubelet's container can't be created.
	ReasonContainerNotCreated = "ContainerNotCreated"
	// ReasonPodsNotCreated: the API server refuses the virtual kubelet's pod.
	ReasonPodsNotCreated = "PodsNotCreated"
	// ReasonCrashLoop: the virtual kubelet ends again and again.
	ReasonCrashLoop = "CrashLoop"
	// ReasonNodeNotRegistered: the virtual kubelet runs and has not made its Node.
	ReasonNodeNotRegistered = "NodeNotRegistered"
	// ReasonNodeNotReady: the Node is not Ready.
	ReasonNodeNotReady = "NodeNotReady"
	// ReasonWaitingForRetirement: a node of the same name is still being removed.
	ReasonWaitingForRetirement = "WaitingForRetirement"
	// ReasonNotStarted: the virtual kubelet was not started; another condition says why.
	ReasonNotStarted = "NotStarted"
	// ReasonAzureNotAccessible: the virtual kubelet runs, and Azure refuses its credentials.
	ReasonAzureNotAccessible = "AzureNotAccessible"
	// ReasonChangeHeld: the virtual kubelet runs as before, and a change waits for what another condition tells.
	ReasonChangeHeld = "ChangeHeld"
	// ReasonKept: the node is not asked for any more, and runs until the one that replaces it can be started.
	ReasonKept = "Kept"
	// ReasonContainerGroupsImpossible: the virtual kubelet runs, and another condition says why Azure would
	// refuse its container groups.
	ReasonContainerGroupsImpossible = "ContainerGroupsImpossible"
)

// Reasons of the condition Retiring, of the connector and of a node.
const (
	// ReasonDraining: pods are being evicted from the node.
	ReasonDraining = "Draining"
	// ReasonEvictionBlocked: a PodDisruptionBudget, a finalizer, or somebody else, keeps a pod from going.
	ReasonEvictionBlocked = "EvictionBlocked"
	// ReasonContainerGroupsRemain: the pods are gone, and Azure still has container groups of the node.
	ReasonContainerGroupsRemain = "ContainerGroupsRemain"
	// ReasonAzureNotAsked: Azure can't be asked whether container groups of the node are left.
	ReasonAzureNotAsked = "AzureNotAsked"
	// ReasonStopping: the virtual kubelet is being stopped.
	ReasonStopping = "Stopping"
	// ReasonRemoving: what was made for the node is being removed.
	ReasonRemoving = "Removing"
)

// Reasons of the conditions Reconciling and Stalled.
const (
	// ReasonProgressing: the operator works towards the spec.
	ReasonProgressing = "Progressing"
	// ReasonUserActionNeeded: somebody has to act; the message says how.
	ReasonUserActionNeeded = "UserActionNeeded"
)

// Finalizer holds a deleted connector until its nodes are drained and removed.
const Finalizer = "connector.virtual-kubelet.io/retire-nodes"
