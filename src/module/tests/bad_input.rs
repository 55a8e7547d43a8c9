//! Lengths that cannot be, NULL where something has to be, and addresses that are not aligned, for
//! every function that takes data or gives some while an operation is active.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

mod operations;
mod support;

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use operations::{self as op, Mechanism, Object, Session};
use support::{Identity, Module, Settings, TestToken, key};

/// The keys of the test's token.
#[derive(Clone, Copy)]
struct Keys {
    session: Session,
    public: Object,
    private: Object,
    aes: Object,
}

/// Sets the operation up that a function belongs to.
type Begin = fn(Keys);
/// Calls a function with this input.
type WithInput = unsafe fn(Session, *mut CK_BYTE, CK_ULONG) -> CK_RV;
/// Calls a function with good input and this output.
type WithOutput = unsafe fn(Session, *mut CK_BYTE, *mut CK_ULONG) -> CK_RV;

fn pkcs() -> Mechanism {
    Mechanism::new(CKM_RSA_PKCS)
}

const DIGEST: Begin = |k| op::digest_init(k.session, &Mechanism::new(CKM_SHA256)).unwrap();
const SIGN: Begin = |k| op::sign_init(k.session, &pkcs(), k.private).unwrap();
const SIGN_RECOVER: Begin = |k| op::sign_recover_init(k.session, &pkcs(), k.private).unwrap();
const VERIFY: Begin = |k| op::verify_init(k.session, &pkcs(), k.public).unwrap();
const VERIFY_RECOVER: Begin = |k| op::verify_recover_init(k.session, &pkcs(), k.public).unwrap();
const VERIFY_SIGNATURE: Begin =
    |k| op::verify_signature_init(k.session, &pkcs(), k.public, &[1; 128]).unwrap();
const SIGN_MESSAGES: Begin = |k| op::message_sign_init(k.session, &pkcs(), k.private).unwrap();
const SIGN_PARTS: Begin = |k| {
    SIGN_MESSAGES(k);
    op::sign_message_begin(k.session).unwrap();
};
const VERIFY_MESSAGES: Begin = |k| op::message_verify_init(k.session, &pkcs(), k.public).unwrap();
const VERIFY_PARTS: Begin = |k| {
    VERIFY_MESSAGES(k);
    op::verify_message_begin(k.session).unwrap();
};
const ENCRYPT: Begin = |k| {
    op::encrypt_init(k.session, &Mechanism::new(CKM_AES_ECB), k.aes).unwrap();
};
const DECRYPT: Begin = |k| {
    op::decrypt_init(k.session, &Mechanism::new(CKM_AES_ECB), k.aes).unwrap();
};
const DIGEST_ENCRYPT: Begin = |k| {
    DIGEST(k);
    ENCRYPT(k);
};
const DECRYPT_DIGEST: Begin = |k| {
    DIGEST(k);
    DECRYPT(k);
};

/// Room that is enough for every output here, with data in it that every input here takes.
static mut ROOM: [u8; 256] = [0; 256];
static mut LEN: CK_ULONG = 0;

fn room() -> *mut CK_BYTE {
    (&raw mut ROOM).cast()
}

/// Where a length is stored that says how much room there is.
fn len() -> *mut CK_ULONG {
    let len = &raw mut LEN;
    unsafe { len.write(256) };
    len
}

