// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package installation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/images"
	"github.com/virtual-kubelet/connector-operator/test/pages"
)

const (
	enforcer     = "network-policies"
	virtualNodes = "app.kubernetes.io/component=virtual-node"
	// probe is the container that tries the network of a pod that has nothing to try it with.
	probe = "probe"

	// metadata is the address of the service of tokens.
	metadata = "169.254.169.254"

	overlayFile = "kustomization.yaml"

	dialTimeout = 2500 * time.Millisecond
)

// What becomes of an attempt to connect: something listens, nothing does, or no packet comes back.
const (
	open   = "open"
	closed = "closed"
	silent = "silent"
)

// outcomes are what becomes of attempts to connect, by address.
type outcomes map[string]string

func merge(all ...outcomes) outcomes {
	merged := outcomes{}
	for _, o := range all {
		maps.Copy(merged, o)
	}
	return merged
}

// place is a container from which the network is tried.
type place struct{ namespace, pod, container string }

func (p place) String() string { return p.namespace + "/" + p.pod }

var (
	visitor  = place{"elsewhere", "visitor", "greeter"}
	listener = place{"elsewhere", "listener", "greeter"}
	scraper  = place{"monitoring", "scraper", "greeter"}
	// agent is where a managed control plane has what it reaches the cluster by.
	agent = place{"kube-system", "agent", "greeter"}
	// outside is this process, which is outside of the cluster.
	outside = place{}
)

// policed is a story in a sandbox that enforces NetworkPolicies.
type policed struct {
	*story
	// Addresses of the node, of Azure, of the pod that resolves names, and of this machine.
	node, azure, names, host string
	operator                 place
	kubelets                 []place
	addresses                map[place]string
}

// enforce starts what enforces NetworkPolicies, and the pods beside the operator.
func (s *policed) enforce(ctx SpecContext) {
	programs, err := binaries.Build(ctx, binaries.Options{Modules: binaries.NetworkPolicies(), Progress: progress})
	Expect(err).NotTo(HaveOccurred())
	Expect(s.Box.Import(ctx, images.Spec{
		Reference: "sandbox.invalid/" + enforcer + ":1", Program: programs.Path(enforcer), Path: "/" + enforcer,
	})).To(Succeed())
	for _, file := range []string{"enforcer", "neighbours"} {
		s.kubectl(ctx, "apply", "-f", "test/installation/files/"+file+".yaml")
	}
	s.kubectl(ctx, "rollout", "status", "daemonset/"+enforcer, "-n", "kube-system", "--timeout=1m")
	s.addresses = map[place]string{}
	for _, p := range []place{visitor, listener, scraper, agent} {
		s.kubectl(ctx, "wait", "pod/"+p.pod, "-n", p.namespace, "--for=condition=Ready", "--timeout=1m")
		s.locate(ctx, p)
	}
	s.names = s.kubectl(ctx, "get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[0].status.podIP}")
	s.node = s.kubectl(ctx, "get", "node", "sandbox", "-o", "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}")
	found, err := s.greeter(ctx, visitor, "lookup", "management.azure.com")
	Expect(err).NotTo(HaveOccurred())
	s.azure = strings.Fields(found)[1]
	// Nothing is sent: it only tells which address this machine has for the node.
	connection, err := net.Dial("udp", s.node+":9")
	Expect(err).NotTo(HaveOccurred())
	defer connection.Close()
	s.host = connection.LocalAddr().(*net.UDPAddr).IP.String()
	DeferCleanup(func(ctx SpecContext) {
		output, err := s.Kubectl(ctx, "logs", "daemonset/"+enforcer, "-n", "kube-system", "--tail=400")
		AddReportEntry("logs of what enforces", fmt.Sprint(output, err), ReportEntryVisibilityFailureOrVerbose)
	}, NodeTimeout(time.Minute))
}

// lookInside adds to the pods of the operator and of the virtual kubelets a container from which to try the network.
func (s *policed) lookInside(ctx context.Context) {
	GinkgoHelper()
	s.kubelets = nil
	for _, selector := range []string{"app.kubernetes.io/component=manager", virtualNodes} {
		for pod := range strings.FieldsSeq(s.kubectl(ctx, "get", "pods", "-n", namespace, "-l", selector, "-o", "jsonpath={.items[*].metadata.name}")) {
			s.kubectl(ctx, "debug", pod, "-n", namespace, "--container="+probe, "--image="+images.Greeter,
				"--profile=restricted", "--image-pull-policy=IfNotPresent", "--attach=false", "--quiet")
			p := place{namespace, pod, probe}
			s.locate(ctx, p)
			if selector == virtualNodes {
				s.kubelets = append(s.kubelets, p)
			} else {
				s.operator = p
			}
		}
	}
	Expect(s.kubelets).To(HaveLen(2))
}

func (s *policed) inside() []place { return append([]place{s.operator}, s.kubelets...) }

// at is a port of the pod of a place.
func (s *policed) at(p place, port string) string { return net.JoinHostPort(s.addresses[p], port) }

// locate learns the address of the pod of a place.
func (s *policed) locate(ctx context.Context, p place) {
	GinkgoHelper()
	s.addresses[p] = s.kubectl(ctx, "get", "pod", p.pod, "-n", p.namespace, "-o", "jsonpath={.status.podIP}")
}

// needed is what the operator and virtual kubelets have to reach.
func (s *policed) needed() outcomes {
	return outcomes{
		s.node + ":6443":                open,
		"kubernetes.default.svc:443":    open,
		"management.azure.com:443":      open,
		"login.microsoftonline.com:443": open,
		metadata + ":80":                open,
		s.names + ":53":                 open,
		// Where a node has a cache of names, it has such an address.
		metadata + ":53": closed,
	}
}

