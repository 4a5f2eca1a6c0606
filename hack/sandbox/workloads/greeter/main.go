// SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
// SPDX-License-Identifier: Apache-2.0

// Command greeter is a workload to test a cluster with: it prints a line for each
// thing that it does, greets over HTTP and, asked with "lookup NAME...", "get URL...",
// "scrape URL" or "dial ADDRESS...", tells what a pod sees of names, services and metrics,
// and what of the network it reaches.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTimeout is enough for the second attempt that TCP makes after a second.
	dialTimeout = 2500 * time.Millisecond
	tokenFile   = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "greeter:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		return serve(ctx)
	}
	switch args[0] {
	case "lookup":
		return lookup(ctx, args[1:])
	case "get":
		return get(ctx, args[1:])
	case "scrape":
		return scrape(ctx, args[1:])
	case "dial":
		dial(ctx, args[1:])
		return nil
	default:
		return fmt.Errorf("unknown command %q: use lookup NAME..., get URL..., scrape URL or dial ADDRESS...", args[0])
	}
}

func serve(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              ":8080",
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Printf("%s %s\n", r.Method, r.URL.Path)
			fmt.Fprintf(w, "hello from %s\n", host)
		}),
	}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Printf("greeter on %s listens on %s\n", host, server.Addr)
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	fmt.Println("greeter ends")
	return nil
}

func lookup(ctx context.Context, names []string) error {
	for _, name := range names {
		addresses, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", name, strings.Join(addresses, " "))
	}
	return nil
}

func get(ctx context.Context, urls []string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for _, url := range urls {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%s %d %s\n", url, response.StatusCode, strings.TrimSpace(string(body)))
	}
	return nil
}

// scrape gets metrics as Prometheus does: with the token of the pod, from whom signs its certificate itself.
func scrape(ctx context.Context, urls []string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	for _, url := range urls {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+string(token))
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		fmt.Println(response.Status)
		_, err = io.Copy(os.Stdout, response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// dial connects to all addresses at a time. What answers that nobody listens was reached, too; what lets no answer through
// is silent.
func dial(ctx context.Context, addresses []string) {
	results := make([]string, len(addresses))
	var dials sync.WaitGroup
	for i, address := range addresses {
		dials.Go(func() { results[i] = dialOne(ctx, address) })
	}
	dials.Wait()
	for i, address := range addresses {
		fmt.Println(address, results[i])
	}
}

func dialOne(ctx context.Context, address string) string {
	dialer := net.Dialer{Timeout: dialTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	var timeout net.Error
	switch {
	case err == nil:
		connection.Close()
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	default:
		return err.Error()
	}
}
