# shellcheck shell=bash
# Shared by the scripts: what they need beyond bash and a Swift toolchain.

# need COMMAND PACKAGE: installs a Debian package when its command is missing.
need() {
    command -v "$1" > /dev/null && return 0
    local as_root=""
    [ "$(id -u)" = 0 ] || as_root=sudo
    echo "installing $2" >&2
    if ! $as_root apt-get install -y -q "$2" > /dev/null 2>&1; then
        $as_root apt-get update -q > /dev/null
        $as_root apt-get install -y -q "$2" > /dev/null
    fi
}

# A toolchain that is installed but not on the path is found where it usually is.
if ! command -v swift > /dev/null; then
    for place in /opt/swift/usr/bin /usr/share/swift/usr/bin "$HOME/.local/share/swiftly/bin"; do
        [ -x "$place/swift" ] && PATH="$place:$PATH"
    done
    command -v swift > /dev/null || { echo "no Swift toolchain found: install Swift 6.3 or newer" >&2; exit 1; }
fi
