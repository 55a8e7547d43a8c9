//! The paddings of RSA signatures (RFC 8017 §9), written by us because a key store may offer the raw operation only.

use ctk_token::{Digest, Pss, Result, TokenError};
use zeroize::Zeroizing;

use crate::digest::Hasher;

/// The longest block that a reduction makes, in bytes: RSA-16384's modulus.
pub const MAX_BLOCK: usize = 2048;

/// Room for a reduction's result; zeroized when dropped.
pub type Block = Zeroizing<[u8; MAX_BLOCK]>;

/// What stands before the hash in a DER DigestInfo (RFC 8017 §9.2 note 1).
pub(crate) const fn digest_info_prefix(digest: Digest) -> &'static [u8] {
    match digest {
        Digest::Sha1 => &[
            0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04,
            0x14,
        ],
        Digest::Sha224 => &[
            0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x04, 0x05, 0x00, 0x04, 0x1c,
        ],
        Digest::Sha256 => &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ],
        Digest::Sha384 => &[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x02, 0x05, 0x00, 0x04, 0x30,
        ],
        Digest::Sha512 => &[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x03, 0x05, 0x00, 0x04, 0x40,
        ],
        Digest::Sha3_224 => &[
            0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x07, 0x05, 0x00, 0x04, 0x1c,
        ],
        Digest::Sha3_256 => &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x08, 0x05, 0x00, 0x04, 0x20,
        ],
        Digest::Sha3_384 => &[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x09, 0x05, 0x00, 0x04, 0x30,
        ],
        Digest::Sha3_512 => &[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x0a, 0x05, 0x00, 0x04, 0x40,
        ],
    }
}

/// Fills `padding` with 00 01 FF … FF 00, which goes before what is signed (RFC 8017 §9.2). At least 11 bytes.
pub(crate) fn pad_pkcs1(padding: &mut [u8]) -> Result<()> {
    match padding {
        [zero, one, ones @ .., end] if ones.len() >= 8 => {
            (*zero, *one, *end) = (0, 1, 0);
            ones.fill(0xff);
            Ok(())
        }
        _ => Err(TokenError::DataLength),
    }
}

/// Whether PSS with these parameters fits a modulus of `bits` bits (RFC 8017 §9.1.1 step 3).
pub(crate) fn pss_fits(pss: Pss, bits: u32) -> bool {
    let room = u64::from(bits.saturating_sub(1).div_ceil(8));
    room >= pss.digest.len() as u64 + u64::from(pss.salt_len) + 2
}

/// EMSA-PSS (RFC 8017 §9.1.1) of the hash of a message, over the whole of `block`, for a modulus of `bits` bits and
/// as many bytes as `block` has.
pub(crate) fn encode_pss(pss: Pss, hash: &[u8], bits: u32, block: &mut [u8]) -> Result<()> {
    encode_pss_with(pss, hash, bits, block, crate::random)
}

fn encode_pss_with(
    pss: Pss,
    hash: &[u8],
    bits: u32,
    block: &mut [u8],
    fill_salt: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    let hash_len = pss.digest.len();
    if hash.len() != hash_len {
        return Err(TokenError::DataLength);
    }
    if !pss_fits(pss, bits) || block.len() != bits.div_ceil(8) as usize {
        return Err(TokenError::BadParameter);
    }
    // The encoded message has one bit less than the modulus: for 8·n + 1 bits that is one byte less, and a zero
    // byte goes before it.
    let bits = bits - 1;
    let encoded_len = bits.div_ceil(8) as usize;
    let (before, encoded) = block.split_at_mut(block.len() - encoded_len);
    before.fill(0);

    // DB ‖ H ‖ BC with DB = 00 … 00 ‖ 01 ‖ salt; the checks above leave room for every part.
    let (data, end) = encoded.split_at_mut(encoded_len - hash_len - 1);
    let (seed, trailer) = end.split_at_mut(hash_len);
    trailer.fill(0xbc);
    let (padding, salt) = data.split_at_mut(data.len() - pss.salt_len as usize);
    padding.fill(0);
    if let Some(last) = padding.last_mut() {
        *last = 1;
    }
    fill_salt(salt)?;

    let mut hasher = Hasher::new(pss.digest)?;
    hasher.update(&[0; 8])?;
    hasher.update(hash)?;
    hasher.update(salt)?;
    hasher.finish_into(seed)?;
    mask(pss.mgf, seed, data)?;
    if let Some(first) = data.first_mut() {
        *first &= 0xff >> (8 * encoded_len as u32 - bits);
    }
    Ok(())
}

