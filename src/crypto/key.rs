//! Private keys in this process's memory.

use std::fmt;

use ctk_token::{
    KeyAlgorithm, KeyType, Operation, PublicKey, PublicKeyMaterial, Reason, Result, TokenError,
};
use openssl::ec::{EcGroup, EcKey};
use openssl::md_ctx::MdCtx;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};

use crate::{der, fork, sys};

/// A private key, parsed once and ready; signs from several threads at once. Debug prints only its type.
///
/// The library wipes the key's memory when this is dropped.
pub struct PrivateKey {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    /// Used directly: the library blinds, uses the Chinese remainders and checks their result.
    Rsa(Rsa<Private>),
    Ec(PKey<Private>),
    EdDsa(PKey<Private>),
    /// X25519 and X448, which do not sign.
    Agreement,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.key_type())
    }
}

impl PrivateKey {
    /// Parses a DER PrivateKeyInfo / OneAsymmetricKey (RFC 5208, RFC 5958) and checks that its numbers belong
    /// together: a damaged key would otherwise sign wrongly, and a wrong RSA signature can give the key away.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for a kind of key or curve that the library lacks, [`TokenError::Corrupted`] for
    /// anything else that is not a sound key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        sys::ready();
        let _inside = fork::enter();
        let kind = Kind::of(der).ok_or_else(unsound)?;
        // Not the library's PKCS#8 call, which knows RFC 5208 only: this one also takes a public key beside the
        // private one. It takes older forms too, which `Kind` has ruled out.
        let key = PKey::private_key_from_der(der).map_err(|_| kind.refusal())?;
        let spki = match key.id() {
            Id::EC => ec_spki(&key)?,
            Id::RSA | Id::RSA_PSS => rsa_spki(&key)?,
            _ => key.public_key_to_der().map_err(sys::failed)?,
        };
        let public = PublicKey::from_spki(&spki)?;
        let secret = match public.key_type() {
            KeyType::Rsa { .. } => {
                let rsa = key.rsa().map_err(|_| unsound())?;
                if !rsa.check_key().unwrap_or(false) {
                    return Err(unsound());
                }
                Secret::Rsa(rsa)
            }
            KeyType::Ec(_) => {
                let ec = key.ec_key().map_err(|_| unsound())?;
                ec.check_key().map_err(|_| unsound())?;
                Secret::Ec(key)
            }
            KeyType::Ed25519 | KeyType::Ed448 => Secret::EdDsa(key),
            KeyType::X25519 | KeyType::X448 => Secret::Agreement,
            _ => return Err(TokenError::NotSupported),
        };
        Ok(Self { public, secret })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Which primitives this key performs by itself: RsaRaw, EcdsaDigest, EdDsa, to sign.
    pub fn supports(&self, operation: Operation, algorithm: KeyAlgorithm) -> bool {
        operation == Operation::Sign
            && matches!(
                (&self.secret, algorithm),
                (Secret::Rsa(_), KeyAlgorithm::RsaRaw)
                    | (Secret::Ec(_), KeyAlgorithm::EcdsaDigest)
                    | (Secret::EdDsa(_), KeyAlgorithm::EdDsa)
            )
    }

    /// Signs `input` into `signature`, of at least [`PublicKey::max_signature_len`] bytes, and returns how many bytes
    /// were written. As [`TokenSession::sign`](ctk_token::TokenSession::sign).
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for what [`supports`](Self::supports) denies, [`TokenError::BadParameter`] if
    /// `signature` is too short, [`TokenError::DataLength`] for an RSA block that is not as long as the modulus or not
    /// below it, and for an empty hash.
    pub fn sign(
        &self,
        algorithm: KeyAlgorithm,
        input: &[u8],
        signature: &mut [u8],
    ) -> Result<usize> {
        if !self.supports(Operation::Sign, algorithm) {
            return Err(TokenError::NotSupported);
        }
        if signature.len() < self.public.max_signature_len() {
            return Err(TokenError::BadParameter);
        }
        let _inside = fork::enter();
        match &self.secret {
            Secret::Rsa(key) => self.sign_rsa(key, input, signature),
            Secret::Ec(key) => self.sign_ecdsa(key, input, signature),
            Secret::EdDsa(key) => sign_eddsa(key, input, signature),
            Secret::Agreement => Err(TokenError::NotSupported),
        }
    }

