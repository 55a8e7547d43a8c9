//! The MAC over a file (RFC 7292 §4, Appendix B): what says whether a password is right.

use ctk_crypto::{Pkcs12Purpose, constant_time_eq, hmac, pkcs12_kdf};
use ctk_token::Digest;
use zeroize::Zeroizing;

use crate::{
    ber::{OCTET_STRING, Reader},
    budget::Budget,
    failure::{Failure, Result},
    oid,
    password::Password,
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
    let algorithm = digest_info.sequence()?.oid()?;
    let expected = digest_info.string(OCTET_STRING)?;
    let salt = mac_data.string(OCTET_STRING)?;
    // DEFAULT 1, "for historical reasons"
    let iterations = mac_data
        .next()?
        .map_or(Ok(1), |element| element.unsigned())?;
    if oid::is(algorithm, oid::PBMAC1) {
        return Err(Failure::Unsupported(
            "a MAC of the kind PBMAC1 (RFC 9579)".into(),
        ));
    }
    let digest = oid::digest(algorithm).ok_or_else(|| {
        Failure::Unsupported(format!(
            "a MAC with the hash function {}",
            oid::dotted(algorithm)
        ))
    })?;
    let fitting = position(
        digest, &salt, iterations, content, &expected, password, budget,
    )?;
    password.prefer_bmp_form(fitting.ok_or(Failure::WrongPassword)?);
    Ok(())
}

/// Which form of the password gives the expected MAC.
fn position(
    digest: Digest,
    salt: &[u8],
    iterations: u64,
    content: &[u8],
    expected: &[u8],
    password: &Password,
    budget: &mut Budget,
) -> Result<Option<usize>> {
    for (index, form) in password.bmp_forms().enumerate() {
        let iterations = budget.spend_pkcs12(digest, iterations, digest.len())?;
        let mut key = Zeroizing::new([0; Digest::MAX_LEN]);
        let key = key.get_mut(..digest.len()).unwrap_or_default();
        pkcs12_kdf(digest, Pkcs12Purpose::Mac, form, salt, iterations, key)?;
        if constant_time_eq(&hmac(digest, key, content)?, expected) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
