//! DigestInfo (RFC 8017 §9.2), read: which hash it is of, and the hash.

use ctk_token::Digest;

use crate::encoding::digest_info_prefix;

/// Reads what [`digest_info_prefix`] begins, in its one encoding. Without the NULL for no parameters it would be a DigestInfo
/// of the same hash (RFC 8017 §A.2.4), but a signature is made over the one with it, which would be over other bytes than a
/// program has handed in: it is refused, as our verification refuses such signatures.
pub(crate) fn read(info: &[u8]) -> Option<(Digest, &[u8])> {
    Digest::ALL.into_iter().find_map(|digest| {
        let hash = info.strip_prefix(digest_info_prefix(digest))?;
        (hash.len() == digest.len()).then_some((digest, hash))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_null(digest: Digest) -> Vec<u8> {
        let mut prefix = digest_info_prefix(digest).to_vec();
        let null = prefix.len() - 4;
        assert_eq!(prefix.drain(null..null + 2).as_slice(), [5, 0]);
        (prefix[1], prefix[3]) = (prefix[1] - 2, prefix[3] - 2);
        prefix
    }

    #[test]
    fn each_hash_is_read_in_its_one_encoding() {
        for digest in Digest::ALL {
            let hash: Vec<u8> = (1..=digest.len() as u8).collect();
            let prefix = digest_info_prefix(digest);
            let info = [prefix, &hash].concat();
            assert_eq!(read(&info), Some((digest, &hash[..])));
            for len in 0..info.len() {
                assert_eq!(read(&info[..len]), None, "{digest:?} cut at {len}");
            }
            let longer = [&info[..], &[0]].concat();
            assert_eq!(read(&longer), None, "something after it");
            // Each byte before the hash counts.
            for place in 0..prefix.len() {
                for bit in 0..8 {
                    let mut other = info.clone();
                    other[place] ^= 1 << bit;
                    let found = read(&other).map(|(digest, _)| digest);
                    assert_ne!(found, Some(digest), "byte {place}, bit {bit}");
                }
            }
            let other = [&without_null(digest)[..], &hash].concat();
            assert_eq!(read(&other), None, "{digest:?} without parameters");
        }
    }

    #[test]
    fn other_encodings_of_the_same_are_refused() {
        let hash = [7; 32];
        let algorithm = &digest_info_prefix(Digest::Sha256)[2..17];
        let octets = [&[4, 32][..], &hash].concat();
        let right = [&[0x30, 0x31][..], algorithm, &octets].concat();
        assert_eq!(read(&right), Some((Digest::Sha256, &hash[..])));
        let long_outer = [&[0x30, 0x81, 0x31][..], algorithm, &octets].concat();
        let long_inner = [&[0x30, 0x32][..], algorithm, &[4, 0x81, 32], &hash].concat();
        let indefinite = [&[0x30, 0x80][..], algorithm, &octets, &[0, 0]].concat();
        let other_null = [
            &[0x30, 0x32, 0x30, 0x0e][..],
            &algorithm[2..13],
            &[5, 1, 0],
            &octets,
        ]
        .concat();
        let constructed = [&[0x30, 0x33][..], algorithm, &[0x24, 34], &octets].concat();
        let third = [&[0x30, 0x33][..], algorithm, &octets, &[5, 0]].concat();
        for wrong in [
            long_outer,
            long_inner,
            indefinite,
            other_null,
            constructed,
            third,
        ] {
            assert_eq!(read(&wrong), None, "{wrong:02x?}");
        }
        // A bare hash, and the hashes of TLS 1.0.
        assert_eq!(read(&hash), None);
        assert_eq!(read(&[7; 36]), None);
    }
}
