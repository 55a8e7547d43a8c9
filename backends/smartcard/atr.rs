//! What a card's answer to reset tells of the card (ISO 7816-3 §8.2, ISO 7816-4 §12.1.1).

/// Whether the card says that it takes extended commands: a bit of the card capabilities (ISO
/// 7816-4 §12.1.1.9) among the historical bytes.
pub(crate) fn takes_extended(atr: &[u8]) -> bool {
    /// The third byte of the capabilities: extended Lc and Le fields.
    const EXTENDED: u8 = 0x40;
    let capabilities = historical_bytes(atr).and_then(|bytes| compact_tlv(bytes, 7));
    capabilities
        .and_then(|bytes| bytes.get(2))
        .is_some_and(|byte| byte & EXTENDED != 0)
}

/// The bytes after the interface bytes, whose number is in T0.
pub(crate) fn historical_bytes(atr: &[u8]) -> Option<&[u8]> {
    let format = *atr.get(1)?;
    let mut at = 2;
    let mut follows = format >> 4;
    loop {
        // TA, TB, TC and TD, each if its bit is set. TD tells which follow.
        at += (follows & 0b0111).count_ones() as usize;
        if follows & 0b1000 == 0 {
            break;
        }
        follows = *atr.get(at)? >> 4;
        at += 1;
    }
    atr.get(at..at + usize::from(format & 0xf))
}

/// The value of a data object with this tag, of 4 bits, in historical bytes in the COMPACT-TLV
/// format.
fn compact_tlv(historical: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = match historical.split_first()? {
        (0x80, rest) => rest,
        // Three bytes of status stand at the end.
        (0x00, rest) => rest.get(..rest.len().checked_sub(3)?)?,
        _ => return None,
    };
    while let Some((head, tail)) = rest.split_first() {
        let (value, tail) = tail.split_at_checked(usize::from(head & 0xf))?;
        if head >> 4 == wanted {
            return Some(value);
        }
        rest = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bytes;

    #[test]
    fn real_cards() {
        for (atr, is_extended) in [
            // YubiKey 5
            ("3BFD1300008131FE158073C021C057597562694B657940", true),
            // An OpenPGP card 3.4
            ("3BDA18FF81B1FE751F030031F573C001600090001C", true),
            // A virtual card without historical bytes
            ("3B80800101", false),
            // A national card whose historical bytes are text
            ("3BFA1800008031FE45FE654944202F20504B4903", false),
        ] {
            assert_eq!(takes_extended(&bytes(atr)), is_extended, "{atr}");
        }
    }

    #[test]
    fn no_atr_is_a_mistake() {
        let whole = bytes("3BDA18FF81B1FE751F030031F573C001600090001C");
        for len in 0..whole.len() {
            let _ = takes_extended(&whole[..len]);
        }
        assert!(!takes_extended(&[]));
        assert!(!takes_extended(&[
            0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
        ]));
        // An interface without end.
        assert!(!takes_extended(&[0x80; 33]));
        // Capabilities that say that they are longer than what is there.
        assert!(!takes_extended(&[0x3b, 0x03, 0x80, 0x73, 0x00]));
    }
}
