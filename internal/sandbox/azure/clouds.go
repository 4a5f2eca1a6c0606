// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"cmp"
	"slices"
	"strings"
)

// Cloud is one of Azure's clouds, by the name that azure.json gives it.
type Cloud string

// Azure's clouds.
const (
	PublicCloud       Cloud = "AzurePublicCloud"
	USGovernmentCloud Cloud = "AzureUSGovernmentCloud"
	ChinaCloud        Cloud = "AzureChinaCloud"
)

// endpoints are the names under which a cloud is reached, the first of each is the one that its answers carry.
type endpoints struct {
	login           []string
	resourceManager []string
	audiences       []string
}

var clouds = map[Cloud]endpoints{
	PublicCloud: {
		login:           []string{"login.microsoftonline.com", "login.windows.net", "sts.windows.net"},
		resourceManager: []string{"management.azure.com"},
		audiences:       []string{"https://management.core.windows.net", "https://management.azure.com"},
	},
	USGovernmentCloud: {
		login:           []string{"login.microsoftonline.us", "login.usgovcloudapi.net"},
		resourceManager: []string{"management.usgovcloudapi.net"},
		audiences:       []string{"https://management.core.usgovcloudapi.net", "https://management.usgovcloudapi.net"},
	},
	ChinaCloud: {
		login:           []string{"login.chinacloudapi.cn", "login.partner.microsoftonline.cn"},
		resourceManager: []string{"management.chinacloudapi.cn"},
		audiences:       []string{"https://management.core.chinacloudapi.cn", "https://management.chinacloudapi.cn"},
	},
}

// instanceMetadataHost is the link-local address of the instance metadata endpoint, the same in every cloud.
const instanceMetadataHost = "169.254.169.254"

// Hosts returns the names of every cloud that Handler and Streams serve: for certificates and name resolution.
func Hosts() []string {
	hosts := []string{streamHost}
	for _, e := range clouds {
		hosts = append(hosts, e.login...)
		hosts = append(hosts, e.resourceManager...)
	}
	slices.Sort(hosts)
	return hosts
}

func cloudOfHost(host string, of func(endpoints) []string) (Cloud, bool) {
	for name, e := range clouds {
		if slices.Contains(of(e), strings.ToLower(host)) {
			return name, true
		}
	}
	return "", false
}

// cloudOfAudience finds the cloud whose Resource Manager a scope or resource names.
func cloudOfAudience(audience string) (Cloud, bool) {
	audience = strings.TrimRight(strings.TrimSuffix(audience, "/.default"), "/")
	for name, e := range clouds {
		if slices.Contains(e.audiences, audience) {
			return name, true
		}
	}
	return "", false
}

// orPublic gives the cloud's name where a config leaves it out.
func (c Cloud) orPublic() Cloud {
	return cmp.Or(c, PublicCloud)
}
