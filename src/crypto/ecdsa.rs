//! ECDSA signatures in their two forms: DER ECDSA-Sig-Value (RFC 3279 §2.2.3), and r‖s, each as long as the curve's
//! order (PKCS#11 §6.3.1).

use ctk_token::{Curve, Reason, Result, TokenError};

use crate::der;

/// Writes r‖s, each padded with leading zeros, and returns its length.
///
/// # Errors
/// [`TokenError::Corrupted`] if `der` is anything but two positive numbers in strict DER that fit the order,
/// [`TokenError::BadParameter`] if `out` is too short.
pub fn der_to_fixed(curve: Curve, der: &[u8], out: &mut [u8]) -> Result<usize> {
    let half = curve.bytes();
    let (r, s) = parse(der).ok_or_else(malformed)?;
    let out = out.get_mut(..2 * half).ok_or(TokenError::BadParameter)?;
    out.fill(0);
    for (number, half) in [r, s].into_iter().zip(out.chunks_mut(half)) {
        let zeros = half.len().checked_sub(number.len()).ok_or_else(malformed)?;
        let (_, place) = half.split_at_mut(zeros);
        place.copy_from_slice(number);
    }
    Ok(2 * half)
}

/// Writes DER and returns its length, at most [`PublicKey::max_signature_len`](ctk_token::PublicKey::max_signature_len).
///
/// r‖s may be shorter than twice the order: its halves then stand for numbers with leading zeros (PKCS#11 §6.3.1).
///
/// # Errors
/// [`TokenError::DataLength`] if the halves are empty, of different lengths or longer than the order,
/// [`TokenError::BadParameter`] if `out` is too short.
pub fn fixed_to_der(curve: Curve, fixed: &[u8], out: &mut [u8]) -> Result<usize> {
    if fixed.is_empty() || !fixed.len().is_multiple_of(2) || fixed.len() > 2 * curve.bytes() {
        return Err(TokenError::DataLength);
    }
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let (r, s) = (Integer::of(r), Integer::of(s));
    let contents = r.encoded_len() + s.encoded_len();
    let len_of_len = if contents < 0x80 { 1 } else { 2 };
    let total = 1 + len_of_len + contents;
    let out = out.get_mut(..total).ok_or(TokenError::BadParameter)?;

    // Both numbers have at most 66 bytes: every length here fits one byte.
    let header = [der::SEQUENCE, 0x81, contents as u8];
    let header = if len_of_len == 1 {
        &[der::SEQUENCE, contents as u8][..]
    } else {
        &header
    };
    let (start, rest) = out.split_at_mut(header.len());
    start.copy_from_slice(header);
    let (r_place, s_place) = rest.split_at_mut(r.encoded_len());
    r.write(r_place);
    s.write(s_place);
    Ok(total)
}

/// The hash of `len` bytes over which an ECDSA signature is the same as over `hash` of any length, for a key store that takes
/// hashes of one length only: of both, the leftmost bits count, as many as the order has, and they are one number
/// (FIPS 186-5 §6.4.1 steps 2 and 3).
///
/// # Errors
/// [`TokenError::DataLength`] for a hash that is empty or longer than 128 bytes, as everywhere, and for one whose
/// number needs more than `len` bytes.
pub fn digest_of_len(hash: &[u8], curve: Curve, len: usize) -> Result<Vec<u8>> {
    if hash.is_empty() || hash.len() > LONGEST_HASH {
        return Err(TokenError::DataLength);
    }
    let order_len = curve.bytes();
    // How far the order's last bit is from the end of its bytes; 0 but for P-521.
    let spare = 8 * order_len as u32 - curve.bits();

    // The number that counts, right-aligned in as many bytes as the order has.
    let mut number = vec![0; order_len.saturating_sub(hash.len())];
    number.extend(hash.iter().take(order_len));
    if hash.len() >= order_len {
        shift_right(&mut number, spare);
    }
    // The same where `len` bytes have it.
    if len >= order_len {
        shift_left(&mut number, spare);
        number.resize(len, 0);
        return Ok(number);
    }
    let (before, kept) = number.split_at(order_len - len);
    if before.iter().any(|byte| *byte != 0) {
        return Err(TokenError::DataLength);
    }
    Ok(kept.to_vec())
}

/// The longest input of ECDSA, in bytes: a hash of 1024 bits (PKCS#11 §6.3).
const LONGEST_HASH: usize = 128;

/// Shifts by less than a byte.
fn shift_right(number: &mut [u8], bits: u32) {
    let mut above = 0;
    for byte in number {
        let both = u16::from_be_bytes([above, *byte]) >> bits;
        (above, *byte) = (*byte, both as u8);
    }
}

