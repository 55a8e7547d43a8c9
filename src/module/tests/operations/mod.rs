//! The operations of PKCS#11 over the C functions, with plain data in and out.
#![allow(dead_code)] // each test file uses its part
#![allow(unreachable_pub)] // a module of several test programs
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

use std::ptr::null_mut;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Digest;

pub type Session = CK_SESSION_HANDLE;
pub type Object = CK_OBJECT_HANDLE;
pub type Answer<T> = Result<T, CK_RV>;

pub fn done(rv: CK_RV) -> Answer<()> {
    match rv {
        CKR_OK => Ok(()),
        rv => Err(rv),
    }
}

/// A mechanism with its parameter.
#[derive(Clone, Debug)]
pub struct Mechanism {
    pub kind: CK_MECHANISM_TYPE,
    pub parameter: Vec<u8>,
}

impl Mechanism {
    pub fn new(kind: CK_MECHANISM_TYPE) -> Self {
        let parameter = Vec::new();
        Self { kind, parameter }
    }

    pub fn with<T>(kind: CK_MECHANISM_TYPE, parameter: &T) -> Self {
        let start = std::ptr::from_ref(parameter).cast::<u8>();
        let parameter = unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec();
        Self { kind, parameter }
    }

    pub fn pss(kind: CK_MECHANISM_TYPE, digest: Digest, salt_len: CK_ULONG) -> Self {
        let (hash_alg, mgf) = pss_hash(digest);
        let parameter = CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: hash_alg,
            mgf,
            sLen: salt_len,
        };
        Self::with(kind, &parameter)
    }

    /// The structure, with a parameter that begins at an odd address.
    pub fn given<R>(&self, call: impl FnOnce(*mut CK_MECHANISM) -> R) -> R {
        let mut unaligned = vec![0; self.parameter.len() + 1];
        unaligned[1..].copy_from_slice(&self.parameter);
        let start = match self.parameter.len() {
            0 => null_mut(),
            _ => unaligned[1..].as_mut_ptr().cast(),
        };
        let mut mechanism = CK_MECHANISM {
            mechanism: self.kind,
            pParameter: start,
            ulParameterLen: self.parameter.len() as CK_ULONG,
        };
        call(&raw mut mechanism)
    }
}

pub fn pss_hash(digest: Digest) -> (CK_MECHANISM_TYPE, CK_RSA_PKCS_MGF_TYPE) {
    match digest {
        Digest::Sha1 => (CKM_SHA_1, CKG_MGF1_SHA1),
        Digest::Sha224 => (CKM_SHA224, CKG_MGF1_SHA224),
        Digest::Sha256 => (CKM_SHA256, CKG_MGF1_SHA256),
        Digest::Sha384 => (CKM_SHA384, CKG_MGF1_SHA384),
        Digest::Sha512 => (CKM_SHA512, CKG_MGF1_SHA512),
        Digest::Sha3_224 => (CKM_SHA3_224, CKG_MGF1_SHA3_224),
        Digest::Sha3_256 => (CKM_SHA3_256, CKG_MGF1_SHA3_256),
        Digest::Sha3_384 => (CKM_SHA3_384, CKG_MGF1_SHA3_384),
        Digest::Sha3_512 => (CKM_SHA3_512, CKG_MGF1_SHA3_512),
    }
}

/// The mechanisms of the first slot's token.
pub fn mechanisms() -> Vec<CK_MECHANISM_TYPE> {
    let (mut listed, mut count) = ([0; 256], 256);
    done(unsafe { C_GetMechanismList(0, listed.as_mut_ptr(), &raw mut count) }).unwrap();
    listed[..count as usize].to_vec()
}

pub fn mechanism_info(mechanism: CK_MECHANISM_TYPE) -> Answer<CK_MECHANISM_INFO> {
    let mut info = unsafe { std::mem::zeroed::<CK_MECHANISM_INFO>() };
    done(unsafe { C_GetMechanismInfo(0, mechanism, &raw mut info) })?;
    Ok(info)
}

