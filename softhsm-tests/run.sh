#!/bin/bash
# Installs what the tests need, builds the release module, and runs every check and every test of this repository.
#
#   softhsm-tests/run.sh               everything
#   softhsm-tests/run.sh --vendored    every test again, and clippy, with everything built on OpenSSL instead of AWS-LC
#
# From nothing on Debian 12, as root or with sudo. What it makes is in cargo's target folder and softhsm-tests/work, but for the
# packages it installs, cargo's own folder (crates, the advisory database of cargo-deny), and, where rustup is, the components
# rustfmt and clippy. Test keys are in a folder of their own below TMPDIR, and gone when it ends: to look at what a failed test
# has left, run that test by cargo test. Damaged input that a test fails with is kept in softhsm-tests/work/fuzz. The throwaway
# keys of the quickstart are in softhsm-tests/work/quickstart until the next run, those of the network example in
# softhsm-tests/work/network-example.
# The last line is "N passed, N failed, N skipped". What is skipped says why, and fails if it is not in EXPECTED_SKIPS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source softhsm-tests/install.sh

CARGO_DENY_VERSION=0.20.2

# What is built on OpenSSL by --vendored: every crate that the crypto library reaches, and the contract; what the tests ask
# has the same library as the test.
VENDORED_PACKAGES=(ctk-token ctk-crypto ctk-pkcs12 ctk-smartcard ctk-network ctk-host ctk-pkcs11 ctk ctk-example-backend
    ctk-services)

vendored=
case ${1-} in
    "") ;;
    --vendored) vendored=1 ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' softhsm-tests/run.sh >&2 && exit 2 ;;
esac

# What may be skipped, and where.
EXPECTED_SKIPS=(
    "cargo deny: advisories" # where the advisory database cannot be fetched
    "access control lists"   # where the file system of TMPDIR has none
)
if [ "$(id -u)" != 0 ]; then
    EXPECTED_SKIPS+=(
        "setuid ctk" # only root can make a program that runs as another user
        "setuid pkcs11-tool"
    )
fi
# Nor can everybody give a program another /etc: not who is not root, and not root in most containers.
if ! unshare --mount --pid --fork --kill-child --mount-proc mount --bind /etc /etc 2>/dev/null; then
    EXPECTED_SKIPS+=("linux login")
fi

work=$PWD/softhsm-tests/work
mkdir -p "$work"
export CARGO_TERM_COLOR=never
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
passed=0 failed=0 skipped=0
failures=()
made_run_sshd=
# A short path: Unix sockets have room for 108 bytes.
TMPDIR=$(mktemp -d)
chmod 711 "$TMPDIR" # a program that runs as another user must come through
export TMPDIR
# A test that cannot run here adds a line "NAME: why" to this file.
export CTK_TEST_SKIPS=$work/test-skips
# The library that the tests must find in what is built.
export CTK_CRYPTO_LIBRARY=aws-lc
# How long each test that damages its input goes on, from a start of its own each time.
export CTK_FUZZ_SECONDS=${CTK_FUZZ_SECONDS:-60}
# No test asks the metadata service of a machine of EC2, should this be one.
export AWS_EC2_METADATA_DISABLED=true
# Other people's signing services.
export CTK_NETWORK_SERVERS=$work/network
# Where they keep what they fail with, which nobody could make again.
export CTK_FUZZ_KEEP=$work/fuzz
: >"$CTK_TEST_SKIPS"

# sshd as root wants /run/sshd, which only a service manager makes.
clean_up() {
    rm -rf "$TMPDIR"
    [ -z "$made_run_sshd" ] || rmdir /run/sshd 2>/dev/null || true
}
trap clean_up EXIT

say() { printf '[%s] %s\n' "$(duration "$SECONDS")" "$*"; }