/// Shifts by less than a byte, by which nothing falls out.
fn shift_left(number: &mut [u8], bits: u32) {
    let mut below = 0;
    for byte in number.iter_mut().rev() {
        let both = u16::from_be_bytes([*byte, below]) << bits;
        (below, *byte) = (*byte, (both >> 8) as u8);
    }
}

/// A positive INTEGER on its way to DER.
struct Integer<'a> {
    /// A zero goes before the magnitude: it would look negative, or is zero and so has no byte of its own.
    zero: bool,
    magnitude: &'a [u8],
}

impl<'a> Integer<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (_, magnitude) = bytes.split_at(zeros);
        Self {
            zero: magnitude.first().is_none_or(|first| *first >= 0x80),
            magnitude,
        }
    }

    fn encoded_len(&self) -> usize {
        2 + usize::from(self.zero) + self.magnitude.len()
    }

    /// `place` has exactly [`encoded_len`](Self::encoded_len) bytes.
    fn write(&self, place: &mut [u8]) {
        let contents = self.encoded_len() - 2;
        place.fill(0);
        for (byte, value) in place.iter_mut().zip([der::INTEGER, contents as u8]) {
            *byte = value;
        }
        let (_, end) = place.split_at_mut(place.len() - self.magnitude.len());
        end.copy_from_slice(self.magnitude);
    }
}

fn parse(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let numbers = der::whole(der::SEQUENCE, der)?;
    let (r, rest) = der::take(der::INTEGER, numbers)?;
    let s = der::whole(der::INTEGER, rest)?;
    let positive = |number| der::magnitude(number).filter(|bytes| !bytes.is_empty());
    Some((positive(r)?, positive(s)?))
}

