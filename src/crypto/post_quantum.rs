//! ML-DSA (FIPS 204) and ML-KEM (FIPS 203) private keys in their three forms, and ML-KEM itself.
//!
//! A private key is a seed, the expanded key, or both (RFC 9881 §6, RFC 9935 §6). The forms are read here and the library
//! gets one of the first two, because AWS-LC does not read the third of ML-KEM.

use ctk_token::{Digest, KeyType, PublicKey, PublicKeyMaterial, Result, TokenError};
use openssl::pkey::{PKey, PKeyRef, Private, Public};
use zeroize::Zeroizing;

use crate::pkcs8::{self, PrivateKeyInfo, RawKind};
use crate::{constant_time_eq, der, digest, fork, rsa::unsound, sys};

/// An ML-KEM shared secret's length, in bytes (FIPS 203 table 3).
const SECRET_LEN: usize = 32;

/// Makes a secret for the owner of an ML-KEM key (FIPS 203 §7.2): writes the ciphertext for the owner and the secret of
/// 32 bytes, and returns their lengths.
///
/// # Errors
/// [`TokenError::NotSupported`] for another kind of key, [`TokenError::BadParameter`] if `ciphertext` is shorter than
/// [`KeyType::ciphertext_len`] or `secret` than 32 bytes, and for a public key that is none (FIPS 203 §7.2, the modulus
/// check).
pub fn encapsulate(
    key: &PublicKey,
    ciphertext: &mut [u8],
    secret: &mut [u8],
) -> Result<(usize, usize)> {
    sys::ready();
    let len = key.key_type().ciphertext_len();
    let len = len.ok_or(TokenError::NotSupported)?;
    let ciphertext = ciphertext.get_mut(..len).ok_or(TokenError::BadParameter)?;
    let secret = secret
        .get_mut(..SECRET_LEN)
        .ok_or(TokenError::BadParameter)?;
    let _inside = fork::enter();
    let key = library_key(key)?;
    sys::encapsulate(&key, ciphertext, secret).map_err(|_| TokenError::BadParameter)?;
    Ok((len, SECRET_LEN))
}

/// Checks that an ML-KEM public key is one: the modulus check of FIPS 203 §7.2, which [`encapsulate`] makes too.
///
/// # Errors
/// [`TokenError::BadParameter`] if it is not, [`TokenError::NotSupported`] for another kind of key.
pub fn check_encapsulation_key(key: &PublicKey) -> Result<()> {
    const Q: u16 = 3329;
    let PublicKeyMaterial::Raw { key_type, bytes } = key.material() else {
        return Err(TokenError::NotSupported);
    };
    key_type.ciphertext_len().ok_or(TokenError::NotSupported)?;
    // Two coefficients of 12 bits in three bytes, and behind them a seed of any 32 bytes.
    let (coefficients, _) = bytes.split_at(bytes.len().saturating_sub(32));
    let reduced = coefficients.chunks_exact(3).all(|pair| match *pair {
        [low, middle, high] => {
            let first = u16::from(low) | u16::from(middle & 0x0F) << 8;
            let second = u16::from(middle >> 4) | u16::from(high) << 4;
            first < Q && second < Q
        }
        _ => false,
    });
    if reduced {
        Ok(())
    } else {
        Err(TokenError::BadParameter)
    }
}

/// The secret in a ciphertext (FIPS 203 §7.3); a wrong ciphertext gives another secret and no error. The caller is inside
/// the library.
pub(crate) fn decapsulate(
    key_type: KeyType,
    key: &PKeyRef<Private>,
    ciphertext: &[u8],
    secret: &mut [u8],
) -> Result<usize> {
    if Some(ciphertext.len()) != key_type.ciphertext_len() {
        return Err(TokenError::DataLength);
    }
    let secret = secret
        .get_mut(..SECRET_LEN)
        .ok_or(TokenError::BadParameter)?;
    sys::decapsulate(key, ciphertext, secret).map_err(sys::failed)?;
    Ok(SECRET_LEN)
}