/// A pointer and a length for the C side.
fn bytes(data: &[u8]) -> (*mut CK_BYTE, CK_ULONG) {
    (data.as_ptr().cast_mut(), data.len() as CK_ULONG)
}

/// What a function writes that is asked for the length first, then given one byte too few, then the
/// right room.
pub fn output(call: impl Fn(*mut CK_BYTE, *mut CK_ULONG) -> CK_RV) -> Answer<Vec<u8>> {
    let mut len = 77;
    done(call(null_mut(), &raw mut len))?;
    let needed = len;
    let mut out = vec![0xee; needed as usize + 1];
    if needed > 0 {
        len = needed - 1;
        let rv = call(out.as_mut_ptr(), &raw mut len);
        // What the length was only an upper limit of may fit.
        if rv == CKR_OK {
            assert!(len < needed);
            assert!(out[len as usize..].iter().all(|byte| *byte == 0xee));
            out.truncate(len as usize);
            return Ok(out);
        }
        assert_eq!(out, vec![0xee; needed as usize + 1]);
        if rv != CKR_BUFFER_TOO_SMALL {
            return Err(rv);
        }
        assert!(len <= needed);
    }
    len = needed;
    done(call(out.as_mut_ptr(), &raw mut len))?;
    assert_eq!(out[needed as usize], 0xee);
    out.truncate(len as usize);
    Ok(out)
}

macro_rules! inits {
    ($($name:ident $function:ident,)*) => {
        $(pub fn $name(session: Session, mechanism: &Mechanism, key: Object) -> Answer<()> {
            done(mechanism.given(|mechanism| unsafe { $function(session, mechanism, key) }))
        })*
    };
}

inits! {
    sign_init C_SignInit,
    sign_recover_init C_SignRecoverInit,
    verify_init C_VerifyInit,
    verify_recover_init C_VerifyRecoverInit,
    message_sign_init C_MessageSignInit,
    message_verify_init C_MessageVerifyInit,
    encrypt_init C_EncryptInit,
    decrypt_init C_DecryptInit,
}

pub fn digest_init(session: Session, mechanism: &Mechanism) -> Answer<()> {
    done(mechanism.given(|mechanism| unsafe { C_DigestInit(session, mechanism) }))
}

pub fn verify_signature_init(
    session: Session,
    mechanism: &Mechanism,
    key: Object,
    signature: &[u8],
) -> Answer<()> {
    let (start, len) = bytes(signature);
    done(
        mechanism.given(|mechanism| unsafe {
            C_VerifySignatureInit(session, mechanism, key, start, len)
        }),
    )
}

macro_rules! updates {
    ($($name:ident $function:ident,)*) => {
        $(pub fn $name(session: Session, part: &[u8]) -> Answer<()> {
            let (start, len) = bytes(part);
            done(unsafe { $function(session, start, len) })
        })*
    };
}

updates! {
    sign_update C_SignUpdate,
    verify_update C_VerifyUpdate,
    verify_final C_VerifyFinal,
    digest_update C_DigestUpdate,
    verify_signature C_VerifySignature,
    verify_signature_update C_VerifySignatureUpdate,
}

macro_rules! outputs {
    ($($name:ident $function:ident,)*) => {
        $(pub fn $name(session: Session, data: &[u8]) -> Answer<Vec<u8>> {
            let (start, len) = bytes(data);
            output(|out, out_len| unsafe { $function(session, start, len, out, out_len) })
        })*
    };
}

outputs! {
    sign C_Sign,
    sign_recover C_SignRecover,
    verify_recover C_VerifyRecover,
    digest C_Digest,
    encrypt C_Encrypt,
    decrypt C_Decrypt,
}

pub fn sign_final(session: Session) -> Answer<Vec<u8>> {
    output(|out, len| unsafe { C_SignFinal(session, out, len) })
}

pub fn digest_final(session: Session) -> Answer<Vec<u8>> {
    output(|out, len| unsafe { C_DigestFinal(session, out, len) })
}

