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

# run_tests COMMAND...: runs a test runner and exits with its code. After a failure it says again, at
# the end, what failed: the end of a long output is what people see. `fuzz=1` fails the run too.
run_tests() {
    local log="out/test.log" code=0 summary
    mkdir -p out
    "$@" 2>&1 | tee "$log" || code="${PIPESTATUS[0]}"
    [ "$code" != 0 ] || [ "${fuzz:-0}" != 0 ] || return 0
    summary="$(grep -aE '^. Test run with ' "$log" | tail -n 1 || true)"
    echo
    echo "failed:"
    if [ "${fuzz:-0}" != 0 ]; then
        grep -aE 'FAILED|oracle:|Fatal error|error:|^SUMMARY|Test unit written' out/test-fuzz.log |
            head -n 20 || true
        echo "the fuzzers: see out/test-fuzz.log"
    fi
    # Each line of a failure, and the lines that belong to an issue.
    awk '/^✘ Test run with / { next }
        /^✘/ { print; detail = /recorded an issue/ ? 4 : 0; next }
        /^(◇|✔|➜|↩)/ { detail = 0 }
        detail > 0 { print; detail-- }' "$log" | head -n 100
    if [ -z "$summary" ]; then
        # It did not come to its end: say how it ended and in which test.
        grep -aE 'error:|Fatal error|ThreadSanitizer:|AddressSanitizer' "$log" | head -n 30 || true
        grep -aE '^◇ Test .* started' "$log" | tail -n 1 || true
        summary="the test runner ended with code $code"
    fi
    echo "$summary"
    [ "$code" != 0 ] || code=1
    return "$code"
}
