//! The crypto library behind one safe face: the only crate that knows which library it is.

#[cfg(all(feature = "aws-lc", feature = "openssl-vendored"))]
compile_error!(
    "features aws-lc and openssl-vendored exclude each other: use --no-default-features --features openssl-vendored"
);
#[cfg(not(any(feature = "aws-lc", feature = "openssl-vendored")))]
compile_error!("choose a crypto library: feature aws-lc (the default) or openssl-vendored");

use ctk_token::{Digest, KeyAlgorithm, Operation, PublicKey, Result, TokenError};
use zeroize::Zeroizing;

/// A finished hash of 20 to 64 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Hash {
    bytes: [u8; Digest::MAX_LEN],
    len: usize,
}
impl std::ops::Deref for Hash {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A hash in progress.
#[derive(Debug)]
pub struct Hasher(Digest);
impl Hasher {
    pub fn new(digest: Digest) -> Result<Self> {
        Ok(Self(digest))
    }
    pub fn update(&mut self, _data: &[u8]) -> Result<()> {
        Err(TokenError::NotSupported)
    }
    pub fn finish(self) -> Result<Hash> {
        Err(TokenError::NotSupported)
    }
}
/// Hashes in one go.
pub fn hash(_digest: Digest, _data: &[u8]) -> Result<Hash> {
    Err(TokenError::NotSupported)
}
/// HMAC (RFC 2104).
pub fn hmac(_digest: Digest, _key: &[u8], _data: &[u8]) -> Result<Hash> {
    Err(TokenError::NotSupported)
}
/// Fills with random bytes.
pub fn random(_out: &mut [u8]) -> Result<()> {
    Err(TokenError::NotSupported)
}
/// Compares without telling by time where they differ.
pub fn constant_time_eq(_a: &[u8], _b: &[u8]) -> bool {
    false
}
/// The version string of the library that is really linked.
pub fn library_version() -> String {
    String::new()
}

/// Bytes that are locked in memory, left out of core dumps and zeroized when dropped. Derefs to [u8]. Debug prints only the length.
#[derive(Debug)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);
impl SecretBytes {
    /// A zeroed buffer.
    pub fn zeroed(len: usize) -> Self {
        Self(Zeroizing::new(vec![0; len]))
    }
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}
impl std::ops::Deref for SecretBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
impl std::ops::DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Ciphers of password-based encryption, all CBC with PKCS#7 padding but RC4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cipher {
    Rc2_40,
    Rc2_128,
    DesEde2,
    DesEde3,
    Aes128,
    Aes192,
    Aes256,
    Rc4_40,
    Rc4_128,
}
impl Cipher {
    /// Key length in bytes.
    pub fn key_len(self) -> usize {
        0
    }
    /// IV length in bytes.
    pub fn iv_len(self) -> usize {
        0
    }
}
/// Decrypts a whole ciphertext; a wrong length or padding is BadCiphertext.
pub fn decrypt(_cipher: Cipher, _key: &[u8], _iv: &[u8], _data: &[u8]) -> Result<SecretBytes> {
    Err(TokenError::NotSupported)
}
/// What a PKCS#12 derivation is for (RFC 7292 B.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pkcs12Purpose {
    Key,
    Iv,
    Mac,
}
/// PKCS#12 key derivation (RFC 7292 B.2); `password` is BMPString bytes with the two terminating zeros, or empty.
pub fn pkcs12_kdf(
    _digest: Digest,
    _purpose: Pkcs12Purpose,
    _password: &[u8],
    _salt: &[u8],
    _iterations: u32,
    _out: &mut [u8],
) -> Result<()> {
    Err(TokenError::NotSupported)
}
/// PBKDF2 (RFC 8018 5.2).
pub fn pbkdf2(
    _digest: Digest,
    _password: &[u8],
    _salt: &[u8],
    _iterations: u32,
    _out: &mut [u8],
) -> Result<()> {
    Err(TokenError::NotSupported)
}
/// scrypt (RFC 7914); refuses parameters that need more than `max_memory` bytes.
pub fn scrypt(
    _password: &[u8],
    _salt: &[u8],
    _n: u64,
    _r: u64,
    _p: u64,
    _max_memory: u64,
    _out: &mut [u8],
) -> Result<()> {
    Err(TokenError::NotSupported)
}

