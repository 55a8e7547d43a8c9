//! Private keys in this process's memory.

use std::fmt;

use ctk_token::{
    KeyAlgorithm, KeyType, Operation, PublicKey, PublicKeyMaterial, Result, TokenError,
};
use openssl::{
    ec::EcKey,
    md_ctx::MdCtx,
    pkey::{Id, PKey, Private},
    pkey_ctx::PkeyCtx,
    rsa::Rsa,
};
use zeroize::Zeroizing;

use crate::pkcs8::{self, PrivateKeyInfo, RawKind};
use crate::rsa::{self, RsaKey, unsound};
use crate::{agreement, curve, fork, post_quantum, sys, unpadding};

/// A private key, parsed once and ready; used from several threads at once. Debug prints only its type.
///
/// The library wipes the key's memory when this is dropped.
pub struct PrivateKey {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    Rsa(RsaKey),
    Ec(PKey<Private>),
    /// EdDSA and ML-DSA, which sign whole messages.
    Message(PKey<Private>),
    /// X25519 and X448, which do not sign.
    Agreement(PKey<Private>),
    /// ML-KEM.
    Encapsulation(PKey<Private>),
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
    /// anything else that is not a sound key, and for an RSA key of less than 1024 or more than 8192 bits.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        sys::ready();
        let _inside = fork::enter();
        let info = PrivateKeyInfo::read(der).ok_or_else(unsound)?;
        if let Some(kind) = RawKind::of(info.algorithm()).filter(RawKind::is_post_quantum) {
            let (key, public) = post_quantum::load(kind, &info)?;
            return Self::new(key, public);
        }
        // Not the library's PKCS#8 call, which knows RFC 5208 only: this one also takes a public key beside the
        // private one. It takes older forms too, which `PrivateKeyInfo` has ruled out.
        let key = PKey::private_key_from_der(der).map_err(|_| info.refusal())?;
        let spki = match key.id() {
            Id::EC => ec_spki(&key)?,
            Id::RSA | Id::RSA_PSS => {
                pkcs8::rsa_spki(&info, &rsa_spki(&key)?).ok_or_else(unsound)?
            }
            _ => key.public_key_to_der().map_err(sys::failed)?,
        };
        Self::new(key, PublicKey::from_spki(&spki)?)
    }

    /// Makes a new key: RSA of 1024 to 8192 bits, in steps of 128, with exponent 65537; all others as their standards say.
    ///
    /// # Errors
    /// [`TokenError::BadParameter`] for other RSA moduli, [`TokenError::NotSupported`] for a kind of key that the library
    /// lacks.
    pub fn generate(key_type: KeyType) -> Result<Self> {
        sys::ready();
        let key = match key_type {
            KeyType::Rsa { bits } => {
                // AWS-LC rounds other lengths down.
                if !rsa::BITS.contains(&bits) || !bits.is_multiple_of(128) {
                    return Err(TokenError::BadParameter);
                }
                // Takes seconds for a long modulus, and fork() does not wait that long: see `fork::LONGEST`.
                let _inside = fork::enter();
                Rsa::generate(bits).and_then(PKey::from_rsa)
            }
            KeyType::Ec(curve) => {
                let _inside = fork::enter();
                EcKey::generate(&*curve::group(curve)?).and_then(PKey::from_ec_key)
            }
            _ => {
                // Every other key is a function of some random bytes.
                let kind = RawKind::of_key(key_type).ok_or(TokenError::NotSupported)?;
                let mut seed = Zeroizing::new([0; 64]);
                let seed = seed
                    .get_mut(..kind.seed_len())
                    .ok_or(TokenError::NotSupported)?;
                crate::random(seed)?;
                return Self::from_pkcs8(&pkcs8::from_seed(kind, seed));
            }
        };
        let key = key.map_err(sys::failed)?;
        let _inside = fork::enter();
        let spki = match key_type {
            KeyType::Ec(_) => ec_spki(&key)?,
            _ => rsa_spki(&key)?,
        };
        Self::new(key, PublicKey::from_spki(&spki)?)
    }

    /// The caller is inside the library.
    fn new(key: PKey<Private>, public: PublicKey) -> Result<Self> {
        let secret = match public.key_type() {
            KeyType::Rsa { .. } => Secret::Rsa(RsaKey::new(&key)?),
            KeyType::Ec(_) => {
                let ec = key.ec_key().map_err(|_| unsound())?;
                ec.check_key().map_err(|_| unsound())?;
                Secret::Ec(key)
            }
            KeyType::Ed25519
            | KeyType::Ed448
            | KeyType::MlDsa44
            | KeyType::MlDsa65
            | KeyType::MlDsa87 => Secret::Message(key),
            KeyType::X25519 | KeyType::X448 => Secret::Agreement(key),
            KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => {
                Secret::Encapsulation(key)
            }
        };
        Ok(Self { public, secret })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Which primitives this key performs by itself.
    ///
    /// To sign: RsaRaw, EcdsaDigest, EdDsa, MlDsa. To decrypt: RsaRaw, and RsaPkcs1 with implicit rejection, but not with a
    /// key for RSASSA-PSS only. To agree: Ecdh, EcdhCofactor, MlKem.
    pub fn supports(&self, operation: Operation, algorithm: KeyAlgorithm) -> bool {
        use KeyAlgorithm as A;
        match (operation, &self.secret) {
            (Operation::Sign, Secret::Rsa(_)) => algorithm == A::RsaRaw,
            (Operation::Sign, Secret::Ec(_)) => algorithm == A::EcdsaDigest,
            (Operation::Sign, Secret::Message(_)) => match self.public.key_type() {
                KeyType::Ed25519 | KeyType::Ed448 => algorithm == A::EdDsa,
                _ => algorithm == A::MlDsa,
            },
            (Operation::Decrypt, Secret::Rsa(_)) => {
                !self.public.is_pss_only() && matches!(algorithm, A::RsaRaw | A::RsaPkcs1)
            }
            (Operation::KeyExchange, Secret::Ec(_)) => {
                matches!(algorithm, A::Ecdh | A::EcdhCofactor)
            }
            (Operation::KeyExchange, Secret::Agreement(_)) => algorithm == A::Ecdh,
            (Operation::KeyExchange, Secret::Encapsulation(_)) => algorithm == A::MlKem,
            _ => false,
        }
    }

    /// Signs `input` into `signature`, of at least [`PublicKey::max_signature_len`] bytes, and returns how many bytes
    /// were written. As [`TokenSession::sign`](ctk_token::TokenSession::sign).
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for what [`supports`](Self::supports) denies, [`TokenError::BadParameter`] if
    /// `signature` is too short, [`TokenError::DataLength`] for an RSA block that is not as long as the modulus and for an
    /// empty hash, [`TokenError::DataInvalid`] for an RSA block that is not below the modulus.
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
            Secret::Rsa(key) => key.raw(self.modulus()?, input, signature),
            Secret::Ec(key) => self.sign_ecdsa(key, input, signature),
            Secret::Message(key) => sign_message(key, input, signature),
            Secret::Agreement(_) | Secret::Encapsulation(_) => Err(TokenError::NotSupported),
        }
    }

    /// Decrypts `input`, as long as the modulus, into `plaintext`, at least as long, and returns how many bytes were
    /// written. As [`TokenSession::decrypt`](ctk_token::TokenSession::decrypt).
    ///
    /// With [`KeyAlgorithm::RsaPkcs1`] a wrong padding gives a pseudo-random plaintext, always the same for the same
    /// ciphertext: the one that OpenSSL gives since 3.2. Nobody learns which it was, by time either.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for what [`supports`](Self::supports) denies, [`TokenError::BadParameter`] if
    /// `plaintext` is too short, [`TokenError::DataLength`] for an input that is not as long as the modulus,
    /// [`TokenError::DataInvalid`] for one that is not below it.
    pub fn decrypt(
        &self,
        algorithm: KeyAlgorithm,
        input: &[u8],
        plaintext: &mut [u8],
    ) -> Result<usize> {
        let Secret::Rsa(key) = &self.secret else {
            return Err(TokenError::NotSupported);
        };
        if !self.supports(Operation::Decrypt, algorithm) {
            return Err(TokenError::NotSupported);
        }
        let modulus = self.modulus()?;
        let plaintext = plaintext
            .get_mut(..modulus.len())
            .ok_or(TokenError::BadParameter)?;
        if algorithm == KeyAlgorithm::RsaRaw {
            let _inside = fork::enter();
            return key.raw(modulus, input, plaintext);
        }
        let mut block = Zeroizing::new([0; crate::MAX_BLOCK]);
        let len = {
            let _inside = fork::enter();
            key.raw(modulus, input, &mut *block)?
        };
        let block = block.get_mut(..len).ok_or(TokenError::BadParameter)?;
        unpadding::unpad_pkcs1(block, input, key.rejection_key(), plaintext)
    }

    /// Agrees on a secret with another party and returns how many bytes of `secret`, of at least
    /// [`PublicKey::shared_secret_len`] bytes, were written. As
    /// [`TokenSession::key_exchange`](ctk_token::TokenSession::key_exchange).
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for what [`supports`](Self::supports) denies, [`TokenError::BadParameter`] if
    /// `secret` is too short, if `peer` is no public key for this one ([`check_point`](crate::check_point)), or if an
    /// X25519 or X448 secret would be all zeros (RFC 7748 §6.1); [`TokenError::DataLength`] for an ML-KEM ciphertext of the
    /// wrong length.
    pub fn key_exchange(
        &self,
        algorithm: KeyAlgorithm,
        peer: &[u8],
        secret: &mut [u8],
    ) -> Result<usize> {
        if !self.supports(Operation::KeyExchange, algorithm) {
            return Err(TokenError::NotSupported);
        }
        let secret = secret
            .get_mut(..self.public.shared_secret_len())
            .ok_or(TokenError::BadParameter)?;
        let _inside = fork::enter();
        match (&self.secret, self.public.key_type()) {
            (Secret::Ec(key), KeyType::Ec(curve)) => agreement::ecdh(curve, key, peer, secret),
            (Secret::Agreement(key), kind) => agreement::montgomery(kind, key, peer, secret),
            (Secret::Encapsulation(key), kind) => {
                post_quantum::decapsulate(kind, key, peer, secret)
            }
            _ => Err(TokenError::NotSupported),
        }
    }

    fn modulus(&self) -> Result<&[u8]> {
        match self.public.material() {
            PublicKeyMaterial::Rsa { modulus, .. } => Ok(modulus),
            _ => Err(TokenError::NotSupported),
        }
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
fn sign_message(key: &PKey<Private>, message: &[u8], signature: &mut [u8]) -> Result<usize> {
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
    let group =
        openssl::ec::EcGroup::from_curve_name(curve).map_err(|_| TokenError::NotSupported)?;
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