fn malformed() -> TokenError {
    TokenError::Corrupted(Reason::new(
        "the key store answered something that is no ECDSA signature",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_fixed(curve: Curve, der: &[u8]) -> Result<Vec<u8>> {
        let mut out = [0xee; 200];
        der_to_fixed(curve, der, &mut out).map(|len| out[..len].to_vec())
    }

    fn to_der(curve: Curve, fixed: &[u8]) -> Result<Vec<u8>> {
        let mut out = [0xee; 200];
        fixed_to_der(curve, fixed, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn leading_zeros_come_and_go() {
        let mut fixed = [0; 64];
        fixed[31] = 0x7f;
        fixed[62..].copy_from_slice(&[0x80, 1]);
        let der = [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0x80, 1];
        assert_eq!(to_der(Curve::P256, &fixed).unwrap(), der);
        assert_eq!(to_fixed(Curve::P256, &der).unwrap(), fixed);
    }

    #[test]
    fn the_longest_signatures_fit() {
        for curve in Curve::ALL.iter().copied() {
            let fixed = vec![0xff; 2 * curve.bytes()];
            let der = to_der(curve, &fixed).unwrap();
            assert!(der.len() <= 2 * (curve.bytes() + 3) + 3);
            assert_eq!(to_fixed(curve, &der).unwrap(), fixed);
            assert_eq!(der[1] == 0x81, 2 * (curve.bytes() + 3) >= 0x80, "{curve:?}");
            // The output is exactly long enough, then a byte too short.
            let mut out = vec![0; der.len()];
            assert_eq!(fixed_to_der(curve, &fixed, &mut out), Ok(der.len()));
            out.pop();
            assert_eq!(
                fixed_to_der(curve, &fixed, &mut out),
                Err(TokenError::BadParameter)
            );
            let mut out = vec![0; fixed.len() - 1];
            assert_eq!(
                der_to_fixed(curve, &der, &mut out),
                Err(TokenError::BadParameter)
            );
        }
    }

    #[test]
    fn a_short_fixed_signature_is_two_halves() {
        assert_eq!(
            to_der(Curve::P256, &[1, 2]).unwrap(),
            [0x30, 6, 2, 1, 1, 2, 1, 2]
        );
        assert_eq!(
            to_der(Curve::P256, &[0, 0]).unwrap(),
            [0x30, 6, 2, 1, 0, 2, 1, 0]
        );
        for len in [0, 1, 63, 65, 66] {
            assert_eq!(
                to_der(Curve::P256, &vec![1; len]),
                Err(TokenError::DataLength)
            );
        }
    }

    /// Computed with Python: the leftmost bits as a number, shifted to where `len` bytes have it.
    #[test]
    fn hashes_get_the_length_that_is_wanted() {
        let bytes = |len: u8| (1..=len).collect::<Vec<_>>();
        let fitted = |hash: &[u8], curve, len| digest_of_len(hash, curve, len).unwrap();
        assert_eq!(fitted(&bytes(32), Curve::P256, 32), bytes(32));
        // Longer than the order: the leftmost bytes.
        assert_eq!(fitted(&bytes(64), Curve::P256, 32), bytes(32));
        assert_eq!(fitted(&bytes(128), Curve::P384, 48), bytes(48));
        // Shorter: zeros before.
        let padded = [&[0; 12][..], &bytes(20)].concat();
        assert_eq!(fitted(&bytes(20), Curve::P256, 32), padded);
        assert_eq!(fitted(&[9], Curve::P384, 48), [&[0; 47][..], &[9]].concat());
        // More is taken than the order has: zeros after, too.
        let both = [&padded[..], &[0; 16]].concat();
        assert_eq!(fitted(&bytes(20), Curve::P256, 48), both);

        // P-521 with SHA-512, which has fewer bits than the order.
        assert_eq!(fitted(&bytes(64), Curve::P521, 64), bytes(64));
        let shorter = [&[0; 32][..], &bytes(32)].concat();
        assert_eq!(fitted(&bytes(32), Curve::P521, 64), shorter);
        // 65 bytes are a number of their own, and 66 are one of 521 bits.
        let with_zero = [&[0][..], &bytes(64)].concat();
        assert_eq!(fitted(&with_zero, Curve::P521, 64), bytes(64));
        let long = digest_of_len(&bytes(65), Curve::P521, 64);
        assert_eq!(long, Err(TokenError::DataLength));
        let mut small = vec![0; 66];
        small[1..4].copy_from_slice(&[0x7f, 0x80, 0x81]);
        let mut moved = vec![0; 64];
        moved[..3].copy_from_slice(&[0xff, 0x01, 0x02]);
        assert_eq!(fitted(&small, Curve::P521, 64), moved);
        small[1] = 0x80;
        let long = digest_of_len(&small, Curve::P521, 64);
        assert_eq!(long, Err(TokenError::DataLength));
        // As many bytes as the order: the last seven bits do not count.
        let whole = [0xff; 66];
        let mut cut = whole;
        cut[65] = 0x80;
        assert_eq!(fitted(&whole, Curve::P521, 66), cut);
        // 64 bytes in 66: the number of 512 bits, where 66 bytes have 521.
        let expected = [&[0, 0, 0x80][..], &[0; 62], &[0x80]].concat();
        let mut ends = [0; 64];
        (ends[0], ends[63]) = (1, 1);
        assert_eq!(fitted(&ends, Curve::P521, 66), expected);

        for len in [0, 129] {
            let wrong = digest_of_len(&vec![1; len], Curve::P256, 32);
            assert_eq!(wrong, Err(TokenError::DataLength));
        }
        let short = digest_of_len(&bytes(32), Curve::P256, 31);
        assert_eq!(short, Err(TokenError::DataLength));
    }

    #[test]
    fn malformed_der_is_refused() {
        let good = [0x30, 6, 2, 1, 1, 2, 1, 2];
        assert!(to_fixed(Curve::P256, &good).is_ok());
        for cut in 0..good.len() {
            assert!(to_fixed(Curve::P256, &good[..cut]).is_err(), "{cut}");
        }
        for (bad, why) in [
            (&[0x30, 6, 2, 1, 1, 2, 1, 2, 0][..], "trailing byte"),
            (&[0x30, 7, 2, 1, 1, 2, 1, 2, 0], "trailing byte inside"),
            (&[0x30, 9, 2, 1, 1, 2, 1, 2, 2, 1, 3], "a third number"),
            (&[0x30, 3, 2, 1, 1], "one number"),
            (&[0x30, 6, 2, 1, 0x81, 2, 1, 2], "negative"),
            (&[0x30, 7, 2, 2, 0, 1, 2, 1, 2], "not minimal"),
            (&[0x30, 6, 2, 1, 0, 2, 1, 2], "zero"),
            (&[0x30, 5, 2, 0, 2, 1, 2], "no contents"),
            (
                &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2],
                "long form of a short length",
            ),
            (&[0x30, 0x80, 2, 1, 1, 2, 1, 2, 0, 0], "indefinite length"),
            (&[0x31, 6, 2, 1, 1, 2, 1, 2], "a SET"),
            (&[0x30, 6, 3, 1, 1, 2, 1, 2], "a BIT STRING"),
        ] {
            assert!(
                matches!(to_fixed(Curve::P256, bad), Err(TokenError::Corrupted(_))),
                "{why}"
            );
        }
        let mut long = vec![0x30, 38, 2, 33, 1];
        long.extend([0; 32]);
        long.extend([2, 1, 1]);
        assert!(to_fixed(Curve::P256, &long).is_err());
        assert!(to_fixed(Curve::P384, &long).is_ok());
    }
}