/// A private key and its public half. The caller is inside the library.
pub(crate) fn load(kind: RawKind, info: &PrivateKeyInfo<'_>) -> Result<(PKey<Private>, PublicKey)> {
    let form = Form::read(info.private_key).filter(|_| !info.has_parameters());
    let form = form.ok_or_else(unsound)?;
    let tag = if form.seed.is_some() {
        pkcs8::SEED
    } else {
        der::OCTET_STRING
    };
    let contents = form.seed.or(form.expanded).unwrap_or_default();
    let private_key = der::element(tag, &[contents]);
    let encoded = pkcs8::private_key_info(kind, &private_key);
    let key = PKey::private_key_from_der(&encoded).map_err(|_| unsound())?;

    let Some(expanded) = form.expanded else {
        let public = public_key(kind, &key)?;
        return Ok((key, public));
    };
    if form.seed.is_some() {
        // Two keys in one would be one for this program and the other for the next (RFC 9881 §8.2, RFC 9935 §8).
        let own = Zeroizing::new(key.raw_private_key().map_err(sys::failed)?);
        if !constant_time_eq(&own, expanded) {
            return Err(unsound());
        }
    }
    let public = match embedded_public_key(kind.key_type, expanded) {
        Some(public) => {
            let public = PublicKey::raw(kind.key_type, public?)?;
            check_pair(&key, &public)?;
            public
        }
        None => public_key(kind, &key)?,
    };
    Ok((key, public))
}

fn public_key(kind: RawKind, key: &PKeyRef<Private>) -> Result<PublicKey> {
    PublicKey::raw(kind.key_type, &key.raw_public_key().map_err(sys::failed)?)
}

/// The public key inside an expanded ML-KEM key, which is dk ‖ ek ‖ H(ek) ‖ z, checked by its hash (FIPS 203 §7.3); `None`
/// for other keys.
fn embedded_public_key(key_type: KeyType, expanded: &[u8]) -> Option<Result<&[u8]>> {
    // 384 bytes for each of the k polynomials, in ek 32 more for its seed.
    let polynomials = match key_type {
        KeyType::MlKem512 => 2 * 384,
        KeyType::MlKem768 => 3 * 384,
        KeyType::MlKem1024 => 4 * 384,
        _ => return None,
    };
    let parts = || {
        let (_, rest) = expanded.split_at_checked(polynomials)?;
        let (public, rest) = rest.split_at_checked(polynomials + 32)?;
        let (hash, z) = rest.split_at_checked(32)?;
        (z.len() == 32).then_some((public, hash))
    };
    Some(parts().ok_or_else(unsound).and_then(|(public, hash)| {
        if *digest::hash(Digest::Sha3_256, public)? == *hash {
            Ok(public)
        } else {
            Err(unsound())
        }
    }))
}

/// Whether what is encapsulated for the public key comes out of the private one.
fn check_pair(key: &PKeyRef<Private>, public: &PublicKey) -> Result<()> {
    let len = public.key_type().ciphertext_len().ok_or_else(unsound)?;
    let public = library_key(public).map_err(|_| unsound())?;
    let mut ciphertext = vec![0; len];
    let (mut sent, mut received) = (
        Zeroizing::new([0; SECRET_LEN]),
        Zeroizing::new([0; SECRET_LEN]),
    );
    sys::encapsulate(&public, &mut ciphertext, &mut *sent).map_err(|_| unsound())?;
    sys::decapsulate(key, &ciphertext, &mut *received).map_err(|_| unsound())?;
    if constant_time_eq(&*sent, &*received) {
        Ok(())
    } else {
        Err(unsound())
    }
}

fn library_key(key: &PublicKey) -> Result<PKey<Public>> {
    PKey::public_key_from_der(key.spki()).map_err(|_| TokenError::BadParameter)
}

/// What an ML-DSA or ML-KEM private key holds: one of the two, or both.
struct Form<'a> {
    seed: Option<&'a [u8]>,
    expanded: Option<&'a [u8]>,
}

impl<'a> Form<'a> {
    fn read(private_key: &'a [u8]) -> Option<Self> {
        if let Some(seed) = der::whole(pkcs8::SEED, private_key) {
            return Some(Self {
                seed: Some(seed),
                expanded: None,
            });
        }
        if let Some(expanded) = der::whole(der::OCTET_STRING, private_key) {
            return Some(Self {
                seed: None,
                expanded: Some(expanded),
            });
        }
        let both = der::whole(der::SEQUENCE, private_key)?;
        let (seed, rest) = der::take(der::OCTET_STRING, both)?;
        let expanded = der::whole(der::OCTET_STRING, rest)?;
        Some(Self {
            seed: Some(seed),
            expanded: Some(expanded),
        })
    }
}