    fn sign_rsa(&self, key: &Rsa<Private>, block: &[u8], signature: &mut [u8]) -> Result<usize> {
        let PublicKeyMaterial::Rsa { modulus, .. } = self.public.material() else {
            return Err(TokenError::NotSupported);
        };
        // Of equal length, so bytes compare like numbers. The block is no secret.
        if block.len() != modulus.len() || *block >= **modulus {
            return Err(TokenError::DataLength);
        }
        key.private_encrypt(block, signature, Padding::NONE)
            .map_err(sys::failed)
    }

    fn sign_ecdsa(&self, key: &PKey<Private>, hash: &[u8], signature: &mut [u8]) -> Result<usize> {
        let KeyType::Ec(curve) = self.public.key_type() else {
            return Err(TokenError::NotSupported);
        };
        if hash.is_empty() {
            return Err(TokenError::DataLength);
        }
        // The library takes the order's leftmost bits; bytes beyond them never count.
        let hash = hash.get(..curve.bytes()).unwrap_or(hash);
        let mut context = PkeyCtx::new(key).map_err(sys::failed)?;
        context.sign_init().map_err(sys::failed)?;
        context.sign(hash, Some(signature)).map_err(sys::failed)
    }
}

/// A fresh context per signature: OpenSSL 3 refuses to use one twice for EdDSA.
fn sign_eddsa(key: &PKey<Private>, message: &[u8], signature: &mut [u8]) -> Result<usize> {
    let mut context = MdCtx::new().map_err(sys::failed)?;
    context.digest_sign_init(None, key).map_err(sys::failed)?;
    context
        .digest_sign(message, Some(signature))
        .map_err(sys::failed)
}

/// SubjectPublicKeyInfo with a named curve and an uncompressed point, whatever form the private key had.
fn ec_spki(key: &PKey<Private>) -> Result<Vec<u8>> {
    let key = key.ec_key().map_err(|_| unsound())?;
    let curve = key.group().curve_name().ok_or(TokenError::NotSupported)?;
    let group = EcGroup::from_curve_name(curve).map_err(|_| TokenError::NotSupported)?;
    EcKey::from_public_key(&group, key.public_key())
        .and_then(PKey::from_ec_key)
        .and_then(|key| key.public_key_to_der())
        .map_err(sys::failed)
}

/// SubjectPublicKeyInfo as for any RSA key, also of one marked for PSS only, for which AWS-LC writes none.
fn rsa_spki(key: &PKey<Private>) -> Result<Vec<u8>> {
    let key = key.rsa().map_err(|_| unsound())?;
    let (modulus, exponent) = (key.n().to_owned(), key.e().to_owned());
    modulus
        .and_then(|modulus| Rsa::from_public_components(modulus, exponent?))
        .and_then(PKey::from_rsa)
        .and_then(|key| key.public_key_to_der())
        .map_err(sys::failed)
}

/// The object identifiers in a private key's AlgorithmIdentifier.
struct Kind<'a> {
    algorithm: &'a [u8],
    /// The parameters, if they are an object identifier.
    curve: Option<&'a [u8]>,
}

impl<'a> Kind<'a> {
    /// `None` if `der` is not a PrivateKeyInfo or something follows it, which the library would ignore.
    fn of(der: &'a [u8]) -> Option<Self> {
        let info = der::whole(der::SEQUENCE, der)?;
        let (_version, rest) = der::take(der::INTEGER, info)?;
        let (identifier, _) = der::take(der::SEQUENCE, rest)?;
        let (algorithm, parameters) = der::take(der::OBJECT_IDENTIFIER, identifier)?;
        Some(Self {
            algorithm,
            curve: der::whole(der::OBJECT_IDENTIFIER, parameters),
        })
    }

    /// Why the library did not take such a key: because of its kind, or because it is damaged.
    fn refusal(&self) -> TokenError {
        let known = match self.algorithm {
            RSA | RSA_PSS | ED25519 => true,
            EC => self.curve.is_some_and(sys::has_curve),
            _ => false,
        };
        if known {
            unsound()
        } else {
            TokenError::NotSupported
        }
    }
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

fn unsound() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the private key is damaged: restore the file from a copy",
    ))
}