pub fn verify(session: Session, data: &[u8], signature: &[u8]) -> Answer<()> {
    let ((data, len), (signature, signature_len)) = (bytes(data), bytes(signature));
    done(unsafe { C_Verify(session, data, len, signature, signature_len) })
}

pub fn verify_signature_final(session: Session) -> Answer<()> {
    done(unsafe { C_VerifySignatureFinal(session) })
}

pub fn sign_message(session: Session, data: &[u8]) -> Answer<Vec<u8>> {
    let (start, len) = bytes(data);
    output(|out, out_len| unsafe {
        C_SignMessage(session, null_mut(), 0, start, len, out, out_len)
    })
}

pub fn sign_message_begin(session: Session) -> Answer<()> {
    done(unsafe { C_SignMessageBegin(session, null_mut(), 0) })
}

pub fn sign_message_next(session: Session, part: &[u8]) -> Answer<()> {
    let (start, len) = bytes(part);
    done(unsafe { C_SignMessageNext(session, null_mut(), 0, start, len, null_mut(), null_mut()) })
}

pub fn sign_message_last(session: Session, part: &[u8]) -> Answer<Vec<u8>> {
    let (start, len) = bytes(part);
    output(|out, out_len| unsafe {
        C_SignMessageNext(session, null_mut(), 0, start, len, out, out_len)
    })
}

pub fn message_sign_final(session: Session) -> Answer<()> {
    done(unsafe { C_MessageSignFinal(session) })
}

pub fn verify_message(session: Session, data: &[u8], signature: &[u8]) -> Answer<()> {
    let ((data, len), (signature, signature_len)) = (bytes(data), bytes(signature));
    done(unsafe { C_VerifyMessage(session, null_mut(), 0, data, len, signature, signature_len) })
}

pub fn verify_message_begin(session: Session) -> Answer<()> {
    done(unsafe { C_VerifyMessageBegin(session, null_mut(), 0) })
}

/// The next part; with the last one comes the signature.
pub fn verify_message_next(session: Session, part: &[u8], signature: Option<&[u8]>) -> Answer<()> {
    let (start, len) = bytes(part);
    let (signature, signature_len) = signature.map_or((null_mut(), 0), bytes);
    done(unsafe {
        C_VerifyMessageNext(session, null_mut(), 0, start, len, signature, signature_len)
    })
}

pub fn message_verify_final(session: Session) -> Answer<()> {
    done(unsafe { C_MessageVerifyFinal(session) })
}

/// The public key of an identity.
pub fn public_key(session: Session, identity: u8) -> Object {
    let class = CKO_PUBLIC_KEY.to_ne_bytes();
    crate::support::find(session, &[(CKA_CLASS, &class), (CKA_ID, &[identity])])[0]
}

