#!/bin/bash
# Installs what the tests need, builds the release module, and runs every check and every test of this repository.
#
#   softhsm-tests/run.sh
#
# From nothing on Debian 12, as root or with sudo. Everything it makes is in cargo's target folder and softhsm-tests/work.
# The last line is "N passed, N failed, N skipped". What is skipped says why, and fails if it is not in EXPECTED_SKIPS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source softhsm-tests/install.sh

CARGO_DENY_VERSION=0.20.2

# The checks that may be skipped, and where. Tests are never skipped.
EXPECTED_SKIPS=(
    "cargo deny: advisories" # where the advisory database cannot be fetched
    "cargo fmt"              # Debian's cargo-web comes without rustfmt
    "cargo clippy"           # … and without clippy
)

work=$PWD/softhsm-tests/work
mkdir -p "$work"
export CARGO_TERM_COLOR=never
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
passed=0 failed=0 skipped=0
failures=()
made_run_sshd=

# sshd as root wants /run/sshd, which only a service manager makes.
clean_up() {
    [ -z "$made_run_sshd" ] || rmdir /run/sshd 2>/dev/null || true
}
trap clean_up EXIT

say() { printf '[%s] %s\n' "$(duration "$SECONDS")" "$*"; }

# check NAME COMMAND…: one check, its output shown only when it fails.
check() {
    local name=$1 log started=$SECONDS
    shift
    log=$work/$(tr -c 'a-z0-9\n' '-' <<<"$name").log
    say "$name …"
    if "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        say "$name: ok ($(duration $((SECONDS - started))))"
    else
        fail "$name"
        tail -n 60 "$log"
    fi
}

fail() {
    failed=$((failed + 1))
    failures+=("$1")
    say "$1: FAILED"
}

skip() {
    local name=$1 reason=$2 expected
    for expected in "${EXPECTED_SKIPS[@]}"; do
        if [ "$expected" = "$name" ]; then
            skipped=$((skipped + 1))
            say "$name: skipped: $reason"
            return
        fi
    done
    say "$name: skipped: $reason"
    fail "$name (a skip that was not expected)"
}

finish() {
    local name
    for name in "${failures[@]}"; do echo "failed: $name"; done
    say "checks and tests are done"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

stop() {
    fail "$1"
    finish
}

cargo_deny() {
    local program
    for program in "$(command -v cargo-deny || true)" "$work/cargo-deny/bin/cargo-deny"; do
        if [ -x "$program" ] && [ "$("$program" --version)" = "cargo-deny $CARGO_DENY_VERSION" ]; then
            echo "$program"
            return
        fi
    done
    cargo install cargo-deny --locked --version "$CARGO_DENY_VERSION" --root "$work/cargo-deny" \
        --target-dir "$CARGO_TARGET_DIR/cargo-deny" >&2 </dev/null || return 1
    rm -rf "$CARGO_TARGET_DIR/cargo-deny"
    echo "$work/cargo-deny/bin/cargo-deny"
}

# fmt and clippy are programs of their own, which not every distribution's Rust brings.
toolchain_check() {
    local name=$1 component=$2
    shift 2
    if "cargo" "$component" --version >/dev/null 2>&1; then
        check "$name" "$@"
    elif rustup component add "${component/fmt/rustfmt}" >/dev/null 2>&1; then
        check "$name" "$@"
    else
        skip "$name" "this Rust ($(rustc --version)) has no cargo $component, and there is no rustup that could add it"
    fi
}

run_tests() {
    local log=$work/cargo-test.log status=0 counts
    say "cargo test --workspace …"
    set +e # the first program of the pipe is the one whose status counts
    # The programs are run against the release module: what a person installs.
    CTK_MODULE=$CARGO_TARGET_DIR/release/libctk_pkcs11.so CTK_COMMAND=$CARGO_TARGET_DIR/release/ctk \
        cargo test --workspace --locked --no-fail-fast </dev/null 2>&1 | tee "$log" |
        grep --line-buffered -E '^(     Running|   Doc-tests|test result|test .*(FAILED|ignored))|^error|panicked at'
    status=${PIPESTATUS[0]}
    set -e

    # "test result: ok. 12 passed; 0 failed; 1 ignored; …", once for each test program.
    counts=$(awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$log")
    local tests_passed tests_failed tests_ignored
    read -r tests_passed tests_failed tests_ignored <<<"$counts"
    passed=$((passed + tests_passed))
    failed=$((failed + tests_failed))
    mapfile -t -O "${#failures[@]}" failures < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
    say "$tests_passed tests passed, $tests_failed failed"
    if [ "$tests_failed" -gt 0 ]; then
        sed -n '/^failures:$/,/^test result/p' "$log"
    elif [ "$status" -ne 0 ]; then
        fail "cargo test (it ended with status $status without naming a test)"
        tail -n 60 "$log"
    fi
    [ "$tests_ignored" -eq 0 ] || fail "$tests_ignored tests are marked #[ignore]: nobody expects that"
}

say "packages"
install_packages "${BUILD_PACKAGES[@]}" "${SHOW_PACKAGES[@]}" "${TEST_PACKAGES[@]}" || stop "installing packages"
find_rust || stop "finding Rust"
say "$(rustc --version), $(openssl version | cut -d' ' -f1-2), $(nproc) cores"
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
    mkdir -m 755 /run/sshd && made_run_sshd=1
fi

check "release build" cargo build --release --locked -p ctk-pkcs11 -p ctk
[ "$failed" -eq 0 ] || finish

toolchain_check "cargo fmt" fmt cargo fmt --all --check
toolchain_check "cargo clippy" clippy cargo clippy --workspace --all-targets --locked -- -D warnings
check "rustdoc" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

say "cargo-deny $CARGO_DENY_VERSION …"
if deny=$(cargo_deny 2>"$work/cargo-deny.log"); then
    check "cargo deny: bans, licences, sources" "$deny" --locked check bans licenses sources
    if "$deny" --locked fetch db >"$work/cargo-deny-fetch.log" 2>&1 </dev/null; then
        check "cargo deny: advisories" "$deny" --locked check --disable-fetch advisories
    else
        skip "cargo deny: advisories" "not checked: the database at github.com/RustSec/advisory-db cannot be fetched from here"
    fi
else
    tail -n 20 "$work/cargo-deny.log"
    fail "installing cargo-deny"
fi

run_tests
finish
