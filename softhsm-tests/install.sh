#!/bin/bash
# Installs what building and testing need on Debian 12, and finds a Rust toolchain that is new enough.
#
#   source softhsm-tests/install.sh
#   install_packages "${BUILD_PACKAGES[@]}"      Debian packages that are not there yet; apt is not called when all are
#   make_venv FOLDER                             Python with what the tests take from PyPI
#   make_network_venv FOLDER                     other people's signing services, from PyPI
#   find_rust                                    puts a cargo and rustc of at least RUST_MINIMUM first on PATH, by apt if need be
#
# Sourced by run.sh and by examples/quickstart.sh, so that there is one list.

RUST_MINIMUM=1.88

# bindgen reads AWS-LC's headers (libclang, cmake); the linker and libc come with gcc; smart cards are reached by libpcsclite.
BUILD_PACKAGES=(gcc libc6-dev cmake clang libclang-dev pkg-config make ca-certificates libpcsclite-dev)

# The programs that quickstart shows.
SHOW_PACKAGES=(openssl opensc libengine-pkcs11-openssl openssh-client openssh-server gnutls-bin)

# What the tests need besides: OpenSSL's headers for a host that itself runs on OpenSSL, tools that look into the module,
# NSS and Java, whose PKCS#12 files differ from OpenSSL's, and the programs that use the module; virtual readers for cards, other
# people's drivers for them, and what logs people in to Linux by them; what signs programs for Windows.
TEST_PACKAGES=(libssl-dev binutils valgrind strace softhsm2 libnss3-tools openjdk-17-jdk-headless firefox-esr nginx
    python3-venv pcscd vsmartcard-vpcd opensc-pkcs11 yubico-piv-tool ykcs11 pamtester libpam-pkcs11 libpam-p11 sssd-common libpam-sss
    osslsigncode)

# What the benchmark compares with and counts by.
BENCH_PACKAGES=(openssl gnutls-bin softhsm2 opensc p11-kit-modules strace pcscd vsmartcard-vpcd ykcs11 openssh-client)

# What the tests take from PyPI: two bindings of PKCS#11, cryptography that has to agree with them, and what steers Firefox.
PYTHON_PACKAGES=(python-pkcs11==0.10.1 PyKCS11==1.5.20 cryptography==50.0.2 marionette_driver==3.7.1)

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        echo "This needs root once, to install Debian packages: run it as root, install sudo, or install by hand:" >&2
        echo "  apt-get install $*" >&2
        return 1
    fi
}

# Which of the packages named are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    echo "  apt-get install ${missing[*]}"
    # In a shell of its own, whose traps are not the caller's.
    (
        # openssh-server would start a daemon on a machine that has none running: policy-rc.d forbids that for this call only,
        # also when somebody stops it.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'as_root rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM
            printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod 755 "$policy"
        fi
        mapfile -t profiles < <(pam_profiles)
        apt_install "${missing[@]}" || { as_root apt-get -q update && apt_install "${missing[@]}"; } || exit
        leave_logins_alone "${profiles[@]}"
    )
}

# What is offered for every login of this machine.
pam_profiles() {
    find /usr/share/pam-configs -type f -printf '%f\n' 2>/dev/null || true
}

# sssd-common brings libpam-sss and libpam-pwquality, which put themselves into every login. What was not among the profiles named
# is taken out again: the tests have a PAM configuration of their own.
leave_logins_alone() {
    local brought
    mapfile -t brought < <(pam_profiles | grep -vxF -f <(printf '%s\n' "$@"))
    [ "${#brought[@]}" -eq 0 ] || as_root env DEBIAN_FRONTEND=noninteractive pam-auth-update --package --remove "${brought[@]}"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" </dev/null
}

# A virtual environment of Debian's Python in folder $1 with PYTHON_PACKAGES; PyPI is not asked when all are there.
make_venv() {
    local folder=$1 package
    [ -x "$folder/bin/python" ] || /usr/bin/python3 -m venv "$folder" || return 1
    for package in "${PYTHON_PACKAGES[@]}"; do
        "$folder/bin/pip" freeze 2>/dev/null | grep -ixF "$package" >/dev/null && continue
        "$folder/bin/pip" install -q --disable-pip-version-check "${PYTHON_PACKAGES[@]}" </dev/null
        return
    done
}

