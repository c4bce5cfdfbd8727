# Needs Go, a C compiler (for the race detector), git, bash and make. Everything else is pinned in tools/ and built into
# build/tools.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Nothing here reads the revision in a binary, and without git, or in another user's clone, stamping it is an error.
export GOFLAGS := $(strip $(shell go env GOFLAGS) -buildvcs=false)

# A release says of which version and revision it is.
VERSION := $(shell sed -n 's/^  version: //p' builder-config.yaml)
REVISION = $(shell git rev-parse --short=12 HEAD)
PLATFORMS ?= linux/amd64 linux/arm64

# Settings of single targets, as in: make bench COUNT=10 BENCH=Translate
BENCH ?= .
COUNT ?= 6
FUZZTIME ?= 30s

MODULES := $(shell find . -name go.mod -not -path './build/*' -exec dirname {} \; | sort)
# modules_with lists the modules that have a Go file of the given name.
modules_with = $(shell for m in $(MODULES); do find "$$m" -name '$(1)' -not -path './build/*' -print -quit | grep -q . && echo "$$m"; done)
# Files that a person wrote: what a tool generated is not held to the formatter.
own_files = find . -name '*.go' -not -path './build/*' -print0 | xargs -0 grep -L --null '^// Code generated .* DO NOT EDIT'
# What mdatagen writes.
GENERATED := documentation.md 'generated_*_test.go' internal/metadata internal/metadatatest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

# The tag leaves out service discoveries of clouds, which Prometheus and its receiver bring along and nothing here needs.
WITHOUT_SD := -tags remove_all_sd

# GOBUILD is go build that announces a long build and says how far it is.
GOBUILD := build/tools/gobuild

# Without cgo the binary is static, so that it runs in an image with nothing else in it.
.PHONY: build
build: build/tools/.stamp ## build a collector with the exporter: bin/otelcol
	@mkdir -p build bin
	@echo "generating the collector's main package"
	@build/tools/builder --config builder-config.yaml --skip-compilation >build/builder.log 2>&1 || { cat build/builder.log; exit 1; }
	@CGO_ENABLED=0 $(GOBUILD) 'the collector' build/otelcol -trimpath $(WITHOUT_SD) -ldflags '-s -w' -o ../../bin/otelcol .

.PHONY: build/tools/release
build/tools/release:
	@mkdir -p build/tools
	@go build -C tools -o ../build/tools/release ./release

.PHONY: image-root
image-root: build build/tools/release ## make what the image has in it, except certificates: build/image
	@rm -rf build/image && mkdir -p build/image/etc/otelcol build/image/etc/ssl/certs build/image/var/lib/otelcol build/image/tmp
	cp bin/otelcol build/image/otelcol
	cp deploy/collector.yaml build/image/etc/otelcol/config.yaml
	cp LICENSE NOTICE build/image/
	chmod 1777 build/image/tmp
	build/tools/release -binary bin/otelcol -modules-of build/otelcol -name otelcol-ordered -version $(VERSION) \
		-sbom build/image/sbom.cdx.json -notices build/image/licences.txt

# The authorities that the image trusts, from where systems keep theirs.
CERTIFICATES ?= $(firstword $(wildcard $(SSL_CERT_FILE) /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem))

.PHONY: image
image: image-root ## make the container image without a container engine, for docker load or podman load: build/image.tar
	@go build -C tools/image -o ../../build/tools/image .
	build/tools/image -certificates '$(CERTIFICATES)' -tag otelcol-ordered:$(VERSION) -revision $(REVISION) -o build/image.tar

