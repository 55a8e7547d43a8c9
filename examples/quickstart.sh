#!/bin/bash
# Shows ctk-pkcs11 from nothing: builds it, turns a .p12 file into a token, and lets unmodified programs sign and decrypt with it.
#
#   examples/quickstart.sh [WORK_FOLDER]        default: quickstart-work beside this script
#
# On Debian 12, as root or with sudo. It can be run again. Besides the packages it installs and cargo's target folder,
# all it makes is in the work folder, and a home folder that is gone when it ends; your own configuration is neither read nor
# changed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${1:-$here/quickstart-work}"
work=$(cd "${1:-$here/quickstart-work}" && pwd)
cd "$here/.."
source examples/steps.sh "$work" "$work/quickstart.log"

made_run_sshd=
clean_up_besides() {
    [ -z "$made_run_sshd" ] || rmdir /run/sshd 2>/dev/null || true
}

# wait_for_port PORT PID: until the server takes connections.
wait_for_port() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
        kill -0 "$2" 2>/dev/null || break
        sleep 0.05
    done
    echo "nothing listens on port $1" >>"$log"
    return 1
}

step "Installing what is needed"
packages "${BUILD_PACKAGES[@]}" "${SHOW_PACKAGES[@]}"
find_rust >>"$log" 2>&1
ok "$(rustc --version | cut -d' ' -f1-2), $(openssl version | cut -d' ' -f1-2), OpenSC, OpenSSH, GnuTLS"

build
leave_home
unset SSH_AUTH_SOCK
pin=correct-horse

step "Making a throwaway authority, alice.p12 with an RSA-2048 and a P-256 identity, and another.p12 with a P-256 one"
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj "/CN=Throwaway authority" \
        -keyout authority.key -out authority.crt
    sign() { openssl x509 -req -days 7 -CA authority.crt -CAkey authority.key -extfile "$2" -in "$1.csr" -out "$1.crt"; }
    printf 'subjectKeyIdentifier=hash\nextendedKeyUsage=clientAuth\n' >client.cnf
    printf 'subjectAltName=DNS:localhost\n' >server.cnf
    openssl req -new -newkey rsa:2048 -nodes -subj "/CN=Alice RSA" -keyout rsa.key -out rsa.csr
    sign rsa client.cnf
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Alice EC" -keyout ec.key -out ec.csr
    sign ec client.cnf
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
    sign server server.cnf
    openssl x509 -in rsa.crt -pubkey -noout >rsa.pub
    openssl x509 -in ec.crt -pubkey -noout >ec.pub
    # OpenSSL writes one identity into a file; GnuTLS writes several.
    cat rsa.key ec.key >keys.pem
    cat rsa.crt ec.crt >certificates.pem
    certtool --to-p12 --p12-name "" --load-privkey keys.pem --load-certificate certificates.pem --password "$pin" \
        --outder --outfile alice.p12
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj "/CN=Another" \
        -keyout another.key -out another.crt
    openssl pkcs12 -export -inkey another.key -in another.crt -name Another -passout pass:another -out another.p12
    # From now on the keys are in the .p12 files only.
    rm keys.pem certificates.pem rsa.key ec.key another.key
} >>"$log" 2>&1
ok "alice.p12, $(stat -c %s alice.p12) bytes; another.p12, $(stat -c %s another.p12) bytes"

# Cards in a reader of this machine would be tokens as well.
(
    umask 077
    mkdir -p "$HOME/.config/ctk"
    printf '[smartcard]\nenabled = false\n' >"$HOME/.config/ctk/ctk.toml"
)

step "Registering them: ctk add alice.p12"
printf '%s\n' "$pin" | "$ctk" add alice.p12 2>&1 | tee -a "$log" | indent
# It comes first, so that whatever takes any key or the first token takes a wrong one.
printf 'another\n' | "$ctk" add another.p12 --order -1 >>"$log" 2>&1
ok "registered in $(find "$HOME/.config/ctk/tokens.d" -name '*.toml' | sort | sed "s|^$HOME|~|" | paste -sd ' ')"

step "Listing them: ctk list"
"$ctk" list 2>&1 | tee -a "$log" | indent
ok