# Two virtual environments of Debian's Python in folder $1 with other people's signing services; PyPI is not asked when all is there.
#
#   FOLDER/servers     certomancer-csc (CSC API) and moto_server (AWS KMS that checks who asks)
#   FOLDER/localstack  localstack (AWS KMS that signs correctly), for which the libraries of the others are too new
#
# Each listens on 127.0.0.1 only, when it is started so (DIR is an empty folder that it may write to):
#
#   softhsm-tests/services/certomancer-keys.sh DIR && FOLDER/servers/bin/certomancer-csc DIR/certomancer.yml PORT 1
#       http://127.0.0.1:PORT/csc/v1 with the credentials t/rsa, t/rsa-3072, t/p256, t/p384, t/p521 and their authority t/root; 2
#       for SCAL 2. It wants no login.
#
#   cd DIR && SERVICES=kms GATEWAY_SERVER=hypercorn GATEWAY_LISTEN=127.0.0.1:PORT DNS_ADDRESS=0 DISABLE_EVENTS=1 \
#       SKIP_SSL_CERT_DOWNLOAD=1 OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT=DIR FOLDER/localstack/bin/python -P -m localstack.runtime.main
#       http://127.0.0.1:PORT/ and https too; twelve digits as the access key are an account of its own, any secret will do.
#       Without GATEWAY_SERVER it listens on all addresses, and without -P a folder named moto is in its way.
#
#   cd DIR && INITIAL_NO_AUTH_ACTION_COUNT=5 FOLDER/servers/bin/moto_server -H 127.0.0.1 -p PORT
#       http://127.0.0.1:PORT/; the first five requests (users, access keys, policies) need no signature.
#
# They answer requests from then on. services/ starts them so for tests.
make_network_venv() {
    local folder=$1 name wanted
    for name in servers localstack; do
        wanted=$(dirname "${BASH_SOURCE[0]}")/services/$name.txt
        # What is installed is noted when all of it is.
        cmp -s "$wanted" "$folder/$name/installed.txt" && "$folder/$name/bin/python" -c '' 2>/dev/null && continue
        rm -rf "${folder:?}/$name"
        mkdir -p "$folder"
        /usr/bin/python3 -m venv "$folder/$name" || return 1
        "$folder/$name/bin/pip" install -q --disable-pip-version-check -r "$wanted" </dev/null || return 1
        cp "$wanted" "$folder/$name/installed.txt"
    done
}

# Whether the cargo in folder $1 (or on PATH, if empty) works and its rustc is new enough.
rust_is_new_enough() {
    local rustc=${1:+$1/}rustc version
    version=$("$rustc" --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] || return 1
    "${1:+$1/}cargo" --version >/dev/null 2>&1 || return 1
    [ "$(printf '%s\n%s\n' "$RUST_MINIMUM" "$version" | sort -V | head -n1)" = "$RUST_MINIMUM" ]
}

find_rust() {
    local folder
    rust_is_new_enough "" && return 0
    for folder in "${CARGO_HOME:-$HOME/.cargo}/bin" /usr/bin; do
        if rust_is_new_enough "$folder"; then
            export PATH="$folder:$PATH"
            return 0
        fi
    done
    # Debian 12's own rustc is 1.63; the security archive keeps a current one for the browsers.
    echo "  no Rust of at least $RUST_MINIMUM here: taking Debian's rustc-web and cargo-web"
    # The index first, and even if the packages are there: an older one may be, from the main archive.
    as_root apt-get -q update && apt_install rustc-web cargo-web || return 1
    if rust_is_new_enough /usr/bin; then
        export PATH="/usr/bin:$PATH"
        return 0
    fi
    echo "Debian's rustc-web is older than $RUST_MINIMUM here. Is bookworm-security among apt's sources?" >&2
    echo "Or install a current Rust from https://rustup.rs; then run this again." >&2
    return 1
}

# Seconds as 1 min 05 s, or 7 s.
duration() {
    if [ "$1" -ge 60 ]; then
        printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
    else
        printf '%d s' "$1"
    fi
}