# The manifest gets the revision; everything else is that of "make build", in a directory of its own.
.PHONY: release
release: build/tools/.stamp build/tools/release ## build release binaries for PLATFORMS, with licences and bills of materials: build/release
	@rm -rf build/release && mkdir -p build/release
	sed -e 's/^  version: .*/&+$(REVISION)/' -e 's#output_path: .*#output_path: ./build/otelcol-release#' builder-config.yaml > build/release.yaml
	build/tools/builder --config build/release.yaml --skip-compilation
	@set -e; for p in $(PLATFORMS); do \
		file=otelcol-ordered_$(VERSION)_$${p/\//_}; echo "building $$file"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -C build/otelcol-release -trimpath $(WITHOUT_SD) -ldflags '-s -w' -o ../release/$$file .; \
		build/tools/release -binary build/release/$$file -modules-of build/otelcol-release -name otelcol-ordered \
			-version $(VERSION)+$(REVISION) -sbom build/release/$$file.cdx.json -notices build/release/$$file.licences.txt; \
	done
	build/tools/release -module . -name orderedremotewriteexporter -version $(VERSION)+$(REVISION) -sbom build/release/orderedremotewriteexporter.cdx.json
	@cd build/release && sha256sum otelcol-* orderedremotewriteexporter.cdx.json > SHA256SUMS && cat SHA256SUMS

# The same commit in another directory must make the same files.
.PHONY: release-check
release-check: ## check what a release needs: a clean tree, versions that agree, licences, and that it can be built again
	@test -z "$$(git status --porcelain)" || { git status --short; echo "not committed"; exit 1; }
	@! git describe --exact-match --tags >/dev/null 2>&1 || grep -q '^## \[$(VERSION)\]' CHANGELOG.md || { echo "CHANGELOG.md has no section $(VERSION)"; exit 1; }
	go test -run '^(TestVersions|TestBuilderManifest|TestEveryFileHasALicence)' .
	@$(MAKE) vulncheck
	@$(MAKE) release
	@rm -rf build/again && git clone -q . build/again && $(MAKE) -C build/again release
	@diff build/release/SHA256SUMS build/again/build/release/SHA256SUMS && echo "built again, with the same sums"
	@rm -rf build/again

# Without the database of vulnerabilities nothing is checked, and it says so.
.PHONY: vulncheck
vulncheck: ## look for known vulnerabilities in what the exporter calls
	@if curl -sfo /dev/null --max-time 10 https://vuln.go.dev/index/db.json; then \
		go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 .; \
	else echo "https://vuln.go.dev cannot be reached: NOT checked for known vulnerabilities"; fi

.PHONY: deadletters
deadletters: | $(GOBUILD) ## build the command that lists dead letters and sends them again: bin/deadletters
	@mkdir -p bin
	@$(GOBUILD) 'deadletters' tools/deadletters -ldflags '-s -w' -o ../../bin/deadletters .

# DEMO has its flags, as in: make run DEMO='-outage 30s -port-prometheus 9091'
.PHONY: run
run: build build/tools/prometheus build/tools/demo ## show the exporter at work with a real Prometheus, through an outage, until Ctrl-C
	@exec build/tools/demo $(DEMO)

.PHONY: demo-check
demo-check: build build/tools/prometheus build/tools/demo ## the same without staying: check that no sample is lost or out of order, and the page
	@exec build/tools/demo -check $(DEMO)

.PHONY: demo-picture
demo-picture: ## the same, and keep the picture of the page for the documentation (needs Chromium)
	@$(MAKE) demo-check DEMO='-picture docs/images/demo.png $(DEMO)'

# The integration tests use the collector that has just been built. Go's test cache does not see that it is another one.
.PHONY: test
test: build build/tools/victoria-metrics ## run all tests with the race detector
	@failed=0; for m in $(filter-out ./integration/fleet,$(call modules_with,*_test.go)); do \
		echo "go test -race $$m/..."; \
		OTELCOL_BINARY="$(CURDIR)/bin/otelcol" go test -C "$$m" -race -count=1 -timeout 20m ./... || failed=1; \
	done; exit $$failed

.PHONY: test-fast
test-fast: ## run the tests of the root module alone, without the race detector
	go test ./...

# The tests come last, so that what is printed ends with their summary.
.PHONY: check
check: ## run everything that must hold before a change is merged, as the continuous integration does
	@$(MAKE) lint
	@$(MAKE) cross
	@$(MAKE) check-generate
	@$(MAKE) demo-check
	@$(MAKE) test

.PHONY: lint
lint: build/tools/.stamp ## check all code: go vet, staticcheck, gofumpt
	@failed=0; for m in $(call modules_with,*.go); do \
		echo "go vet and staticcheck $$m/..."; \
		(cd "$$m" && go vet ./... && "$(CURDIR)/build/tools/staticcheck" ./...) || failed=1; \
	done; \
	unformatted=$$($(own_files) | xargs -0 build/tools/gofumpt -l); \
	if [ -n "$$unformatted" ]; then printf 'not formatted (make fmt):\n%s\n' "$$unformatted"; failed=1; fi; \
	exit $$failed

# Every system and architecture, and the tests too, from source: go vet would compile all dependencies for each.
.PHONY: cross
cross: ## type-check the exporter for Linux, macOS and Windows on amd64, arm64, 386 and arm
	@mkdir -p build/tools
	@go build -C tools -o ../build/tools/cross ./cross
	@build/tools/cross

.PHONY: fmt
fmt: build/tools/.stamp ## format all code with gofumpt, and begin each file with its licence
	@$(own_files) | xargs -0 grep -L --null '^// SPDX-License-Identifier: ' | while IFS= read -r -d '' f; do \
		{ printf '%s\n\n' '// SPDX-License-Identifier: Apache-2.0'; cat "$$f"; } > "$$f.new" && mv "$$f.new" "$$f"; \
	done || true
	@$(own_files) | xargs -0 build/tools/gofumpt -w

# mdatagen names the package of what it generates after the directory that it runs in, so it runs in a link of that name.
.PHONY: generate
generate: build/tools/.stamp ## generate code and documentation from metadata.yaml
	@ln -sfn .. build/orderedremotewriteexporter
	cd build/orderedremotewriteexporter && "$(CURDIR)/build/tools/mdatagen" metadata.yaml
	@find . -name 'generated_*.go' -not -path './build/*' -exec build/tools/gofumpt -w {} +

.PHONY: check-generate
check-generate: generate ## fail if what is generated is not up to date in git
	@git diff --exit-code -- $(GENERATED)
	@untracked=$$(git ls-files --others --exclude-standard -- $(GENERATED)); \
	if [ -n "$$untracked" ]; then printf 'generated but not in git:\n%s\n' "$$untracked"; exit 1; fi

.PHONY: bench
bench: build/tools/.stamp ## run all benchmarks COUNT times and summarize them
	@for m in $$(grep -rl --include='*_test.go' --exclude-dir=build '^func Benchmark' . | xargs -n1 dirname | sort -u); do \
		go test -C "$$m" -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) .; \
	done | tee build/bench.txt
	build/tools/benchstat build/bench.txt

