# For the scripts beside this file, which source it: packages, root, and words
# to the person who runs them.
# shellcheck shell=bash

# Where Debian has Postfix's commands, and rustup puts Rust's.
PATH=$PATH:/usr/sbin:/sbin:${HOME-}/.cargo/bin
# Decimal points and sort order the same everywhere; UTF-8 stays UTF-8.
export LC_ALL=C.UTF-8

if [[ -t 1 && -z ${NO_COLOR-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' dim='' red='' green='' plain=''
fi
export bold dim red green plain

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Seconds since $1, a value of EPOCHREALTIME.
seconds_since() {
    local microseconds=$((${EPOCHREALTIME/./} - ${1/./}))
    printf '%d.%d' $((microseconds / 1000000)) $((microseconds / 100000 % 10))
}

as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo -- "$@"; fi
}

# Before anything runs whose output hides sudo's question for the password.
ask_for_root() {
    [[ $EUID == 0 ]] && return
    command -v sudo >/dev/null || fail "$1 by root only: run this as root, or install sudo"
    sudo -n true 2>/dev/null || {
        printf '%s by root only; sudo asks for your password.\n' "$1"
        sudo -v
    }
}

require_rust() {
    command -v cargo >/dev/null ||
        fail 'no cargo on the PATH; install Rust from https://rustup.rs, and run this without sudo'
}

# Runs cargo, in the project's directory, as for a release: the same commit and the
# same Rust give the same bytes, wherever they lie. Crates have their paths in the
# program, for the messages of panics; those must not say whose machine it was.
cargo_as_released() {
    local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
    # Separated by a character that no path has.
    CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$sources=/registry"$'\x1f'"--remap-path-prefix=$PWD=/kms-gateway" \
        cargo "$@"
}

readonly tools=target/tools

# Builds a tool of cargo's, of this version, into $tools unless it is there. Hardly
# optimised: it runs for seconds, and would take minutes more to build.
install_cargo_tool() {
    local tool=$1 version=$2
    [[ $("$tools/bin/$tool" "${tool#cargo-}" --version 2>/dev/null) != *" $version" ]] || return 0
    printf '%s %s is built into %s (minutes) …\n' "$tool" "$version" "$tools" >&2
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --locked --root "$tools" "$tool" --version "$version"
}

build_release() { cargo_as_released build --release --locked; }

# Has what cargo then builds and runs run as root: only root starts a Postfix. For
# anybody else cargo builds it and runs it by sudo. Tests are root's own then:
# private-site would see SUDO_UID.
run_by_root() {
    if [[ $EUID != 0 ]]; then
        local target
        target=$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')
        export "CARGO_TARGET_${target}_RUNNER=sudo --preserve-env env --unset=SUDO_UID --unset=SUDO_GID"
    fi
}

# Those of the packages that aren't installed, one a line.
missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            printf '%s\n' "$package"
    done
}

# Installs packages as files only: no service of theirs starts now or at boot,
# and none that is installed already is removed, another mail server above all.
install_packages() {
    command -v apt-get >/dev/null || fail "no apt-get here; install $* by hand"
    as_root bash -s -- "$@" <<'END'
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# invoke-rc.d(8) asks this file before it starts a service.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
fi
for package; do
    # The answer leaves /etc/postfix without a main.cf.
    if [[ $package == postfix ]] && command -v debconf-set-selections >/dev/null; then
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
done
apt-get -qq update </dev/null
apt-get -qq install --yes --no-install-recommends --no-remove "$@" </dev/null || {
    echo "apt-get did not install $*: see above; install them by hand" >&2
    exit 1
}
for package; do
    if [[ -e /etc/init.d/$package ]] && command -v update-rc.d >/dev/null; then
        update-rc.d "$package" disable
    fi
done
END
}
