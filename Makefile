# What is done to this project. 'make help' says what there is.

# Warnings are errors here, though not for packages that depend on this one.
export FLOTILLA_WARNINGS_AS_ERRORS := 1

# How many tests run at a time. More only make those that hold a core starve those that wait for a socket.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH := 4

ORDERS ?= Benchmarks/orders.jsonl
SECONDS ?= 60
# The configuration that the demo, the soak and the figures are built in.
CONFIGURATION ?= release
# More options for the soak, such as SOAK="--seed 17".
SOAK ?=
# Of 'make simulate': how many seeds, from which on, and of which scenario (all).
SEEDS ?= 1000
START ?= 1
SCENARIO ?=
# What 'make bench' runs, each with its usual settings.
BENCHMARKS := floor group active reads steps workflows engine takeover start idle idle-groups groups two-tier core micro log snapshots
# Of 'make bench-peers': how often each is measured, and where the reports go.
ROUNDS ?= 5
OUT ?= .build/bench-peers
# To replay one: its load in seconds, its faults, and TRACE=1 for what happens in it.
LOAD ?=
FAULTS ?=
TRACE ?=

RUN = .build/$(CONFIGURATION)

.PHONY: help setup demo test docs verify fix bench bench-peers allocations soak trace simulate simulate-hashes sanitize mutants executables simulator clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the Debian packages that are missing
	@scripts/setup

demo: setup executables ## orders on three nodes, two of them killed; ORDERS=path for other orders
	@$(RUN)/flotilla-bench demo --orders "$(ORDERS)"

test: setup ## build and run all tests
	swift build --build-tests
	swift test --skip-build

docs: setup ## the documentation of the public API with its tutorial, into .build/docs
	@scripts/docs

verify: ## read-only: format, warnings as errors, tests, sizes of files and functions
	scripts/format-check
	swift build --build-tests
	swift test --skip-build
	scripts/sizes

fix: ## format all sources in place
	swift format format --in-place --parallel --recursive Sources Examples Benchmarks Tests Package.swift

bench: setup ## the figures; SCENARIO=name for one of those that Benchmarks/README.md lists
	@$(MAKE) --no-print-directory executables CONFIGURATION=release
	@for scenario in $(if $(SCENARIO),$(SCENARIO),$(BENCHMARKS)); do \
	    echo "== $$scenario"; .build/release/flotilla-bench $$scenario || exit 1; \
	done

bench-peers: setup ## the goals, measured beside five other systems in turns: OUT=folder, ROUNDS=5
	@Benchmarks/Peers/setup
	@$(MAKE) --no-print-directory executables CONFIGURATION=release
	@Benchmarks/Goals/measure "$(OUT)" $(ROUNDS)

allocations: setup ## fail where a proposal, an entry or a command allocates more than is recorded
	@swift build --configuration release --product flotilla-bench
	@.build/release/flotilla-bench allocations

soak: setup executables ## random kills under load; SECONDS=60, SOAK="--seed N" repeats one
	@$(RUN)/flotilla-bench soak --seconds $(SECONDS) $(SOAK)

trace: setup executables ## system calls of three nodes: is every start fsynced by a majority before the answer?
	@$(RUN)/flotilla-bench trace

simulate: setup simulator ## look for failing seeds: SEEDS=1000, START=1, SCENARIO=compositions (or another, or fleets)
	@$(if $(TRACE)$(FAULTS),,.build/release/flotilla-simulate --check-hashes)
	@.build/release/flotilla-simulate --seeds $(SEEDS) --start $(START) $(if $(SCENARIO),--scenario $(SCENARIO)) \
	    $(if $(LOAD),--load $(LOAD)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(TRACE),--trace)

simulate-hashes: setup simulator ## record the trace hashes anew, after a change that makes other histories
	@.build/release/flotilla-simulate --record-hashes

simulator:
	@swift build --configuration release --product flotilla-simulate

sanitize: setup ## all tests under the thread sanitizer, then under the address sanitizer
	swift test --sanitize=thread --scratch-path .build/thread
	LSAN_OPTIONS="suppressions=$(CURDIR)/scripts/leaks-that-are-not-ours" \
	    swift test --sanitize=address --scratch-path .build/address

mutants: setup ## which test finds which known bug; MUTANT=name for one, QUICK=1 for few seeds
	@QUICK=$(QUICK) scripts/mutants $(MUTANT)

executables:
	@if [ ! -x $(RUN)/flotilla ]; then \
	    echo "Building in the $(CONFIGURATION) configuration; the first time this takes a minute or two."; fi
	@swift build --configuration $(CONFIGURATION) --product flotilla
	@swift build --configuration $(CONFIGURATION) --product flotilla-bench

clean: ## remove everything that was built
	rm -rf .build
