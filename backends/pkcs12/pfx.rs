//! The outer structure of a file (RFC 7292 §4): PFX, its MAC, and the safes in it; and the decision
//! whether the password is right.

use crate::{
    bags::{self, Bags, Proof, Walk},
    ber::{CONTEXT_0, OCTET_STRING, Reader, SEQUENCE},
    budget::Budget,
    failure::{Failure, Result},
    mac, oid,
    password::Password,
    pbe,
};

/// Opens a file and returns everything of use in it.
///
/// The password is right if the MAC says so. A file without MAC says so by being decrypted: one
/// private key at least must give a plaintext of the right form, or another part if there is no key
/// at all. A key in the clear in a file without MAC checks no password; since the password is the
/// PIN with which people log in, any PIN would do, so it is opened by the empty password only.
///
/// # Errors
/// [`Failure::WrongPassword`], [`Failure::Unprotected`]; everything else is the file's fault.
pub(crate) fn open(file: &[u8], password: &[u8]) -> Result<Bags> {
    let mut pfx = Reader::new(file).sequence().map_err(|_| not_a_pfx(file))?;
    if pfx.unsigned()? != 3 {
        return Err(Failure::Damaged("another version than 3"));
    }
    let mut password = Password::new(password);
    let mut budget = Budget::new();
    let mut auth_safe = pfx.sequence()?;
    let kind = auth_safe.oid()?;
    if oid::is(kind, oid::SIGNED_DATA) {
        return Err(Failure::Unsupported(
            "a signature in place of a password".into(),
        ));
    }
    if !oid::is(kind, oid::DATA) {
        return Err(Failure::Damaged("content of an unknown kind"));
    }
    let content = auth_safe.explicit()?.string(OCTET_STRING)?;
    let mac_data = pfx.next()?;
    if let Some(mac_data) = &mac_data {
        mac::verify(mac_data.children()?, &content, &mut password, &mut budget)?;
    }
    let proof = mac_data.map_or(Proof::None, |_| Proof::Mac);
    let mut walk = Walk::new(&password, budget, proof);
    let mut safes = Reader::new(&content).sequence()?;
    while let Some(safe) = safes.next()? {
        if safe.identifier != SEQUENCE {
            return Err(Failure::Damaged("a safe that is none"));
        }
        open_safe(safe.children()?, &mut walk)?;
    }
    walk.finish()
}

/// One ContentInfo of the AuthenticatedSafe.
fn open_safe(mut safe: Reader<'_>, walk: &mut Walk<'_>) -> Result<()> {
    let kind = safe.oid()?;
    if oid::is(kind, oid::DATA) {
        let content = safe.explicit()?.string(OCTET_STRING)?;
        return walk.safe_contents(Reader::new(&content).sequence()?);
    }
    if oid::is(kind, oid::ENVELOPED_DATA) {
        return Err(Failure::Unsupported(
            "encryption for a certificate in place of a password".into(),
        ));
    }
    if !oid::is(kind, oid::ENCRYPTED_DATA) {
        return Err(Failure::Damaged("a safe of an unknown kind"));
    }
    let mut encrypted = safe.explicit()?.sequence()?;
    let _version = encrypted.unsigned()?;
    let mut info = encrypted.sequence()?;
    let _content_type = info.oid()?;
    let algorithm = info.sequence()?;
    let ciphertext = info.string(CONTEXT_0)?;
    let opened = pbe::open(
        algorithm,
        &ciphertext,
        walk.password,
        &mut walk.budget,
        bags::are_safe_contents,
    );
    walk.decrypted_part(opened)
}

/// What a person may have taken for a PKCS#12 file.
fn not_a_pfx(file: &[u8]) -> Failure {
    Failure::Damaged(if file.is_empty() {
        "it is empty"
    } else if file.starts_with(b"-----BEGIN ") {
        "it is a PEM file"
    } else if file.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        "it is a Java JKS keystore"
    } else {
        "it does not begin like one, or ends too early"
    })
}
