#!/bin/sh
# certomancer-keys.sh FOLDER: makes FOLDER what certomancer-csc needs, with new keys:
#   FOLDER/certomancer.yml and the keys beside it.
set -eu
mkdir -p "$1"
cp "$(dirname "$0")/certomancer.yml" "$1/"
cd "$1"
rsa() { openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$1" -out "$2"; }
# The authority signs by RSA, so that a server that is started again shows the same certificates.
rsa 2048 root.pem
rsa 2048 rsa.pem
rsa 3072 rsa-3072.pem
for curve in 256 384 521; do
    openssl genpkey -quiet -algorithm EC -pkeyopt "ec_paramgen_curve:P-$curve" -out "p$curve.pem"
done
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout -out disabled.pem
