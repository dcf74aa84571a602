# Functions shared by the scripts of deploy/ and tests/: messages, Debian packages, the build.
# Sourced by bash scripts that run with `set -euo pipefail`.

spate_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What `packages_install GROUP` makes sure of: a Debian package, or `command|package` where any
# provider of the command will do.
readonly packages_build="gcc|gcc libc6-dev ar|binutils cmake|cmake ninja|ninja-build
pkg-config|pkg-config libuv1-dev liblz4-dev libmsgpack-dev libyaml-dev libjansson-dev uthash-dev
libmicrohttpd-dev"
readonly packages_tests="libcmocka-dev clang|clang libclang-rt-14-dev clang-format|clang-format
libisal-dev /usr/bin/python3|python3 python3-msgpack nm|binutils node|nodejs npm|npm go|golang-go
golang-github-ugorji-go-codec-dev python3-pynvim ruby-msgpack g++|g++
groff|groff-base valgrind|valgrind debootstrap|debootstrap
prometheus|prometheus python3-yaml python3-kubernetes kubectl|kubernetes-client
zsh|zsh fish|fish libfuse3-dev fuse3 ip|iproute2 nsenter|util-linux mount|mount"

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit 1
}

# run_quietly LOG COMMAND...: the output goes to LOG, and its end to stderr when the command fails.
run_quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null && return 0
    tail -n 30 "$log" >&2
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo DEBIAN_FRONTEND=noninteractive "$@"
    else
        return 126
    fi
}

# For tests: without root one is skipped, and under CI that is a failure.
root_or_skip() {
    [ "$(id -u)" -ne 0 ] || return 0
    [ "${CI:-}" != true ] || die "needs root, and with CI=true nothing may be skipped"
    say "skipped: needs root"
    exit 77
}

package_present() {
    case $1 in
    *'|'*) command -v "${1%|*}" >/dev/null && return 0 ;;
    esac
    [ "$(dpkg-query -W -f '${db:Status-Status}' "${1#*|}" 2>/dev/null)" = installed ]
}

# packages_install GROUP...: installs what is missing of the groups `build` and `tests`.
packages_install() {
    local group entry list missing="" log
    for group in "$@"; do
        case $group in
        build | tests) list=packages_$group ;;
        *) die "no package group '$group': use build or tests" ;;
        esac
        for entry in ${!list}; do
            package_present "$entry" || missing="$missing ${entry#*|}"
        done
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "please install what this system calls:$missing"
    as_root true || die "root or sudo is needed to install:$missing" \
        "or install them yourself: apt-get install$missing"
    log=$(mktemp)
    say "packages: reading the package lists"
    run_quietly "$log" as_root apt-get -qq -o DPkg::Lock::Timeout=600 update ||
        say "packages: the lists could not be refreshed, going on with those at hand"
    say "packages: installing$missing"
    # shellcheck disable=SC2086 # a list of words
    run_quietly "$log" as_root apt-get -qq -o DPkg::Lock::Timeout=600 install -y \
        --no-install-recommends $missing || die "apt-get could not install:$missing"
    rm -f "$log"
    quiet_services "$missing"
}

# quiet_services PACKAGES: Debian starts the services that it installs; tests start their own.
quiet_services() {
    case " $1 " in
    *" prometheus "*)
        [ ! -d /run/systemd/system ] || as_root systemctl disable --quiet --now prometheus
        ;;
    esac
}

# The Debian mirror that this machine's apt uses; nothing when it has no package lists.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Created-By: Packages' |
        grep -v -e '-security/*$' | head -n 1
}

# cmake_configure DIR ARGUMENT...: quiet while it works.
cmake_configure() {
    local dir=$1
    shift
    mkdir -p "$dir"
    run_quietly "$dir/configure.log" cmake -S "$spate_root" -B "$dir" -G Ninja "$@" ||
        die "cmake could not configure $dir: see above, or $dir/configure.log"
}

# cmake_compile DIR [TARGET...]: quiet while it works.
cmake_compile() {
    local dir=$1
    shift
    run_quietly "$dir/compile.log" cmake --build "$dir" ${1+--target} "$@" ||
        die "the build in $dir failed: see above, or $dir/compile.log"
}
