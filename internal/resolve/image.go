// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/discover"
)

// Image is the virtual kubelet's image.
type Image struct {
	// Reference names it.
	Reference string
	// Version is its version, in the form of a label's value.
	Version string
}

// image decides the reference. A digest without a tag stands alone, as the release's tag would say something else
// than what runs; and the release's digest counts only for the release's own image.
func image(given v1alpha1.Image, defaults Defaults) (Image, *discover.Missing) {
	repository := cmp.Or(given.Repository, defaults.Image.Repository)
	tag, digest := given.Tag, given.Digest
	if tag == "" && digest == "" {
		tag = defaults.Image.Tag
		if repository == defaults.Image.Repository {
			digest = defaults.Image.Digest
		}
	}
	image := Image{Reference: repository}
	if tag != "" {
		image.Reference += ":" + tag
		image.Version = labelValue(tag)
	}
	if digest != "" {
		image.Reference += "@" + digest
		image.Version = cmp.Or(image.Version, strings.TrimPrefix(digest, "sha256:")[:12])
	}
	if !slices.ContainsFunc(defaults.AllowedRepositories, func(pattern string) bool { return matches(pattern, repository) }) {
		return image, &discover.Missing{Reason: v1alpha1.ReasonImageNotAllowed, Message: fmt.Sprintf(
			"image repository %s of spec.virtualKubelet.image is not allowed: use one of %s, or add it to the operator's flag --allowed-image-repositories",
			repository, strings.Join(defaults.AllowedRepositories, ", "))}
	}
	if tag == "" && digest == "" {
		return image, &discover.Missing{Reason: v1alpha1.ReasonDefaultNotFound, Message: fmt.Sprintf(
			"the operator's own image has a digest and no tag that could be one of %s: set spec.virtualKubelet.image.tag or digest", repository)}
	}
	return image, nil
}

func matches(pattern, repository string) bool {
	if below, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasSuffix(below, "/") {
		return strings.HasPrefix(repository, below)
	}
	return repository == pattern
}

// labelValue makes a tag into a label's value: at most 63 characters, with a letter or digit at its
// ends.
func labelValue(tag string) string {
	return strings.Trim(tag[:min(len(tag), 63)], "-_.")
}
