# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What the scripts share: paths, messages, becoming root, the machine's cargo. Sourced, never run.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# The folder of everything that is downloaded or built outside the checkout. Safe to delete.
TCPSTAT_CACHE=${TCPSTAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tcpstat}

# The oldest Rust that is supported, from Cargo.toml.
# shellcheck disable=SC2034 # used by the scripts that source this
MIN_RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$TOP/Cargo.toml")

say() { printf '%s\n' "tcpstat: $*" >&2; }
die() {
    say "$@"
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env=http_proxy,https_proxy,no_proxy,CI,TCPSTAT_ACCEL,TCPSTAT_REQUIRE_SS "$@"
    else
        die "this step needs root, and there is no sudo: run it as root ($*)"
    fi
}

# version_at_least A B: whether version A is B or newer.
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | sed -n 1p)" = "$2" ]; }

# own_cargo: whether this machine has a cargo that is new enough; sets `cargo` and `cargo_version`.
own_cargo() {
    cargo=${CARGO:-cargo}
    cargo_version=$("$cargo" --version 2>/dev/null | awk '{ print $2 }') || cargo_version=
    [ -n "$cargo_version" ] && version_at_least "$cargo_version" "$MIN_RUST"
}

# The Rust target of static programs.
# shellcheck disable=SC2034
STATIC_TARGET=$(uname -m)-unknown-linux-gnu
# The folder of the static programs.
# shellcheck disable=SC2034
STATIC_DIR=$TOP/target/static/$STATIC_TARGET/release

# option NAME FILE: the value of a kernel configuration option, without quotes.
option() { sed -nE "s/^$1=\"?([^\"]*)\"?$/\\1/p" "$2"; }

# compiler_of CONFIG: the C compiler that a kernel was built with, as a command.
compiler_of() { option CONFIG_CC_VERSION_TEXT "$1" | cut -d ' ' -f 1; }

# The tests make network namespaces. An ordinary user becomes root of a user namespace for that.
test_runner=()
if [ "$(id -u)" != 0 ]; then
    # shellcheck disable=SC2034
    test_runner=("CARGO_TARGET_$(tr '[:lower:]-' '[:upper:]_' <<<"$STATIC_TARGET")_RUNNER=unshare --user --map-root-user")
fi

# is_debug_kernel FOLDER: whether a folder of kernel-tree has a debug kernel.
is_debug_kernel() { grep -qx 'CONFIG_DEBUG_KMEMLEAK=y' "$1/tree/include/config/auto.conf"; }