# check NAME COMMAND…: one check, its output shown only when it fails.
check() {
    local name=$1 log started=$SECONDS
    shift
    log=$work/$(tr -c 'a-z0-9\n' '-' <<<"${name,,}").log
    last_log=$log
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

# The cards that tests put into readers, a workspace of its own whose builds are beside the others.
CARDS=(--manifest-path softhsm-tests/cards/Cargo.toml)

# build_cards ARGUMENTS…: with what else of that workspace is to be built, so that it is not built twice.
build_cards() {
    check "virtual cards" cargo build --locked "${CARDS[@]}" "$@"
    [ "$failed" -eq 0 ] || finish
    export CTK_VIRTUAL_CARD=$CARGO_TARGET_DIR/debug/virtual-card
}

# run_tests FOLDER ARGUMENTS…: cargo test, with the programs run against the module and the command in FOLDER: a release
# build, which is what a person installs.
run_tests() {
    local log=$work/cargo-test.log status=0 counts folder=$1 name reason
    shift
    say "cargo test $* …"
    : >"$CTK_TEST_SKIPS"
    set +e # the first program of the pipe is the one whose status counts
    CTK_MODULE=$folder/libctk_pkcs11.so CTK_COMMAND=$folder/ctk \
        cargo test "$@" --locked --no-fail-fast </dev/null 2>&1 | tee "$log" |
        grep --line-buffered -E '^(     Running|   Doc-tests|test result|test .*(FAILED|ignored))|^error|panicked at|crypto library: |compared with SoftHSM2: '
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
    [ "$tests_passed" -gt 0 ] || fail "cargo test (it ran no test)"
    # cargo counts these as passed.
    while IFS=: read -r name reason; do
        passed=$((passed - 1))
        skip "$name" "${reason# }"
    done <"$CTK_TEST_SKIPS"
}

quickstart() {
    examples/quickstart.sh "$work/quickstart" | tee "$work/quickstart.out" || return 1
    tail -n 1 "$work/quickstart.out" | grep -qE '^All [0-9]+ steps passed in .*\. What was made is in '
}

network_example() {
    CTK_MODULE=$CARGO_TARGET_DIR/release/libctk_pkcs11.so CTK_COMMAND=$CARGO_TARGET_DIR/release/ctk \
        examples/network/run.sh "$work/network-example" | tee "$work/network-example.out" || return 1
    tail -n 1 "$work/network-example.out" | grep -qE '^All [0-9]+ steps passed in .*\. What was made is in '
}

# Everything on OpenSSL: module and command as a person installs them, and every test but the benchmark's, which compares with AWS-LC.
run_vendored() {
    local features=(--no-default-features --features "openssl-vendored pkcs12 smartcard network")
    local packages=() package name folder
    for package in "${VENDORED_PACKAGES[@]}" softhsm-tests; do packages+=(-p "$package"); done
    export CTK_CRYPTO_LIBRARY=openssl
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/openssl-vendored
    folder=$CARGO_TARGET_DIR/release
    for package in ctk-pkcs11 ctk; do
        name=${package/ctk-pkcs11/libctk_pkcs11.so}
        check "$package on OpenSSL: release build" \
            cargo build --release --locked -p "$package" --no-default-features --features openssl-vendored
        [ "$failed" -eq 0 ] || finish
        check "$package on OpenSSL: no other library is in it" \
            built_on_openssl "$folder/$name" -e normal,build -p "$package" --no-default-features --features openssl-vendored
        say "$name: $(tail -n 1 "$last_log")"
    done
    build_cards
    check "tests on OpenSSL: no other library is in them" made_of_openssl -e normal,build,dev "${packages[@]}" "${features[@]}"
    toolchain_check "cargo clippy on OpenSSL" clippy \
        cargo clippy "${packages[@]}" "${features[@]}" --all-targets --locked -- -D warnings
    run_tests "$folder" "${packages[@]}" "${features[@]}"
    finish
}

# built_on_openssl FILE ARGUMENTS…: what cargo tree's ARGUMENTS describe, and FILE, which is built from it, have OpenSSL and nothing
# of AWS-LC.
built_on_openssl() {
    local file=$1
    shift
    if strings "$file" | grep -i 'aws-lc'; then
        echo "AWS-LC is in it"
        return 1
    fi
    strings "$file" | grep -c 'providers/implementations/' || { echo "OpenSSL 3 is not in it"; return 1; }
    made_of_openssl "$@"
}

# made_of_openssl ARGUMENTS…: the crates have the sources of OpenSSL among them, whose version is the last line, and not AWS-LC's.
made_of_openssl() {
    local tree
    tree=$(cargo tree --locked --prefix none "$@") || return 1
    if grep '^aws-lc' <<<"$tree"; then
        echo "AWS-LC is in it"
        return 1
    fi
    grep -m 1 -o '^openssl-src v[0-9.+]*' <<<"$tree"
}

say "packages"
install_packages "${BUILD_PACKAGES[@]}" "${SHOW_PACKAGES[@]}" "${TEST_PACKAGES[@]}" || stop "installing packages"
find_rust || stop "finding Rust"
make_venv "$work/venv" >"$work/venv.log" 2>&1 || { tail -n 20 "$work/venv.log"; stop "installing ${PYTHON_PACKAGES[*]}"; }
make_network_venv "$CTK_NETWORK_SERVERS" >"$work/network-venv.log" 2>&1 ||
    { tail -n 20 "$work/network-venv.log"; stop "installing certomancer-csc-dummy, moto and localstack"; }
# Debian's cargo-web comes without rustfmt and clippy; rustup can add them.
command -v rustup >/dev/null || EXPECTED_SKIPS+=(
    "cargo fmt" "cargo fmt of the cards" "cargo clippy" "cargo clippy of the cards" "cargo clippy on OpenSSL"
)
say "$(rustc --version), $(openssl version | cut -d' ' -f1-2), $(nproc) cores"
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
    mkdir -m 755 /run/sshd && made_run_sshd=1
fi

[ -z "$vendored" ] || run_vendored
check "release build" cargo build --release --locked -p ctk-pkcs11 -p ctk
[ "$failed" -eq 0 ] || finish
build_cards --workspace

toolchain_check "cargo fmt" fmt cargo fmt --all --check
toolchain_check "cargo fmt of the cards" fmt cargo fmt --all --check "${CARDS[@]}"
toolchain_check "cargo clippy" clippy cargo clippy --workspace --all-targets --locked -- -D warnings
toolchain_check "cargo clippy of the cards" clippy cargo clippy "${CARDS[@]}" --workspace --all-targets --locked -- -D warnings
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

run_tests "$CARGO_TARGET_DIR/release" --workspace
run_tests "$CARGO_TARGET_DIR/release" "${CARDS[@]}" --workspace
check "quickstart" quickstart
check "network example" network_example
finish
