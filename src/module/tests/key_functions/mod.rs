//! The functions of PKCS#11 that make keys, and those that encrypt in parts, with plain data in and
//! out.
#![allow(dead_code)] // each test file uses its part
#![allow(unreachable_pub)] // a module of several test programs
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test's own functions

use std::{
    io::Write,
    process::{Command, Stdio},
    ptr::null_mut,
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use ctk_token::Curve;

use crate::operations::{Answer, Mechanism, Object, Session, done, output};

pub type Pairs<'a> = [(CK_ATTRIBUTE_TYPE, &'a [u8])];

pub const YES: &[u8] = &[CK_TRUE];
pub const NO: &[u8] = &[CK_FALSE];
/// As `CKO_SECRET_KEY` and so on stand in a template.
pub static SECRET_KEY: [u8; 8] = CKO_SECRET_KEY.to_ne_bytes();
pub static AES: [u8; 8] = CKK_AES.to_ne_bytes();
pub static GENERIC: [u8; 8] = CKK_GENERIC_SECRET.to_ne_bytes();

fn template(pairs: &Pairs<'_>) -> Vec<CK_ATTRIBUTE> {
    let one = |(kind, value): &(_, &[u8])| crate::support::attribute(*kind, value);
    pairs.iter().map(one).collect()
}

/// A handle that is none.
const UNTOUCHED: CK_OBJECT_HANDLE = CK_OBJECT_HANDLE::MAX - 7;

/// A call that makes an object, or leaves the handle alone.
fn made(call: impl FnOnce(*mut CK_OBJECT_HANDLE) -> CK_RV) -> Answer<Object> {
    let mut handle = UNTOUCHED;
    let answer = done(call(&raw mut handle));
    match answer {
        Ok(()) => assert!(handle != UNTOUCHED && handle != CK_INVALID_HANDLE),
        Err(_) => assert_eq!(handle, UNTOUCHED),
    }
    answer.map(|()| handle)
}

pub fn generate(session: Session, mechanism: &Mechanism, pairs: &Pairs<'_>) -> Answer<Object> {
    let mut template = template(pairs);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    mechanism.given(|mechanism| {
        made(|handle| unsafe { C_GenerateKey(session, mechanism, start, len, handle) })
    })
}

/// An AES key that everybody may see.
pub fn aes(session: Session, bytes: CK_ULONG) -> Object {
    let template = [
        (CKA_VALUE_LEN, &bytes.to_ne_bytes()[..]),
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
    ];
    generate(session, &Mechanism::new(CKM_AES_KEY_GEN), &template).unwrap()
}

pub fn generate_pair(
    session: Session,
    mechanism: CK_MECHANISM_TYPE,
    public: &Pairs<'_>,
    private: &Pairs<'_>,
) -> Answer<(Object, Object)> {
    let (mut public, mut private) = (template(public), template(private));
    let (public_len, private_len) = (public.len() as CK_ULONG, private.len() as CK_ULONG);
    let (mut first, mut second) = (UNTOUCHED, UNTOUCHED);
    let answer = Mechanism::new(mechanism).given(|mechanism| {
        done(unsafe {
            C_GenerateKeyPair(
                session,
                mechanism,
                public.as_mut_ptr(),
                public_len,
                private.as_mut_ptr(),
                private_len,
                &raw mut first,
                &raw mut second,
            )
        })
    });
    assert!(answer.is_ok() || (first, second) == (UNTOUCHED, UNTOUCHED));
    answer.map(|()| (first, second))
}

pub fn wrap(
    session: Session,
    mechanism: &Mechanism,
    wrapping: Object,
    key: Object,
) -> Answer<Vec<u8>> {
    mechanism.given(|mechanism| {
        output(|out, len| unsafe { C_WrapKey(session, mechanism, wrapping, key, out, len) })
    })
}

pub fn unwrap(
    session: Session,
    mechanism: &Mechanism,
    unwrapping: Object,
    wrapped: &[u8],
    pairs: &Pairs<'_>,
) -> Answer<Object> {
    let mut template = template(pairs);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let (data, data_len) = (wrapped.as_ptr().cast_mut(), wrapped.len() as CK_ULONG);
    mechanism.given(|mechanism| {
        made(|handle| unsafe {
            C_UnwrapKey(
                session, mechanism, unwrapping, data, data_len, start, len, handle,
            )
        })
    })
}

pub fn derive(
    session: Session,
    mechanism: &Mechanism,
    base: Object,
    pairs: &Pairs<'_>,
) -> Answer<Object> {
    let mut template = template(pairs);
    let (start, len) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    mechanism.given(|mechanism| {
        made(|handle| unsafe { C_DeriveKey(session, mechanism, base, start, len, handle) })
    })
}