# Minimizing what is merely interesting would take most of a short run.
.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@grep -ro --include='*_test.go' --exclude-dir=build '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file target; do \
		echo "$${file%/*} $${target#func }"; \
		go test -C "$${file%/*}" -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s . </dev/null; \
	done

# Each of them takes some seconds to build, and the tests up to half a minute: some minutes together.
.PHONY: mutants
mutants: ## break the exporter on purpose, in one place at a time, and see the tests fail that guard it
	@mkdir -p build/tools
	@go build -C tools -o ../build/tools/mutants ./mutants
	@build/tools/mutants

# Each nested module repeats what the modules above it require, so a change of the root's go.mod may change theirs.
.PHONY: tidy
tidy: ## go mod tidy in every module
	@for m in $(MODULES); do echo "go mod tidy $$m"; go mod tidy -C "$$m"; done

.PHONY: clean
clean: ## remove everything that was built
	rm -rf bin build

$(GOBUILD): $(wildcard tools/gobuild/*.go)
	@mkdir -p build/tools
	@go build -C tools -o ../$@ ./gobuild

build/tools/.stamp: tools/go.mod tools/go.sum | $(GOBUILD)
	@$(GOBUILD) 'the tools' tools -o ../build/tools/ tool
	@touch $@

build/tools/prometheus: tools/prometheus/go.mod tools/prometheus/go.sum | $(GOBUILD)
	@$(GOBUILD) 'Prometheus (some minutes the first time)' tools/prometheus $(WITHOUT_SD) -o ../../$@ github.com/prometheus/prometheus/cmd/prometheus

build/tools/promtool: tools/prometheus/go.mod tools/prometheus/go.sum | $(GOBUILD)
	@$(GOBUILD) promtool tools/prometheus $(WITHOUT_SD) -o ../../$@ github.com/prometheus/prometheus/cmd/promtool

.PHONY: check-alerts
check-alerts: build/tools/promtool ## check the alert rules and run their tests
	build/tools/promtool check rules --lint-fatal dashboards/alerts.yaml
	build/tools/promtool test rules dashboards/alerts_test.yaml

build/tools/victoria-metrics: tools/victoriametrics/go.mod tools/victoriametrics/go.sum | $(GOBUILD)
	@$(GOBUILD) 'VictoriaMetrics (a minute the first time)' tools/victoriametrics -tags pure_go -o ../../$@ github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics

build/tools/vmagent: tools/victoriametrics/go.mod tools/victoriametrics/go.sum | $(GOBUILD)
	@$(GOBUILD) 'vmagent (a minute the first time)' tools/victoriametrics -tags pure_go -o ../../$@ github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent

build/tools/mimir: tools/mimir/go.mod tools/mimir/go.sum | $(GOBUILD)
	@$(GOBUILD) 'Mimir (some minutes the first time)' tools/mimir -tags netgo,stringlabels -o ../../$@ github.com/grafana/mimir/cmd/mimir

# Not part of "make test", which does without the minutes that Mimir takes to build.
.PHONY: check-mimir
check-mimir: build/tools/mimir ## run the tests with a real Mimir
	go test -C integration -run Mimir -count 1 .

build/fleet/otelcol: integration/fleet/builder-config.yaml $(wildcard *.go internal/*/*.go) build/tools/.stamp
	@mkdir -p build/fleet
	@build/tools/builder --config $< --skip-compilation >build/fleet/builder.log 2>&1 || { cat build/fleet/builder.log; exit 1; }
	@CGO_ENABLED=0 $(GOBUILD) 'the collector of a fleet (some minutes the first time)' build/fleet/collector -trimpath -ldflags '-s -w' -o ../otelcol .

