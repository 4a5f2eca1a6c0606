// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

const (
	namespace = "vk-connector-system"
	// operatorUser is who the operator is in a cluster: the tests run it with the rights that it is
	// installed with, and no more.
	operatorUser = "system:serviceaccount:" + namespace + ":vk-connector-operator"
)

var (
	scheme   *runtime.Scheme
	k8s      client.Client
	admin    *rest.Config
	cloud    *sandboxazure.Server
	auditLog string
)

func TestControllers(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "Controllers")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	ctrl.SetLogger(zap.New(zap.WriteTo(GinkgoWriter), zap.UseDevMode(true)))
	programs, err := binaries.Build(ctx, binaries.Options{Progress: func(line string) { GinkgoWriter.Println(line) }})
	Expect(err).NotTo(HaveOccurred())

	dir := GinkgoT().TempDir()
	auditLog = filepath.Join(dir, "audit.log")
	plane, err := controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(dir, "plane"), Programs: programs, AuditLog: auditLog,
		// It would take a Node for dead whose namesake of a spec before sent its last heartbeat long ago: stand-ins send none.
		DisabledControllers: []string{"node-lifecycle-controller"},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(plane.Stop)
	admin = plane.RESTConfig()

	scheme = runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	k8s, err = client.New(admin, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())

	install(ctx, "../config/manager/namespace.yaml", "../config/crd/bases", "../config/rbac", "../config/guard", "../config/restriction")
	Eventually(func() error {
		return k8s.List(ctx, &v1alpha1.VirtualKubeletConnectorList{})
	}).Should(Succeed())

	cloud, err = sandboxazure.NewServer(sandboxazure.DefaultConfig())
	Expect(err).NotTo(HaveOccurred())
	startOperator(scheme, "operator", told)
}, NodeTimeout(45*time.Minute))

// install applies the manifests in files and folders.
func install(ctx context.Context, paths ...string) {
	GinkgoHelper()
	for _, path := range paths {
		files, err := filepath.Glob(path)
		Expect(err).NotTo(HaveOccurred())
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			files, err = filepath.Glob(filepath.Join(path, "*.yaml"))
			Expect(err).NotTo(HaveOccurred())
		}
		Expect(files).NotTo(BeEmpty())
		for _, file := range files {
			if filepath.Base(file) != "kustomization.yaml" {
				installFile(ctx, file)
			}
		}
	}
}

func installFile(ctx context.Context, file string) {
	GinkgoHelper()
	f, err := os.Open(file)
	Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		object := &unstructured.Unstructured{}
		if decoder.Decode(object) != nil {
			return
		}
		if len(object.Object) == 0 {
			continue
		}
		err := k8s.Create(ctx, object)
		if !apierrors.IsAlreadyExists(err) {
			Expect(err).NotTo(HaveOccurred(), "%s: %s", file, object.GetName())
		}
	}
}

// operatorClock is the operator's clock, which a spec may put ahead.
var operatorClock aheadClock

// aheadClock shows another time than the machine's, and runs as that unless it stands.
type aheadClock struct {
	clock.RealClock
	ahead atomic.Int64
	// stands is the time that it shows as long as it is not nil.
	stands atomic.Pointer[time.Time]
}

func (c *aheadClock) Now() time.Time {
	if stands := c.stands.Load(); stands != nil {
		return *stands
	}
	return time.Now().Add(time.Duration(c.ahead.Load()))
}

// stand stops the clock until a spec has ended.
func (c *aheadClock) stand() {
	c.stands.Store(new(c.Now()))
	DeferCleanup(func() { c.stands.Store(nil) })
}

func (c *aheadClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// told are the operator's metrics.
var told = metrics.New(version.Get())

// startOperator runs the operator in this process, with its own rights, until the suite or the spec ends. It returns what
// its caches hold.
func startOperator(scheme *runtime.Scheme, agent string, told *metrics.Metrics) cache.Cache {
	GinkgoHelper()
	own := rest.CopyConfig(admin)
	own.UserAgent = agent
	own.Impersonate.UserName = operatorUser
	own.Impersonate.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	mgr, err := ctrl.NewManager(own, ctrl.Options{
		Scheme:         scheme,
		MapperProvider: controllers.NewMapper,
		Cache:          controllers.CacheOptions(namespace),
		Client:         controllers.ClientOptions(),
		Metrics:        metricsserver.Options{BindAddress: "0"},
		Controller:     config.Controller{SkipNameValidation: new(true)},
		Logger:         logr.New(ctrl.Log.GetSink()),
	})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	Expect(controllers.Setup(ctx, mgr, controllers.Options{
		Defaults: resolve.Defaults{
			Namespace:           namespace,
			Image:               v1alpha1.Image{Repository: "example.com/virtual-kubelet", Tag: "1.6.4"},
			AllowedRepositories: []string{"example.com/virtual-kubelet", "mirror.example/*"},
		},
		Connect: azure.NewConnector(cloud.Transport(), "test", told.Asked),
		Workers: 4,
		Metrics: told,
		Clock:   &operatorClock,
	})).To(Succeed())
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Eventually(stopped).WithTimeout(time.Minute).Should(Receive(Not(HaveOccurred())))
	})
	return mgr.GetCache()
}

var _ = AfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		describeWorld(ctx)
	}
	cleanUp(ctx)
}, NodeTimeout(2*time.Minute))

// cleanUp ends what a spec has left, whatever state it is in.
func cleanUp(ctx context.Context) {
	cloud.ClearFaults()
	Expect(k8s.DeleteAllOf(ctx, &v1alpha1.VirtualKubeletConnector{})).To(Succeed())
	for _, group := range cloud.ContainerGroups() {
		Expect(cloud.Client().DeleteContainerGroup(ctx, group.SubscriptionID, group.ResourceGroup, group.Name)).To(Succeed())
	}
	Expect(cloud.Client().SetClientSecret(ctx, sandboxazure.DefaultClientID, sandboxazure.DefaultClientSecret, time.Time{})).To(Succeed())
	Eventually(func(g Gomega) {
		deletePods(ctx, g, "default")
		var connectors v1alpha1.VirtualKubeletConnectorList
		g.Expect(k8s.List(ctx, &connectors)).To(Succeed())
		g.Expect(connectors.Items).To(BeEmpty())
	}).WithTimeout(time.Minute).Should(Succeed())
	Expect(k8s.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(namespace))).To(Succeed())
	Expect(k8s.DeleteAllOf(ctx, &corev1.Node{})).To(Succeed())
}

func deletePods(ctx context.Context, g Gomega, namespace string) {
	g.Expect(k8s.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0))).To(Succeed())
}

func describeWorld(ctx context.Context) {
	var connectors v1alpha1.VirtualKubeletConnectorList
	if err := k8s.List(ctx, &connectors); err == nil {
		for i := range connectors.Items {
			AddReportEntry("connector "+connectors.Items[i].Name, connectors.Items[i].Status)
		}
	}
	var deployments appsv1.DeploymentList
	if err := k8s.List(ctx, &deployments, client.InNamespace(namespace)); err == nil {
		for i := range deployments.Items {
			AddReportEntry("deployment "+deployments.Items[i].Name, deployments.Items[i].Status)
		}
	}
	var pods corev1.PodList
	if err := k8s.List(ctx, &pods); err == nil {
		for i := range pods.Items {
			AddReportEntry("pod "+pods.Items[i].Name, pods.Items[i].Status)
		}
	}
	AddReportEntry("container groups", cloud.ContainerGroups())
}
