// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/status"
)

var update = flag.Bool("update", false, "write the recorded connectors")

// recordings is where the connectors are recorded that the tests of Flux and Argo CD judge. The folder of each says
// what tools have to make of it.
const recordings = "../../test/connectors"

// What tools have to make of a connector.
const (
	current     = "current"     // it works
	inProgress  = "in-progress" // it passes by itself
	failed      = "failed"      // somebody has to act
	terminating = "terminating" // it is being deleted

	// The same, of one that is left alone because spec.suspend is true.
	currentSuspended = "current/suspended"
	failedSuspended  = "failed/suspended"
)

// verdicts are those of every case of the connector, and of the cases of a node that say something new.
var verdicts = map[string]string{
	"all is well":                      current,
	"one operating system":             current,
	"Secret missing":                   failed,
	"Secret incomplete, nodes running": failed,
	"client CA missing":                failed,
	"name too long":                    failed,
	"just made":                        inProgress,
	"answered in part":                 inProgress,
	"not claimed yet":                  inProgress,
	"credentials refused before the first start":              failed,
	"Azure down before the first start":                       inProgress,
	"Azure down, nodes running":                               current,
	"client secret expired, nodes running":                    failed,
	"no rights":                                               failed,
	"resource group missing":                                  failed,
	"subscription missing":                                    failed,
	"not asked, nodes running":                                current,
	"claim taken away, nodes running":                         inProgress,
	"name in use":                                             failed,
	"object of somebody else":                                 failed,
	"refused by the API server":                               failed,
	"former node of the name":                                 inProgress,
	"former node of the name, before the first start":         inProgress,
	"object of a connector that does not ask for it any more": inProgress,
	"object of a connector that does not ask for it any more, and keeps it": failed,
	"deleted": terminating,
	"object of another connector, of a node that runs":           failed,
	"deleted, with nothing left to name":                         terminating,
	"one node retires while others are ready":                    inProgress,
	"one node retires while the other has a fault":               failed,
	"one node retires, and Azure refuses to be asked":            failed,
	"removal that Azure can't be asked about":                    terminating,
	"removal while Azure does not answer":                        terminating,
	"removal that a budget blocks":                               terminating,
	"a node that starts beside one that somebody has to look at": failed,

	"cluster absent":                           failed,
	"cluster forbidden":                        failed,
	"no default":                               failed,
	"image not allowed":                        failed,
	"secrets in a fault":                       failed,
	"an older connector":                       failed,
	"an older connector, wrapped":              failed,
	"an older connector that is being deleted": inProgress,
	"an older connector that is being deleted, and a node that runs as long": inProgress,
	"refused with the key of the workspace":                                  failed,
	"a remark":                                                               current,
	"defaults pending before the first start":                                inProgress,
	"defaults pending, of a silent Azure":                                    inProgress,
	"defaults pending, of a connector that runs":                             current,
	"defaults pending, of another spec":                                      inProgress,
	"defaults pending, of a node that is gone":                               inProgress,
	"no place yet":                                                      inProgress,
	"no place yet, of nodes that run":                                   inProgress,
	"suspended, nodes running":                                          currentSuspended,
	"suspended before the first start":                                  failedSuspended,
	"suspended before the first start, and not asked yet":               failedSuspended,
	"suspended before the first start, with a fault":                    failed,
	"suspended while the former node of the name is removed":            failedSuspended,
	"suspended, with a fault":                                           failed,
	"suspended while the virtual kubelet starts":                        inProgress,
	"suspended and deleted":                                             terminating,
	"a node that is kept, as the one that replaces it can't be started": failed,
	"container groups that were left":                                   current,
	"not suspended":                                                     current,

	"provider being registered, nodes running":         inProgress,
	"provider being registered before the first start": inProgress,
	"provider not registered":                          failed,
	"registration forbidden":                           failed,
	"registration ignored":                             current,
	"region without container groups":                  failed,
	"region without Windows":                           failed,
	"region without Windows before the first start":    failed,
	"tenant unknown":                                   failed,
	"another cloud":                                    failed,
	"denied":                                           failed,
	"subscription disabled":                            failed,
	"throttled":                                        current,
	"throttled before the first start":                 inProgress,
	"resource group locked":                            failed,
	"quota exhausted":                                  current,
	"provider that may not be looked at":               current,
	"subnet that may not be looked at":                 current,
	"subnet absent":                                    failed,
	"subnet delegated elsewhere":                       failed,
	"subnet in another region":                         failed,
	"subnet in use":                                    failed,
	"subnet with a route table":                        failed,
	"subnet too small":                                 failed,
	"subnet not to be joined":                          failed,

	"node: nothing yet":                     inProgress,
	"node: a change that is not answered":   inProgress,
	"node: just changed":                    inProgress,
	"node: not available":                   inProgress,
	"node: pods refused":                    failed,
	"node: unschedulable":                   failed,
	"node: image not there":                 failed,
	"node: container not made":              failed,
	"node: fatal":                           failed,
	"node: out of memory":                   failed,
	"node: ended for the first time":        inProgress,
	"node: ended once, and started again":   inProgress,
	"node: ended for the second time":       failed,
	"node: ended twice, and started again":  failed,
	"node: ended after it had run for long": inProgress,
	"node: recovered from a crash":          current,
	"node: no Node":                         inProgress,
	"node: Node lost":                       inProgress,

	"never looked at":                              inProgress,
	"changed, and not looked at yet":               inProgress,
	"deleted, and not looked at yet":               terminating,
	"with a fault, changed, and not looked at yet": inProgress,
}

