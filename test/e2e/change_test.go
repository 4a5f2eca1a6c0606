// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
)

// change is one of a working connector, and whether the virtual kubelet has to be started anew for it.
type change struct {
	name     string
	restarts bool
	make     func(context.Context)
	// reached reports whether it has come to where it is to be, after the restart where there is one.
	reached func(context.Context, Gomega)
}

func (c change) String() string { return c.name }

func editing(change func(*v1alpha1.VirtualKubeletConnector)) func(context.Context) {
	return func(ctx context.Context) {
		GinkgoHelper()
		edit(ctx, change)
	}
}

var changes = []change{
	{
		name: "the image", restarts: true,
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.Image.PullPolicy = "Never" }),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(kubeletPods(ctx, g, linuxNode)).To(HaveEach(HaveField("Spec.Containers", ConsistOf(HaveField("ImagePullPolicy", corev1.PullNever)))))
		},
	},
	{
		name: "the log level", restarts: true,
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.LogLevel = "debug" }),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(argumentsOf(ctx, g, linuxNode)).To(ContainElement("--log-level=debug"))
		},
	},
	{
		name: "the resources", restarts: true,
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.VirtualKubelet.Resources.Limits = v1alpha1.ResourceAmounts{Memory: quantity("500Mi")}
		}),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(kubeletPods(ctx, g, linuxNode)).To(HaveEach(HaveField("Spec.Containers",
				ConsistOf(HaveField("Resources.Limits", HaveKeyWithValue(corev1.ResourceMemory, beQuantity("500Mi")))))))
		},
	},
	{
		name: "the capacity", restarts: true,
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.Capacity.Pods = new(int32(77)) }),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(node(ctx)(g).Status.Capacity).To(HaveKeyWithValue(corev1.ResourcePods, beQuantity("77")))
		},
	},
	{
		name: "the network", restarts: true,
		make: editing(inSubnet("container-groups")),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(kubeletPods(ctx, g, linuxNode)).To(HaveEach(HaveField("Spec.Containers",
				ConsistOf(HaveField("Env", ContainElement(HaveField("Name", "ACI_SUBNET_NAME")))))))
		},
	},
	{
		name: "the certificate", restarts: true,
		make: func(ctx context.Context) {
			kubectl(ctx, "patch", "secret", linuxNode, "-n", namespace, "--type=json",
				`-p=[{"op":"remove","path":"/data/cert.pem"},{"op":"remove","path":"/data/key.pem"}]`)
		},
		reached: func(ctx context.Context, g Gomega) {
			var secret corev1.Secret
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &secret)).To(Succeed())
			g.Expect(secret.Data).To(And(HaveKey("cert.pem"), HaveKey("key.pem")))
		},
	},
	{
		name: "the client secret", restarts: true,
		make: func(ctx context.Context) {
			Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
			putSecret(ctx, secretKey, newSecret)
		},
		reached: func(ctx context.Context, g Gomega) {
			var secret corev1.Secret
			g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: linuxNode}, &secret)).To(Succeed())
			g.Expect(string(secret.Data["azure.json"])).To(ContainSubstring(newSecret))
		},
	},
	{
		name: "the taint", restarts: true, // a Node that is made anew gets it from the process's environment
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.Node.Taint.Value = new(v1alpha1.LabelValue("other")) }),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(node(ctx)(g).Spec.Taints).To(ConsistOf(HaveField("Value", "other")))
		},
	},
	{
		name: "labels and annotations",
		make: editing(func(c *v1alpha1.VirtualKubeletConnector) {
			c.Spec.Node.Labels = map[string]v1alpha1.LabelValue{"example.com/team": "web"}
			c.Spec.Node.Annotations = map[string]v1alpha1.AnnotationValue{"example.com/contact": "web@example.com"}
		}),
		reached: func(ctx context.Context, g Gomega) {
			g.Expect(node(ctx)(g)).To(And(
				HaveField("Labels", HaveKeyWithValue("example.com/team", "web")),
				HaveField("Annotations", HaveKeyWithValue("example.com/contact", "web@example.com"))))
		},
	},
}

