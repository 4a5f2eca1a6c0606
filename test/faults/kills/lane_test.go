// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package kills

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/controllers"
	"github.com/virtual-kubelet/connector-operator/internal/azure"
	"github.com/virtual-kubelet/connector-operator/internal/resolve"
	sandboxazure "github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
)

const (
	namespace    = "vk-connector-system"
	operatorUser = "system:serviceaccount:" + namespace + ":vk-connector-operator"
)

// lane is a world of its own: a control plane, an Azure, machines and an operator.
type lane struct {
	name   string
	scheme *runtime.Scheme
	admin  *rest.Config
	k8s    client.Client
	cloud  *sandboxazure.Server
	tally  tally

	// loseFirst loses the machine that the lane began with.
	loseFirst func()

	fuse     *fuse
	operator context.CancelFunc
	stopped  chan error
}

// newLane starts a world without an operator. What it started ends with the suite, or with the spec that it is for.
func newLane(ctx context.Context, name, dir string, programs binaries.Set) (*lane, error) {
	var plane *controlplane.ControlPlane
	var err error
	// Of several that start at once, one may take the port that another has just found free.
	for range 3 {
		plane, err = controlplane.Start(ctx, controlplane.Options{Dir: filepath.Join(dir, name), Programs: programs, Scheduler: true})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	DeferCleanup(plane.Stop)
	l := &lane{name: name, admin: plane.RESTConfig(), scheme: runtime.NewScheme()}
	if err := errors.Join(clientgoscheme.AddToScheme(l.scheme), v1alpha1.AddToScheme(l.scheme)); err != nil {
		return nil, err
	}
	if l.k8s, err = client.New(l.admin, client.Options{Scheme: l.scheme}); err != nil {
		return nil, err
	}
	if err := l.install(ctx, "config/manager/namespace.yaml", "config/crd/bases/*.yaml", "config/rbac/*.yaml", "config/restriction/*.yaml"); err != nil {
		return nil, err
	}
	world := sandboxazure.DefaultConfig()
	const soon = 20 * time.Millisecond
	world.Timing.ContainerGroupPending, world.Timing.ContainerGroupCreating, world.Timing.ContainerGroupDeleting = soon, soon, soon
	if l.cloud, err = sandboxazure.NewServer(world); err != nil {
		return nil, err
	}
	l.tally.reset()
	l.loseFirst, err = l.addMachine("first")
	return l, err
}

// addMachine adds a machine to the cluster. It is lost when the function is called that comes back.
func (l *lane) addMachine(name string) (lose func(), err error) {
	m, err := newMachine(machinePrefix+name, l.admin, l.scheme, l.cloud, &l.tally)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx) }()
	lose = sync.OnceFunc(func() {
		defer GinkgoRecover()
		cancel()
		Expect(<-ended).To(Succeed())
	})
	DeferCleanup(lose)
	return lose, nil
}

// install creates what is in manifests of the checkout.
func (l *lane) install(ctx context.Context, globs ...string) error {
	root, err := binaries.FindRoot()
	if err != nil {
		return err
	}
	for _, glob := range globs {
		files, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no manifests in %s: %w", glob, err)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			if err := l.installFile(ctx, file); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(file), err)
			}
		}
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return l.k8s.List(ctx, &v1alpha1.VirtualKubeletConnectorList{}) == nil, nil
	})
}

func (l *lane) installFile(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		object := &unstructured.Unstructured{}
		if decoder.Decode(object) != nil {
			return nil
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := l.k8s.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
}

// startOperator runs an operator with the rights that it is installed with, behind a fuse of its own.
func (l *lane) startOperator() error {
	l.fuse = &fuse{}
	own := rest.CopyConfig(l.admin)
	own.Impersonate.UserName = operatorUser
	own.Impersonate.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	own.Wrap(l.fuse.toCluster)
	mgr, err := ctrl.NewManager(own, ctrl.Options{
		Scheme:                  l.scheme,
		MapperProvider:          controllers.NewMapper,
		Cache:                   controllers.CacheOptions(namespace),
		Client:                  controllers.ClientOptions(),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		Controller:              config.Controller{SkipNameValidation: new(true)},
		Logger:                  ctrl.Log.WithName(l.name),
		GracefulShutdownTimeout: new(time.Duration(0)),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	err = controllers.Setup(ctx, mgr, controllers.Options{
		Defaults: resolve.Defaults{
			Namespace:           namespace,
			Image:               v1alpha1.Image{Repository: "example.com/virtual-kubelet", Tag: "1.6.4"},
			AllowedRepositories: []string{"example.com/virtual-kubelet"},
		},
		Connect: azure.NewConnector(l.fuse.toAzure(l.cloud.Transport()), "test"),
		Workers: 4,
	})
	if err != nil {
		cancel()
		return err
	}
	l.operator, l.stopped = cancel, make(chan error, 1)
	go func() { l.stopped <- mgr.Start(ctx) }()
	return nil
}

// killOperator ends all of an operator: its connections first.
func (l *lane) killOperator() error {
	if l.operator == nil {
		return nil
	}
	l.fuse.blow()
	l.operator()
	l.operator = nil
	select {
	case <-l.stopped: // how it ends, without its connections, says nothing
		return nil
	case <-time.After(time.Minute):
		return errors.New("the operator did not end")
	}
}

// mourn starts a new operator where one was killed.
func (l *lane) mourn() error {
	if !l.fuse.blown() {
		return nil
	}
	return errors.Join(l.killOperator(), l.startOperator())
}
