#!/bin/bash
# Signs with keys that are in services, from nothing: brings up a signing service (CSC API) and an AWS KMS on this machine, registers
# both as tokens, and has unmodified programs sign with them.
#
#   examples/network/run.sh [WORK_FOLDER]       default: network-work beside this script
#
# On Debian 12, as root or with sudo. It can be run again. The services are other people's, from PyPI: certomancer-csc-dummy and
# localstack. Besides the packages it installs, softhsm-tests/work/network and cargo's target folder, all it makes is in the work
# folder, and a home folder that is gone when it ends; your own configuration is neither read nor changed.
# CTK_MODULE and CTK_COMMAND name a module and a command that are built already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${1:-$here/network-work}"
work=$(cd "${1:-$here/network-work}" && pwd)
cd "$here/../.."
source examples/steps.sh "$work" "$work/network.log"

# wait_for_answer PID URL: until the service answers anything.
wait_for_answer() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        if curl -s -o /dev/null --max-time 20 -X POST -H 'Content-Type: application/json' -d '{}' "$2"; then return 0; fi
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    echo "nothing answers at $2" >>"$log"
    return 1
}

step "Installing what is needed"
packages openssl opensc libengine-pkcs11-openssl osslsigncode openjdk-17-jdk-headless python3-venv curl
services=$PWD/softhsm-tests/work/network
with_clock make_network_venv "$services"
ok "$(openssl version | cut -d' ' -f1-2), OpenSC, osslsigncode, Java, and the services in $services"

if [ -n "${CTK_MODULE:-}" ] && [ -n "${CTK_COMMAND:-}" ]; then
    module=$CTK_MODULE ctk=$CTK_COMMAND
else
    packages "${BUILD_PACKAGES[@]}"
    find_rust >>"$log" 2>&1
    build
fi

leave_home
unset AWS_PROFILE AWS_REGION AWS_DEFAULT_REGION AWS_SESSION_TOKEN
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
# Cards in a reader of this machine would be tokens as well.
(
    umask 077
    mkdir -p "$HOME/.config/ctk"
    printf '[smartcard]\nenabled = false\n' >"$HOME/.config/ctk/ctk.toml"
)

step "Starting a signing service that speaks the CSC API"
"$here/../../softhsm-tests/services/certomancer-keys.sh" "$demo/csc" >>"$log" 2>&1
csc_port=$(free_port)
"$services/servers/bin/certomancer-csc" csc/certomancer.yml "$csc_port" 1 >csc.log 2>&1 </dev/null &
children+=($!)
csc_pid=$!
csc=http://127.0.0.1:$csc_port/csc/v1
wait_for_answer "$csc_pid" "$csc/info"
ok "certomancer-csc at $csc"

step "Starting an AWS KMS"
kms_port=$(free_port)
mkdir kms
(
    cd kms
    # -P: it would take a folder named like a package in the current one for that package.
    SERVICES=kms GATEWAY_SERVER=hypercorn GATEWAY_LISTEN=127.0.0.1:$kms_port DNS_ADDRESS=0 DISABLE_EVENTS=1 \
        SKIP_SSL_CERT_DOWNLOAD=1 OVERRIDE_IN_DOCKER=0 FILESYSTEM_ROOT=$demo/kms \
        exec "$services/localstack/bin/python" -P -m localstack.runtime.main >../kms.log 2>&1 </dev/null
) &
children+=($!)
kms_pid=$!
kms=http://127.0.0.1:$kms_port
wait_for_answer "$kms_pid" "$kms"
ok "localstack at $kms"

