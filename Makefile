# `make` alone prints what there is. Models are not listed here: the program's
# own catalogue knows them, so run-% and strace-% take any name and the program
# refuses a wrong one.

ADDR ?= 127.0.0.1:8080
ARGS ?=
FEATURES ?=
CASES ?= 1000000
PREFIX ?= /usr/local

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET_DIR)/release/waitcopy
# Each `with` brings what its command needs (silent when it is there) and runs
# the command with a PATH that finds the toolchain.
with = @.ci/deps rust $(libssl) $(1) --
# OpenSSL's headers, unless remote is off or OpenSSL is built along (FEATURES=--no-default-features, or
# FEATURES='--features vendored-openssl').
libssl = $(if $(findstring --no-default-features,$(FEATURES))$(findstring vendored-openssl,$(FEATURES)),,libssl)
# The real servers and clients that the tests of remote talk to.
peers = sshd ssh dropbear paramiko

# Loader and runtime also make calls: the filter shows nothing before the first
# socket(). Patterns, since not every machine has every variant of a call.
TRACE = %network,/select,/poll,/eventfd,/signalfd,/nanosleep,/^clone,/fork$$,wait4,/pidfd,close,fcntl,ioctl

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "<model>", $$1); printf "%-16s %s\n", $$1, $$2 }' Makefile
	@if [ -x '$(BIN)' ]; then echo "models:          $$('$(BIN)' models --names 2>/dev/null | tr '\n' ' ')"; fi

deps: ## install what build, tests and traces need (root on Debian; else say what is missing)
	$(call with,strace python3 $(peers))

build: ## release build
	$(call with) cargo build --release --locked $(FEATURES)

# The quick form; `waitcopy compare` without --quick is the full one.
run: build ## the main job, quick: every model as a real server under real clients, one table, one page (ARGS='--json')
	@exec '$(BIN)' compare --quick --claims --html '$(TARGET_DIR)/waitcopy-compare.html' $(ARGS)

# Written beside and moved, so that a run that fails leaves the last figures alone.
claims: build ## the notes' claims put to the test, three quarters of a minute; writes docs/claims.md
	@{ printf '# The notes'\'' claims, put to the test\n\nAs `make claims` found them on %s; `waitcopy claims` does it on your machine.\n\n' \
	    "$$(date +%F)"; '$(BIN)' claims --markdown $(ARGS); } >docs/claims.md.new
	@mv docs/claims.md.new docs/claims.md

# No file is ever called run-epoll: FORCE, as .PHONY would switch patterns off.
# exec gives ^C to the server itself, which answers, sums up and exits 0.
run-%: build FORCE ## serve one model on ADDR and show both phases of each I/O (ADDR=, ARGS=)
	@exec '$(BIN)' serve $* --listen $(ADDR) --phases $(ARGS)

# -D and -I3: ^C and SIGTERM reach the server, strace stays to the end of its trace.
strace-%: can-trace build FORCE ## the same under strace: the model's own system calls (ADDR=, ARGS=)
	@exec strace -D -f -I3 -e trace='$(TRACE)' -o "|trap '' INT; exec sed -un '/socket(/,\$$p' >&2" '$(BIN)' serve $* --listen $(ADDR) $(ARGS)

can-trace:
	@.ci/deps strace
	@strace -o /dev/null true 2>/dev/null || { echo 'strace: ptrace is refused here (a container needs CAP_SYS_PTRACE, a machine kernel.yama.ptrace_scope < 3)' >&2; exit 1; }

# A rule of its own name goes before the pattern.
ifdef HOST
run-remote: build ## the notes' last chapter on a private sshd of its own, or df on HOST=, with both phases (HOST=, ARGS=)
	@exec '$(BIN)' remote exec --phases $(ARGS) '$(HOST)' -- df
else
run-remote: build
	@.ci/deps sshd ssh
	@exec '$(BIN)' remote demo $(ARGS)
endif

figures: build ## draw docs/figures anew, from real runs on this machine
	@mkdir -p docs/figures
	@set -e; for model in $$('$(BIN)' models --names) all; do '$(BIN)' draw $$model --svg docs/figures/$$model.svg; done
	@set -e; for model in blocking epoll threads; do '$(BIN)' draw $$model --clients 3 --svg docs/figures/$$model-lanes.svg; done

client: build ## talk to the server on ADDR: a line in, its reply out (ADDR=)
	@exec '$(BIN)' client $(ADDR) $(ARGS)

# Optimised, since the tests push floods through real servers; a profile of its
# own, since two dozen test binaries are linked.
test: ## the tests, some 5 minutes on two cores (ARGS='--test NAME')
	$(call with,strace python3 $(peers)) cargo test --profile tests --locked --no-fail-fast $(FEATURES) $(ARGS)

test-all: ## the same and the long ones, and the program without its remote
	@$(MAKE) --no-print-directory test WAITCOPY_LONG=1
	@$(MAKE) --no-print-directory test FEATURES=--no-default-features ARGS='--test cli'

fuzz: ## a million cases for each property of the parsers (CASES=), some minutes
	$(call with) env WAITCOPY_FUZZ_CASES=$(CASES) cargo test --profile tests --locked --test fuzz_sftp --test known_hosts -- $(ARGS)

bench: ## paired measurements beside Python's socketserver, 5 minutes (ARGS='-- pool threads reuseport fork idle')
	$(call with,python3) cargo bench --locked --bench paired $(ARGS)

bench-load: ## what the load generator costs beside a minimal one in C, 2 minutes (ARGS='-- --rounds 8 --requests 200000')
	$(call with) cargo bench --locked --bench load $(ARGS)

# The peers' own tools are asked for here and nowhere else. The record is named for its day; ARGS='-- --quick' writes none.
bench-peers: ## the models beside mio, tokio, monoio, libuv, Go, asyncio, uvloop and C, 20 minutes (ARGS='-- --quick --only 100x64')
	$(call with,go libuv uvloop valgrind) tests/peers/servers/build '$(TARGET_DIR)/peers'
	$(call with,go libuv uvloop valgrind) cargo bench --locked --bench field $(or $(ARGS),-- --record '$(CURDIR)/docs/records/$(shell date +%F)-peers.md')

bench-remote: ## the remote beside OpenSSH, rsync and paramiko, 8 minutes (ARGS='-- put get put-tree get-tree connect exec --rounds 8 --size 512M --record FILE')
	$(call with,ssh sshd rsync paramiko) cargo bench --locked --bench remote $(ARGS)

lint: ## rustfmt, clippy and rustdoc; warnings are errors
	$(call with,lint) cargo fmt --check
	$(call with,lint) cargo clippy --all-targets --locked -- -D warnings
	$(call with,lint) cargo clippy --all-targets --no-default-features --locked -- -D warnings
	$(call with,lint) env RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --locked

clean: ## remove everything built
	$(RM) -r '$(TARGET_DIR)'

# Builds only when nothing is built, so that `sudo make install` after `make
# build` does not look for root's toolchain.
install: | $(BIN) ## install the program (PREFIX=/usr/local, DESTDIR=)
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 '$(BIN)' '$(DESTDIR)$(PREFIX)/bin/waitcopy'

$(BIN):
	@$(MAKE) --no-print-directory build

FORCE:
.PHONY: help deps build run claims figures run-remote can-trace client test test-all fuzz bench bench-load bench-peers bench-remote lint clean install FORCE
