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

# The version of the module, the command and the packages.
# shellcheck disable=SC2034
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$TOP/Cargo.toml")

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
        sudo --preserve-env=http_proxy,https_proxy,no_proxy,CI,TCPSTAT_ACCEL,TCPSTAT_RUST,TCPSTAT_REQUIRE_SS "$@"
    else
        die "this step needs root, and there is no sudo: run it as root ($*)"
    fi
}

# A step of a long script: what begins, after how long.
step() { printf '\n=== %s (%d s)\n' "$*" "$SECONDS"; }

# make_root NAME SUITE SOURCES PACKAGE...: prints the path of a root file system of a release of Debian in
# the cache, which has these packages; makes it by the Debian 13 root's mmdebstrap, from that root's
# mirror, if there is none. SOURCES are lines of sources.list, in which MIRROR stands for the mirror; if
# these cannot be had, those before the last are tried.
make_root() {
    local name=$1 suite=$2 sources=$3 key root partial log mirror include
    shift 3
    key=$(printf '%s\n' "$@" | sha256sum | cut -c 1-12)
    root=$TCPSTAT_CACHE/$name-$key
    partial=$root.partial
    log=$TCPSTAT_CACHE/$name-root.log
    mkdir -p "$TCPSTAT_CACHE"
    exec 9>"${log%.log}.lock"
    flock 9
    if [ ! -d "$root" ]; then
        say "making a root of Debian $suite in $root (about a minute)"
        mirror=$("$TOP/scripts/in-debian-root" sed -nE 's/^deb ([^ ]+) .*/\1/p; q' /etc/apt/sources.list)
        mapfile -t sources <<<"${sources//MIRROR/${mirror%/}}"
        include=$(IFS=, && printf '%s' "$*")
        try() {
            as_root rm -rf --one-file-system "$partial"
            "$TOP/scripts/in-debian-root" --root mmdebstrap --mode=root --variant=apt --include="$include" \
                --aptopt='Apt::Install-Recommends "false"' "$suite" "$partial" "$@" >>"$log" 2>&1
        }
        : >"$log"
        try "${sources[@]}" || { [ "${#sources[@]}" -gt 1 ] && try "${sources[@]::${#sources[@]}-1}"; } || {
            tail -n 20 "$log" >&2
            as_root rm -rf --one-file-system "$partial"
            die "mmdebstrap could not make the root of Debian $suite, which may not be available today;" \
                "the whole log is $log"
        }
        as_root mv "$partial" "$root"
    fi
    printf '%s\n' "$root"
}

# version_at_least A B: whether version A is B or newer.
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | sed -n 1p)" = "$2" ]; }

# own_cargo: whether this machine has a cargo that is new enough; sets `cargo` and `cargo_version`.
own_cargo() {
    cargo=${CARGO:-cargo}
    cargo_version=$("$cargo" --version 2>/dev/null | awk '{ print $2 }') || cargo_version=
    [ -n "$cargo_version" ] && version_at_least "$cargo_version" "$MIN_RUST"
}

# rust_target ARCHITECTURE: the Rust target of static programs for an architecture, by any of its
# usual names.
rust_target() {
    case $1 in
        amd64 | x86_64) echo x86_64-unknown-linux-gnu ;;
        arm64 | aarch64) echo aarch64-unknown-linux-gnu ;;
        *) die "there is no static build for '$1'; there is one for amd64, and one for arm64" ;;
    esac
}

# The Rust target of static programs for this machine.
STATIC_TARGET=$(rust_target "$(uname -m)")
# static_dir TARGET: the folder of the static programs for a Rust target.
static_dir() { printf '%s\n' "$TOP/target/static/$1/release"; }
# shellcheck disable=SC2034
STATIC_DIR=$(static_dir "$STATIC_TARGET")

# option NAME FILE: the value of a kernel configuration option, without quotes.
option() { sed -nE "s/^$1=\"?([^\"]*)\"?$/\\1/p" "$2"; }

# compiler_of CONFIG: the C compiler that a kernel was built with, as a command.
compiler_of() { option CONFIG_CC_VERSION_TEXT "$1" | cut -d ' ' -f 1; }

# kernel_source KDIR: the source that a kernel tree was made from, which is the tree itself unless
# its Makefile only includes that of another folder.
kernel_source() {
    local other
    other=$(sed -nE 's,^include +([^$]+)/Makefile$,\1,p' "$1/Makefile" 2>/dev/null | sed -n 1p)
    [[ -z $other || $other == /* ]] || other=$1/$other
    printf '%s\n' "${other:-$1}"
}

# kernel_compiler CONFIG: sets `cc` to the C compiler for modules of a kernel, the one that built it
# if there is such, or to nothing; `cc_wanted` to what built it; `cc_arguments` to what tells make.
kernel_compiler() {
    local config=$1 cross='' clang candidate
    cc='' cc_arguments=()
    cc_wanted=$(compiler_of "$config")
    if grep -qx 'CONFIG_ARM64=y' "$config" && [ "$(uname -m)" != aarch64 ]; then
        cross=aarch64-linux-gnu-
        cc_arguments=(ARCH=arm64 CROSS_COMPILE="$cross")
    elif grep -qx 'CONFIG_X86_64=y' "$config" && [ "$(uname -m)" != x86_64 ]; then
        cross=x86_64-linux-gnu-
        cc_arguments=(ARCH=x86 CROSS_COMPILE="$cross")
    fi
    if grep -qx 'CONFIG_CC_IS_CLANG=y' "$config"; then
        # 190107 is clang 19.1.7.
        clang=$(($(option CONFIG_CLANG_VERSION "$config") / 10000))
        if command -v "clang-$clang" >/dev/null; then
            cc=clang-$clang
            cc_arguments+=(LLVM="-$clang")
        elif command -v clang >/dev/null; then
            cc=clang
            cc_arguments+=(LLVM=1)
        fi
        return
    fi
    cc_wanted=$cross${cc_wanted#"$cross"}
    for candidate in "${CC-}" "$cc_wanted" \
        "${cross}gcc-$(($(option CONFIG_GCC_VERSION "$config") / 10000))" "${cross}gcc"; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null; then
            cc=$candidate
            cc_arguments+=(CC="$cc")
            return
        fi
    done
}

# The first kernel whose own Rust has the interfaces that the module uses, as in kmod/Kbuild; as
# LINUX_VERSION_CODE has it.
# shellcheck disable=SC2034
KERNEL_RUST_SINCE=$((7 << 16 | 2 << 8))

# The tests make network namespaces. An ordinary user becomes root of a user namespace for that.
test_runner=()
if [ "$(id -u)" != 0 ]; then
    # shellcheck disable=SC2034
    test_runner=("CARGO_TARGET_$(tr '[:lower:]-' '[:upper:]_' <<<"$STATIC_TARGET")_RUNNER=unshare --user --map-root-user")
fi

# has_kasan FOLDER: whether the kernel in a folder of kernel-tree has KASAN.
has_kasan() { grep -qx 'CONFIG_KASAN=y' "$1/tree/include/config/auto.conf"; }

# is_debug_kernel FOLDER: whether a folder of kernel-tree has a debug kernel.
is_debug_kernel() { grep -qx 'CONFIG_DEBUG_KMEMLEAK=y' "$1/tree/include/config/auto.conf"; }
