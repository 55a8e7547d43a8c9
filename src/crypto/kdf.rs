//! Keys from passwords and from shared secrets: PKCS#12's own derivation, PBKDF2, scrypt and X9.63.

use ctk_token::{Digest, Result, TokenError};
use zeroize::Zeroizing;

use crate::digest::{Hasher, block_len, message_digest};
use crate::sys;

/// What a PKCS#12 derivation is for (RFC 7292 §B.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pkcs12Purpose {
    /// A cipher's key.
    Key,
    /// A cipher's IV.
    Iv,
    /// The key of the file's MAC.
    Mac,
}

impl Pkcs12Purpose {
    /// RFC 7292 §B.3's ID byte.
    fn id(self) -> u8 {
        match self {
            Self::Key => 1,
            Self::Iv => 2,
            Self::Mac => 3,
        }
    }
}

/// PKCS#12 key derivation (RFC 7292 §B.2) over as many bytes as `out` has; `password` is BMPString bytes with the two
/// terminating zeros, or empty.
///
/// Time grows with `iterations`: whoever takes them from a file limits them first.
///
/// # Errors
/// [`TokenError::BadParameter`] for 0 iterations.
pub fn pkcs12_kdf(
    digest: Digest,
    purpose: Pkcs12Purpose,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    out: &mut [u8],
) -> Result<()> {
    if iterations == 0 {
        return Err(TokenError::BadParameter);
    }
    let block = block_len(digest);
    let diversifier = [purpose.id(); 128];
    let diversifier = diversifier.get(..block).unwrap_or_default();
    // I = S ‖ P, each repeated to whole blocks.
    let mut input: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(
        salt.len().next_multiple_of(block) + password.len().next_multiple_of(block),
    ));
    for part in [salt, password] {
        input.extend(part.iter().cycle().take(part.len().next_multiple_of(block)));
    }

    let mut hasher = Hasher::new(digest)?;
    let mut hash = Zeroizing::new([0; Digest::MAX_LEN]);
    for chunk in out.chunks_mut(digest.len()) {
        hasher.update(diversifier)?;
        hasher.update(&input)?;
        hasher.finish_into(&mut *hash)?;
        let hash_bytes = hash.get_mut(..digest.len()).unwrap_or_default();
        for _ in 1..iterations {
            hasher.update(hash_bytes)?;
            hasher.finish_into(hash_bytes)?;
        }
        let (taken, _) = hash_bytes.split_at(chunk.len());
        chunk.copy_from_slice(taken);
        for block in input.chunks_mut(block) {
            add_and_increment(block, hash_bytes);
        }
    }
    Ok(())
}

