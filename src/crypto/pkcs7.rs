//! The padding of block ciphers and of key wrap (PKCS#7, RFC 5652 §6.3).

use subtle::{ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};

/// Fills up a last block of at most 255 bytes that has `len` bytes of text, fewer than a whole one.
pub(crate) fn pad(block: &mut [u8], len: usize) {
    let count = block.len().saturating_sub(len) as u8;
    if let Some(rest) = block.get_mut(len..) {
        rest.fill(count);
    }
}

/// How much of a text that ends in blocks of `block` bytes is no padding; `None` if its end is no padding.
///
/// Looks at the whole last block and branches only on whether it was right: where and how it was wrong is not to be told by time.
pub(crate) fn unpadded_len(text: &[u8], block: usize) -> Option<usize> {
    let last = text.get(text.len().checked_sub(block)?..)?;
    let count = *last.last()?;
    let mut right = !count.ct_eq(&0);
    for (place, byte) in (0_u8..).zip(last.iter().rev()) {
        right &= !place.ct_lt(&count) | byte.ct_eq(&count);
    }
    // A count beyond the block passes the loop if the whole block is of it.
    right &= !count.ct_gt(&u8::try_from(block).ok()?);
    if !bool::from(right) {
        return None;
    }
    text.len().checked_sub(usize::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_padding_goes_on_and_comes_off() {
        for block in [8, 16] {
            for len in 0..block {
                let mut text = [0xaa; 16];
                pad(&mut text[..block], len);
                assert_eq!(text[len..block], [(block - len) as u8; 16][len..block]);
                assert_eq!(unpadded_len(&text[..block], block), Some(len));
            }
        }
        assert_eq!(unpadded_len(&[[7; 8], [8; 8]].concat(), 8), Some(8));
    }

    #[test]
    fn every_wrong_byte_is_seen() {
        for count in 1..=16_u8 {
            for place in 0..16 {
                let mut text = [0xaa; 16];
                pad(&mut text, 16 - usize::from(count));
                text[place] ^= 0x40;
                let inside = place >= 16 - usize::from(count);
                assert_eq!(unpadded_len(&text, 16).is_none(), inside, "{count} {place}");
            }
        }
        for count in (17..=255).chain([0]) {
            assert_eq!(unpadded_len(&[count; 16], 16), None, "{count}");
            assert_eq!(unpadded_len(&[count; 8], 8), None, "{count}");
        }
        // Not more than a block, though there is more.
        assert_eq!(unpadded_len(&[9; 8], 8), None);
        assert_eq!(unpadded_len(&[9; 32], 8), None);
        assert_eq!(unpadded_len(&[17; 32], 16), None);
        assert_eq!(unpadded_len(&[1; 7], 8), None);
        assert_eq!(unpadded_len(&[], 8), None);
    }
}
