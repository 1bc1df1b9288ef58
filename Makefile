# Thin on purpose: what each line does is said by the program it calls.
#
# One profile, release, for everything: the nodes run what was tested, and nothing is built twice.

SHELL := /bin/bash
NODES ?= 3
# Programs and tests find each other in this folder, wherever it is.
TARGET := $(or $(CARGO_TARGET_DIR),target)
DEVFLEET := $(TARGET)/release/devfleet

.DEFAULT_GOAL := help
.PHONY: help build demo test ci bench bench-snapshot peers record real-server fleet-up fleet-down fmt lint

help: ## list these
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build the programs
	@command -v cc > /dev/null || { echo "a C compiler is needed: apt-get install build-essential"; exit 1; }
	cargo build --release --bins

demo: build ## three nodes, a good release and a broken one under load, and what became of each request
	$(DEVFLEET) demo

test: build ## everything: the fast tests, then the fleet's on real nodes
	.ci/test

ci: fmt lint test ## what .ci/run calls

bench: build ## measure a running fleet against floors of the same run
	$(DEVFLEET) bench

bench-snapshot: build ## snapshots of a million events on a running fleet, against bare pg_dump and pg_restore
	$(DEVFLEET) bench-snapshot

peers: ## compare what we wrote ourselves with the programs it must agree with (needs Go)
	tests/peers/run

record: build ## make docs/rollout.svg from a real rollout
	$(DEVFLEET) record

real-server: build ## the real Togather server, SRC=a checkout of it (needs Go), on the fleet: docs/real-server.md
	PROGRAMS=$(abspath $(TARGET))/release tests/real-server/run '$(SRC)' $(OLD) $(NEW)

fleet-up: build ## bring up a fleet, NODES=3
	$(DEVFLEET) up --nodes $(NODES)

fleet-down: build ## take it away again
	$(DEVFLEET) down

fmt: ## check the formatting
	cargo fmt --all --check

lint: ## clippy, warnings are errors
	cargo clippy --release --workspace --all-targets -- -D warnings