# The id of the key in a certificate, as every program prints it.
id_of() { openssl x509 -in "$1" -noout -ext subjectKeyIdentifier | tail -n1 | tr -cd '0-9A-Fa-f' | tr 'A-F' 'a-f'; }
rsa=$(id_of rsa.crt)
ec=$(id_of ec.crt)

# The first token is another one: programs are told which they are to use.
tool() { pkcs11-tool --module "$module" --token-label alice "$@" </dev/null; }

step "Listing it as other programs do: pkcs11-tool -O, without a PIN"
tool -O >objects.txt 2>>"$log"
tee -a "$log" <objects.txt | grep -E 'Object;|label:|subject:' | indent
[ "$(grep -c "$rsa" objects.txt)" -ge 2 ] && [ "$(grep -c "$ec" objects.txt)" -ge 2 ]
ok "certificates and public keys of both identities"

head -c 3000 /dev/urandom >message
sign_with() {
    tool --login --pin "$pin" --id "$1" --sign "${@:2}" --input-file message --output-file signature >>"$log" 2>&1
}

step "Signing with the RSA key: pkcs11-tool --sign"
sign_with "$rsa" -m SHA256-RSA-PKCS
openssl dgst -sha256 -verify rsa.pub -signature signature message >>"$log" 2>&1
sign_with "$rsa" -m SHA256-RSA-PKCS-PSS
openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -verify rsa.pub \
    -signature signature message >>"$log" 2>&1
ok "openssl has verified an RSA PKCS#1 v1.5 and an RSA-PSS signature"

step "Signing with the P-256 key: pkcs11-tool --sign"
sign_with "$ec" -m ECDSA-SHA256 --signature-format openssl
openssl dgst -sha256 -verify ec.pub -signature signature message >>"$log" 2>&1
ok "openssl has verified an ECDSA signature"

step "Decrypting with the RSA key: pkcs11-tool --decrypt, of what openssl has encrypted"
head -c 32 /dev/urandom >secret
{
    openssl pkeyutl -encrypt -pubin -inkey rsa.pub -in secret -out sealed \
        -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256
    tool --login --pin "$pin" --id "$rsa" --decrypt -m RSA-PKCS-OAEP --hash-algorithm SHA256 --mgf MGF1-SHA256 \
        --input-file sealed --output-file opened
    cmp secret opened
} >>"$log" 2>&1
ok "the same 32 bytes, by RSA-OAEP"

step "Agreeing on a secret with the P-256 key: pkcs11-tool --derive"
{
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out peer.key
    openssl pkey -in peer.key -pubout -outform DER -out peer.der
    tool --login --pin "$pin" --id "$ec" --derive -m ECDH1-DERIVE --input-file peer.der --output-file agreed
    openssl pkeyutl -derive -inkey peer.key -peerkey ec.pub -out expected
    cmp expected agreed
} >>"$log" 2>&1
ok "the same $(stat -c %s agreed) bytes that openssl has with the other key"

step "TLS: openssl s_client, with the engine, at a server that demands a certificate"
tls_port=$(free_port)
openssl s_server -accept "127.0.0.1:$tls_port" -cert server.crt -key server.key -CAfile authority.crt \
    -Verify 1 -verify_return_error -www >server.log 2>&1 </dev/null &
children+=($!)
wait_for_port "$tls_port" $!
cat >openssl.cnf <<CONFIGURATION
openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $module
init = 0
CONFIGURATION
# handshake VERSION CERTIFICATE ID PIN: the server's page says whether it has seen a certificate.
handshake() {
    local status=0
    printf 'GET / HTTP/1.0\r\n\r\n' | OPENSSL_CONF=$demo/openssl.cnf timeout 30 openssl s_client -connect "127.0.0.1:$tls_port" \
        "-$1" -CAfile authority.crt -verify_return_error -servername localhost -ign_eof -cert "$2" -engine pkcs11 -keyform engine \
        -key "pkcs11:token=alice;id=$(sed 's/../%&/g' <<<"$3");type=private?pin-value=$4" >handshake.txt 2>&1 || status=$?
    cat handshake.txt >>"$log"
    [ "$status" -eq 0 ] && grep -q 'HTTP/1.0 200' handshake.txt
}
for version in tls1_2 tls1_3; do
    handshake "$version" rsa.crt "$rsa" "$pin"
    handshake "$version" ec.crt "$ec" "$pin"
