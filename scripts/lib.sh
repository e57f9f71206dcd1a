# The scripts beside this file source it. It has what they share: packages, root, and
# messages to the person who runs them.
# shellcheck shell=bash

# Debian has Postfix's commands in sbin, and rustup puts Rust's into ~/.cargo/bin.
PATH=$PATH:/usr/sbin:/sbin:${HOME-}/.cargo/bin
# Makes decimal points and sort order the same everywhere. UTF-8 stays UTF-8.
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

# Prints the seconds since $1, a value of EPOCHREALTIME.
seconds_since() {
    local microseconds=$((${EPOCHREALTIME/./} - ${1/./}))
    printf '%d.%d' $((microseconds / 1000000)) $((microseconds / 100000 % 10))
}

as_root() {
    if [[ $EUID == 0 ]]; then "$@"; else sudo -- "$@"; fi
}

# Call it before anything whose output would hide sudo's question for the password.
ask_for_root() {
    [[ $EUID == 0 ]] && return
    command -v sudo >/dev/null || fail "$1 by root only; run this as root, or install sudo"
    sudo -n true 2>/dev/null || {
        printf '%s by root only. sudo asks for your password.\n' "$1"
        sudo -v
    }
}

require_rust() {
    command -v cargo >/dev/null ||
        fail 'no cargo on the PATH; install Rust from https://rustup.rs, and run this without sudo'
}

# Runs cargo as for a release, in the project's directory. The same commit and the
# same Rust give the same bytes in any directory. Crates put their paths into the
# program for the messages of panics. These paths must not reveal whose machine it was.
cargo_as_released() {
    local sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
    # The separator is a character that no path has.
    CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$sources=/registry"$'\x1f'"--remap-path-prefix=$PWD=/kms-gateway" \
        cargo "$@"
}

readonly tools=target/tools
declare -Ar tool_versions=([cargo-cyclonedx]=0.5.9 [cargo-deb]=3.8.0 [cargo-deny]=0.20.2)

# Builds these cargo tools into $tools unless they are there. They are not optimised:
# each runs for seconds.
install_cargo_tools() {
    local tool version
    for tool; do
        version=${tool_versions[$tool]}
        [[ $("$tools/bin/$tool" "${tool#cargo-}" --version 2>/dev/null) != *" $version" ]] || continue
        printf 'Building %s %s into %s takes a minute …\n' "$tool" "$version" "$tools" >&2
        cargo install --quiet --locked --debug --root "$tools" "$tool" --version "$version"
    done
}

build_release() { cargo_as_released build --release --locked; }

# Makes cargo run programs as root, since only root starts a Postfix. For another user
# cargo builds them, and runs them with sudo. The tests then belong to root:
# private-site would otherwise see SUDO_UID.
run_by_root() {
    if [[ $EUID != 0 ]]; then
        local target
        target=$(rustc --print host-tuple | tr 'a-z-' 'A-Z_')
        export "CARGO_TARGET_${target}_RUNNER=sudo --preserve-env env --unset=SUDO_UID --unset=SUDO_GID"
    fi
}

# Prints the packages that are not installed, one a line.
missing_packages() {
    local package
    for package; do
        [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            printf '%s\n' "$package"
    done
}

# Installs packages as files only. Their services start neither now nor at boot. No
# installed package is removed, above all no other mail server.
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
    # This answer leaves /etc/postfix without a main.cf.
    if [[ $package == postfix ]] && command -v debconf-set-selections >/dev/null; then
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    fi
done
apt-get -qq update </dev/null
apt-get -qq install --yes --no-install-recommends --no-remove "$@" </dev/null || {
    echo "apt-get did not install $*; see its messages above, and install them by hand" >&2
    exit 1
}
for package; do
    if [[ -e /etc/init.d/$package ]] && command -v update-rc.d >/dev/null; then
        update-rc.d "$package" disable
    fi
done
END
}