#[test]
fn an_input_that_cannot_be_is_told() {
    let inputs: &[(&str, Begin, WithInput)] = &[
        ("C_Digest", DIGEST, |s, p, l| unsafe {
            C_Digest(s, p, l, room(), len())
        }),
        ("C_DigestUpdate", DIGEST, |s, p, l| unsafe {
            C_DigestUpdate(s, p, l)
        }),
        ("C_Sign", SIGN, |s, p, l| unsafe {
            C_Sign(s, p, l, room(), len())
        }),
        ("C_SignUpdate", SIGN, |s, p, l| unsafe {
            C_SignUpdate(s, p, l)
        }),
        ("C_SignRecover", SIGN_RECOVER, |s, p, l| unsafe {
            C_SignRecover(s, p, l, room(), len())
        }),
        ("C_Verify", VERIFY, |s, p, l| unsafe {
            C_Verify(s, p, l, room(), 128)
        }),
        ("C_Verify's signature", VERIFY, |s, p, l| unsafe {
            C_Verify(s, room(), 16, p, l)
        }),
        ("C_VerifyUpdate", VERIFY, |s, p, l| unsafe {
            C_VerifyUpdate(s, p, l)
        }),
        ("C_VerifyFinal", VERIFY, |s, p, l| unsafe {
            C_VerifyFinal(s, p, l)
        }),
        ("C_VerifyRecover", VERIFY_RECOVER, |s, p, l| unsafe {
            C_VerifyRecover(s, p, l, room(), len())
        }),
        ("C_VerifySignature", VERIFY_SIGNATURE, |s, p, l| unsafe {
            C_VerifySignature(s, p, l)
        }),
        (
            "C_VerifySignatureUpdate",
            VERIFY_SIGNATURE,
            |s, p, l| unsafe { C_VerifySignatureUpdate(s, p, l) },
        ),
        ("C_SignMessage", SIGN_MESSAGES, |s, p, l| unsafe {
            C_SignMessage(s, null_mut(), 0, p, l, room(), len())
        }),
        ("C_SignMessageNext", SIGN_PARTS, |s, p, l| unsafe {
            C_SignMessageNext(s, null_mut(), 0, p, l, null_mut(), null_mut())
        }),
        ("C_SignMessageNext's last", SIGN_PARTS, |s, p, l| unsafe {
            C_SignMessageNext(s, null_mut(), 0, p, l, room(), len())
        }),
        ("C_VerifyMessage", VERIFY_MESSAGES, |s, p, l| unsafe {
            C_VerifyMessage(s, null_mut(), 0, p, l, room(), 128)
        }),
        (
            "C_VerifyMessage's signature",
            VERIFY_MESSAGES,
            |s, p, l| unsafe { C_VerifyMessage(s, null_mut(), 0, room(), 16, p, l) },
        ),
        ("C_VerifyMessageNext", VERIFY_PARTS, |s, p, l| unsafe {
            C_VerifyMessageNext(s, null_mut(), 0, p, l, null_mut(), 0)
        }),
        (
            "C_VerifyMessageNext's signature",
            VERIFY_PARTS,
            |s, p, l| unsafe { C_VerifyMessageNext(s, null_mut(), 0, room(), 16, p, l) },
        ),
        (
            "C_SignMessage's parameter",
            SIGN_MESSAGES,
            |s, p, l| unsafe { C_SignMessage(s, p.cast(), l, room(), 16, room(), len()) },
        ),
        ("C_SignMessageBegin", SIGN_MESSAGES, |s, p, l| unsafe {
            C_SignMessageBegin(s, p.cast(), l)
        }),
        ("C_VerifyMessageBegin", VERIFY_MESSAGES, |s, p, l| unsafe {
            C_VerifyMessageBegin(s, p.cast(), l)
        }),
        ("C_DigestEncryptUpdate", DIGEST_ENCRYPT, |s, p, l| unsafe {
            C_DigestEncryptUpdate(s, p, l, room(), len())
        }),
        ("C_DecryptDigestUpdate", DECRYPT_DIGEST, |s, p, l| unsafe {
            C_DecryptDigestUpdate(s, p, l, room(), len())
        }),
        (
            "C_SeedRandom",
            |_| {},
            |s, p, l| unsafe { C_SeedRandom(s, p, l) },
        ),
        (
            "C_GenerateRandom",
            |_| {},
            |s, p, l| unsafe { C_GenerateRandom(s, p, l) },
        ),
    ];
    with_keys(|keys| {
        for (name, begin, call) in inputs {
            let longest = isize::MAX as CK_ULONG;
            for (start, len) in [
                (null_mut(), 1),
                (null_mut(), longest),
                (room(), CK_ULONG::MAX),
                (room(), longest + 1),
            ] {
                begin(keys);
                let rv = unsafe { call(keys.session, start, len) };
                assert_eq!(rv, CKR_ARGUMENTS_BAD, "{name} {start:?} {len:#x}");
                cancel(keys.session);
            }
        }
    });
}

#[test]
fn an_output_that_cannot_be_is_told_and_one_that_is_unaligned_is_written() {
    let outputs: &[(&str, Begin, WithOutput)] = &[
        ("C_Digest", DIGEST, |s, p, l| unsafe {
            C_Digest(s, room(), 16, p, l)
        }),
        ("C_DigestFinal", DIGEST, |s, p, l| unsafe {
            C_DigestFinal(s, p, l)
        }),
        ("C_Sign", SIGN, |s, p, l| unsafe {
            C_Sign(s, room(), 16, p, l)
        }),
        ("C_SignFinal", SIGN, |s, p, l| unsafe {
            C_SignFinal(s, p, l)
        }),
        ("C_SignRecover", SIGN_RECOVER, |s, p, l| unsafe {
            C_SignRecover(s, room(), 16, p, l)
        }),
        ("C_SignMessage", SIGN_MESSAGES, |s, p, l| unsafe {
            C_SignMessage(s, null_mut(), 0, room(), 16, p, l)
        }),
        ("C_DigestEncryptUpdate", DIGEST_ENCRYPT, |s, p, l| unsafe {
            C_DigestEncryptUpdate(s, room(), 16, p, l)
        }),
        ("C_DecryptDigestUpdate", DECRYPT_DIGEST, |s, p, l| unsafe {
            C_DecryptDigestUpdate(s, room(), 16, p, l)
        }),
    ];
    with_keys(|keys| {
        for (name, begin, call) in outputs {
            begin(keys);
            let rv = unsafe { call(keys.session, room(), null_mut()) };
            assert_eq!(rv, CKR_ARGUMENTS_BAD, "{name} without a length");
            cancel(keys.session);
            // Room that no memory has is room enough.
            let mut memory = [0_u8; 400];
            let out = memory[201..].as_mut_ptr();
            for room in [199, CK_ULONG::MAX] {
                begin(keys);
                let len = memory[1..].as_mut_ptr().cast::<CK_ULONG>();
                unsafe { len.write_unaligned(room) };
                let rv = unsafe { call(keys.session, out, len) };
                assert_eq!(rv, CKR_OK, "{name}");
                let written = unsafe { len.read_unaligned() };
                assert!((16..=128).contains(&written), "{name} {written}");
                cancel(keys.session);
            }
        }
    });
}

fn with_keys(test: impl FnOnce(Keys)) {
    let identity = Identity::rsa(1024, 1);
    let module = Module::start(&[TestToken::new(&[identity], Settings::default())]);
    let session = module.open_and_login();
    test(Keys {
        session,
        public: op::public_key(session, 1),
        private: key(session, 1),
        aes: op::secret_key(session, CKK_AES, &[1; 16]),
    });
}

/// Ends whatever is active.
fn cancel(session: Session) {
    assert_eq!(unsafe { C_SessionCancel(session, CK_ULONG::MAX) }, CKR_OK);
}
