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
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
)

// The virtual kubelet that this release deploys where a connector does not say otherwise.
const (
	virtualKubeletRepository = "mcr.microsoft.com/oss/virtual-kubelet/virtual-kubelet"
	virtualKubeletTag        = "1.6.4"
)

// config is what the flags say.
type config struct {
	connectorNamespace string
	leaderElection     bool
	probeAddress       string
	metricsAddress     string
	workers            int
	log                zap.Options
}

func main() {
	var c config
	flag.StringVar(&c.connectorNamespace, "connector-namespace", ownNamespace(),
		"the namespace that virtual kubelets run in and that Secrets are read from; the operator's own unless given")
	flag.BoolVar(&c.leaderElection, "leader-elect", true, "let one of several operators work at a time")
	flag.StringVar(&c.probeAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	flag.StringVar(&c.metricsAddress, "metrics-bind-address", ":8443",
		"where metrics are served over HTTPS, to those who may get the path /metrics; 0 turns them off")
	flag.IntVar(&c.workers, "workers", 8, "how many connectors are reconciled at once")
	c.log.BindFlags(flag.CommandLine)
	flag.Parse()

	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&c.log)))
	if err := run(ctrl.SetupSignalHandler(), c); err != nil {
		logf.Log.Error(err, "the operator ends")
		os.Exit(1)
	}
}

func run(ctx context.Context, c config) error {
	if c.connectorNamespace == "" {
		return errors.New("--connector-namespace is not set, and the operator does not run in a cluster that would tell its own")
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))

	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	// The API server's priority and fairness limits the operator, not a guess made here.
	restConfig.QPS = -1
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme: scheme,
		Cache:  controllers.CacheOptions(c.connectorNamespace),
		Client: controllers.ClientOptions(),
		Metrics: metricsserver.Options{
			BindAddress:    c.metricsAddress,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:        c.probeAddress,
		LeaderElection:                c.leaderElection,
		LeaderElectionID:              "vk-connector-operator",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Defaults: resolve.Defaults{
			Namespace:       c.connectorNamespace,
			ImageRepository: virtualKubeletRepository,
			ImageTag:        virtualKubeletTag,
		},
		Connect: azure.NewConnector(nil, "vk-connector-operator"),
		Workers: c.workers,
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

// ownNamespace returns the namespace of the operator's pod; empty outside of a cluster.
func ownNamespace() string {
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(namespace))
}
