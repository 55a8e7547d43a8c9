#!/bin/bash
# Measures the module beside SoftHSM2 and beside the crypto library in a loop: prints a table, writes JSON.
#
#   softhsm-tests/bench.sh [--quick] [--json FILE] [--module FILE [--label TOKEN [--pin PIN]]]
#   softhsm-tests/bench.sh apdu      what whole processes cost a smart card, in commands on the wire, beside OpenSC and ykcs11
#   softhsm-tests/bench.sh network [--quick] [--json FILE]
#                                    tokens whose keys are in a service, beside a client that does nothing but send and receive: in
#                                    about 3 minutes, and as long as it takes to build the module once more without that backend, which
#                                    --quick leaves out
#
# It is no test: it says "met" or MISSED for each target, and its exit status says nothing about speed. Everything is measured in turns,
# so that what else the machine does disturbs all alike; the quieter the machine, the better the figures all the same.
# What the figures mean is in pkcs11-spec-notes/10-performance.md.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source softhsm-tests/install.sh

install_packages "${BUILD_PACKAGES[@]}" "${BENCH_PACKAGES[@]}"
find_rust
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# In one call, so that the benchmark's loop links the very library that the module links.
cargo build --release --locked -p ctk-pkcs11 -p ctk -p softhsm-bench
export CTK_MODULE=${CTK_MODULE:-$CARGO_TARGET_DIR/release/libctk_pkcs11.so}
export CTK_COMMAND=${CTK_COMMAND:-$CARGO_TARGET_DIR/release/ctk}
if [ "${1-}" = apdu ]; then
    install_packages "${TEST_PACKAGES[@]}"
    exec "$CARGO_TARGET_DIR/release/bench-apdu"
fi
if [ "${1-}" = network ]; then
    shift
    install_packages "${TEST_PACKAGES[@]}"
    export CTK_NETWORK_SERVERS=${CTK_NETWORK_SERVERS:-$PWD/softhsm-tests/work/network}
    make_network_venv "$CTK_NETWORK_SERVERS"
    if [[ " $* " != *" --quick "* ]]; then
        # In a folder of its own: both builds have the same name.
        without=$CARGO_TARGET_DIR/without-network
        cargo build --release --locked -p ctk-pkcs11 --no-default-features --features pkcs12,smartcard,aws-lc --target-dir "$without"
        export CTK_MODULE_WITHOUT_NETWORK=$without/release/libctk_pkcs11.so
    fi
    cd "$here"
    exec "$CARGO_TARGET_DIR/release/bench-network" "$@"
fi
cd "$here" # relative paths are the caller's
exec "$CARGO_TARGET_DIR/release/softhsm-bench" "$@"