var _ = Describe("A change", Ordered, func() {
	var (
		pod     *corev1.Pod
		group   azure.ContainerGroup
		watched *watcher
	)

	BeforeAll(func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		create(ctx, sample())
		pod = runWorkload(ctx, "aci-helloworld", linuxNode)
		groups := groupsOf(ctx, linuxNode)
		Expect(groups).To(HaveLen(1))
		group = groups[0]
		watched = watchNode(ctx, linuxNode)
	}, NodeTimeout(2*time.Minute))

	for _, c := range changes {
		It("of "+c.name+" disturbs nothing that runs", func(ctx SpecContext) {
			before := kubeletPod(ctx, linuxNode)
			Expect(box.Azure().ResetRequests(ctx)).To(Succeed())
			start := time.Now()
			c.make(ctx)
			Eventually(func(g Gomega) {
				pods := kubeletPods(ctx, g, linuxNode)
				g.Expect(pods).To(ConsistOf(HaveField("Status.ContainerStatuses", ConsistOf(HaveField("Ready", BeTrue())))))
				if c.restarts {
					g.Expect(pods[0].UID).NotTo(Equal(before.UID))
				}
				c.reached(ctx, g)
			}).WithContext(ctx).WithTimeout(readyTimeout).Should(Succeed())
			rolled := time.Since(start)
			ready(ctx, connectorName)
			AddReportEntry("a change of "+c.name, fmt.Sprintf("there after %s, Ready after %s",
				rolled.Round(time.Millisecond), time.Since(start).Round(time.Millisecond)))
			if !c.restarts {
				Expect(kubeletPod(ctx, linuxNode).UID).To(Equal(before.UID), "the virtual kubelet was started anew for nothing")
			}
			expectUndisturbed(ctx, pod, group)
			watched.expectHeld()
		}, SpecTimeout(2*time.Minute))
	}
})

// expectUndisturbed fails unless a pod and its container group are the ones that they were, and nobody has asked for
// another since the requests were reset.
func expectUndisturbed(ctx context.Context, pod *corev1.Pod, group azure.ContainerGroup) {
	GinkgoHelper()
	now := runningPod(ctx, "aci-helloworld")
	Expect(now.UID).To(Equal(pod.UID))
	groups := groupsOf(ctx, group.Tags["NodeName"])
	Expect(groups).To(HaveLen(1))
	Expect(groups[0].Created).To(Equal(group.Created))
	Expect(startOf(groups[0])).To(Equal(startOf(group)))
	requests, err := box.Azure().Requests(ctx)
	Expect(err).NotTo(HaveOccurred())
	for operation, count := range requests {
		if strings.HasPrefix(operation, "ContainerGroups.") {
			Expect(operation).To(Or(ContainSubstring(".List"), ContainSubstring(".Get")), "%d times", count)
		}
	}
}

// startOf is when the container of a group was started.
func startOf(group azure.ContainerGroup) time.Time {
	return *group.Resource.Properties.Containers[0].Properties.InstanceView.CurrentState.StartTime
}

// watcher watches a Node and the virtual kubelets of its name.
type watcher struct {
	mu sync.Mutex
	// lapses are when the Node was seen not ready or gone.
	lapses []string
	// overlaps are when two processes of the name ran at once.
	overlaps []string
}

// watchNode watches until the spec, or the container that it is called in, ends.
func watchNode(ctx context.Context, name string) *watcher {
	GinkgoHelper()
	config, err := box.RESTConfig()
	Expect(err).NotTo(HaveOccurred())
	watching, err := client.NewWithWatch(config, client.Options{Scheme: k8s.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &watcher{}
	events, err := watching.Watch(live, &corev1.NodeList{}, client.MatchingFields{"metadata.name": name})
	Expect(err).NotTo(HaveOccurred())
	var group sync.WaitGroup
	group.Go(func() {
		for event := range events.ResultChan() {
			w.see(event)
		}
	})
	group.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-live.Done():
				return
			case <-ticker.C:
				w.count(processesOf(name))
			}
		}
	})
	DeferCleanup(func() {
		stop()
		events.Stop()
		group.Wait()
	})
	return w
}

func (w *watcher) see(event watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	node, ok := event.Object.(*corev1.Node)
	if !ok {
		w.lapses = append(w.lapses, fmt.Sprintf("the watch says %v", event.Object))
		return
	}
	if event.Type == watch.Deleted {
		w.lapses = append(w.lapses, "the Node was deleted")
		return
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			w.lapses = append(w.lapses, fmt.Sprintf("%s: %s", time.Now().Format(time.TimeOnly), c.Reason))
		}
	}
}