// streams is where Azure passes on what kubectl exec says and hears.
func (s *policed) streams(outcome string) outcomes { return outcomes{s.azure + ":19390": outcome} }

// streamsOf is what becomes of them where virtual kubelets alone need them.
func (s *policed) streamsOf(from place) outcomes {
	if from == s.operator {
		return s.streams(silent)
	}
	return s.streams(open)
}

// anyHTTPS is what nobody needs, and what policies can't tell from Azure until they know its addresses.
func (s *policed) anyHTTPS(outcome string) outcomes {
	return outcomes{s.at(listener, "443"): outcome, s.at(listener, "6443"): outcome}
}

// needless is what nobody needs: where something listens, and where nothing does.
func (s *policed) needless(listening, idle string) outcomes {
	return outcomes{
		s.at(listener, "8080"): listening,
		s.names + ":8181":      listening,
		s.node + ":10250":      listening,
		s.at(listener, "80"):   idle,
		// Not all that is in kube-system resolves names.
		s.at(agent, "53"):  idle,
		s.azure + ":80":    idle,
		metadata + ":8080": idle,
	}
}

// ports are those of the operator, for metrics, of virtual kubelets, and any other.
func (s *policed) ports(metrics, kubelet, other string) outcomes {
	want := outcomes{s.at(s.operator, "8443"): metrics, s.at(s.operator, "8081"): other}
	for _, k := range s.kubelets {
		want[s.at(k, "10250")], want[s.at(k, "8080")] = kubelet, other
	}
	return want
}

// greeter runs a command in a place.
func (s *policed) greeter(ctx context.Context, from place, args ...string) (string, error) {
	return s.Kubectl(ctx, append([]string{"exec", from.pod, "-n", from.namespace, "-c", from.container, "--", "/greeter"}, args...)...)
}

func (s *policed) dial(ctx context.Context, from place, addresses ...string) (outcomes, error) {
	if from == outside {
		return dialHere(ctx, addresses)
	}
	output, err := s.greeter(ctx, from, append([]string{"dial"}, addresses...)...)
	found := outcomes{}
	for line := range strings.Lines(output) {
		address, outcome, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[address] = outcome
	}
	return found, err
}

// dialHere does what the greeter does, from this process.
func dialHere(ctx context.Context, addresses []string) (outcomes, error) {
	found := make([]string, len(addresses))
	failures := make([]error, len(addresses))
	var dials sync.WaitGroup
	for i, address := range addresses {
		dials.Go(func() {
			dialer := net.Dialer{Timeout: dialTimeout}
			connection, err := dialer.DialContext(ctx, "tcp", address)
			var failure net.Error
			switch {
			case err == nil:
				connection.Close()
				found[i] = open
			case errors.Is(err, syscall.ECONNREFUSED):
				found[i] = closed
			case errors.As(err, &failure) && failure.Timeout():
				found[i] = silent
			default:
				failures[i] = err
			}
		})
	}
	dials.Wait()
	all := outcomes{}
	for i, address := range addresses {
		all[address] = found[i]
	}
	return all, errors.Join(failures...)
}

// deny keeps all connections in one direction from a pod.
func (s *policed) deny(ctx context.Context, direction string, p place) {
	GinkgoHelper()
	policy, err := yaml.Marshal(networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: "deny-" + strings.ToLower(direction), Namespace: p.namespace},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": p.pod}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyType(direction)},
		},
	})
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "deny.yaml")
	Expect(os.WriteFile(file, policy, 0o600)).To(Succeed())
	s.kubectl(ctx, "apply", "-f", file)
}

// overlay makes the overlay that docs/install.md shows, with the addresses of this cluster and of who is let in as control
// plane. If nobody is, it has the component alone.
func (s *policed) overlay(controlPlane string) (folder string) {
	GinkgoHelper()
	root := GinkgoT().TempDir()
	Expect(os.CopyFS(filepath.Join(root, "config"), os.DirFS(filepath.Join(s.Root, "config")))).To(Succeed())
	folder = filepath.Join(root, "overlay")
	Expect(os.Mkdir(folder, 0o755)).To(Succeed())
	text := writtenOverlay(s.Root)
	if controlPlane == "" {
		overlay := map[string]any{}
		Expect(yaml.Unmarshal([]byte(text), &overlay)).To(Succeed())
		delete(overlay, "patches")
		content, err := yaml.Marshal(overlay)
		Expect(err).NotTo(HaveOccurred())
		text = string(content)
	}
	for written, address := range map[string]string{"192.0.2.10/32": s.node, "198.51.100.0/24": s.azure, "203.0.113.0/24": controlPlane} {
		if controlPlane != "" {
			Expect(text).To(ContainSubstring(written))
		}
		text = strings.ReplaceAll(text, written, address+"/32")
	}
	Expect(os.WriteFile(filepath.Join(folder, overlayFile), []byte(text), 0o600)).To(Succeed())
	return folder
}

func writtenOverlay(root string) string {
	GinkgoHelper()
	all, err := pages.All(root)
	Expect(err).NotTo(HaveOccurred())
	for _, page := range all {
		for _, block := range page.Blocks {
			if block.Page == "docs/install.md" && block.Mark == overlayFile {
				return block.Text
			}
		}
	}
	Fail("docs/install.md has no " + overlayFile)
	return ""
}
