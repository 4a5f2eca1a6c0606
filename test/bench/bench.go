// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/api/v1alpha1"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/azure"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/binaries"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
	"github.com/virtual-kubelet/connector-operator/test/world"
)

const (
	namespace = "vk-connector-system"
	account   = "vk-connector-operator"
	// operatorUser is who the operator is in a cluster: it runs with the rights that it is installed with, and no more.
	operatorUser = "system:serviceaccount:" + namespace + ":" + account
	// userUser is who applies connectors, standInUser who does what virtual kubelets do, floorUser who makes bare writes.
	userUser    = "bench-user"
	standInUser = "bench-virtual-kubelets"
	floorUser   = "bench-floor"
)

// bench is an API server with what the operator needs, and nothing else.
type bench struct {
	progress func(string, ...any)
	dir      string
	plane    *controlplane.ControlPlane
	audit    string
	scheme   *runtime.Scheme
	cloud    *azure.Server
	proxy    *connectProxy
	kubelets *standIns
	watched  *connectors
	client   client.Client
	manager  string
	version  string
	profile  string
	// fail ends the run.
	fail context.CancelCauseFunc
	// bodies are what the operator has written, to be written once more by others, and changed that after a change.
	bodies, changed map[string]*writes
	end             []func() error
}

func newBench(
	ctx context.Context, fail context.CancelCauseFunc, manager, profile string, progress func(string, ...any),
) (w *bench, err error) {
	w = &bench{progress: progress, fail: fail, manager: manager, profile: profile, scheme: runtime.NewScheme(), bodies: map[string]*writes{}, changed: map[string]*writes{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := errors.Join(clientgoscheme.AddToScheme(w.scheme), v1alpha1.AddToScheme(w.scheme)); err != nil {
		return w, err
	}
	version, err := exec.CommandContext(ctx, manager, "--version").Output()
	if err != nil {
		return w, fmt.Errorf("%s --version: %w", manager, err)
	}
	w.version = strings.TrimSpace(string(version))
	if w.dir, err = os.MkdirTemp("", "connector-bench-"); err != nil {
		return w, err
	}
	w.end = append(w.end, func() error { return os.RemoveAll(w.dir) })
	needed := slices.DeleteFunc(binaries.Modules(), func(m binaries.Module) bool { return m.Name != "etcd" && m.Name != "kubernetes" })
	programs, err := binaries.Build(ctx, binaries.Options{Modules: needed, Progress: func(line string) { progress("%s", line) }})
	if err != nil {
		return w, err
	}
	w.audit = filepath.Join(w.dir, "audit.log")
	progress("starting etcd and kube-apiserver")
	w.plane, err = controlplane.Start(ctx, controlplane.Options{
		Dir: filepath.Join(w.dir, "plane"), Programs: programs, AuditLog: w.audit, NoControllers: true,
	})
	if err != nil {
		return w, err
	}
	w.end = append(w.end, w.plane.Stop)
	if w.client, err = w.clientAs("bench-admin"); err != nil {
		return w, err
	}
	if err := w.install(ctx); err != nil {
		return w, err
	}
	if err := w.startAzure(ctx); err != nil {
		return w, err
	}
	if err := w.startStandIns(ctx); err != nil {
		return w, err
	}
	err = w.watchConnectors(ctx)
	return w, err
}

func (w *bench) close() error {
	var problems []error
	for _, end := range slices.Backward(w.end) {
		problems = append(problems, end())
	}
	return errors.Join(problems...)
}

// configAs is a configuration of a client with all rights and a name of its own, for the audit log.
func (w *bench) configAs(user string) (*rest.Config, error) {
	pair, err := w.plane.Authority().Client(user, "system:masters")
	if err != nil {
		return nil, err
	}
	config := w.plane.RESTConfig()
	config.CertData, config.KeyData = pair.Certificate, pair.Key
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

func (w *bench) clientAs(user string) (client.Client, error) {
	config, err := w.configAs(user)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: w.scheme})
}

// install applies what an installation brings, but for the operator's Deployment.
func (w *bench) install(ctx context.Context) error {
	root, err := binaries.FindRoot()
	if err != nil {
		return err
	}
	for _, path := range []string{
		"manager/namespace.yaml", "crd/bases/*.yaml", "rbac/*.yaml", "guard/*.yaml", "restriction/*.yaml",
	} {
		files, err := filepath.Glob(filepath.Join(root, "config", path))
		if err != nil {
			return err
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			if err := w.installFile(ctx, file); err != nil {
				return fmt.Errorf("install %s: %w", file, err)
			}
		}
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: secretName},
		Data:       map[string][]byte{"clientSecret": []byte(azure.DefaultClientSecret)},
	}
	if err := w.client.Create(ctx, secret); err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return w.client.List(ctx, &v1alpha1.VirtualKubeletConnectorList{}) == nil, nil
	})
}

func (w *bench) installFile(ctx context.Context, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := w.client.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
}

// subscriptions are those that connectors are spread over where there are several.
var subscriptions = []string{
	azure.DefaultSubscriptionID,
	"11111111-1111-1111-1111-111111111112", "11111111-1111-1111-1111-111111111113",
	"11111111-1111-1111-1111-111111111114", "11111111-1111-1111-1111-111111111115",
}

// startAzure serves the simulated Azure where its proxy leads, whatever host is asked for.
func (w *bench) startAzure(ctx context.Context) error {
	config := azure.DefaultConfig()
	for _, id := range subscriptions[1:] {
		subscription := config.Subscriptions[0]
		subscription.ID = id
		config.Subscriptions = append(config.Subscriptions, subscription)
		config.RoleAssignments = append(config.RoleAssignments, azure.Contributor(azure.DefaultClientID, "/subscriptions/"+id))
		config.ResourceGroups = append(config.ResourceGroups, azure.ResourceGroup{SubscriptionID: id, Name: resourceGroup, Location: location})
	}
	var err error
	if w.cloud, err = azure.NewServer(config); err != nil {
		return err
	}
	pair, err := w.plane.Authority().Server("azure", azure.Hosts()...)
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error {
		return w.cloud.Serve(serving, azure.Listeners{TLS: tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}})})
	})
	w.proxy, err = startProxy(listener.Addr().String())
	w.end = append(w.end, func() error {
		cancel()
		return errors.Join(w.proxy.close(), group.Wait())
	})
	return err
}

// connectProxy joins its clients to the simulated Azure.
type connectProxy struct {
	address, azure string
	server         *http.Server
}

func startProxy(azureAddress string) (*connectProxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &connectProxy{address: "http://" + listener.Addr().String(), azure: azureAddress}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

func (p *connectProxy) close() error {
	if p == nil {
		return nil
	}
	return p.server.Close()
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT is served", http.StatusMethodNotAllowed)
		return
	}
	world.Connect(w, r, p.azure)
}