/// `block += hash repeated to the block's length + 1`, as big-endian numbers, dropping the carry (RFC 7292 §B.2 step 6C).
fn add_and_increment(block: &mut [u8], hash: &[u8]) {
    let mut carry = 1_u16;
    let len = block.len();
    // The repeated hash, read from the last byte of the block to the first.
    let addend = hash.iter().cycle().take(len);
    let mut repeated = Zeroizing::new([0; 128]);
    for (byte, from) in repeated.iter_mut().zip(addend) {
        *byte = *from;
    }
    let repeated = repeated.get(..len).unwrap_or_default();
    for (byte, from) in block.iter_mut().zip(repeated).rev() {
        let sum = u16::from(*byte) + u16::from(*from) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

/// PBKDF2 with HMAC (RFC 8018 §5.2) over as many bytes as `out` has.
///
/// Time grows with `iterations`: whoever takes them from a file limits them first.
///
/// # Errors
/// [`TokenError::BadParameter`] for 0 iterations or lengths over 2 GiB.
pub fn pbkdf2(
    digest: Digest,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    out: &mut [u8],
) -> Result<()> {
    sys::ready();
    let too_long = |len: usize| i32::try_from(len).is_err();
    if iterations == 0
        || i32::try_from(iterations).is_err()
        || [password.len(), salt.len(), out.len()]
            .into_iter()
            .any(too_long)
    {
        return Err(TokenError::BadParameter);
    }
    let hash = message_digest(digest);
    openssl::pkcs5::pbkdf2_hmac(password, salt, iterations as usize, hash, out).map_err(sys::failed)
}

/// scrypt (RFC 7914) over as many bytes as `out` has; refuses parameters that need more than `max_memory` bytes.
///
/// # Errors
/// [`TokenError::BadParameter`] if `n` is not a power of two above 1, `r` or `p` is 0 or beyond RFC 7914 §2, or
/// 128·r·(n + p) and a little more does not fit in `max_memory`.
pub fn scrypt(
    password: &[u8],
    salt: &[u8],
    n: u64,
    r: u64,
    p: u64,
    max_memory: u64,
    out: &mut [u8],
) -> Result<()> {
    sys::ready();
    let memory = n
        .checked_add(p)
        .and_then(|blocks| blocks.checked_mul(128))
        .and_then(|bytes| bytes.checked_mul(r));
    let fits = memory.is_some_and(|memory| memory <= max_memory);
    if !fits || n < 2 || !n.is_power_of_two() || r == 0 || p == 0 || max_memory == 0 {
        return Err(TokenError::BadParameter);
    }
    // The library takes a size_t here and panics above it.
    let max_memory = max_memory.min(usize::MAX as u64);
    openssl::pkcs5::scrypt(password, salt, n, r, p, max_memory, out)
        .map_err(|_| TokenError::BadParameter)
}

/// The X9.63 key derivation (SEC 1 §3.6.1, ANSI X9.63 §5.6.3) of PKCS#11's CKD_SHA1_KDF to CKD_SHA3_512_KDF, over as many
/// bytes as `out` has.
///
/// # Errors
/// [`TokenError::BadParameter`] for more output than 2³² − 1 hashes.
pub fn x963_kdf(digest: Digest, secret: &[u8], shared_info: &[u8], out: &mut [u8]) -> Result<()> {
    if u32::try_from(out.len().div_ceil(digest.len())).is_err() {
        return Err(TokenError::BadParameter);
    }
    let mut hasher = Hasher::new(digest)?;
    let mut hash = Zeroizing::new([0; Digest::MAX_LEN]);
    for (counter, chunk) in (1_u32..).zip(out.chunks_mut(digest.len())) {
        hasher.update(secret)?;
        hasher.update(&counter.to_be_bytes())?;
        hasher.update(shared_info)?;
        hasher.finish_into(&mut *hash)?;
        for (byte, from) in chunk.iter_mut().zip(hash.iter()) {
            *byte = *from;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::{hex, unhex};

    fn bmp(password: &str) -> Vec<u8> {
        password
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_be_bytes)
            .collect()
    }

    const SMEG_SALT: [u8; 8] = [0x0a, 0x58, 0xcf, 0x64, 0x53, 0x0d, 0x82, 0x3f];
    const QUEEG_SALT: [u8; 10] = [0x16, 0x82, 0xc0, 0xfc, 0x5b, 0x3f, 0x7e, 0xc5, 0xaa, 0xbb];

    fn derive(
        digest: Digest,
        purpose: Pkcs12Purpose,
        password: &[u8],
        salt: &[u8],
        iterations: u32,
        len: usize,
    ) -> String {
        let mut out = vec![0; len];
        pkcs12_kdf(digest, purpose, password, salt, iterations, &mut out).unwrap();
        hex(&out)
    }

    /// Expected values by `openssl kdf … PKCS12KDF` 3.0.
    #[test]
    fn pkcs12_derivation_is_that_of_openssl() {
        use Pkcs12Purpose::{Iv, Key, Mac};

        let smeg = |digest, purpose, iterations, len| {
            derive(digest, purpose, &bmp("smeg"), &SMEG_SALT, iterations, len)
        };
        assert_eq!(
            smeg(Digest::Sha1, Key, 1, 24),
            "8aaae6297b6cb04642ab5b077851284eb7128f1a2a7fbca3"
        );
        assert_eq!(smeg(Digest::Sha1, Iv, 1, 8), "79993dfe048d3b76");
        assert_eq!(
            smeg(Digest::Sha256, Mac, 2048, 32),
            "e4388cd88983083b1d1552867406cb3426e16cbcf4358c7bf5a97cdb2a11db46"
        );
    }

    /// More output than one hash, a salt of no round length, a block of 128 bytes, an empty password.
    #[test]
    fn pkcs12_derivation_carries_from_block_to_block() {
        use Pkcs12Purpose::Key;

        assert_eq!(
            derive(Digest::Sha512, Key, &bmp("queeg"), &QUEEG_SALT, 1000, 100),
            "ec1a0c722f5c372481b95e6bdfab6312cb26fceeac2bd7ccff8febc7808359e1\
             a8985cac711d9ec187c004044421137f5ac610156b40b1e9cc9ed41f29e44bb9\
             660d268d9a9b0850bacbf673adf344dbce237e8431fda80f840a5aca1722988f\
             a6fb3bce"
        );
        let salt = [0x79, 0x99, 0x3d, 0xfe, 0x04, 0x8d, 0x3b, 0x76];
        assert_eq!(
            derive(Digest::Sha384, Key, &[], &salt, 7, 60),
            "fb16ae819e42715c94203512c82bf817cd1fad4ab4d20deb6ba61fd14c3b5d0b\
             45efd4d774537df1385de95d8ce38d4b77969e7b013d7391db859cb1"
        );
        let salt = [0x05, 0xde, 0xc9, 0x59, 0xac, 0xff, 0x72, 0xf7];
        assert_eq!(
            derive(Digest::Sha224, Key, &bmp("queeg"), &salt, 3, 40),
            "2eb0bf98f8d11392d70b72cea9d691c375ddcfad6a75ff92b725d1d5276c6e33669df4fb319822e4"
        );
    }

    #[test]
    fn addition_wraps_around() {
        let mut block = [0xff; 64];
        add_and_increment(&mut block, &[0; 20]);
        assert_eq!(block, [0; 64]);
        add_and_increment(&mut block, &[0xff; 20]);
        assert_eq!(block, [0; 64]);
        add_and_increment(&mut block, &[1, 2]);
        assert_eq!(block[60..], [1, 2, 1, 3]);
    }

    /// RFC 6070, and for SHA-256 RFC 7914 §11.
    #[test]
    fn pbkdf2_is_that_of_rfc_6070() {
        let derive = |digest, password: &[u8], salt: &[u8], iterations, len| {
            let mut out = vec![0; len];
            pbkdf2(digest, password, salt, iterations, &mut out).unwrap();
            hex(&out)
        };
        for (iterations, expected) in [
            (1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
            (2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
            (4096, "4b007901b765489abead49d926f721d065a429c1"),
        ] {
            assert_eq!(
                derive(Digest::Sha1, b"password", b"salt", iterations, 20),
                expected
            );
        }
        assert_eq!(
            derive(Digest::Sha1, b"pass\0word", b"sa\0lt", 4096, 16),
            "56fa6aa75548099dcc37d7f03425e0c3"
        );
        assert_eq!(
            derive(Digest::Sha256, b"passwd", b"salt", 1, 64),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        );
    }

    /// RFC 7914 §12.
    #[test]
    fn scrypt_is_that_of_rfc_7914() {
        let derive = |password: &[u8], salt: &[u8], n, r, p| {
            let mut out = [0; 64];
            scrypt(password, salt, n, r, p, 32 << 20, &mut out).unwrap();
            hex(&out)
        };
        assert_eq!(
            derive(b"", b"", 16, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442\
             fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        );
        assert_eq!(
            derive(b"password", b"NaCl", 1024, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162\
             2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
    }

    #[test]
    fn parameters_that_cannot_be_are_refused() {
        let bad = Err(TokenError::BadParameter);
        let mut out = [0; 16];
        assert_eq!(
            pkcs12_kdf(Digest::Sha1, Pkcs12Purpose::Key, b"", b"", 0, &mut out),
            bad
        );
        assert_eq!(pbkdf2(Digest::Sha1, b"", b"", 0, &mut out), bad);
        assert_eq!(pbkdf2(Digest::Sha1, b"", b"", u32::MAX, &mut out), bad);
        for (n, r, p, memory) in [
            (0, 8, 1, 1 << 20),
            (1, 8, 1, 1 << 20),
            (1000, 8, 1, 32 << 20),
            (1024, 0, 1, 1 << 20),
            (1024, 8, 0, 1 << 20),
            (1024, 8, 1, 1 << 20),
            (1024, 8, 1, 0),
            (1 << 62, 8, 1, u64::MAX),
            (2, 1 << 40, 1 << 40, u64::MAX),
        ] {
            assert_eq!(
                scrypt(b"", b"", n, r, p, memory, &mut out),
                bad,
                "{n} {r} {p}"
            );
        }
    }

    /// NIST's CAVP vectors (ANSI X9.63-2001 KDF), one with and one without shared information.
    #[test]
    fn x963_derivation_is_that_of_nist() {
        let derive = |digest, secret: &str, info: &str, len| {
            let mut out = vec![0; len];
            x963_kdf(digest, &unhex(secret), &unhex(info), &mut out).unwrap();
            hex(&out)
        };
        assert_eq!(
            derive(
                Digest::Sha256,
                "96c05619d56c328ab95fe84b18264b08725b85e33fd34f08",
                "",
                16
            ),
            "443024c3dae66b95e6f5670601558f71"
        );
        assert_eq!(
            derive(
                Digest::Sha256,
                "22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d",
                "75eef81aa3041e33b80971203d2c0c52",
                128
            ),
            "c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e\
             52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd874f6cf92f30d0097111485\
             500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269\
             142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21"
        );
    }

    /// Against its definition, with every hash and with ends inside and between the hashes.
    #[test]
    fn x963_derivation_is_its_definition() {
        for digest in Digest::ALL {
            let mut whole = Vec::new();
            for counter in 1_u32..=3 {
                let input = [&b"secret"[..], &counter.to_be_bytes(), b"info"].concat();
                whole.extend_from_slice(&crate::hash(digest, &input).unwrap());
            }
            for len in [0, 1, digest.len(), digest.len() + 1, whole.len()] {
                let mut out = vec![0; len];
                x963_kdf(digest, b"secret", b"info", &mut out).unwrap();
                assert_eq!(out, whole[..len], "{digest:?} {len}");
            }
        }
    }

    /// What RFC 9579's PBMAC1 asks for, with every hash: PBKDF2's first block is one HMAC by its definition.
    #[test]
    fn pbkdf2_takes_every_hash() {
        for digest in Digest::ALL {
            let mut out = vec![0; digest.len()];
            pbkdf2(digest, b"password", b"salt", 1, &mut out).unwrap();
            let code = crate::hmac(digest, b"password", b"salt\0\0\0\x01").unwrap();
            assert_eq!(out, *code, "{digest:?}");
        }
    }
}
