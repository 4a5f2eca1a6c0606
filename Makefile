# SPDX-FileCopyrightText: The Virtual Kubelet connector operator authors
# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The toolchain is the one that is installed: nothing is downloaded behind the user's back.
export GOTOOLCHAIN := local
# The race detector is the only thing that needs a C compiler.
export CGO_ENABLED := $(if $(RACE),1,0)

# Tools are keyed by the Go version: a linter can't read code for a newer Go than built it.
TOOLS ?= $(CURDIR)/bin/tools/$(shell go env GOVERSION)
CONTROLLER_GEN := $(TOOLS)/controller-gen
CRD_REF_DOCS := $(TOOLS)/crd-ref-docs
GINKGO := $(TOOLS)/ginkgo
GOLANGCI_LINT := $(TOOLS)/golangci-lint
HELM := $(TOOLS)/helm
IMAGE_BUILDER := $(TOOLS)/image
KUSTOMIZE := $(TOOLS)/kustomize
OPM := $(TOOLS)/opm
PROMTOOL := $(TOOLS)/promtool

# What is released is written here.
DIST ?= dist
# The operator's image, as config names it.
MANAGER_IMAGE := ghcr.io/virtual-kubelet/connector-operator

# Tests of these packages start API servers, kubelets or whole clusters.
CLUSTER_PACKAGES := /(controllers|internal/sandbox|test/api|test/e2e|test/faults|test/installation)(/|$$)
CLUSTER_TEST = $(AS_ROOT) $(GINKGO) -v --timeout=60m --poll-progress-after=2m $(if $(RACE),--race) $(if $(FOCUS),--focus='$(FOCUS)')

# The sandbox makes network namespaces and mounts. As root, Go keeps to root's own caches, so that
# no file of root's is left in the user's; GOENV carries the user's settings over, such as a proxy.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -E -H env "PATH=$$PATH" "GOENV=$(shell go env GOENV)")

# What the operator says of itself: --version, and the metric vkc_build_info. Of one commit, it is always the same.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE ?= $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
VERSION_PACKAGE := github.com/virtual-kubelet/connector-operator/internal/version
LDFLAGS = -X $(VERSION_PACKAGE).version=$(VERSION) -X $(VERSION_PACKAGE).commit=$(COMMIT) -X $(VERSION_PACKAGE).date=$(DATE)

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "; print "Usage: make <target>"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9.-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ See it work (Linux; as root, or with sudo)

.PHONY: demo
demo: bin/sandbox need-root ## Run the whole story in a sandbox, from nothing to nothing. KEEP=1 leaves the sandbox up.
	@$(AS_ROOT) bin/sandbox demo

.PHONY: sandbox
sandbox: bin/sandbox need-root ## Start a sandbox: a real Kubernetes with a simulated Azure.
	@$(AS_ROOT) bin/sandbox up

.PHONY: sandbox-down
sandbox-down: bin/sandbox need-root ## End the sandbox and remove all of it.
	@$(AS_ROOT) bin/sandbox down

##@ Build

.PHONY: build
build: bin/manager bin/sandbox ## Build bin/manager and bin/sandbox.

.PHONY: bin/manager bin/sandbox
bin/manager bin/sandbox: bin/%:
	@go build -buildvcs=false $(if $(filter manager,$*),-ldflags '$(LDFLAGS)') -o $@ ./cmd/$*

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Write deepcopy functions, apply configurations, CRD, roles, the chart, the bundle and the reference.
	@$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...
	@$(CONTROLLER_GEN) applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./api/...
	@$(CONTROLLER_GEN) crd output:crd:dir=config/crd/bases paths=./api/...
	@$(CONTROLLER_GEN) rbac:roleName=vk-connector-operator output:rbac:dir=config/rbac paths=./controllers/...
	@go run ./hack/chart
	@go run ./hack/bundle
	@$(CRD_REF_DOCS) --config=hack/reference/config.yaml --templates-dir=hack/reference/templates --renderer=markdown \
		--source-path=api/v1alpha1 --output-path=docs/reference.md --log-level=WARN

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the Go code.
	@$(GOLANGCI_LINT) fmt

