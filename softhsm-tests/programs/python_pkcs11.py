"""A token as python-pkcs11 sees it: python_pkcs11.py MODULE PIN RSA-KEY EC-KEY, the software keys of the same identities in PEM.

Ends with status 3 if the PIN is refused.
"""

import hashlib
import sys

import pkcs11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from pkcs11 import KDF, MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ecdsa_signature

MODULE, PIN, RSA_FILE, EC_FILE = sys.argv[1:5]
MESSAGE = b"a message that is longer than a block " * 20


def software_key(path):
    with open(path, "rb") as file:
        return serialization.load_pem_private_key(file.read(), None)


RSA, EC = software_key(RSA_FILE), software_key(EC_FILE)


def lists(session):
    certificates = list(session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE}))
    assert len(certificates) == 2, certificates
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    assert {key.key_type for key in found} == {KeyType.RSA, KeyType.EC}, found
    ids = {certificate[Attribute.ID] for certificate in certificates}
    assert ids == {key.id for key in found}


def keeps(key, attribute):
    try:
        value = key[attribute]
    except pkcs11.exceptions.AttributeSensitive:
        return
    raise AssertionError(f"{attribute} is {value}")


def signs_with_rsa(key, public):
    signature = key.sign(MESSAGE, mechanism=Mechanism.SHA256_RSA_PKCS)
    RSA.public_key().verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert public.verify(MESSAGE, signature, mechanism=Mechanism.SHA256_RSA_PKCS)
    assert not public.verify(MESSAGE + b"!", signature, mechanism=Mechanism.SHA256_RSA_PKCS)
    # In parts, with PSS.
    parameters = (Mechanism.SHA384, MGF.SHA384, 48)
    parts = (MESSAGE[at : at + 100] for at in range(0, len(MESSAGE), 100))
    signature = key.sign(parts, mechanism=Mechanism.SHA384_RSA_PKCS_PSS, mechanism_param=parameters)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    RSA.public_key().verify(signature, MESSAGE, pss, hashes.SHA384())
    keeps(key, Attribute.PRIVATE_EXPONENT)


def decrypts_with_rsa(key, public):
    for sent in (public.encrypt(b"secret", mechanism=Mechanism.RSA_PKCS), RSA.public_key().encrypt(b"secret", padding.PKCS1v15())):
        assert key.decrypt(sent, mechanism=Mechanism.RSA_PKCS) == b"secret"
    for ours, theirs, mgf in (
        (Mechanism.SHA_1, hashes.SHA1(), MGF.SHA1),
        (Mechanism.SHA256, hashes.SHA256(), MGF.SHA256),
        (Mechanism.SHA512, hashes.SHA512(), MGF.SHA512),
    ):
        for label in (None, b"a label"):
            oaep = padding.OAEP(padding.MGF1(theirs), theirs, label)
            sent = RSA.public_key().encrypt(b"secret", oaep)
            got = key.decrypt(sent, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=(ours, mgf, label))
            assert got == b"secret", got


def unwraps_with_rsa(key):
    plain = bytes(range(32))
    wrapped = RSA.public_key().encrypt(plain, padding.PKCS1v15())
    template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    secret = key.unwrap_key(ObjectClass.SECRET_KEY, KeyType.AES, wrapped, mechanism=Mechanism.RSA_PKCS, template=template)
    assert secret[Attribute.VALUE] == plain


def signs_with_ec(key, public):
    signature = key.sign(MESSAGE, mechanism=Mechanism.ECDSA_SHA256)
    EC.public_key().verify(encode_ecdsa_signature(signature), MESSAGE, ec.ECDSA(hashes.SHA256()))
    assert public.verify(MESSAGE, signature, mechanism=Mechanism.ECDSA_SHA256)
    digest = hashlib.sha256(MESSAGE).digest()
    signature = key.sign(digest, mechanism=Mechanism.ECDSA)
    EC.public_key().verify(encode_ecdsa_signature(signature), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    keeps(key, Attribute.VALUE)


def derives_with_ec(key):
    peer = ec.generate_private_key(ec.SECP256R1())
    point = peer.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    shared = peer.exchange(ec.ECDH(), EC.public_key())
    secret = key.derive_key(KeyType.GENERIC_SECRET, 256, mechanism_param=(KDF.NULL, None, point), template=template)
    assert secret[Attribute.VALUE] == shared
    secret = key.derive_key(KeyType.AES, 256, mechanism_param=(KDF.SHA256, b"info", point), template=template)
    # ANSI X9.63: the hash of the secret, a counter and the shared information.
    assert secret[Attribute.VALUE] == hashlib.sha256(shared + b"\0\0\0\1" + b"info").digest()


def computes(session):
    for mechanism, name in ((Mechanism.SHA_1, "sha1"), (Mechanism.SHA256, "sha256"), (Mechanism.SHA512, "sha512")):
        assert session.digest(MESSAGE, mechanism=mechanism) == hashlib.new(name, MESSAGE).digest()
    parts = (MESSAGE[at : at + 7] for at in range(0, len(MESSAGE), 7))
    assert session.digest(parts, mechanism=Mechanism.SHA384) == hashlib.sha384(MESSAGE).digest()
    assert session.generate_random(256) != session.generate_random(256)


def has_session_objects(session):
    secret = session.generate_key(KeyType.AES, 256)
    initial = session.generate_random(128)
    sent = secret.encrypt(MESSAGE, mechanism_param=initial)
    assert secret.decrypt(sent, mechanism_param=initial) == MESSAGE
    parts = [MESSAGE[:5], MESSAGE[5:]]
    assert b"".join(secret.encrypt(parts, mechanism_param=initial)) == sent
    value = bytes(range(16))
    known = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: value,
            Attribute.LABEL: "known",
            Attribute.ENCRYPT: True,
            Attribute.TOKEN: False,
        }
    )
    assert known.encrypt(bytes(16), mechanism=Mechanism.AES_ECB).hex() == "c6a13b37878f5b826f4f8162a1c8d879"
    assert session.get_key(label="known") is not None
    known.destroy()
    try:
        session.get_key(label="known")
    except pkcs11.exceptions.NoSuchKey:
        pass
    else:
        raise AssertionError("it is still there")
    public, private = session.generate_keypair(KeyType.RSA, 2048)
    signature = private.sign(MESSAGE, mechanism=Mechanism.SHA256_RSA_PKCS)
    assert public.verify(MESSAGE, signature, mechanism=Mechanism.SHA256_RSA_PKCS)


def main():
    token = pkcs11.lib(MODULE).get_token(token_label="token")
    try:
        session = token.open(user_pin=PIN)
    except pkcs11.exceptions.PinIncorrect:
        sys.exit(3)
    with session:
        lists(session)
        keys = {
            (which, kind): session.get_key(object_class=which, key_type=kind)
            for which in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
            for kind in (KeyType.RSA, KeyType.EC)
        }
        rsa, rsa_public = keys[ObjectClass.PRIVATE_KEY, KeyType.RSA], keys[ObjectClass.PUBLIC_KEY, KeyType.RSA]
        elliptic, elliptic_public = keys[ObjectClass.PRIVATE_KEY, KeyType.EC], keys[ObjectClass.PUBLIC_KEY, KeyType.EC]
        signs_with_rsa(rsa, rsa_public)
        decrypts_with_rsa(rsa, rsa_public)
        unwraps_with_rsa(rsa)
        signs_with_ec(elliptic, elliptic_public)
        derives_with_ec(elliptic)
        computes(session)
        has_session_objects(session)
    print("all of it")


main()
