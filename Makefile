# Tapwatch's targets; `make help` lists them.

# What scripts/deps had to fetch is in .cache/bin. C is not used: without cgo
# the binaries are static, and no C compiler is needed.
export PATH := $(CURDIR)/.cache/bin:$(PATH):/usr/sbin:/sbin
export CGO_ENABLED := 0

# git refuses a tree of another user, where it is told of it by hand.
GIT := git -c safe.directory='*'
VERSION_PKG := github.com/prometheus/common/version
LDFLAGS = -X $(VERSION_PKG).Version=$(or $(shell $(GIT) describe --tags --always --dirty 2>/dev/null),unknown) \
	-X $(VERSION_PKG).Revision=$(or $(shell $(GIT) rev-parse --short HEAD 2>/dev/null),unknown) \
	-X $(VERSION_PKG).Branch=$(or $(shell $(GIT) rev-parse --abbrev-ref HEAD 2>/dev/null),unknown)

# Modules beside the main one: `./...` stops at their go.mod.
NESTED = $(filter-out tools,$(patsubst %/go.mod,%,$(shell $(GIT) ls-files -co --exclude-standard '*/go.mod')))
LINT := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help up build deps deps-test test test-kernel check format lint generate generated rules bench bench-relay soak drill drill-random drill-healthy clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

up: deps build ## launch the demo's sandboxes and watch them; ARGS=--once prints and exits
	@bin/tapwatch up --demo $(ARGS)

# envd is part of templates, which would all be made again with every commit if
# it took the version; the flags are those of internal/sandbox/template/templatetest.
build: ## build bin/tapwatch and bin/envd
	go build -buildvcs=false -trimpath -ldflags '-s -w' -o bin/envd ./cmd/envd
	go build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/tapwatch ./cmd/tapwatch

deps: ## install what `make up` needs and this machine lacks
	@scripts/deps up

deps-test: ## the same for `make test`
	@scripts/deps test

# Every agent watches every tap of the machine, those of another package's tests
# too; so packages run one after another.
test: deps-test build check ## all checks, then all tests; fails where a test cannot run
	TAPWATCH_TEST_REQUIRE=1 go test -p 1 -timeout 15m ./...
	@for dir in $(NESTED); do \
		echo "TAPWATCH_TEST_REQUIRE=1 go -C $$dir test ./..."; \
		TAPWATCH_TEST_REQUIRE=1 go -C $$dir test ./... || exit 1; \
	done

test-kernel: deps-test ## run the agent's tests on Linux 6.1, in a VM; all but package agent's are part of `make test`
	TAPWATCH_TEST_REQUIRE=1 TAPWATCH_TEST_KERNEL_AGENT=1 go test -count=1 -v -timeout 15m -run TestLinux61 ./test/kernel

check: lint generated rules ## format, lint, generated files, alert rules

format: ## format all Go files
	gofmt -w $$($(GIT) ls-files -co --exclude-standard '*.go')

lint: ## gofmt, go vet and golangci-lint
	@bad=$$(gofmt -l $$($(GIT) ls-files -co --exclude-standard '*.go')); \
		[ -z "$$bad" ] || { echo "not formatted, run make format:" $$bad; exit 1; }
	$(LINT) run ./...
	@for dir in $(NESTED); do echo "go -C $$dir vet ./..."; go -C $$dir vet ./... || exit 1; done

generate: ## remake all generated files: eBPF objects, protobuf, dashboards
	go generate ./...

generated: ## fail where a generated file is not what its sources make
	scripts/generated

rules: ## check the alert rules and run their tests
	promtool check rules dashboards/rules.yml
	promtool test rules dashboards/rules_test.yml
	promtool check config dashboards/prometheus.yml
	amtool check-config dashboards/alertmanager.yml >/dev/null

bench: ## run the benchmarks
	go test -run '^$$' -bench . -benchmem -timeout 1h ./...

# PART is a benchmark of test/relay (Bulk, Request, Crowd, Connect, Idle, Slots); ROUNDS how often each has its turn.
bench-relay: deps-test ## the data path beside socat, HAProxy and nginx; PART=Bulk is one part
	go test -run '^$$' -bench '$(or $(PART),.)' -benchtime 1x -timeout 10m ./test/relay -args -rounds $(or $(ROUNDS),7)

soak: drill-random ## 100 faults that nobody thought of, 5,000 slots made and removed under an agent, 1 GiB both ways through the relay
	go vet -tags soak ./test/scale ./internal/sandbox/relay
	go test -tags soak -run '^TestSoak' -timeout 1h -v ./test/scale ./internal/sandbox/relay

drill: deps build ## break sandboxes in every known way, and write what was named into docs/drill.md
	@scripts/drill $(ARGS)

drill-random: deps build ## 100 faults that nobody thought of; SEED=7 makes the same again
	bin/tapwatch drill random --count 100 --seed $(or $(SEED),$(shell date +%s)) $(ARGS)

drill-healthy: deps build ## 20 healthy sandboxes under load for two minutes: nothing must be found
	bin/tapwatch drill --healthy 20 --for 2m $(ARGS)

clean: ## remove what was built and fetched; Go's own caches stay
	rm -rf bin .cache
