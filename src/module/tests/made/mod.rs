//! Objects that tests make: templates, and the C functions that take them.
#![allow(dead_code)] // each test file uses its part
#![allow(unreachable_pub)] // a module of several test programs
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used)] // a test's own functions

use std::sync::Arc;

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use openssl::nid::Nid;

use crate::support::*;

/// What [`create`] and its like take.
pub type Pairs<'a> = Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>;

pub const YES: &[u8] = &[CK_TRUE];

pub const NO: &[u8] = &[CK_FALSE];

pub fn template(pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Vec<CK_ATTRIBUTE> {
    let one = |(kind, value): &(_, &[u8])| attribute(*kind, value);
    pairs.iter().map(one).collect()
}

pub fn create(
    session: CK_SESSION_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut template = template(pairs);
    let (len, mut handle) = (template.len() as CK_ULONG, 0);
    match unsafe { C_CreateObject(session, template.as_mut_ptr(), len, &raw mut handle) } {
        CKR_OK => Ok(handle),
        rv => {
            assert_eq!(handle, 0);
            Err(rv)
        }
    }
}

pub fn copy(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut template = template(pairs);
    let (len, mut handle) = (template.len() as CK_ULONG, 0);
    let template = template.as_mut_ptr();
    match unsafe { C_CopyObject(session, object, template, len, &raw mut handle) } {
        CKR_OK => Ok(handle),
        rv => Err(rv),
    }
}

pub fn set(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    pairs: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> CK_RV {
    let mut template = template(pairs);
    let len = template.len() as CK_ULONG;
    unsafe { C_SetAttributeValue(session, object, template.as_mut_ptr(), len) }
}

pub fn destroy(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    unsafe { C_DestroyObject(session, object) }
}

pub fn number(value: CK_ULONG) -> [u8; size_of::<CK_ULONG>()] {
    value.to_ne_bytes()
}

/// A template of owned values.
pub struct Owned(pub Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Owned {
    pub fn pairs(&self) -> Pairs<'_> {
        let pairs = self.0.iter();
        pairs.map(|(kind, value)| (*kind, &value[..])).collect()
    }

    pub fn without(&self, kind: CK_ATTRIBUTE_TYPE) -> Self {
        let others = self.0.iter().filter(|(other, _)| *other != kind);
        Self(others.cloned().collect())
    }

    pub fn with(&self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        let mut all = self.without(kind).0;
        all.push((kind, value.to_vec()));
        Self(all)
    }
}

pub fn secret_key(key_type: CK_KEY_TYPE, value: &[u8]) -> Owned {
    Owned(vec![
        (CKA_CLASS, number(CKO_SECRET_KEY).to_vec()),
        (CKA_KEY_TYPE, number(key_type).to_vec()),
        (CKA_VALUE, value.to_vec()),
    ])
}

pub fn certificate(identity: &Identity) -> Owned {
    Owned(vec![
        (CKA_CLASS, number(CKO_CERTIFICATE).to_vec()),
        (CKA_CERTIFICATE_TYPE, number(CKC_X_509).to_vec()),
        (
            CKA_SUBJECT,
            identity.certificate.subject_name().to_der().unwrap(),
        ),
        (CKA_VALUE, identity.certificate.to_der().unwrap()),
    ])
}

/// What C_CreateObject needs of a public key, as the token's own object shows it.
pub fn public_key_of(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Owned {
    let kinds = [
        CKA_CLASS,
        CKA_KEY_TYPE,
        CKA_MODULUS,
        CKA_PUBLIC_EXPONENT,
        CKA_EC_PARAMS,
        CKA_EC_POINT,
        CKA_PARAMETER_SET,
        CKA_VALUE,
    ];
    let shown = |kind| Some((kind, value(session, object, kind).ok()?));
    Owned(kinds.into_iter().filter_map(shown).collect())
}

pub fn generate_pair(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_TYPE,
    public: &[(CK_ATTRIBUTE_TYPE, &[u8])],
    private: &[(CK_ATTRIBUTE_TYPE, &[u8])],
) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
    let mut mechanism = CK_MECHANISM {
        mechanism,
        pParameter: std::ptr::null_mut(),
        ulParameterLen: 0,
    };
    let (mut public, mut private) = (template(public), template(private));
    let (public_len, private_len) = (public.len() as CK_ULONG, private.len() as CK_ULONG);
    let (mut first, mut second) = (0, 0);
    let rv = unsafe {
        C_GenerateKeyPair(
            session,
            &raw mut mechanism,
            public.as_mut_ptr(),
            public_len,
            private.as_mut_ptr(),
            private_len,
            &raw mut first,
            &raw mut second,
        )
    };
    match rv {
        CKR_OK => Ok((first, second)),
        rv => Err(rv),
    }
}

pub fn token() -> Arc<TestToken> {
    let identities = [
        Identity::rsa(2048, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
        Identity::ed25519(3),
    ];
    TestToken::new(&identities, Settings::default())
}
