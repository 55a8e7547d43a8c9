//! Hashes.

use std::fmt;
use std::ops::Deref;

use ctk_token::{Digest, Result};
use openssl::hash::MessageDigest;
use openssl::md::MdRef;
use zeroize::Zeroizing;

use crate::sys;

/// A finished hash or message authentication code of 16 to 64 bytes. Derefs to them. What it is of may
/// be a secret, and then it is one itself: it is wiped when dropped, and no copy is made unasked.
#[derive(Clone)]
pub struct Hash {
    bytes: Zeroizing<[u8; Digest::MAX_LEN]>,
    len: usize,
}

impl Hash {
    /// The first `len` of what `write` makes of zeros.
    pub(crate) fn written(
        len: usize,
        write: impl FnOnce(&mut [u8; Digest::MAX_LEN]) -> Result<()>,
    ) -> Result<Self> {
        let mut hash = Self {
            bytes: Zeroizing::new([0; Digest::MAX_LEN]),
            len,
        };
        write(&mut hash.bytes)?;
        Ok(hash)
    }
}

impl Deref for Hash {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash may stand for a password: only its length is told.
        write!(f, "Hash({} bytes)", self.len)
    }
}

/// A hash in progress (FIPS 180-4, FIPS 202).
pub struct Hasher {
    digest: Digest,
    context: sys::HashContext,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({:?})", self.digest)
    }
}

impl Hasher {
    /// Begins.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if the library fails, here and below.
    pub fn new(digest: Digest) -> Result<Self> {
        sys::ready();
        let context = sys::HashContext::begin(md(digest))?;
        Ok(Self { digest, context })
    }

    /// Takes the next bytes of the message.
    pub fn update(&mut self, data: &[u8]) -> Result<()> {
        self.context.update(data)
    }

    /// The hash of everything taken.
    pub fn finish(mut self) -> Result<Hash> {
        Hash::written(self.digest.len(), |bytes| self.context.finish(bytes))
    }

    /// Writes the hash into `out`, of at least [`Digest::len`] bytes, and begins anew without a new context.
    pub(crate) fn finish_into(&mut self, out: &mut [u8]) -> Result<()> {
        self.context.finish(out)?;
        self.context.begin_again(md(self.digest))
    }
}

/// Hashes in one go.
///
/// # Errors
/// As [`Hasher::new`].
pub fn hash(digest: Digest, data: &[u8]) -> Result<Hash> {
    let mut hasher = Hasher::new(digest)?;
    hasher.update(data)?;
    hasher.finish()
}

/// The library's name of a hash.
pub(crate) fn md(digest: Digest) -> &'static MdRef {
    sys::md(message_digest(digest))
}

/// The same for the calls that take it by value.
pub(crate) fn message_digest(digest: Digest) -> MessageDigest {
    match digest {
        Digest::Sha1 => MessageDigest::sha1(),
        Digest::Sha224 => MessageDigest::sha224(),
        Digest::Sha256 => MessageDigest::sha256(),
        Digest::Sha384 => MessageDigest::sha384(),
        Digest::Sha512 => MessageDigest::sha512(),
        Digest::Sha3_224 => MessageDigest::sha3_224(),
        Digest::Sha3_256 => MessageDigest::sha3_256(),
        Digest::Sha3_384 => MessageDigest::sha3_384(),
        Digest::Sha3_512 => MessageDigest::sha3_512(),
    }
}

/// The bytes that a hash works on at once (FIPS 180-4 figure 1, FIPS 202 table 3).
pub(crate) fn block_len(digest: Digest) -> usize {
    match digest {
        Digest::Sha1 | Digest::Sha224 | Digest::Sha256 => 64,
        Digest::Sha384 | Digest::Sha512 => 128,
        Digest::Sha3_224 => 144,
        Digest::Sha3_256 => 136,
        Digest::Sha3_384 => 104,
        Digest::Sha3_512 => 72,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;

    /// The examples of FIPS 180-4 and FIPS 202: "abc".
    const ABC: [(Digest, &str); 9] = [
        (Digest::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            Digest::Sha224,
            "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        ),
        (
            Digest::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            Digest::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            Digest::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        (
            Digest::Sha3_224,
            "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
        ),
        (
            Digest::Sha3_256,
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        ),
        (
            Digest::Sha3_384,
            "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b2\
             98d88cea927ac7f539f1edf228376d25",
        ),
        (
            Digest::Sha3_512,
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
             10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        ),
    ];

    #[test]
    fn hashes_are_those_of_fips_180_and_202() {
        for (digest, expected) in ABC {
            assert_eq!(hex(&hash(digest, b"abc").unwrap()), expected, "{digest:?}");
            assert_eq!(expected.len(), 2 * digest.len());
        }
        assert_eq!(
            hex(&hash(Digest::Sha256, b"").unwrap()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        for digest in Digest::ALL {
            let message: Vec<u8> = (0..1000_u32).map(|number| number as u8).collect();
            let mut hasher = Hasher::new(digest).unwrap();
            for piece in message.chunks(37) {
                hasher.update(piece).unwrap();
            }
            assert_eq!(*hasher.finish().unwrap(), *hash(digest, &message).unwrap());
        }
    }

    #[test]
    fn a_context_begins_anew() {
        let mut hasher = Hasher::new(Digest::Sha1).unwrap();
        let mut first = [0; 20];
        hasher.update(b"abc").unwrap();
        hasher.finish_into(&mut first).unwrap();
        assert_eq!(hex(&first), ABC[0].1);
        hasher.update(b"abc").unwrap();
        assert_eq!(*hasher.finish().unwrap(), first);

        let mut hasher = Hasher::new(Digest::Sha256).unwrap();
        assert!(hasher.finish_into(&mut [0; 31]).is_err());
    }

    #[test]
    fn a_hash_is_wiped() {
        const { assert!(std::mem::needs_drop::<Hash>()) };
        let mut bytes = hash(Digest::Sha1, b"PIN").unwrap().bytes;
        zeroize::Zeroize::zeroize(&mut bytes);
        assert_eq!(*bytes, [0; Digest::MAX_LEN]);
    }

    #[test]
    fn debug_tells_no_bytes() {
        let hash = hash(Digest::Sha1, b"PIN").unwrap();
        assert_eq!(format!("{hash:?}"), "Hash(20 bytes)");
    }
}