# This is no machine of EC2: without credentials nobody is to look for a metadata service.
export AWS_EC2_METADATA_DISABLED=true
# As CI gives them to a job: an account of its own, and no secret in any file. localstack looks at the account only.
export AWS_ACCESS_KEY_ID=100000000001 AWS_SECRET_ACCESS_KEY=not-looked-at
# kms OPERATION JSON: asks the KMS, as whoever sets up the keys does.
kms() {
    curl -sS --fail-with-body --max-time 60 -H 'Content-Type: application/x-amz-json-1.1' -H "X-Amz-Target: TrentService.$1" \
        -H "Authorization: AWS4-HMAC-SHA256 Credential=$AWS_ACCESS_KEY_ID/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0" \
        -d "$2" "$kms"
}
# create_key ALIAS SPEC
create_key() {
    local id
    id=$(kms CreateKey "{\"KeySpec\": \"$2\", \"KeyUsage\": \"SIGN_VERIFY\"}" | sed -n 's/.*"KeyId": *"\([^"]*\)".*/\1/p')
    kms CreateAlias "{\"AliasName\": \"alias/$1\", \"TargetKeyId\": \"$id\"}" >>"$log"
}

step "Making an RSA-2048, a P-256 and a P-521 key in the KMS"
create_key release-rsa RSA_2048
create_key release-p256 ECC_NIST_P256
create_key release-p521 ECC_NIST_P521
ok "alias/release-rsa, alias/release-p256, alias/release-p521"

step "Registering the signing service: ctk add csc $csc"
"$ctk" add csc "$csc" --name csc --label csc --authentication none </dev/null 2>&1 | tee -a "$log" | indent
ok

step "Registering the KMS: ctk add aws-kms --region us-east-1"
mkdir -m 755 certificates
"$ctk" add aws-kms --name kms --label kms --region us-east-1 --endpoint "$kms" --certificates certificates \
    </dev/null 2>&1 | tee -a "$log" | indent
ok "the secret key stays in the environment"

openssl_configuration=$demo/openssl.cnf
cat >"$openssl_configuration" <<CONFIGURATION
openssl_conf = init
[init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $module
init = 0
[req]
distinguished_name = empty
[empty]
CONFIGURATION
# with_engine COMMAND [OPTION…]: openssl, with keys from the module.
with_engine() {
    OPENSSL_CONF=$openssl_configuration timeout 60 openssl "$1" -engine pkcs11 -keyform engine "${@:2}" </dev/null
}

step "Certificates for the keys in the KMS: openssl req, signed there, and a throwaway authority"
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj "/CN=Throwaway authority" \
        -keyout authority.key -out authority.crt
    printf 'subjectKeyIdentifier=hash\nbasicConstraints=CA:FALSE\nextendedKeyUsage=codeSigning\n' >leaf.cnf
    for name in rsa p256 p521; do
        with_engine req -new -subj "/CN=Release $name" -key "pkcs11:token=kms;object=release-$name;type=private" -out "$name.csr"
        openssl req -verify -noout -in "$name.csr"
        openssl x509 -req -days 7 -CA authority.crt -CAkey authority.key -extfile leaf.cnf -in "$name.csr" \
            -out "certificates/$name.crt"
        openssl x509 -in "certificates/$name.crt" -pubkey -noout >"kms-$name.pub"
    done
} >>"$log" 2>&1
"$ctk" refresh kms </dev/null 2>&1 | tee -a "$log" | indent
ok "three requests that openssl has verified, and the certificates are beside the keys now"

step "Listing both as other programs do: pkcs11-tool -O"
tool() { pkcs11-tool --module "$module" --token-label "$1" "${@:2}" </dev/null; }
for token in csc kms; do
    tool "$token" -O >"$token.txt" 2>>"$log"
    cat "$token.txt" >>"$log"
