// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

const (
	tooLongNames = "would be longer than 63 characters: set a shorter spec.node.namePrefix (default virtual-kubelet-<metadata.name>)"
	// root is how the API server names the whole object in an error.
	root = "<nil>"

	notThePrincipal = "servicePrincipal must be set exactly when type is ServicePrincipal"
	notTheIdentity  = "managedIdentity must be set exactly when type is ManagedIdentity"
)

var (
	principal = map[string]any{
		"tenantID":        "22222222-2222-2222-2222-222222222222",
		"clientID":        "33333333-3333-3333-3333-333333333333",
		"clientSecretRef": map[string]any{"name": "credentials"},
	}
	managed = map[string]any{"clientID": "44444444-4444-4444-4444-444444444444"}
	both    = []any{"Linux", "Windows"}
	windows = []any{"Windows"}
)

func letters(n int) string { return strings.Repeat("a", n) }

// azureRules are those of the spec itself and of azure_types.go, but for the network.
var azureRules = slices.Concat(
	on("minimal",
		accept("metadata.name", "a.b-c"),
		refuse("metadata.name", "a lowercase RFC 1123 subdomain", "Aci", "a_b"),
		together(changes{"metadata.name": letters(63), "spec.node.namePrefix": "a"}, "", ""),
		together(changes{"metadata.name": letters(64), "spec.node.namePrefix": "a"}, root, "metadata.name must be at most 63 characters"),

		// The length of the nodes' names: <prefix>-linux-eastus is 13 characters and the prefix, -windows- 2 more.
		together(changes{"metadata.name": letters(34)}, "", ""),
		together(changes{"metadata.name": letters(35)}, root, tooLongNames),
		together(changes{"metadata.name": letters(32), "spec.osTypes": both}, "", ""),
		together(changes{"metadata.name": letters(33), "spec.osTypes": both}, root, tooLongNames),
		together(changes{"spec.node.namePrefix": letters(48), "spec.osTypes": windows}, "", ""),
		together(changes{"spec.node.namePrefix": letters(49), "spec.osTypes": windows}, root, tooLongNames),
		together(changes{"spec.node.namePrefix": letters(49), "spec.containerGroups.location": "East US 2"}, "", ""),
		together(changes{"spec.node.namePrefix": letters(50), "spec.containerGroups.location": "East US 2"}, root, tooLongNames),
		together(changes{"spec.node.namePrefix": letters(16), "spec.containerGroups.location": letters(40)}, "", ""),
		together(changes{"spec.node.namePrefix": letters(17), "spec.containerGroups.location": letters(40)}, root, tooLongNames),

		required("spec"),
		accept("spec.osTypes", windows, both, []any{"Windows", "Linux"}),
		refuse("spec.osTypes", tooFew(1), []any{}),
		refuse("spec.osTypes", tooMany(2), []any{"Linux", "Windows", "Linux"}),
		refuse("spec.osTypes", wrongType, "Linux"),
		together(changes{"spec.osTypes": []any{"Linux", "Linux"}}, "spec.osTypes[1]", duplicate),
		together(changes{"spec.osTypes": []any{"Darwin"}}, "spec.osTypes[0]", `supported values: "Linux", "Windows"`),
		together(changes{"spec.osTypes": []any{"linux"}}, "spec.osTypes[0]", unsupported),

		oneOf("spec.cloud", "AzurePublicCloud", "AzureUSGovernmentCloud", "AzureChinaCloud"),
		refuse("spec.cloud", unsupported, "AzureGermanCloud"),
		oneOf("spec.providerRegistration", "Check", "Register", "Ignore"),
		accept("spec.suspend", true, false),
		refuse("spec.suspend", wrongType, "true"),

		required("spec.credentials", "spec.credentials.type"),
		refuse("spec.containerGroups", wrongType, "virtual-nodes"),
	),
	on("minimal",
		together(changes{"spec.containerGroups": nil}, "spec", "containerGroups.subscriptionID must be set where there is no managedCluster to take it from"),
		together(changes{"spec.containerGroups.subscriptionID": nil}, "spec", "containerGroups.subscriptionID must be set where there is no managedCluster to take it from"),
		together(changes{"spec.containerGroups.resourceGroup": nil}, "spec", "containerGroups.resourceGroup must be set where there is no managedCluster to take it from"),
		together(changes{"spec.containerGroups.location": nil}, "spec", "containerGroups.location must be set where there is no managedCluster to take it from"),
		guid("spec.containerGroups.subscriptionID"),
		resourceGroup("spec.containerGroups.resourceGroup"),
		accept("spec.containerGroups.location", "a", "East US 2", "eastus2", "EastUS"),
		refuse("spec.containerGroups.location", tooShort(1), ""),
		refuse("spec.containerGroups.location", tooLong(40), letters(41)),
		refuse("spec.containerGroups.location", "must be the name of an Azure region, such as eastus or East US; az account list-locations -o table shows them",
			"east-us", " eastus", "eastus ", "east  us", "2east", "größe"),
	),
	on("managed cluster",
		accept("spec.containerGroups",
			map[string]any{},
			map[string]any{"resourceGroup": "virtual-nodes"},
			map[string]any{"location": "eastus"},
			map[string]any{"subscriptionID": "11111111-1111-1111-1111-111111111111"},
		),
		// The location is not known here, so the API server can't tell how long the nodes' names will be.
		together(changes{"metadata.name": letters(60)}, "", ""),
		together(changes{"spec.node.namePrefix": letters(50), "spec.osTypes": both}, "", ""),
		required("spec.managedCluster.subscriptionID", "spec.managedCluster.resourceGroup", "spec.managedCluster.name"),
		guid("spec.managedCluster.subscriptionID"),
		resourceGroup("spec.managedCluster.resourceGroup"),
		text("spec.managedCluster.name", 1, 63),
		accept("spec.managedCluster.name", "My_cluster-1", "1"),
		refuse("spec.managedCluster.name", "must be the name of an AKS cluster: letters, digits, hyphens and underscores, beginning and ending with a letter or digit",
			"-a", "a-", "_a", "a.b", "a b"),
	),
	on("minimal",
		refuse("spec.credentials.type", `supported values: "ServicePrincipal", "ManagedIdentity"`, "WorkloadIdentity", "Password", ""),
		refuse("spec.credentials", notThePrincipal, map[string]any{"type": "ServicePrincipal"}),
		refuse("spec.credentials", notTheIdentity, map[string]any{"type": "ServicePrincipal", "servicePrincipal": principal, "managedIdentity": managed}),
		refuse("spec.credentials", notTheIdentity, map[string]any{"type": "ManagedIdentity"}),
		refuse("spec.credentials", notThePrincipal, map[string]any{"type": "ManagedIdentity", "servicePrincipal": principal, "managedIdentity": managed}),
		refuse("spec.credentials", notTheIdentity, map[string]any{"type": "ManagedIdentity", "servicePrincipal": principal}),
		accept("spec.credentials", map[string]any{"type": "ServicePrincipal", "servicePrincipal": principal}),
		accept("spec.credentials", map[string]any{"type": "ManagedIdentity", "managedIdentity": managed}),

		required("spec.credentials.servicePrincipal.tenantID", "spec.credentials.servicePrincipal.clientID",
			"spec.credentials.servicePrincipal.clientSecretRef", "spec.credentials.servicePrincipal.clientSecretRef.name"),
		guid("spec.credentials.servicePrincipal.tenantID"),
		guid("spec.credentials.servicePrincipal.clientID"),
		objectName("spec.credentials.servicePrincipal.clientSecretRef.name"),
		text("spec.credentials.servicePrincipal.clientSecretRef.key", 1, 253),
		accept("spec.credentials.servicePrincipal.clientSecretRef.key", "client_Secret.1-a"),
		refuse("spec.credentials.servicePrincipal.clientSecretRef.key",
			"must be a key of a Secret: letters, digits, hyphens, underscores and periods", "client secret", "a/b"),
	),
	on("managed identity",
		required("spec.credentials.managedIdentity.clientID"),
		guid("spec.credentials.managedIdentity.clientID"),
		guid("spec.credentials.managedIdentity.tenantID"),
	),
	on("monitoring",
		required("spec.monitoring.logAnalytics.secretRef", "spec.monitoring.logAnalytics.secretRef.name"),
		objectName("spec.monitoring.logAnalytics.secretRef.name"),
		accept("spec.monitoring.logAnalytics.clusterResourceID", clusterID("cluster"), strings.ToUpper(clusterID("cluster")),
			clusterID(letters(300-len(clusterID(""))))),
		refuse("spec.monitoring.logAnalytics.clusterResourceID", tooShort(1), ""),
		refuse("spec.monitoring.logAnalytics.clusterResourceID", tooLong(300), clusterID(letters(301-len(clusterID(""))))),
		refuse("spec.monitoring.logAnalytics.clusterResourceID", "must be the resource id of an AKS cluster: az aks show --query id shows it",
			"cluster", clusterID(""), clusterID("a/b"), strings.Replace(clusterID("cluster"), "managedClusters", "clusters", 1),
			strings.TrimPrefix(clusterID("cluster"), "/")),
	),
)

func clusterID(name string) string {
	return "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/clusters/providers/Microsoft.ContainerService/managedClusters/" + name
}