/// The ciphertext and the key.
pub fn encapsulate(
    session: Session,
    public: Object,
    pairs: &Pairs<'_>,
) -> Answer<(Vec<u8>, Object)> {
    let mut template = template(pairs);
    let (start, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let handle = std::cell::Cell::new(UNTOUCHED);
    let ciphertext = Mechanism::new(CKM_ML_KEM).given(|mechanism| {
        output(|out, len| unsafe {
            let key = handle.as_ptr();
            let rv = C_EncapsulateKey(session, mechanism, public, start, count, out, len, key);
            assert!(rv == CKR_OK && !out.is_null() || handle.get() == UNTOUCHED);
            rv
        })
    })?;
    Ok((ciphertext, handle.get()))
}

pub fn decapsulate(
    session: Session,
    mechanism: CK_MECHANISM_TYPE,
    private: Object,
    ciphertext: &[u8],
    pairs: &Pairs<'_>,
) -> Answer<Object> {
    let mut template = template(pairs);
    let (start, count) = (template.as_mut_ptr(), template.len() as CK_ULONG);
    let (data, len) = (ciphertext.as_ptr().cast_mut(), ciphertext.len() as CK_ULONG);
    Mechanism::new(mechanism).given(|mechanism| {
        made(|handle| unsafe {
            C_DecapsulateKey(session, mechanism, private, start, count, data, len, handle)
        })
    })
}

macro_rules! parts {
    ($($name:ident $function:ident,)*) => {
        $(pub fn $name(session: Session, part: &[u8]) -> Answer<Vec<u8>> {
            let (start, len) = (part.as_ptr().cast_mut(), part.len() as CK_ULONG);
            output(|out, out_len| unsafe { $function(session, start, len, out, out_len) })
        })*
    };
}

parts! {
    encrypt_update C_EncryptUpdate,
    decrypt_update C_DecryptUpdate,
}

pub fn encrypt_final(session: Session) -> Answer<Vec<u8>> {
    output(|out, len| unsafe { C_EncryptFinal(session, out, len) })
}

pub fn decrypt_final(session: Session) -> Answer<Vec<u8>> {
    output(|out, len| unsafe { C_DecryptFinal(session, out, len) })
}

/// A CK_ULONG as it stands in a template.
pub fn number(value: CK_ULONG) -> [u8; 8] {
    value.to_ne_bytes()
}

/// A template for an AES or generic secret that can be read, of the length that it says.
pub fn readable<'a>(key_type: &'a [u8], len: &'a [u8]) -> Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])> {
    vec![
        (CKA_CLASS, &SECRET_KEY[..]),
        (CKA_KEY_TYPE, key_type),
        (CKA_VALUE_LEN, len),
        (CKA_SENSITIVE, NO),
        (CKA_EXTRACTABLE, YES),
    ]
}

/// The same without a length.
pub fn of_any_length(key_type: &[u8]) -> Vec<(CK_ATTRIBUTE_TYPE, &[u8])> {
    let mut template = readable(key_type, &[]);
    template.remove(2);
    template
}

/// CKA_VALUE.
pub fn bytes_of(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE) -> Vec<u8> {
    crate::support::value(session, key, CKA_VALUE).unwrap()
}

/// CKA_EC_PARAMS.
pub fn params(curve: Curve) -> Vec<u8> {
    let oid = curve.oid();
    let content = oid.as_bytes();
    [&[6, content.len() as u8], content].concat()
}

/// A call of C_Encrypt or its like with this room, and what it says of the length.
pub type Call = unsafe extern "C" fn(Session, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV;

pub fn with_room(
    call: Call,
    session: Session,
    data: &[u8],
    room: usize,
) -> Result<Vec<u8>, (CK_RV, CK_ULONG)> {
    let mut out = vec![0xee; room + 1];
    let mut len = room as CK_ULONG;
    let (start, data_len) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
    let rv = unsafe { call(session, start, data_len, out.as_mut_ptr(), &raw mut len) };
    assert_eq!(out[room], 0xee);
    if rv != CKR_OK {
        assert!(out.iter().all(|byte| *byte == 0xee));
        return Err((rv, len));
    }
    out.truncate(len as usize);
    Ok(out)
}

/// What C_Encrypt or its like says of the length, asked with NULL.
pub fn query(call: Call, session: Session, data: &[u8]) -> Answer<usize> {
    let mut len = 77;
    let (start, data_len) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
    done(unsafe { call(session, start, data_len, null_mut(), &raw mut len) })?;
    Ok(len as usize)
}

pub fn oaep(hash: CK_MECHANISM_TYPE, mgf: CK_RSA_PKCS_MGF_TYPE, label: &[u8]) -> Mechanism {
    Mechanism::with(CKM_RSA_PKCS_OAEP, &oaep_parameter(hash, mgf, label))
}

pub fn oaep_parameter(
    hash: CK_MECHANISM_TYPE,
    mgf: CK_RSA_PKCS_MGF_TYPE,
    label: &[u8],
) -> CK_RSA_PKCS_OAEP_PARAMS {
    CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: hash,
        mgf,
        source: CKZ_DATA_SPECIFIED,
        pSourceData: label.as_ptr().cast_mut().cast(),
        ulSourceDataLen: label.len() as CK_ULONG,
    }
}

pub fn with_iv(kind: CK_MECHANISM_TYPE, iv: &[u8]) -> Mechanism {
    Mechanism {
        kind,
        parameter: iv.to_vec(),
    }
}

pub fn gcm(iv: &[u8], aad: &[u8], tag_bits: CK_ULONG) -> Mechanism {
    Mechanism::with(
        CKM_AES_GCM,
        &CK_GCM_PARAMS {
            pIv: iv.as_ptr().cast_mut(),
            ulIvLen: iv.len() as CK_ULONG,
            ulIvBits: 8 * iv.len() as CK_ULONG,
            pAAD: aad.as_ptr().cast_mut(),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: tag_bits,
        },
    )
}

/// What the openssl command makes of this input. `files` are written to a folder that is its own, and
/// their names in `arguments` begin with an @.
pub fn openssl(arguments: &[&str], files: &[(&str, &[u8])], input: &[u8]) -> Vec<u8> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("ctk-{}-{number}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let arguments = arguments
        .iter()
        .map(|argument| match argument.strip_prefix('@') {
            Some(name) => folder.join(name).into_os_string(),
            None => argument.into(),
        });
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    output.stdout
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