done
grep -hE '^Certificate Object|^  (label|subject):' csc.txt kms.txt | grep -A2 '^Certificate' | grep subject | indent
# id_of TOKEN SUBJECT: the id that a certificate shares with its key.
id_of() { awk -v wanted="$2" '/subject:/ { found = index($0, "CN=" wanted) > 0 } found && /^  ID:/ { print $2; exit }' "$1.txt"; }
csc_rsa=$(id_of csc "Test RSA") csc_p256=$(id_of csc "Test P-256") csc_p384=$(id_of csc "Test P-384")
kms_rsa=$(id_of kms "Release rsa") kms_p256=$(id_of kms "Release p256") kms_p521=$(id_of kms "Release p521")
for id in "$csc_rsa" "$csc_p256" "$csc_p384" "$kms_rsa" "$kms_p256" "$kms_p521"; do
    [ "${#id}" -eq 40 ]
done
for name in rsa p256 p384; do
    # The file of the service's own key, which certomancer-csc reads; only its public half is looked at here.
    openssl pkey -in "csc/$name.pem" -pubout -out "csc-$name.pub" 2>>"$log"
done
ok "certificates and public keys of both"

head -c 3000 /dev/urandom >message
# signs TOKEN ID MECHANISM [OPTION…]: pkcs11-tool makes the file signature.
signs() {
    rm -f signature
    tool "$1" --id "$2" --sign -m "$3" "${@:4}" --input-file message --output-file signature >>"$log" 2>&1
}
# verified PUBLIC DIGEST [OPTION…]: openssl finds that it is one.
verified() { openssl dgst "-$2" -verify "$1" "${@:3}" -signature signature message >>"$log" 2>&1; }
pss=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest)

step "Signing with the CSC token: pkcs11-tool --sign"
signs csc "$csc_rsa" SHA256-RSA-PKCS && verified csc-rsa.pub sha256
signs csc "$csc_rsa" SHA256-RSA-PKCS-PSS && verified csc-rsa.pub sha256 "${pss[@]}"
signs csc "$csc_p256" ECDSA-SHA256 --signature-format openssl && verified csc-p256.pub sha256
signs csc "$csc_p384" ECDSA-SHA384 --signature-format openssl && verified csc-p384.pub sha384
ok "openssl has verified RSA PKCS#1 v1.5, RSA-PSS, P-256 and P-384 signatures"

step "Signing with the KMS token: pkcs11-tool --sign"
signs kms "$kms_rsa" SHA256-RSA-PKCS && verified kms-rsa.pub sha256
signs kms "$kms_rsa" SHA512-RSA-PKCS-PSS && verified kms-rsa.pub sha512 "${pss[@]}"
signs kms "$kms_p256" ECDSA-SHA256 --signature-format openssl && verified kms-p256.pub sha256
signs kms "$kms_p521" ECDSA-SHA512 --signature-format openssl && verified kms-p521.pub sha512
ok "openssl has verified RSA PKCS#1 v1.5, RSA-PSS, P-256 and P-521 signatures"

step "Signing with both: openssl dgst -engine pkcs11"
# engine_signs TOKEN ID DIGEST PUBLIC
engine_signs() {
    rm -f signature
    with_engine dgst "-$3" -sign "pkcs11:token=$1;id=$(sed 's/../%&/g' <<<"$2");type=private" -out signature message \
        >>"$log" 2>&1
    verified "$4" "$3"
}
engine_signs csc "$csc_rsa" sha256 csc-rsa.pub
engine_signs csc "$csc_p256" sha256 csc-p256.pub
engine_signs kms "$kms_rsa" sha256 kms-rsa.pub
engine_signs kms "$kms_p521" sha512 kms-p521.pub
ok "openssl has verified its signatures with RSA, P-256 and P-521 keys"