// unseen are connectors that the operator has not looked at since they became what they are.
func unseen(t *testing.T) map[string]*v1alpha1.VirtualKubeletConnector {
	t.Helper()
	changed, deleted := stored(settled()), stored(settled())
	changed.Generation++
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(2, 0)}
	mended := stored(settled(problem(v1alpha1.ReasonSecretExpired, true, "expired")))
	mended.Generation++
	created := stored(settled())
	created.Generation, created.Finalizers, created.Status = 1, nil, defaultStatus(t)
	return map[string]*v1alpha1.VirtualKubeletConnector{
		"never looked at": created, "changed, and not looked at yet": changed, "deleted, and not looked at yet": deleted,
		"with a fault, changed, and not looked at yet": mended,
	}
}

// defaultStatus is what the API server gives a connector that has no status.
func defaultStatus(t *testing.T) v1alpha1.VirtualKubeletConnectorStatus {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile("../../config/crd/bases/connector.virtual-kubelet.io_virtualkubeletconnectors.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(content, &crd)).To(Succeed())
	var out v1alpha1.VirtualKubeletConnectorStatus
	g.Expect(json.Unmarshal(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"].Default.Raw, &out)).To(Succeed())
	return out
}

// stored is a connector with the status that is computed of it, as the API server has it.
func stored(in status.Input) *v1alpha1.VirtualKubeletConnector {
	connector := in.Connector.DeepCopy()
	connector.Finalizers = []string{v1alpha1.Finalizer}
	connector.Status = status.Compute(in)
	lists := [][]metav1.Condition{connector.Status.Conditions}
	for _, node := range connector.Status.Nodes {
		lists = append(lists, node.Conditions)
	}
	for _, conditions := range lists {
		for i := range conditions {
			conditions[i].LastTransitionTime = metav1.Unix(1, 0).Rfc3339Copy()
		}
	}
	return connector
}

// recording is a connector as a file: one line for each condition and node, so that a difference shows what has changed.
func recording(g Gomega, connector *v1alpha1.VirtualKubeletConnector) string {
	var b strings.Builder
	line := func(indent, key string, value any) {
		encoded, err := json.Marshal(value)
		g.Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(&b, "%s%s %s\n", indent, key, encoded)
	}
	line("", "apiVersion:", v1alpha1.GroupVersion.String())
	line("", "kind:", "VirtualKubeletConnector")
	line("", "metadata:", connector.ObjectMeta)
	line("", "spec:", connector.Spec)
	encoded, err := json.Marshal(connector.Status)
	g.Expect(err).NotTo(HaveOccurred())
	var fields map[string]json.RawMessage
	g.Expect(json.Unmarshal(encoded, &fields)).To(Succeed())
	b.WriteString("status:\n")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var items []json.RawMessage
		if json.Unmarshal(fields[name], &items) != nil {
			line("  ", name+":", fields[name])
			continue
		}
		fmt.Fprintf(&b, "  %s:\n", name)
		for _, item := range items {
			line("  ", "-", item)
		}
	}
	return b.String()
}

var notInFileNames = regexp.MustCompile(`[^a-z0-9]+`)

// TestRecordedConnectors keeps the recorded connectors those that the operator makes.
func TestRecordedConnectors(t *testing.T) {
	g := NewWithT(t)
	connectors := unseen(t)
	for name, test := range allConnectorCases() {
		g.Expect(verdicts).To(HaveKey(name))
		connectors[name] = stored(test.in)
	}
	for name, test := range nodeCases {
		connectors["node: "+name] = stored(settled(func(in *status.Input) { test.edit(&in.Nodes[0]) }))
	}
	files := map[string]string{}
	for name, verdict := range verdicts {
		g.Expect(connectors).To(HaveKey(name))
		file := strings.Trim(notInFileNames.ReplaceAllString(strings.ToLower(name), "-"), "-") + ".yaml"
		files[filepath.Join(recordings, verdict, file)] = recording(g, connectors[name])
	}
	g.Expect(files).To(HaveLen(len(verdicts)), "each has a file of its own")

	if *update {
		for _, verdict := range []string{current, inProgress, failed, terminating} {
			g.Expect(os.RemoveAll(filepath.Join(recordings, verdict))).To(Succeed())
		}
		for path, content := range files {
			g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
			g.Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
		}
	}
	recorded := map[string]string{}
	for _, pattern := range []string{"*/*.yaml", "*/*/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(recordings, pattern))
		g.Expect(err).NotTo(HaveOccurred())
		for _, path := range paths {
			content, err := os.ReadFile(path)
			g.Expect(err).NotTo(HaveOccurred())
			recorded[path] = string(content)
		}
	}
	g.Expect(recorded).To(Equal(files), "go test ./internal/status -update writes them anew; then read the difference")
}

// TestEveryReasonIsRecorded keeps the tools' tests from passing over what they have never seen.
func TestEveryReasonIsRecorded(t *testing.T) {
	all := &strings.Builder{}
	paths, err := filepath.Glob(filepath.Join(recordings, "*/*.yaml"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, path := range paths {
		content, err := os.ReadFile(path)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		all.Write(content)
	}
	for _, reason := range reasons(t) {
		NewWithT(t).Expect(all.String()).To(ContainSubstring(`"reason":"` + reason + `"`))
	}
}