done
ok "TLS 1.2 and 1.3, with the RSA and with the P-256 certificate"

step "SSH: ssh -I at a throwaway sshd"
ssh_port=$(free_port)
user=$(id -un)
ssh-keygen -q -t ed25519 -N "" -f host_key </dev/null
ssh-keygen -D "$module" 2>>"$log" </dev/null | grep ' Alice ' >authorized_keys
[ "$(grep -c '^\(ssh-rsa\|ecdsa-\)' authorized_keys)" -eq 2 ]
echo "[127.0.0.1]:$ssh_port $(cut -d' ' -f1-2 host_key.pub)" >known_hosts
printf '#!/bin/sh\ncat "%s/pin"\n' "$demo" >askpass
chmod 700 askpass
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
    mkdir -m 755 /run/sshd && made_run_sshd=1
fi
/usr/sbin/sshd -D -e -f /dev/null -p "$ssh_port" -h "$demo/host_key" -o ListenAddress=127.0.0.1 -o PidFile=none -o UsePAM=no \
    -o StrictModes=no -o "AuthorizedKeysFile=\"$demo/authorized_keys\"" -o PasswordAuthentication=no \
    -o KbdInteractiveAuthentication=no -o PermitRootLogin=prohibit-password >sshd.log 2>&1 </dev/null &
children+=($!)
wait_for_port "$ssh_port" $!
# ssh_login PIN COMMAND: as a person at a terminal would, with the PIN given by SSH_ASKPASS.
ssh_login() {
    printf '%s\n' "$1" >pin
    SSH_ASKPASS=$demo/askpass SSH_ASKPASS_REQUIRE=force timeout 30 ssh -F none -I "$module" -p "$ssh_port" \
        -o IdentityFile=none -o IdentityAgent=none -o "UserKnownHostsFile=\"$demo/known_hosts\"" \
        -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o NumberOfPasswordPrompts=1 \
        -o PreferredAuthentications=publickey "$user@127.0.0.1" "$2"
}
[ "$(ssh_login "$pin" 'echo logged in' 2>>"$log" </dev/null)" = "logged in" ]
ok "logged in as $user with a key that ssh has never seen"

step "A wrong PIN is refused"
refused CKR_PIN_INCORRECT tool --login --pin wrong --id "$rsa" --sign -m SHA256-RSA-PKCS \
    --input-file message --output-file refused.sig
[ ! -s refused.sig ]
refused "ermission denied" ssh_login wrong true
if handshake tls1_3 rsa.crt "$rsa" wrong; then false; fi
grep -q "PIN incorrect" handshake.txt
# It was the PIN, and not a server that has ended.
handshake tls1_3 rsa.crt "$rsa" "$pin"
ok "by pkcs11-tool, ssh and openssl"

step "Reading the private key is refused, with the right PIN too"
cc -o client -I"$here/../include" "$here/c-client/client.c" -ldl >>"$log" 2>&1
# A client in C: pkcs11-tool has no command that would ask for a private key's value.
read_key() { printf '%s\n' "$pin" | ./client "$module" read "$1"; }
./client "$module" list 2>&1 | tee -a "$log" | indent
refused CKR_ATTRIBUTE_SENSITIVE read_key "$rsa"
refused CKR_ATTRIBUTE_SENSITIVE read_key "$ec"
ok "CKR_ATTRIBUTE_SENSITIVE, for the RSA exponent and for the EC value"

step "Giving the file another password: ctk passwd alice"
old=$pin pin=battery-staple
printf '%s\n' "$old" "$pin" | "$ctk" passwd alice 2>&1 | tee -a "$log" | indent
refused CKR_PIN_INCORRECT tool --login --pin "$old" --id "$rsa" --sign -m SHA256-RSA-PKCS \
    --input-file message --output-file refused.sig
sign_with "$rsa" -m SHA256-RSA-PKCS
openssl dgst -sha256 -verify rsa.pub -signature signature message >>"$log" 2>&1
openssl pkcs12 -in alice.p12 -noout -passin "pass:$pin" >>"$log" 2>&1
ok "the old one is refused; the new one signs, and opens the file for openssl"

printf '\nTo use it:  export PATH="%s:$PATH";  ctk add FILE.p12;  and give programs the module %s\n' "$CARGO_TARGET_DIR/release" "$module"
all_ok