.PHONY: tidy
tidy: ## Tidy every Go module.
	@hack/modules.sh go mod tidy

.PHONY: tools
tools: $(CONTROLLER_GEN) $(CRD_REF_DOCS) $(GINKGO) $(GOLANGCI_LINT) $(HELM) $(IMAGE_BUILDER) $(KUSTOMIZE) $(PROMTOOL) ## Build the pinned tools of hack/tools.

$(TOOLS)/%: hack/tools/%/go.mod hack/tools/%/go.sum
	@echo "building $* from hack/tools/$*"
	@GOFLAGS= GOWORK=off GOOS= GOARCH= CGO_ENABLED=0 \
		go build -C hack/tools/$* -trimpath -buildvcs=false $(TOOL_FLAGS) -o $@ tool
	@touch $@

$(IMAGE_BUILDER): $(wildcard hack/tools/image/*.go)

# Without it, opm needs a library in C.
$(OPM): TOOL_FLAGS := -tags=containers_image_openpgp

##@ Release

.PHONY: image
image: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
image: $(IMAGE_BUILDER) ## Write the operator's image for amd64 and arm64 to dist/image, with bills of materials beside it.
	@$(IMAGE_BUILDER) -layout=$(DIST)/image -sboms=$(DIST)/sbom -ldflags='$(LDFLAGS)' ./cmd/manager

.PHONY: install.yaml
install.yaml: $(KUSTOMIZE) ## Write all that is installed to dist/install.yaml. IMAGE=repository@digest names the image.
	@mkdir -p $(DIST)
	@copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && cp -R config "$$copy" && \
		$(if $(IMAGE),(cd "$$copy/config/default" && $(KUSTOMIZE) edit set image '$(MANAGER_IMAGE)=$(IMAGE)') && )\
		$(KUSTOMIZE) build "$$copy/config/default" >$(DIST)/install.yaml

.PHONY: chart
chart: $(HELM) ## Write the Helm chart to dist.
	@$(HELM) package --destination=$(DIST) config/chart

.PHONY: bundle
bundle: ## Write the bundle for OLM.
	@go run ./hack/bundle

.PHONY: catalog
catalog: $(OPM) ## Write a catalog for OLM, which offers the bundle in its channels, to dist/catalog.
	@rm -rf $(DIST)/catalog && mkdir -p $(DIST)/catalog && cp config/catalog/*.yaml $(DIST)/catalog
	@$(OPM) render bundle --output=yaml --alpha-image-ref-template='$(MANAGER_IMAGE)-bundle:v{{.Version}}' >$(DIST)/catalog/bundle.yaml
	@$(OPM) validate $(DIST)/catalog

##@ Check

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Lint, the import rules included.
	@$(GOLANGCI_LINT) run
	@cd test/bench && $(GOLANGCI_LINT) run

.PHONY: verify
verify: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Check that generated files, formatting and modules are current.
	@TOOLS=$(TOOLS) hack/verify.sh

.PHONY: test
test: test-unit test-packaging test-bundle test-flux test-sandbox test-controllers test-e2e test-faults ## Run all tests. RACE=1 adds the race detector (needs a C compiler).

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go.
	@packages=$$(go list ./... | grep -vE '$(CLUSTER_PACKAGES)|/test/install$$'); go test $(if $(RACE),-race) $$packages

.PHONY: test-packaging
test-packaging: $(HELM) $(KUSTOMIZE) ## Test what is installed, and that each way to install it installs the same.
	@HELM=$(HELM) go test $(if $(RACE),-race) -count=1 ./test/install

.PHONY: test-bundle
test-bundle: ## Validate the bundle as OperatorHub does, and test what rights it grants.
	@cd test/bundle && GOWORK=off go test -count=1 ./...

.PHONY: test-image
test-image: image ## Build the operator's image, and look at what it is.
	@IMAGE_LAYOUT=$(abspath $(DIST)/image) SBOMS=$(abspath $(DIST)/sbom) go test -count=1 -run='^TestImage$$' ./test/install

# A module of its own is not told of changed files outside of it, so nothing of it is cached.
GITOPS_TEST = GOFLAGS= GOWORK=off go -C test/gitops/$(@:test-%=%) test -count=1 $(if $(RACE),-race) ./...

.PHONY: test-gitops
test-gitops: test-flux test-argocd ## Judge connectors, and the manifests for GitOps, with the code of Flux and of Argo CD.

.PHONY: test-flux
test-flux: ## Judge them with the code of Flux alone.
	@$(GITOPS_TEST)

.PHONY: test-argocd
test-argocd: ## Judge them with the code of Argo CD alone, which takes long to build.
	@$(GITOPS_TEST)

.PHONY: programs
programs: bin/sandbox need-root ## Build the sandbox's programs, if they are not in the cache yet.
	@$(AS_ROOT) bin/sandbox build

.PHONY: test-sandbox
test-sandbox: $(GINKGO) programs ## Run the sandbox's own tests. FOCUS=regexp picks some, here and below.
	@$(CLUSTER_TEST) ./internal/sandbox/...

.PHONY: test-controllers
test-controllers: $(GINKGO) programs ## Run the tests of the API and the controllers on a real API server.
	@$(CLUSTER_TEST) ./controllers $(addprefix ./,$(wildcard test/api))

.PHONY: test-e2e
test-e2e: $(GINKGO) programs ## Run the user stories in a sandbox.
	@$(CLUSTER_TEST) --procs=2 --fail-on-empty ./test/e2e

.PHONY: test-faults
test-faults: $(GINKGO) programs ## Break what the operator depends on, and see it come to rest.
	@$(CLUSTER_TEST) $(if $(FOCUS),,--fail-on-empty) ./test/faults/...

.PHONY: conformance
conformance: test-gitops test-installation test-image test-monitoring ## Run what takes long to build: the tests with the code of other projects.

.PHONY: test-monitoring
test-monitoring: $(PROMTOOL) ## Try the alerts with promtool.
	@PROMTOOL=$(PROMTOOL) hack/test-monitoring.sh

.PHONY: test-installation
test-installation: $(GINKGO) programs ## Install with kubectl, Helm, Flux and OLM, each from its beginning to its end. It builds what they need.
	@$(CLUSTER_TEST) --timeout=3h --fail-on-empty ./test/installation

# A seed is a history: SEED=7 HISTORIES=1 plays one again. SHRINK is how often it is tried to shorten one that fails.
.PHONY: chaos
chaos: export SEED ?= $(shell date +%s)
chaos: export HISTORIES ?= 300
chaos: export LANES ?= 12
chaos: export SHRINK ?= 6
chaos: $(GINKGO) programs ## Play random histories of users and faults: HISTORIES of them, from SEED on.
	@echo "SEED=$(SEED) HISTORIES=$(HISTORIES) make chaos"
	@$(CLUSTER_TEST) --timeout=8h --poll-progress-after=8h --label-filter=histories --fail-on-empty ./test/faults

##@ Measure

# BENCH are its flags: BENCH='-scales=25 -repeats=1 -phases=scale -profile=/tmp/profiles' is a quick look.
.PHONY: bench
bench: bin/manager ## Measure what the operator costs, beside bare writes, and write docs/benchmarks. It takes 80 minutes.
	@go -C test/bench build -buildvcs=false -o $(CURDIR)/bin/bench .
	@bin/bench $(if $(BENCH),$(BENCH),-out=docs/benchmarks -page=docs/benchmarks.md)
	@$(MAKE) bench-stages

.PHONY: bench-stages
bench-stages: ## Measure the pure stages: time and allocations.
	@go test -run='^$$' -bench=. -benchmem ./internal/resolve ./internal/render ./internal/apply ./internal/status

.PHONY: need-root
need-root:
	@[ "$$(uname -s)" = Linux ] || { echo "the sandbox needs Linux; this is $$(uname -s)" >&2; exit 1; }
	@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { echo "the sandbox needs root: run make as root, or install sudo" >&2; exit 1; }

.PHONY: clean
clean: ## Remove what make built in the checkout.
	@rm -rf bin dist