func (w *watcher) count(processes []string) {
	if len(processes) < 2 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.overlaps = append(w.overlaps, fmt.Sprintf("%s: %v", time.Now().Format(time.TimeOnly), processes))
}

// expectHeld fails if the Node was not ready at any time, or if two processes of its name ran at once.
func (w *watcher) expectHeld() {
	GinkgoHelper()
	w.mu.Lock()
	defer w.mu.Unlock()
	Expect(w.lapses).To(BeEmpty(), "the Node was not always ready")
	Expect(w.overlaps).To(BeEmpty(), "two processes of one name ran at once")
}

// processesOf lists the processes of the sandbox that serve a Node.
func processesOf(node string) []string {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(folders, func(folder string) bool {
		command, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err != nil || !strings.Contains(string(command), "\x00--nodename="+node+"\x00") {
			return true
		}
		cgroup, err := os.ReadFile(filepath.Join(folder, "cgroup"))
		return err != nil || !strings.Contains(string(cgroup), box.Cgroup()+"/")
	})
}

var _ = Describe("A roll", func() {
	DescribeTable("in a resource group with many container groups",
		func(ctx SpecContext, many int, holds bool) {
			if slices.Contains(CurrentSpecReport().Labels(), "slow") && GinkgoLabelFilter() == "" {
				Skip("it takes minutes: run it with --label-filter=slow")
			}
			const latency = 200 * time.Millisecond
			putSecret(ctx, secretKey, azure.DefaultClientSecret)
			connector := sample()
			connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
			create(ctx, connector)
			pod := runWorkload(ctx, "aci-helloworld", linuxNode)
			group := groupsOf(ctx, linuxNode)[0]
			By("filling the resource group, and slowing Azure down")
			for i := range many {
				Expect(box.Azure().PutContainerGroup(ctx, azure.ContainerGroup{
					SubscriptionID: azure.DefaultSubscriptionID, ResourceGroup: "virtual-nodes", Name: fmt.Sprint("somebody-else-", i),
				})).To(Succeed())
			}
			_, err := box.Azure().AddFault(ctx, azure.Fault{Operation: "ContainerGroups.*", Delay: latency})
			Expect(err).NotTo(HaveOccurred())
			Expect(box.Azure().ResetRequests(ctx)).To(Succeed())

			watched := watchNode(ctx, linuxNode)
			before := kubeletPod(ctx, linuxNode)
			start := time.Now()
			edit(ctx, func(c *v1alpha1.VirtualKubeletConnector) { c.Spec.VirtualKubelet.LogLevel = "debug" })
			Eventually(func(g Gomega) {
				pods := kubeletPods(ctx, g, linuxNode)
				g.Expect(pods).To(HaveLen(1))
				g.Expect(pods[0].UID).NotTo(Equal(before.UID))
			}).WithContext(ctx).WithTimeout(readyTimeout).Should(Succeed())
			ended := time.Now()
			Eventually(func(g Gomega) {
				var lease coordinationv1.Lease
				g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: linuxNode}, &lease)).To(Succeed())
				g.Expect(lease.Spec.RenewTime.Time).To(BeTemporally(">", ended.Add(time.Second)))
				g.Expect(node(ctx)(g).Status.Conditions).To(ContainElement(And(
					HaveField("Type", corev1.NodeReady), HaveField("Status", corev1.ConditionTrue))))
			}).WithContext(ctx).WithTimeout(10 * time.Minute).Should(Succeed())
			AddReportEntry(fmt.Sprintf("a roll beside %d container groups at %s", many, latency),
				fmt.Sprintf("%s until the Node was served again; not ready in it: %v", time.Since(start).Round(time.Second), watched.lapsed()))
			if holds {
				watched.expectHeld()
			}
			Eventually(condition(ctx, connectorName, v1alpha1.ConditionReady)).WithContext(ctx).WithTimeout(2 * time.Minute).Should(beReady)
			expectUndisturbed(ctx, pod, group)
		},
		Entry("keeps the Node ready beside 100", SpecTimeout(4*time.Minute), 100, true),
		Entry("loses no pod beside 1,000", SpecTimeout(15*time.Minute), Label("slow"), 1000, false),
	)
})