step "Signing an archive with both: jarsigner"
echo "content of the archive" >content
jar cf plain.jar content >>"$log" 2>&1
# slot_index TOKEN: its place in the order in which SunPKCS11 counts.
slot_index() { pkcs11-tool --module "$module" -L 2>>"$log" | grep 'token label' | grep -n ": $1\$" | cut -d: -f1 | awk '{ print $1 - 1 }'; }
# alias_of TOKEN SUBJECT: the label of the certificate.
alias_of() {
    awk -v wanted="$2" '/^  label:/ { sub(/^  label: */, ""); label = $0 } /subject:/ && index($0, "CN=" wanted) { print label; exit }' "$1.txt"
}
keytool -importcert -noprompt -keystore trusted.p12 -storepass public -alias kms -file authority.crt >>"$log" 2>&1
tool csc --read-object --type cert --label "$(alias_of csc "Test Root")" --output-file csc-root.der >>"$log" 2>&1
openssl x509 -inform der -in csc-root.der -out csc-root.crt
keytool -importcert -noprompt -keystore trusted.p12 -storepass public -alias csc -file csc-root.crt >>"$log" 2>&1
# jar_signs TOKEN SUBJECT
jar_signs() {
    printf 'name = %s\nlibrary = %s\nslotListIndex = %s\n' "$1" "$module" "$(slot_index "$1")" >"$1.cfg"
    rm -f signed.jar
    jarsigner -addprovider SunPKCS11 -providerArg "$1.cfg" -keystore NONE -storetype PKCS11 -protected \
        -signedjar signed.jar plain.jar "$(alias_of "$1" "$2")" >>"$log" 2>&1 </dev/null
    jarsigner -verify -verbose -certs -keystore trusted.p12 -storepass public signed.jar >verified.txt 2>&1
    cat verified.txt >>"$log"
    grep -q '^jar verified\.' verified.txt && grep -q "CN=$2" verified.txt
    # It would say here that it does not know who has signed.
    ! grep 'chain is invalid' verified.txt >>"$log" || return 1
}
jar_signs csc "Test RSA"
jar_signs kms "Release rsa"
jar_signs kms "Release p256"
ok "jarsigner has verified three archives, up to their authorities"

step "Signing a Windows program with both: osslsigncode"
python3 "$here/../../softhsm-tests/programs/plain_exe.py" plain.exe
engine=$(openssl version -e | cut -d'"' -f2)/pkcs11.so
# exe_signs TOKEN ID CERTIFICATE AUTHORITY
exe_signs() {
    rm -f signed.exe
    timeout 60 osslsigncode sign -pkcs11engine "$engine" -pkcs11module "$module" -h sha256 \
        -key "pkcs11:token=$1;id=$(sed 's/../%&/g' <<<"$2");type=private" -certs "$3" -in plain.exe -out signed.exe \
        >>"$log" 2>&1 </dev/null
    osslsigncode verify -CAfile "$4" -in signed.exe >>"$log" 2>&1
}
tool csc --read-object --type cert --id "$csc_rsa" --output-file csc-rsa.der >>"$log" 2>&1
openssl x509 -inform der -in csc-rsa.der -out csc-rsa.crt
cat csc-rsa.crt csc-root.crt >csc-chain.pem
cat certificates/rsa.crt authority.crt >kms-chain.pem
exe_signs csc "$csc_rsa" csc-chain.pem csc-root.crt
exe_signs kms "$kms_rsa" kms-chain.pem authority.crt
ok "osslsigncode has verified two programs, up to their authorities"

step "With both services down, listing still works, and signing says why it cannot"
stop_children
for token in csc kms; do
    tool "$token" -O >again.txt 2>>"$log"
    cmp "$token.txt" again.txt
done
CTK_LOG=warn refused "127.0.0.1:$kms_port" tool kms --id "$kms_rsa" --sign -m SHA256-RSA-PKCS --input-file message \
    --output-file refused
[ ! -s refused ]
if "$ctk" doctor network </dev/null >doctor.txt 2>&1; then false; fi
cat doctor.txt >>"$log"
grep -E "127\.0\.0\.1:($csc_port|$kms_port)" doctor.txt | indent
ok "the same objects, and ctk doctor network names the address that does not answer"

printf '\nTo use it:  ctk add csc https://…/csc/v1  or  ctk add aws-kms --region …;  and give programs the module %s\n' "$module"
all_ok
