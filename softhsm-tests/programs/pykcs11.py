"""A token as PyKCS11 sees it: pykcs11.py MODULE PIN RSA-PUBLIC EC-PUBLIC, the public keys in PEM.

Ends with status 3 if the PIN is refused.
"""

import hashlib
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from PyKCS11 import PyKCS11Error, PyKCS11Lib
from PyKCS11.LowLevel import *

MODULE, PIN, RSA_FILE, EC_FILE = sys.argv[1:5]
MESSAGE = b"a message that is longer than a block " * 20
DIGEST = hashlib.sha256(MESSAGE).digest()


def public_key(path):
    with open(path, "rb") as file:
        return serialization.load_pem_public_key(file.read())


RSA, EC = public_key(RSA_FILE), public_key(EC_FILE)


def mechanism(number):
    from PyKCS11 import Mechanism

    return Mechanism(number, None)


def one(session, **wanted):
    template = [(globals()[f"CKA_{name}"], value) for name, value in wanted.items()]
    [found] = session.findObjects(template)
    return found


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except PyKCS11Error as error:
        assert error.value == code, error
    else:
        raise AssertionError("it was allowed")


def as_der(signature):
    half = len(signature) // 2
    return utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def uses(session):
    rsa = one(session, CLASS=CKO_PRIVATE_KEY, KEY_TYPE=CKK_RSA)
    elliptic = one(session, CLASS=CKO_PRIVATE_KEY, KEY_TYPE=CKK_EC)
    assert len(session.findObjects([(CKA_CLASS, CKO_CERTIFICATE)])) == 2

    signature = bytes(session.sign(rsa, MESSAGE, mechanism(CKM_SHA256_RSA_PKCS)))
    RSA.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    open_rsa = one(session, CLASS=CKO_PUBLIC_KEY, KEY_TYPE=CKK_RSA)
    assert session.verify(open_rsa, MESSAGE, signature, mechanism(CKM_SHA256_RSA_PKCS))
    assert not session.verify(open_rsa, MESSAGE + b"!", signature, mechanism(CKM_SHA256_RSA_PKCS))
    signature = bytes(session.sign(elliptic, DIGEST, mechanism(CKM_ECDSA)))
    EC.verify(as_der(signature), DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    sent = RSA.encrypt(b"secret", padding.PKCS1v15())
    assert bytes(session.decrypt(rsa, sent, mechanism(CKM_RSA_PKCS))) == b"secret"
    sent = bytes(session.encrypt(open_rsa, b"secret", mechanism(CKM_RSA_PKCS)))
    assert bytes(session.decrypt(rsa, sent, mechanism(CKM_RSA_PKCS))) == b"secret"

    assert bytes(session.digest(MESSAGE, mechanism(CKM_SHA256))) == DIGEST
    assert bytes(session.generateRandom(32)) != bytes(session.generateRandom(32))

    # A key of the session, and none on the token: it is not made to hold more than its file does.
    made = session.generateKey([(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_VALUE_LEN, 16), (CKA_TOKEN, False)])
    session.destroyObject(made)
    refused(
        CKR_TOKEN_WRITE_PROTECTED,
        session.generateKey,
        [(CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_VALUE_LEN, 16), (CKA_TOKEN, True)],
    )
    [secret] = session.getAttributeValue(rsa, [CKA_PRIVATE_EXPONENT])
    assert secret is None, "the private exponent"


def main():
    module = PyKCS11Lib()
    module.load(MODULE)
    [slot] = module.getSlotList(tokenPresent=True)
    session = module.openSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION)
    try:
        session.login(PIN)
    except PyKCS11Error as error:
        assert error.value == CKR_PIN_INCORRECT, error
        sys.exit(3)
    uses(session)
    session.logout()
    session.closeSession()
    print("all of it")


main()