/// Attributes of a template.
type Template<'a> = &'a [(CK_ATTRIBUTE_TYPE, &'a [u8])];

fn attributes(template: Template<'_>) -> Vec<CK_ATTRIBUTE> {
    let given = template.iter();
    given
        .map(|(kind, value)| crate::support::attribute(*kind, value))
        .collect()
}

/// A session object of this template.
pub fn create(session: Session, template: Template<'_>) -> Answer<Object> {
    let mut template = attributes(template);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let mut object = 0;
    done(unsafe { C_CreateObject(session, start, len, &raw mut object) })?;
    Ok(object)
}

/// A secret key of a session, good for everything.
pub fn secret_key(session: Session, key_type: CK_KEY_TYPE, value: &[u8]) -> Object {
    let uses = [
        CKA_SIGN,
        CKA_VERIFY,
        CKA_ENCRYPT,
        CKA_DECRYPT,
        CKA_WRAP,
        CKA_UNWRAP,
        CKA_EXTRACTABLE,
    ];
    let class = CKO_SECRET_KEY.to_ne_bytes();
    let key_type = key_type.to_ne_bytes();
    let no = [CK_FALSE];
    let mut template = vec![
        (CKA_CLASS, &class[..]),
        (CKA_KEY_TYPE, &key_type),
        (CKA_VALUE, value),
        (CKA_SENSITIVE, &no),
        (CKA_PRIVATE, &no),
    ];
    template.extend(uses.map(|kind| (kind, &[CK_TRUE][..])));
    create(session, &template).unwrap()
}

pub fn generate_key(
    session: Session,
    mechanism: &Mechanism,
    template: Template<'_>,
) -> Answer<Object> {
    let mut template = attributes(template);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let mut key = 0;
    done(mechanism.given(|mechanism| unsafe {
        C_GenerateKey(session, mechanism, start, len, &raw mut key)
    }))?;
    Ok(key)
}

/// A public key and its private key.
pub fn generate_key_pair(
    session: Session,
    mechanism: &Mechanism,
    public: Template<'_>,
    private: Template<'_>,
) -> Answer<(Object, Object)> {
    let (mut public, mut private) = (attributes(public), attributes(private));
    let (public_start, public_len) = (public.as_mut_ptr(), public.len() as CK_ULONG);
    let (private_start, private_len) = (private.as_mut_ptr(), private.len() as CK_ULONG);
    let (mut public_key, mut private_key) = (0, 0);
    done(mechanism.given(|mechanism| unsafe {
        C_GenerateKeyPair(
            session,
            mechanism,
            public_start,
            public_len,
            private_start,
            private_len,
            &raw mut public_key,
            &raw mut private_key,
        )
    }))?;
    Ok((public_key, private_key))
}

pub fn wrap_key(
    session: Session,
    mechanism: &Mechanism,
    wrapping: Object,
    key: Object,
) -> Answer<Vec<u8>> {
    output(|out, len| {
        mechanism
            .given(|mechanism| unsafe { C_WrapKey(session, mechanism, wrapping, key, out, len) })
    })
}

pub fn unwrap_key(
    session: Session,
    mechanism: &Mechanism,
    unwrapping: Object,
    wrapped: &[u8],
    template: Template<'_>,
) -> Answer<Object> {
    let mut template = attributes(template);
    let (template, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let (start, len) = bytes(wrapped);
    let mut key = 0;
    done(mechanism.given(|mechanism| unsafe {
        let key = &raw mut key;
        C_UnwrapKey(
            session, mechanism, unwrapping, start, len, template, count, key,
        )
    }))?;
    Ok(key)
}

pub fn derive_key(
    session: Session,
    mechanism: &Mechanism,
    base: Object,
    template: Template<'_>,
) -> Answer<Object> {
    let mut template = attributes(template);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let mut key = 0;
    done(mechanism.given(|mechanism| unsafe {
        C_DeriveKey(session, mechanism, base, start, len, &raw mut key)
    }))?;
    Ok(key)
}

/// A ciphertext and the key in it.
pub fn encapsulate_key(
    session: Session,
    mechanism: &Mechanism,
    public: Object,
    template: Template<'_>,
) -> Answer<(Vec<u8>, Object)> {
    let mut template = attributes(template);
    let (start, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let key = std::cell::Cell::new(0);
    let ciphertext = output(|out, len| {
        mechanism.given(|mechanism| unsafe {
            let key = key.as_ptr();
            C_EncapsulateKey(session, mechanism, public, start, count, out, len, key)
        })
    })?;
    Ok((ciphertext, key.get()))
}

pub fn decapsulate_key(
    session: Session,
    mechanism: &Mechanism,
    private: Object,
    template: Template<'_>,
    ciphertext: &[u8],
) -> Answer<Object> {
    let mut template = attributes(template);
    let (template, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let (start, len) = bytes(ciphertext);
    let mut key = 0;
    done(mechanism.given(|mechanism| unsafe {
        let key = &raw mut key;
        C_DecapsulateKey(
            session, mechanism, private, template, count, start, len, key,
        )
    }))?;
    Ok(key)
}
