//! The outer structure of a file (RFC 7292 §4): PFX, its MAC, and the safes in it; and the decision
//! whether the password is right.

use crate::{
    bags::{self, Bags, Proof, Walk},
    ber::{CONTEXT_0, Element, OCTET_STRING, Octets, Reader, SEQUENCE},
    budget::Budget,
    failure::{Failure, Result},
    mac, oid,
    password::Password,
    pbe,
};

/// The outside of a file.
pub(crate) struct Pfx<'a> {
    /// The AuthenticatedSafe, which the MAC is over.
    pub(crate) content: Octets<'a>,
    mac_data: Option<Element<'a>>,
}

impl<'a> Pfx<'a> {
    /// Takes a file apart as far as it is not encrypted.
    pub(crate) fn read(file: &'a [u8]) -> Result<Self> {
        let mut pfx = Reader::new(file).sequence().map_err(|_| not_a_pfx(file))?;
        if pfx.unsigned()? != 3 {
            return Err(Failure::Damaged("another version than 3"));
        }
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
        Ok(Self {
            content: auth_safe.explicit()?.string(OCTET_STRING)?,
            mac_data: pfx.next()?,
        })
    }

    /// Checks the MAC, if there is one, and notes in `password` in which form it fits.
    pub(crate) fn authenticate(
        &self,
        password: &mut Password,
        budget: &mut Budget,
    ) -> Result<Proof> {
        let Some(mac_data) = &self.mac_data else {
            return Ok(Proof::None);
        };
        mac::verify(mac_data.children()?, &self.content, password, budget)?;
        Ok(Proof::Mac)
    }
}

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
    let pfx = Pfx::read(file)?;
    let mut password = Password::new(password);
    let mut budget = Budget::new();
    let proof = pfx.authenticate(&mut password, &mut budget)?;
    let mut walk = Walk::new(&mut password, budget, proof);
    let mut safes = Reader::new(&pfx.content).sequence()?;
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
    let encrypted = EncryptedData::read(safe)?;
    let opened = pbe::open(
        encrypted.algorithm,
        &encrypted.ciphertext,
        walk.password,
        &mut walk.budget,
        bags::are_safe_contents,
    );
    walk.decrypted_part(opened)
}

/// EncryptedData (RFC 5652 §8).
pub(crate) struct EncryptedData<'a> {
    /// The inside of the AlgorithmIdentifier.
    pub(crate) algorithm: Reader<'a>,
    /// What is encrypted.
    pub(crate) ciphertext: Octets<'a>,
}

impl<'a> EncryptedData<'a> {
    /// Reads what follows the name of the kind in a ContentInfo.
    pub(crate) fn read(mut safe: Reader<'a>) -> Result<Self> {
        let mut encrypted = safe.explicit()?.sequence()?;
        let _version = encrypted.unsigned()?;
        let mut info = encrypted.sequence()?;
        let _content_type = info.oid()?;
        Ok(Self {
            algorithm: info.sequence()?,
            ciphertext: info.string(CONTEXT_0)?,
        })
    }
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
