// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/virtual-kubelet/connector-operator/internal/sandbox/controlplane"
	"github.com/virtual-kubelet/connector-operator/internal/sandbox/process"
)

// operator is the operator's own program, as it is released.
type operator struct {
	process               *process.Process
	metrics, probe, pprof string
	token                 string
	profiled              bool
	profile               string
	began                 time.Time
}

const stopGrace = 15 * time.Second

// startOperator starts the operator, and returns once it says that it is ready. Its heap can be asked for where it is
// profiled, which costs memory.
func (w *bench) startOperator(ctx context.Context, profiled bool) (*operator, error) {
	kubeconfig := filepath.Join(w.dir, "operator.kubeconfig")
	groups := []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	if err := w.plane.WriteKubeconfig(kubeconfig, operatorUser, groups...); err != nil {
		return nil, err
	}
	authorities := filepath.Join(w.dir, "authorities.pem")
	if err := os.WriteFile(authorities, w.plane.Authority().Certificate(), 0o600); err != nil {
		return nil, err
	}
	token, err := w.metricsToken(ctx)
	if err != nil {
		return nil, err
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	ports, err := controlplane.FreePorts(loopback, 3)
	if err != nil {
		return nil, err
	}
	address := func(port uint16) string { return netip.AddrPortFrom(loopback, port).String() }
	o := &operator{metrics: address(ports[0]), probe: address(ports[1]), pprof: "0", token: token, profiled: profiled, profile: w.profile, began: time.Now()}
	if profiled || w.profile != "" {
		o.pprof = address(ports[2])
	}
	o.process, err = process.Start(process.Spec{
		Name: "manager", Path: w.manager, Dir: w.dir, Log: filepath.Join(w.dir, "manager.log"),
		Args: []string{
			"--connector-namespace=" + namespace, "--leader-elect=false",
			"--metrics-bind-address=" + o.metrics, "--health-probe-bind-address=" + o.probe, "--pprof-bind-address=" + o.pprof,
		},
		Env: []string{"KUBECONFIG=" + kubeconfig, "SSL_CERT_FILE=" + authorities, "HTTPS_PROXY=" + w.proxy.address, "NO_PROXY=127.0.0.1"},
	})
	if err != nil {
		return nil, err
	}
	go func() {
		<-o.process.Done()
		if err := o.process.Err(); err != nil { // nil where it was stopped
			w.fail(fmt.Errorf("the operator has ended: %w", err))
		}
	}()
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		response, err := http.Get("http://" + o.probe + "/readyz") //nolint:noctx // it is on this machine
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		o.stop()
		return nil, fmt.Errorf("the operator is not ready: %w; the end of its log:\n%s", err, process.Tail(filepath.Join(w.dir, "manager.log")))
	}
	return o, nil
}

func (o *operator) stop() {
	if o != nil && o.process != nil {
		o.process.Stop(stopGrace)
	}
}

// metricsToken is a token of somebody who may look at the operator's metrics.
func (w *bench) metricsToken(ctx context.Context) (string, error) {
	const name = "bench-metrics"
	reader := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}},
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}
	for _, object := range []client.Object{reader, role, binding} {
		if err := client.IgnoreAlreadyExists(w.client.Create(ctx, object)); err != nil {
			return "", err
		}
	}
	request := &authenticationv1.TokenRequest{}
	err := w.client.SubResource("token").Create(ctx, reader, request)
	return request.Status.Token, err
}

// scrape reads the metrics that are told of: all values of those with a name, added up.
func (o *operator) scrape(ctx context.Context, names ...string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+o.metrics+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+o.token)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it signs its certificate itself
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the metrics are not told: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, name := range names {
		for _, metric := range families[name].GetMetric() {
			out[name] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return out, nil
}

// heap is how many bytes live in the operator's heap, after a collection.
func (o *operator) heap(ctx context.Context) (float64, error) {
	if err := fetch(ctx, http.DefaultClient, o.profiles("heap?gc=1"), io.Discard); err != nil {
		return 0, err
	}
	metrics, err := o.scrape(ctx, "go_memstats_heap_alloc_bytes")
	return metrics["go_memstats_heap_alloc_bytes"], err
}

// save writes a profile into the folder for profiles, if there is one.
func (o *operator) save(ctx context.Context, name, query string) error {
	if o.profile == "" {
		return nil
	}
	return saveProfile(ctx, http.DefaultClient, o.profiles(query), filepath.Join(o.profile, name+".pprof"))
}

func (o *operator) profiles(query string) string {
	return "http://" + o.pprof + "/debug/pprof/" + query
}

func saveProfile(ctx context.Context, from *http.Client, url, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	return errors.Join(fetch(ctx, from, url, file), file.Close())
}

func fetch(ctx context.Context, from *http.Client, url string, to io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := from.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	_, err = io.Copy(to, response.Body)
	return err
}

// usage is what a process has used since it began.
type usage struct {
	// cpu is in seconds, of all its threads.
	cpu float64
	// read and written are bytes, those of sockets too.
	read, written float64
}

// clockTicks is how many ticks a second has in /proc, on every Linux that Go runs on.
const clockTicks = 100

func usageOf(pid int) (usage, error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return usage{}, err
	}
	// The name may hold spaces; what follows it has none (proc(5)).
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return usage{}, fmt.Errorf("%s/stat has %d fields", folder, len(fields))
	}
	var out usage
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return usage{}, err
		}
		out.cpu += ticks / clockTicks
	}
	values, err := pairs(filepath.Join(folder, "io"))
	if err != nil {
		return usage{}, err
	}
	out.read, out.written = values["rchar"], values["wchar"]
	return out, nil
}

// rss is how many bytes of a process are in memory, and how many of them are of files.
func rss(pid int) (all, files float64, err error) {
	values, err := pairs(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	return values["VmRSS"] * 1024, values["RssFile"] * 1024, err
}

// pairs reads a file of lines with a name, a colon and a number.
func pairs(path string) (map[string]float64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); len(fields) > 0 {
			if number, err := strconv.ParseFloat(fields[0], 64); err == nil {
				out[name] = number
			}
		}
	}
	return out, nil
}
