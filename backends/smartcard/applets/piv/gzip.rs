//! Certificates that a card keeps compressed: gzip (RFC 1952), unpacked to a limit.

use miniz_oxide::inflate::decompress_to_vec_with_limit;

/// What every gzip file begins with (RFC 1952 §2.3.1).
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

const DEFLATE: u8 = 8;
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;
/// CRC and length at the end. What they say of a certificate its own lengths and signature say as well.
const TRAILER_LEN: usize = 8;

/// Unpacks a gzip file of one member to at most `limit` bytes.
pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, &'static str> {
    let data = body(packed).ok_or("a compressed certificate with a damaged header")?;
    let unpacked = decompress_to_vec_with_limit(data, limit);
    unpacked.map_err(|_| "a compressed certificate that is damaged or too long")
}

/// What stands between header and trailer.
fn body(packed: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = packed.split_at_checked(10)?;
    let [0x1f, 0x8b, DEFLATE, flags, ..] = *header else {
        return None;
    };
    if flags & RESERVED != 0 {
        return None;
    }
    if flags & EXTRA != 0 {
        let (len, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*len))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        rest = rest.get(2..)?;
    }
    rest.get(..rest.len().checked_sub(TRAILER_LEN)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gzip file of stored blocks (RFC 1951 §3.2.4) with these flags and what they announce.
    fn packed(flags: u8, optional: &[u8], content: &[u8]) -> Vec<u8> {
        let mut file = vec![0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3];
        file.extend(optional);
        let len = u16::try_from(content.len()).unwrap();
        file.push(1);
        file.extend(len.to_le_bytes());
        file.extend((!len).to_le_bytes());
        file.extend(content);
        file.extend([0; TRAILER_LEN]);
        file
    }

    #[test]
    fn every_kind_of_header_is_skipped() {
        let content = [0x30, 3, 1, 2, 3];
        for (flags, optional) in [
            (0, &[][..]),
            (NAME, b"certificate\0"),
            (EXTRA | COMMENT, b"\x02\0ab\0"),
            (
                EXTRA | NAME | COMMENT | HEADER_CRC,
                b"\x01\0an\0c\0\x12\x34",
            ),
        ] {
            let file = packed(flags, optional, &content);
            assert_eq!(unpack(&file, 100), Ok(content.to_vec()), "{flags}");
            for len in 0..file.len() - TRAILER_LEN {
                assert!(unpack(&file[..len], 100).is_err(), "{flags}: {len} bytes");
            }
        }
        assert!(unpack(&packed(0x20, &[], &content), 100).is_err());
        let mut other = packed(0, &[], &content);
        other[2] = 7;
        assert!(unpack(&other, 100).is_err());
    }

    #[test]
    fn unpacking_ends_at_the_limit() {
        let file = packed(0, &[], &[5; 1000]);
        assert_eq!(unpack(&file, 1000).unwrap().len(), 1000);
        assert!(unpack(&file, 999).is_err());

        // A bomb: runs of zeros, 258 bytes of them for each repetition.
        let bomb = miniz_oxide::deflate::compress_to_vec(&vec![0; 1 << 24], 9);
        let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        file.extend(bomb);
        file.extend([0; TRAILER_LEN]);
        assert!(file.len() < 1 << 15);
        assert!(unpack(&file, 64 << 10).is_err());
    }
}
