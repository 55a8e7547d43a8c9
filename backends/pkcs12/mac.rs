//! The MAC over a file (RFC 7292 §4, Appendix B; RFC 9579): what says whether a password is right.

use ctk_crypto::{Pkcs12Purpose, SecretBytes, constant_time_eq, hmac, pkcs12_kdf};
use ctk_token::Digest;
use zeroize::Zeroizing;

use crate::{
    ber::{OCTET_STRING, Reader},
    budget::Budget,
    failure::{Failure, Result},
    oid,
    password::{Form, Password},
    pbe::Derivation,
};

/// Checks `content` against MacData, and notes in `password` in which form it fits.
///
/// # Errors
/// [`Failure::WrongPassword`] if no form of the password fits.
pub(crate) fn verify(
    mut mac_data: Reader<'_>,
    content: &[u8],
    password: &mut Password,
    budget: &mut Budget,
) -> Result<()> {
    let mut digest_info = mac_data.sequence()?;
    let mut algorithm_identifier = digest_info.sequence()?;
    let algorithm = algorithm_identifier.oid()?;
    let expected = digest_info.string(OCTET_STRING)?;
    if oid::is(algorithm, oid::PBMAC1) {
        return Pbmac1::read(algorithm_identifier.sequence()?)?
            .verify(content, &expected, password, budget);
    }
    let salt = mac_data.string(OCTET_STRING)?;
    // DEFAULT 1, "for historical reasons"
    let iterations = mac_data
        .next()?
        .map_or(Ok(1), |element| element.unsigned())?;
    let digest = oid::digest(algorithm).ok_or_else(|| {
        Failure::Unsupported(format!(
            "a MAC with the hash function {}",
            oid::dotted(algorithm)
        ))
    })?;
    let fitting = password.find(Form::Bmp, |form| {
        let iterations = budget.spend_pkcs12(digest, iterations, digest.len())?;
        let mut key = Zeroizing::new([0; Digest::MAX_LEN]);
        let key = key.get_mut(..digest.len()).unwrap_or_default();
        pkcs12_kdf(digest, Pkcs12Purpose::Mac, form, &salt, iterations, key)?;
        is_mac(digest, key, content, &expected)
    })?;
    fitting.ok_or(Failure::WrongPassword)
}

fn is_mac(digest: Digest, key: &[u8], content: &[u8], expected: &[u8]) -> Result<Option<()>> {
    Ok(constant_time_eq(&hmac(digest, key, content)?, expected).then_some(()))
}

/// PBMAC1 (RFC 8018 §7.1). It has its own salt and iterations, so that those of MacData count for
/// nothing, and takes the password as PBES2 does (RFC 9579 §5).
struct Pbmac1<'a> {
    derivation: Derivation<'a>,
    key_len: usize,
    digest: Digest,
}

/// The bounds of a MAC's key, in bytes: RFC 9579 §7 wants 20, and no hash function gives more than
/// a key of 64 is worth.
const MAC_KEY: std::ops::RangeInclusive<u64> = 20..=256;

impl<'a> Pbmac1<'a> {
    fn read(mut parameters: Reader<'a>) -> Result<Self> {
        let (derivation, key_len) = Derivation::read(parameters.sequence()?)?;
        // The length has to be said (RFC 9579 §4): a reader that guessed it would find a MAC right
        // that another finds wrong.
        let key_len = key_len.ok_or(Failure::Damaged("a MAC whose key has no length"))?;
        let key_len = Some(key_len)
            .filter(|len| MAC_KEY.contains(len))
            .and_then(|len| usize::try_from(len).ok())
            .ok_or(Failure::Damaged("a MAC whose key is too short or too long"))?;
        let scheme = parameters.sequence()?.oid()?;
        let digest = oid::hmac(scheme).ok_or_else(|| {
            Failure::Unsupported(format!("a MAC of the kind {}", oid::dotted(scheme)))
        })?;
        Ok(Self {
            derivation,
            key_len,
            digest,
        })
    }

    fn verify(
        &self,
        content: &[u8],
        expected: &[u8],
        password: &mut Password,
        budget: &mut Budget,
    ) -> Result<()> {
        let fitting = password.find(Form::Bytes, |form| {
            let mut key = SecretBytes::zeroed(self.key_len);
            self.derivation.derive(form, budget, &mut key)?;
            is_mac(self.digest, &key, content, expected)
        })?;
        fitting.ok_or(Failure::WrongPassword)
    }
}