# Not part of "make test", for the same reason. FLEET is an expression for the names of the tests.
FLEET ?= .
.PHONY: fleet
fleet: build/fleet/otelcol ## run the tests with fleets: tiers of collectors, and Kafka between them
	go test -C integration/fleet -run '$(FLEET)' -v -count 1 . | grep -v '^=== '

.PHONY: build/tools/demo
build/tools/demo:
	@mkdir -p build/tools
	@go build -C tools -o ../build/tools/demo ./demo

# LOADTEST has its flags, as in: make loadtest LOADTEST='-profile -scenarios gauges'
.PHONY: loadtest
loadtest: build/tools/.stamp ## measure a real collector at full load, next to contrib's exporter
	@mkdir -p build/loadtest
	@go build -C loadtest -o ../build/loadtest/loadtest ./cmd/loadtest
	@build/loadtest/loadtest $(LOADTEST)

# SCALE has its flags, as in: make scale SCALE='-series 1000000 -types histogram -exporters nop,ordered_remote_write/v2,vmagent'
.PHONY: scale
scale: build/tools/.stamp build/tools/vmagent ## measure throughput, order and losses at scale, next to other exporters: some minutes, -full more than an hour
	@mkdir -p build/loadtest
	@go build -C loadtest -o ../build/loadtest/ ./cmd/scale
	@build/loadtest/scale $(SCALE)

.PHONY: load-tools
load-tools: ## build the generator and the receiver of the load tests: bin/generate, bin/receive
	@mkdir -p bin
	@go build -C loadtest -ldflags '-s -w' -o ../bin/ ./cmd/generate ./cmd/receive

# Each of the two tests starts rounds for DURATION, without the race detector, which would leave a tenth of the rounds (make
# test runs both with it for some seconds). CHAOS has further flags, as in: make chaos DURATION=30m CHAOS='-seed 7'
DURATION ?= 1m
# The short form kills ten collectors, and is a part of the tests.
CRASHES ?= 200
.PHONY: crash
crash: build ## kill a collector that keeps its queue in storage CRASHES times, under load
	OTELCOL_BINARY="$(CURDIR)/bin/otelcol" go test -C integration -run '^TestKilledCollectorsLoseNothing$$' -count=1 -v -timeout 0 -crashes $(CRASHES) .

# Needs twice the bytes on the disk of TMPDIR.
BACKLOG ?= 5368709120
.PHONY: backlog
backlog: build ## have a collector send BACKLOG bytes from storage, and show how soon, how fast and with how much memory (Linux)
	OTELCOL_BINARY="$(CURDIR)/bin/otelcol" go test -C integration -run '^TestBacklog$$' -count=1 -v -timeout 0 -backlog.bytes $(BACKLOG) -backlog.random 1000 .

.PHONY: durability
durability: build ## measure what a queue in storage costs in a real collector, beside one in memory and beside the extension alone (Linux)
	OTELCOL_BINARY="$(CURDIR)/bin/otelcol" go test -C integration -run '^TestDurability$$' -count=1 -v -timeout 0 -durability.rounds 5 .

.PHONY: chaos
chaos: ## run random rounds against a fault server and a real Prometheus for DURATION each
	@failed=0; \
	go test -run '^TestChaos$$' -v -timeout 0 -chaos.duration $(DURATION) $(CHAOS) . || failed=1; \
	go test -C integration -run '^TestChaosWithPrometheus$$' -v -timeout 0 -chaos.duration $(DURATION) $(CHAOS) . | grep -v '^=== \|^ *--- PASS' || failed=1; \
	exit $$failed
