// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/metrics"
	"github.com/virtual-kubelet/connector-operator/internal/render"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	"github.com/virtual-kubelet/connector-operator/internal/scrape"
	"github.com/virtual-kubelet/connector-operator/internal/version"
)

// virtualKubeletImage is what this release deploys where a connector does not say otherwise.
const virtualKubeletImage = "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet:1.6.4"

// config is what the flags say.
type config struct {
	connectorNamespace  string
	virtualKubeletImage string
	allowedRepositories string
	leaseClusterRole    string
	leaderElection      bool
	probeAddress        string
	metricsAddress      string
	pprofAddress        string
	workers             int
	log                 zap.Options
}

func main() {
	var c config
	flag.StringVar(&c.connectorNamespace, "connector-namespace", ownNamespace(),
		"the namespace that virtual kubelets run in and that Secrets are read from; the operator's own unless given")
	flag.StringVar(&c.virtualKubeletImage, "virtual-kubelet-image", virtualKubeletImage,
		"the virtual kubelet's image where a connector names none, with a tag, a digest or both; for mirrors")
	flag.StringVar(&c.allowedRepositories, "allowed-image-repositories", "",
		"the repositories that a connector may take the virtual kubelet's image from, separated by commas; one that ends with /* stands for all below it; "+
			"that of --virtual-kubelet-image unless given. An image runs with the rights of a node.")
	flag.StringVar(&c.leaseClusterRole, "lease-cluster-role", "",
		"the ClusterRole that virtual kubelets are bound to in kube-node-lease, in place of the Role "+render.KubeletRole+
			" there; for an installation that can bring no Role in another namespace, such as that of OLM")
	flag.BoolVar(&c.leaderElection, "leader-elect", true, "let one of several operators work at a time")
	flag.StringVar(&c.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	flag.StringVar(&c.metricsAddress, "metrics-bind-address", ":8443",
		"where metrics are served over HTTPS, to those who may get the path /metrics; 0 turns them off")
	flag.StringVar(&c.pprofAddress, "pprof-bind-address", "0",
		"where profiles are served without TLS and to everybody who reaches it, such as 127.0.0.1:6060; 0 turns them off")
	flag.IntVar(&c.workers, "workers", 8, "how many connectors are reconciled at once")
	showVersion := flag.Bool("version", false, "say which build this is, and end")
	c.log.BindFlags(flag.CommandLine)
	flag.Parse()
	if *showVersion {
		fmt.Fprintln(os.Stdout, "vk-connector-operator", version.Get())
		return
	}

	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&c.log)))
	if err := run(ctrl.SetupSignalHandler(), c); err != nil {
		logf.Log.Error(err, "the operator ends")
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	if err := checkLog(c.log); err != nil {
		return err
	}
	if c.connectorNamespace == "" {
		return errors.New("--connector-namespace is not set, and the operator does not run in a cluster that would tell its own")
	}
	image, err := parseImage(c.virtualKubeletImage)
	if err != nil {
		return fmt.Errorf("--virtual-kubelet-image: %w", err)
	}
	scheme := kruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	// What is in use is little, and so is what a collection costs; what it would let lie about is not.
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(collectAt)
	}
	if c.pprofAddress == "0" {
		runtime.MemProfileRate = 0 // nobody can ask for what it would note
	}
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	// The API server's priority and fairness limits the operator, not a guess made here.
	restConfig.QPS = -1
	// The API server is near: to unpack what it sends costs more than it saves, and memory for every watch.
	restConfig.DisableCompression = true
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:         scheme,
		MapperProvider: controllers.NewMapper,
		Cache:          controllers.CacheOptions(c.connectorNamespace),
		Client:         controllers.ClientOptions(),
		Metrics: metricsserver.Options{
			BindAddress:    c.metricsAddress,
			SecureServing:  true,
			FilterProvider: scrape.Filter,
		},
		HealthProbeBindAddress:        c.probeAddress,
		PprofBindAddress:              c.pprofAddress,
		LeaderElection:                c.leaderElection,
		LeaderElectionID:              "vk-connector-operator",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	build := version.Get()
	logf.Log.Info("the operator starts", "version", build.Version, "commit", build.Commit, "go", build.Go)
	told := metrics.New(build)
	if err := ctrlmetrics.Registry.Register(told); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Defaults: resolve.Defaults{
			Namespace:           c.connectorNamespace,
			Image:               image,
			AllowedRepositories: repositories(c.allowedRepositories, image.Repository),
			Proxy:               proxy(os.LookupEnv),
			LeaseClusterRole:    c.leaseClusterRole,
		},
		Connect: azure.NewConnector(nil, "vk-connector-operator", told.Asked),
		Workers: c.workers,
		Metrics: told,
	})
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add the health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add the readiness check: %w", err)
	}
	return mgr.Start(ctx)
}

// collectAt is by how many percent the heap grows until it is collected.
const collectAt = 30

// maxVerbosity is the highest log level at which no Secret is logged: from the next one on, client-go logs the bodies of
// its requests and of the answers.
const maxVerbosity = 7

func checkLog(options zap.Options) error {
	if options.Level != nil && options.Level.Enabled(-maxVerbosity-1) {
		return fmt.Errorf("--zap-log-level is too high: use %d at most; above it, the Secrets that are read and written would be logged", maxVerbosity)
	}
	return nil
}

// ownNamespace returns the namespace of the operator's pod; empty outside of a cluster.
func ownNamespace() string {
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(namespace))
}

// parseImage reads an image reference.
func parseImage(reference string) (v1alpha1.Image, error) {
	named, err := name.ParseReference(reference, name.WithDefaultTag(""))
	if err != nil {
		return v1alpha1.Image{}, err
	}
	rest, digest, _ := strings.Cut(reference, "@")
	image := v1alpha1.Image{Repository: rest, Digest: digest}
	if i := strings.LastIndex(rest, ":"); i > strings.LastIndex(rest, "/") {
		image.Repository, image.Tag = rest[:i], rest[i+1:]
	}
	if image.Tag == "" && image.Digest == "" {
		return v1alpha1.Image{}, fmt.Errorf("%s has neither a tag nor a digest", named.Context())
	}
	return image, nil
}

// repositories splits a list of repositories; an empty one has the default.
func repositories(list, standard string) []string {
	var out []string
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			out = append(out, entry)
		}
	}
	if len(out) == 0 {
		return []string{standard}
	}
	return out
}

// proxy returns the variables by which Go programs find a proxy, as far as they are set.
func proxy(lookup func(string) (string, bool)) []corev1.EnvVar {
	var out []corev1.EnvVar
	for _, upper := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		for _, variable := range []string{upper, strings.ToLower(upper)} {
			if value, ok := lookup(variable); ok && value != "" {
				out = append(out, corev1.EnvVar{Name: variable, Value: value})
			}
		}
	}
	return out
}