/// Adds MGF1 of `seed` to `data` (RFC 8017 §B.2.1).
pub(crate) fn mask(digest: Digest, seed: &[u8], data: &mut [u8]) -> Result<()> {
    let mut hasher = Hasher::new(digest)?;
    let mut hash = Zeroizing::new([0; Digest::MAX_LEN]);
    for (counter, chunk) in (0_u32..).zip(data.chunks_mut(digest.len())) {
        hasher.update(seed)?;
        hasher.update(&counter.to_be_bytes())?;
        hasher.finish_into(&mut *hash)?;
        for (byte, mask) in chunk.iter_mut().zip(hash.iter()) {
            *byte ^= mask;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ::der::{Encode, asn1::Null, asn1::ObjectIdentifier, asn1::OctetStringRef};

    use super::*;

    /// AlgorithmIdentifier with NULL parameters (RFC 8017 §A.2.4).
    #[derive(::der::Sequence)]
    struct Algorithm {
        oid: ObjectIdentifier,
        parameters: Null,
    }

    #[derive(::der::Sequence)]
    struct DigestInfo<'a> {
        algorithm: Algorithm,
        digest: &'a OctetStringRef,
    }

    #[test]
    fn prefixes_are_what_an_encoder_writes() {
        for digest in Digest::ALL {
            let oid = match digest {
                Digest::Sha1 => "1.3.14.3.2.26",
                Digest::Sha224 => "2.16.840.1.101.3.4.2.4",
                Digest::Sha256 => "2.16.840.1.101.3.4.2.1",
                Digest::Sha384 => "2.16.840.1.101.3.4.2.2",
                Digest::Sha512 => "2.16.840.1.101.3.4.2.3",
                Digest::Sha3_224 => "2.16.840.1.101.3.4.2.7",
                Digest::Sha3_256 => "2.16.840.1.101.3.4.2.8",
                Digest::Sha3_384 => "2.16.840.1.101.3.4.2.9",
                Digest::Sha3_512 => "2.16.840.1.101.3.4.2.10",
            };
            let hash = vec![7; digest.len()];
            let info = DigestInfo {
                algorithm: Algorithm {
                    oid: ObjectIdentifier::new_unwrap(oid),
                    parameters: Null,
                },
                digest: OctetStringRef::new(&hash).unwrap(),
            };
            assert_eq!(
                [digest_info_prefix(digest), &hash].concat(),
                info.to_der().unwrap(),
                "{digest:?}"
            );
        }
    }

    #[test]
    fn padding_has_at_least_eight_ones() {
        let mut padding = [9; 11];
        pad_pkcs1(&mut padding).unwrap();
        assert_eq!(padding, [0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(pad_pkcs1(&mut [0; 10]), Err(TokenError::DataLength));
        assert_eq!(pad_pkcs1(&mut []), Err(TokenError::DataLength));
    }

    #[test]
    fn pss_room_is_counted_in_bits() {
        let pss = |salt_len| Pss {
            digest: Digest::Sha256,
            mgf: Digest::Sha256,
            salt_len,
        };
        assert!(pss_fits(pss(222), 2048));
        assert!(!pss_fits(pss(223), 2048));
        // A modulus of one bit more has a byte more, but its encoded message has not.
        assert!(pss_fits(pss(222), 2049));
        assert!(!pss_fits(pss(223), 2049));
        assert!(pss_fits(pss(223), 2050));
        assert!(!pss_fits(pss(u32::MAX), 2048));
        assert!(!pss_fits(pss(0), 0));
    }

    #[test]
    fn the_encoded_message_is_below_the_modulus() {
        let pss = Pss {
            digest: Digest::Sha256,
            mgf: Digest::Sha1,
            salt_len: 20,
        };
        for bits in 1017..=1025_u32 {
            let mut block = vec![0xee; bits.div_ceil(8) as usize];
            encode_pss(pss, &[7; 32], bits, &mut block).unwrap();
            let used = 8 * block.len() as u32
                - block
                    .iter()
                    .position(|byte| *byte != 0)
                    .map_or(0, |zeros| 8 * zeros as u32 + block[zeros].leading_zeros());
            assert!(used < bits, "{used} of {bits}");
            assert_eq!(block.last(), Some(&0xbc));
        }
    }

    #[test]
    fn salts_come_from_the_generator() {
        let pss = Pss {
            digest: Digest::Sha256,
            mgf: Digest::Sha256,
            salt_len: 32,
        };
        let (mut first, mut second) = ([0; 128], [0; 128]);
        encode_pss(pss, &[7; 32], 1024, &mut first).unwrap();
        encode_pss(pss, &[7; 32], 1024, &mut second).unwrap();
        assert_ne!(first, second);
    }

    #[test]
    fn a_failing_generator_makes_no_signature() {
        let pss = Pss {
            digest: Digest::Sha256,
            mgf: Digest::Sha256,
            salt_len: 32,
        };
        let result = encode_pss_with(pss, &[7; 32], 1024, &mut [0; 128], |_| {
            Err(TokenError::TimedOut)
        });
        assert_eq!(result, Err(TokenError::TimedOut));
    }
}
