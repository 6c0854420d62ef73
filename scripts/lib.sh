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

# need_for_tests: what the tests call that is not of the toolchain.
need_for_tests() {
    need prometheus prometheus
    need strace strace
    need mkfs.ext4 e2fsprogs
    need mkfs.xfs xfsprogs
    need gcc gcc
    need python3 python3
    need ip iproute2
    need zsh zsh
    need fish fish
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

# Of scripts/asan and scripts/tsan, which say what `sanitized_swift` is, and where their `reports` go:
# a file for every process, named PREFIX.PID.

# sanitized_build NAME: builds the tests.
sanitized_build() {
    echo "-- building with $1" >&2
    sanitized_swift build --build-tests > "${reports:?}-build.log" 2>&1 || {
        grep -aE 'error:' "$reports-build.log" | head -n 40 >&2
        exit 1
    }
}

# sanitized_proof NAME MISTAKE TEXT: runs a test that makes a mistake on purpose. A sanitizer that
# finds nothing there proves nothing elsewhere.
sanitized_proof() {
    rm -f "$reports".[0-9]*
    MARTLET_PLANTED_MISTAKE="$2" sanitized_swift test --skip-build --disable-xctest \
        --filter PlantedTests > "$reports-proof.log" 2>&1 || true
    if ! grep -aqE "$3" "$reports".[0-9]* 2> /dev/null; then
        echo "$1 does not find the planted mistake ($2): see $reports-proof.log" >&2
        exit 1
    fi
    echo "$1: the planted mistake ($2) is found"
    rm -f "$reports".[0-9]*
}

# sanitized_tests NAME ARGUMENT...: runs the tests, without the runner of XCTest, which has no test
# here and leaks. Ends with a line that sums up; a report fails the run, of whichever process.
sanitized_tests() {
    local name="$1" code=0 count
    shift
    (run_tests sanitized_swift test --skip-build --disable-xctest --no-parallel "$@") || code=$?
    count="$(cat "$reports".[0-9]* 2> /dev/null | grep -acE '(WARNING|ERROR): [A-Za-z]+Sanitizer' || true)"
    if [ "$count" != 0 ]; then
        echo "findings (all of them in $reports.PID):"
        cat "$reports".[0-9]* | grep -aE '^SUMMARY' | sort | uniq -c | sort -rn | head -n 40
    fi
    echo "$name: $count findings, the tests ended with code $code"
    [ "$count" = 0 ] && [ "$code" = 0 ]
}
