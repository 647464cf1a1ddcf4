# Every verb that a person types. Each is one script, or one line.

# The Debian kernel that the module is tested on: a name of scripts/kernels, or a release as
# `uname -r` prints it. By default what each verb's script chooses.
# With -debug or -strict after it (for vm, check): the debug kernels of the same source.
TEST_KERNEL ?=
# The Rust that the module is built with: kernel (the kernel's own) or own (the module's). By default
# the kernel's where the tree has it.
TCPSTAT_RUST ?=
# The kernel tree that `make module` builds against.
KDIR ?= /lib/modules/$(shell uname -r)/build
# Only these rows of scripts/test-configs.
CONFIGS ?=
# The kernels of scripts/kernels whose modules `make packages` makes: all by default.
KERNELS ?=
# A Debian kernel, as for TEST_KERNEL: `make module` then fetches its headers, and ignores KDIR.
KERNEL ?=
# The architecture that `make static` builds for, if not that of this machine.
ARCH ?=
# `make install` puts the command below it.
PREFIX ?= /usr/local
# The folder of downloads, the Debian 13 root and prepared kernel trees. Safe to delete.
TCPSTAT_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tcpstat
export TCPSTAT_CACHE TCPSTAT_RUST

module_dir := target/kmod/$(or $(KERNEL),$(notdir $(patsubst %/build,%,$(KDIR))))

.PHONY: help run static dist module test test-kernels test-debug test-configs test-fleet test-page test-packages test-secureboot packages release test-repeat check lint check-deps publish-check bench bench-churn bench-scrapes bench-quick vm install clean clean-cache

help: ## list the verbs
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo 'Variables: KDIR, KERNEL, TCPSTAT_RUST (for module), ARCH (for static), TEST_KERNEL (for test, check, bench, vm), PREFIX, TCPSTAT_CACHE'

run: ## build the command and print this machine's counts
	@scripts/run $(ARGS)

static: ## build the command as one static binary, for this machine or ARCH (amd64, arm64)
	scripts/cargo-static $(if $(ARCH),--architecture $(ARCH)) build --release -p tcpstat-cli

dist: ## manual pages, completions and a tarball with the command, in target/dist
	scripts/dist

module: ## build tcpstat.ko against KDIR, or for the Debian kernel KERNEL
ifneq ($(KERNEL),)
	kernel=$$(scripts/kernel-tree $(KERNEL)) && \
		scripts/in-debian-root --for "$$kernel" scripts/build-module "$$kernel/tree" $(module_dir)
else
	scripts/build-module $(KDIR) $(module_dir)
endif

test: ## run every test, in the virtual machine too
	scripts/test $(TEST_KERNEL)

test-kernels: ## build and try the module on every kernel of scripts/kernels, and print a table
	scripts/test-kernels $(TEST_KERNEL)

test-debug: ## run the tests of the virtual machine on a kernel with lockdep, KASAN and kmemleak
	scripts/vm-test $(or $(TEST_KERNEL),$$(scripts/kernels default))-debug

test-configs: ## build the module for configurations that no distribution has, run both debug kernels, print a table
	scripts/test-configs $(CONFIGS)

test-fleet: ## Debian's Prometheus scrapes the exporter, and alerts fire and end (four minutes)
	scripts/test-fleet

test-page: ## Debian's Chromium opens the exporter's page: figures, keyboard, phone, accessibility (three minutes)
	scripts/test-page

test-repeat: ## run the tests with sockets that come and go twenty times
	scripts/test-repeat

check: ## formatting and lints only, by the tools of the Debian 13 root
	scripts/check $(TEST_KERNEL)

lint: ## the same by this machine's own tools, without the module; names those that are missing
	scripts/check --here

check-deps: ## licences, sources and known vulnerabilities of the dependencies, by cargo-deny
	scripts/deny

publish-check: ## package and build what crates.io is given, without uploading it (cargo 1.90 or newer)
	scripts/publish-check

bench: ## measure everything, into docs/performance.md (15 minutes, 6 GB of memory)
	scripts/bench $(TEST_KERNEL)

bench-churn: ## measure counting by difference while sockets come and go (two minutes)
	scripts/bench-churn

bench-scrapes: ## measure scrapes of the exporter beside node_exporter (five minutes, 6 GB of memory)
	scripts/bench-scrapes

bench-quick: ## the same, into target/bench (3 minutes)
	scripts/bench --quick $(TEST_KERNEL)

vm: ## a shell in the virtual machine, with the module loaded
	@scripts/vm $(TEST_KERNEL)

packages: ## the command and the module as packages, in target/packages
	scripts/packages $(KERNELS)

test-packages: ## install, upgrade and remove the packages in fresh Debian 12 and 13, and boot a machine with them
	scripts/test-packages

test-secureboot: ## boot with Secure Boot, and load signed and unsigned modules
	scripts/test-secureboot

release: ## check that VERSION can be released; with RELEASE=yes, commit and tag it, and make its packages
	scripts/release $(VERSION)

install: ## install the command, what 'make dist' made, and the module if it was built for this kernel
	scripts/install $(PREFIX)

clean: ## delete what was built in this checkout
	rm -rf target

clean-cache: ## delete the cache of downloads and kernel trees
	rm -rf --one-file-system $(TCPSTAT_CACHE)
