# Everything starts here: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Finds (or sets up, once) a Node that loads the gateway's engine, and installs what package-lock.json says, if it changed.
# PORT, PUSH_PORT, ADMIN_PORT and NATS_URL reach the process from make's command line and from the environment alike.
READY = node_bin=$$(scripts/node.sh) && export PATH="$$node_bin:$$PATH" NODE_COMPILE_CACHE="$$PWD/.build/compile-cache" && scripts/install.sh

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The console's SDK, in one file: made anew where its sources are newer.
SDK = client/dist/pushcluster.js
$(SDK): $(filter-out %.test.ts,$(wildcard client/*.ts protocol/*.ts)) package-lock.json
	@$(READY) && npm run --silent build -w @pushcluster/client

.PHONY: build
build: $(SDK) ## Make the SDK's bundle and types in client/dist

.PHONY: run
run: $(SDK) ## Start gateway and logic in one process (PORT, PUSH_PORT, ADMIN_PORT, NATS_URL; ARGS="--config FILE")
	@$(READY) && exec node standalone/main.ts $(ARGS)

.PHONY: test
test: $(SDK) ## Type check, lint, unit and integration tests; stops at the first that fails
	@$(READY) && exec node scripts/test.ts

.PHONY: check
check: ## Type check, lint and the direction of imports only
	@$(READY) && exec node scripts/test.ts types lint imports

.PHONY: test-unit
test-unit: $(SDK) ## Unit tests (FILES="runtime/*.test.ts" for some)
	@$(READY) && exec node scripts/test.ts unit $(FILES)

.PHONY: test-integration
test-integration: $(SDK) ## Integration tests against real servers (FILES="test/integration/X.test.ts" for some)
	@$(READY) && exec node scripts/test.ts integration $(FILES)

.PHONY: e2e
e2e: ## Tests on a real two-node Kubernetes that it starts as root, or on KUBECONFIG's (FILES="test/e2e/X.test.ts" for some, IP_FAMILY=IPv6 or DualStack)
	@$(READY) && exec node scripts/test.ts e2e $(FILES)

.PHONY: nightly
nightly: $(SDK) ## What takes longest, as root: storms, 1,000 PushClusters, Autobahn, IPv6, dual stack, images for arm64, KEDA; before each release
	@$(READY) && exec node scripts/test.ts nightly packages tools integration e2e ipv6 dualstack images keda

.PHONY: test-images
test-images: ## Build the images for arm64 as well, as root, and try them in an emulator
	@$(READY) && exec node scripts/test.ts images

.PHONY: test-keda
test-keda: ## Build KEDA, which takes 10 minutes of a processor once, and have it scale a PushCluster
	@$(READY) && exec node scripts/test.ts keda

.PHONY: cluster
cluster: ## Start a real two-node Kubernetes on this machine, as root, and leave it running (CLUSTER=NAME for another, IP_FAMILY=IPv6 or DualStack)
	@$(READY) && exec node test/harness/cluster/main.ts up $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## End that cluster (CLUSTER=NAME for another)
	@$(READY) && exec node test/harness/cluster/main.ts down $(CLUSTER)

.PHONY: bench
bench: ## Performance suite (CASE=merged for one, QUICK=1, PAIRS=1, PEERS=1): a table here, JSON in bench-results/
	@$(READY) && exec node test/bench/bench.ts

.PHONY: chaos
chaos: ## Rooms with history, and without, under faults, judged at the end (FAULTS=30, SEED=7, SCHEDULE=FILE, SHRINK=minutes)
	@$(READY) && exec node test/chaos/chaos.ts $(if $(FAULTS),--faults "$(FAULTS)") $(if $(SEED),--seed "$(SEED)") $(if $(SCHEDULE),--schedule "$(SCHEDULE)") $(if $(SHRINK),--shrink "$(SHRINK)")

.PHONY: soak
soak: ## A month of operations on rooms with history, in half an hour to an hour, as root (OPERATIONS=108, SEED=1)
	@$(READY) && OPERATIONS=$${OPERATIONS:-108} exec node scripts/test.ts e2e test/e2e/product/soak.test.ts

.PHONY: simulate-history
simulate-history: ## Rooms with history in virtual time, under random faults (SCHEDULES=100000, SEED=7)
	@$(READY) && exec node test/simulate/simulateHistory.ts $(if $(SCHEDULES),--schedules "$(SCHEDULES)") $(if $(SEED),--seed "$(SEED)")

.PHONY: simulate
simulate: ## A million and ten million people through a failure, a rollout and a storm: a table here, pictures in simulate-results/ (SEED=7)
	@$(READY) && exec node test/simulate/simulate.ts

.PHONY: screenshot
screenshot: $(SDK) ## Make docs/images/console.png and plan.png in a real Chromium (PAGE=plan for one)
	@$(READY) && exec node test/screenshot.ts

.PHONY: pictures
pictures: ## Draw the dashboards to docs/images/dashboard-*.png from real query results, in a real Chromium
	@$(READY) && exec node test/dashboardPictures.ts

.PHONY: docs
docs: ## Make the documentation's site in dist/docs, to be served by any web server (BASE=/path/ where it is not at the root)
	@$(READY) && scripts/install.sh docs/site && exec node scripts/docs.ts

.PHONY: release
release: $(SDK) ## Make what a publisher needs in dist/: images (as root), chart, npm package, lists of packages, sums, notes (VERSION=x.y.z, REPOSITORY, REGISTRY, RUNBOOK, BASE)
	@$(READY) && exec node scripts/release.ts "$(VERSION)"

.PHONY: format
format: ## Format and lint the sources, fixing what can be fixed
	@$(READY) && exec node_modules/.bin/biome check --write .

.PHONY: clean
clean: ## Remove what was installed and built in this checkout
	@rm -rf node_modules docs/site/node_modules dist client/dist .build bench-results simulate-results chaos-results