// lapsed returns when the Node was seen not ready.
func (w *watcher) lapsed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lapses)
}

var _ = Describe("What the virtual kubelet can't mend", func() {
	It("the operator does: a Node that is deleted comes back, with its pods", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		create(ctx, connector)
		var took []time.Duration
		for range 3 {
			former := getNode(ctx, linuxNode).UID
			kubectl(ctx, "delete", "node", linuxNode)
			deleted := time.Now()
			Eventually(func(g Gomega) {
				found := node(ctx)(g)
				g.Expect(found.UID).NotTo(Equal(former))
				g.Expect(found.Labels).To(HaveKeyWithValue(connectorLabel, connectorName))
				g.Expect(found.Status.Conditions).To(ContainElement(And(
					HaveField("Type", corev1.NodeReady), HaveField("Status", corev1.ConditionTrue))))
			}).WithContext(ctx).WithTimeout(readyTimeout).Should(Succeed())
			took = append(took, time.Since(deleted))
			ready(ctx, connectorName)
		}
		slices.Sort(took)
		AddReportEntry("a deleted Node", fmt.Sprintf("back after %s (median), %s (max)", took[1].Round(time.Millisecond), took[2].Round(time.Millisecond)))
		runWorkload(ctx, "aci-helloworld", linuxNode)
	}, SpecTimeout(4*time.Minute))

	It("needs nobody for a Lease that is deleted", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		create(ctx, connector)
		watched := watchNode(ctx, linuxNode)
		before := kubeletPod(ctx, linuxNode)
		kubectl(ctx, "delete", "lease", linuxNode, "-n", corev1.NamespaceNodeLease)
		deleted := time.Now()
		Eventually(func() error {
			return k8s.Get(ctx, client.ObjectKey{Namespace: corev1.NamespaceNodeLease, Name: linuxNode}, &coordinationv1.Lease{})
		}).WithContext(ctx).WithTimeout(30 * time.Second).Should(Succeed())
		AddReportEntry("a deleted Lease", "back after "+time.Since(deleted).Round(time.Second).String())
		watched.expectHeld()
		Expect(kubeletPod(ctx, linuxNode).UID).To(Equal(before.UID))
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("A client secret", func() {
	It("that has expired is named, and the node recovers by itself with a new one", func(ctx SpecContext) {
		putSecret(ctx, secretKey, azure.DefaultClientSecret)
		connector := sample()
		connector.Spec.OSTypes = []v1alpha1.OSType{v1alpha1.OSTypeLinux}
		create(ctx, connector)
		pod := runWorkload(ctx, "aci-helloworld", linuxNode)
		group := groupsOf(ctx, linuxNode)[0]
		before := kubeletPod(ctx, linuxNode)
		By("letting it expire")
		Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, azure.DefaultClientSecret, time.Now().Add(-time.Minute))).To(Succeed())
		Eventually(condition(ctx, connectorName, v1alpha1.ConditionAzureAccessible)).WithContext(ctx).WithTimeout(told).
			Should(be(metav1.ConditionFalse, v1alpha1.ReasonSecretExpired))
		Expect(kubeletPod(ctx, linuxNode).UID).To(Equal(before.UID), "a virtual kubelet that runs is left alone")

		By("putting a new one in")
		Expect(box.Azure().ResetRequests(ctx)).To(Succeed())
		Expect(box.Azure().SetClientSecret(ctx, azure.DefaultClientID, newSecret, time.Time{})).To(Succeed())
		start := time.Now()
		putSecret(ctx, secretKey, newSecret)
		Eventually(func(g Gomega) {
			pods := kubeletPods(ctx, g, linuxNode)
			g.Expect(pods).To(ConsistOf(HaveField("Status.ContainerStatuses", ConsistOf(HaveField("Ready", BeTrue())))))
			g.Expect(pods[0].UID).NotTo(Equal(before.UID))
		}).WithContext(ctx).WithTimeout(15 * time.Second).Should(Succeed())
		AddReportEntry("a new client secret", "in use after "+time.Since(start).Round(time.Millisecond).String())
		ready(ctx, connectorName)
		expectUndisturbed(ctx, pod, group)
	}, SpecTimeout(3*time.Minute))
})