/// A private key, parsed once and ready; signs from several threads at once. Debug prints only its type.
pub struct PrivateKey {
    public: PublicKey,
}
impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public.key_type())
    }
}
impl PrivateKey {
    /// Parses a DER PrivateKeyInfo / OneAsymmetricKey (RFC 5208, RFC 5958).
    pub fn from_pkcs8(_der: &[u8]) -> Result<Self> {
        Err(TokenError::NotSupported)
    }
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
    /// Which primitives this key performs by itself: RsaRaw (sign), EcdsaDigest, EdDsa.
    pub fn supports(&self, _operation: Operation, _algorithm: KeyAlgorithm) -> bool {
        false
    }
    /// As TokenSession::sign.
    pub fn sign(
        &self,
        _algorithm: KeyAlgorithm,
        _input: &[u8],
        _signature: &mut [u8],
    ) -> Result<usize> {
        Err(TokenError::NotSupported)
    }
}
/// Verifies in any form of KeyAlgorithm that signs: `input` is what that form takes; an ECDSA signature is DER.
pub fn verify(
    _key: &PublicKey,
    _algorithm: KeyAlgorithm,
    _input: &[u8],
    _signature: &[u8],
) -> Result<bool> {
    Err(TokenError::NotSupported)
}

/// The longest block that a reduction makes, in bytes: RSA-16384's modulus.
pub const MAX_BLOCK: usize = 2048;
/// Room for a reduction's result; zeroized when dropped.
pub type Block = Zeroizing<[u8; MAX_BLOCK]>;

/// The way from the signature that is asked for to one that the key store performs, decided once.
#[derive(Clone, Copy, Debug)]
pub struct Reduction {
    performed: KeyAlgorithm,
}
impl Reduction {
    /// Walks down from `asked` to the first form that `supported` affirms. For a message form the walk prefers the digest
    /// form (hash here, never send big data) and takes the message form only if nothing below it is supported.
    /// None if no form is supported or the key is of another kind. BadParameter cases (salt too long for the modulus) are found here.
    pub fn new(
        asked: KeyAlgorithm,
        _key: &PublicKey,
        _supported: impl Fn(KeyAlgorithm) -> bool,
    ) -> Result<Option<Self>> {
        Ok(Some(Self { performed: asked }))
    }
    /// What the key store is asked to perform.
    pub fn performed(&self) -> KeyAlgorithm {
        self.performed
    }
    /// The hash that the caller streams the message through; `apply` then takes the hash instead of the message.
    pub fn message_digest(&self) -> Option<Digest> {
        None
    }
    /// The only input lengths that can work, in bytes, for an early CKR_DATA_LEN_RANGE: (min, max).
    pub fn input_len(&self) -> (usize, usize) {
        (0, usize::MAX)
    }
    /// Turns the input (the hash, if `message_digest` says so) into what `performed` takes: DigestInfo, padding, PSS encoding.
    pub fn apply<'a>(&self, input: &'a [u8], _block: &'a mut Block) -> Result<&'a [u8]> {
        Ok(input)
    }
}

/// ECDSA signatures in their two forms: DER ECDSA-Sig-Value, and r‖s of twice the order's length (PKCS#11 §6.3.1).
pub mod ecdsa {
    use ctk_token::{Curve, Result, TokenError};
    /// Writes r‖s, zero-padded, and returns its length.
    pub fn der_to_fixed(_curve: Curve, _der: &[u8], _out: &mut [u8]) -> Result<usize> {
        Err(TokenError::NotSupported)
    }
    /// Writes DER and returns its length.
    pub fn fixed_to_der(_curve: Curve, _fixed: &[u8], _out: &mut [u8]) -> Result<usize> {
        Err(TokenError::NotSupported)
    }
}
