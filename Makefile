# The commands of the project, in one place. `make` lists them.

SHELL := /bin/bash
CARGO ?= cargo
STEP := .ci/step
OTP_DIR := $(or $(GUSSET_OTP_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/otp-matrix)
# Takes some 3 minutes of one core to build.
CARGO_DENY := 0.20.2
RELEASES := 23 25 27 29
OTP_MISSING := $(strip $(foreach otp,$(RELEASES),$(if $(wildcard $(OTP_DIR)/bin/erl$(otp)),,$(otp))))
RABBITMQ_MISSING := $(if $(wildcard $(OTP_DIR)/rabbitmq/bin/rabbitmq-server),,RabbitMQ)

.PHONY: help build test unit otp chaos lint fmt deny fuzz compose cluster

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

build: ## the release binary
	$(CARGO) build --release

test: otp ## everything the tests need, then all of them
	@$(STEP) "build of the tests" $(CARGO) test --all-features --no-run
	@$(STEP) tests $(CARGO) test --all-features --no-fail-fast

unit: ## the tests that need no other program
	@$(STEP) "unit tests" $(CARGO) test --all-features --lib --bins

# Without the package tools of Debian the tests that need a BEAM say so and are skipped; never where CI is set.
otp: ## Erlang/OTP 23, 25, 27, 29 with Elixir, and RabbitMQ, into GUSSET_OTP_DIR or the user's cache
ifneq ($(OTP_MISSING),)
	@if [ -n "$(CI)" ] || command -v apt-get >/dev/null; then \
	    $(STEP) "OTP $(OTP_MISSING)" interop/otp-matrix -d "$(OTP_DIR)"; \
	else \
	    echo "OTP $(OTP_MISSING) not found, and no apt-get to fetch it: tests against BEAM nodes will be skipped"; \
	fi
endif
ifneq ($(RABBITMQ_MISSING),)
	@if [ -n "$(CI)" ] || command -v apt-get >/dev/null; then \
	    $(STEP) "RabbitMQ" interop/otp-matrix -d "$(OTP_DIR)" rabbitmq; \
	else \
	    echo "RabbitMQ not found, and no apt-get to fetch it: tests against it will be skipped"; \
	fi
endif

lint: ## format, clippy and documentation, as CI asks
	@$(STEP) fmt $(CARGO) fmt --check
	@$(STEP) "clippy, default features" $(CARGO) clippy --all-targets -- -D warnings
	@$(STEP) "clippy, no features" $(CARGO) clippy --all-targets --no-default-features -- -D warnings
	@$(STEP) "clippy, all features" $(CARGO) clippy --all-targets --all-features -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(STEP) doc $(CARGO) doc --no-deps --all-features

# The same test as one of `make test`, for longer; with another seed it takes other steps.
CHAOS_SECONDS ?= 60
chaos: otp ## three BEAMs and three gussets lose and find each other for CHAOS_SECONDS (60); CHAOS_SEED
	GUSSET_CHAOS_SECONDS=$(CHAOS_SECONDS) $(if $(CHAOS_SEED),GUSSET_CHAOS_SEED=$(CHAOS_SEED)) \
	    $(CARGO) test --all-features --test chaos -- --nocapture

fmt: ## format in place
	$(CARGO) fmt

deny: ## licences, bans and sources of the dependencies (installs cargo-deny if it is missing)
	@$(CARGO) deny --version >/dev/null 2>&1 || \
	    $(STEP) "install of cargo-deny" $(CARGO) install cargo-deny --locked --version $(CARGO_DENY) --quiet
	@$(STEP) deny $(CARGO) deny check --hide-inclusion-graph licenses bans sources

# Both need root, docker, and GUSSET_KUBE_TOOL, a tool that makes images from Debian packages and starts a cluster.
compose: build ## docker-compose.yml with a container cut off and brought back (interop/compose-test)
	@$(STEP) compose interop/compose-test

cluster: build ## the manifests and images in a real Kubernetes cluster (interop/cluster-test)
	@$(STEP) cluster interop/cluster-test

# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz --locked`).
FUZZ_SECONDS ?= 20
fuzz: ## every fuzz target for FUZZ_SECONDS (20)
	@for target in $$(cd fuzz/fuzz_targets && ls *.rs | sed 's/\.rs$$//'); do \
	    $(STEP) "fuzz $$target" $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
	done
