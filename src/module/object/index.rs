//! Indexes over attributes, so that no search looks at every object.

use std::hash::{DefaultHasher, Hash, Hasher};

use cryptoki_sys::*;

use super::certificate::octet_string;

/// The attributes that have an index. A search goes by the first of them that its template has:
/// what tells objects apart stands before what many have.
pub(super) const INDEXED: [CK_ATTRIBUTE_TYPE; 11] = [
    CKA_UNIQUE_ID,
    CKA_VALUE,
    CKA_PUBLIC_KEY_INFO,
    CKA_MODULUS,
    CKA_EC_POINT,
    CKA_ID,
    CKA_SERIAL_NUMBER,
    CKA_SUBJECT,
    CKA_LABEL,
    CKA_ISSUER,
    CKA_CLASS,
];

/// The index that a search with this template goes by: its place in [`INDEXED`], and what is wanted
/// there.
pub(super) fn best<'a>(wanted: &[(CK_ATTRIBUTE_TYPE, &'a [u8])]) -> Option<(usize, &'a [u8])> {
    INDEXED.iter().enumerate().find_map(|(place, kind)| {
        let (_, value) = wanted.iter().find(|(wanted, _)| wanted == kind)?;
        Some((place, *value))
    })
}

/// The forms in which an attribute's value may be looked for, each for [`hash`].
pub(super) fn forms(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bare = match kind {
        // NSS looks for the bare point, others for the OCTET STRING.
        CKA_EC_POINT => content(value),
        _ => None,
    };
    std::iter::once(value).chain(bare)
}

/// Whether an attribute's value is the one that is wanted.
pub(super) fn matches(kind: CK_ATTRIBUTE_TYPE, value: &[u8], wanted: &[u8]) -> bool {
    forms(kind, value).any(|form| *form == *normal(kind, wanted))
}

/// What finds an attribute's value in an index. Two values may have the same hash; what is found has
/// to be compared.
pub(super) fn hash(kind: CK_ATTRIBUTE_TYPE, wanted: &[u8]) -> u64 {
    // Without a random key: who fills a token with equal hashes makes his own searches slow.
    let mut hasher = DefaultHasher::new();
    normal(kind, wanted).hash(&mut hasher);
    hasher.finish()
}

/// The one spelling of a value that has several.
fn normal(kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> &[u8] {
    match kind {
        // Some programs keep the zero that makes an ASN.1 INTEGER positive.
        CKA_MODULUS | CKA_PUBLIC_EXPONENT => without_zeros(value),
        _ => value,
    }
}

pub(super) fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// What is in a DER OCTET STRING.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    // Short, or with one or two bytes of length: no public key of ours is longer.
    let header = match der {
        [0x04, 0x81, ..] => 3,
        [0x04, 0x82, ..] => 4,
        [0x04, ..] => 2,
        _ => return None,
    };
    let content = der.get(header..)?;
    (octet_string(content) == der).then_some(content)
}

/// Where the objects with a value are. A look-up touches two places in memory, however many objects
/// there are, and an entry has sixteen to twenty-four bytes.
pub(super) struct Index {
    /// Sorted, so that what belongs together stands together.
    entries: Box<[(u64, u32)]>,
    /// Where the entries begin whose hash has these leading bits.
    starts: Box<[u32]>,
    /// How many trailing bits of a hash are none of those.
    shift: u32,
}

impl Index {
    pub(super) fn new(pairs: impl Iterator<Item = (u64, usize)>) -> Self {
        let mut entries: Vec<_> = pairs
            .filter_map(|(hash, place)| Some((hash, u32::try_from(place).ok()?)))
            .collect();
        entries.sort_unstable();
        let bits = usize::BITS - entries.len().leading_zeros();
        let shift = u64::BITS - bits;
        let mut starts = vec![0; 1 << bits];
        let mut next = 0;
        for (leading, start) in (0_u64..).zip(&mut starts) {
            let rest = entries.get(next..).unwrap_or_default();
            let before = |(hash, _): &&(u64, u32)| hash.checked_shr(shift).unwrap_or(0) < leading;
            next += rest.iter().take_while(before).count();
            *start = u32::try_from(next).unwrap_or(u32::MAX);
        }
        Self {
            entries: entries.into(),
            starts: starts.into(),
            shift,
        }
    }

    /// The places of what may have a value of this hash, in order.
    pub(super) fn places(&self, hash: u64) -> impl Iterator<Item = usize> {
        // With no entry at all there are no leading bits either.
        let leading = hash.checked_shr(self.shift).unwrap_or(0);
        let start = usize::try_from(leading)
            .ok()
            .and_then(|leading| self.starts.get(leading))
            .and_then(|start| usize::try_from(*start).ok())
            .unwrap_or(usize::MAX);
        let rest = self.entries.get(start..).unwrap_or_default().iter();
        rest.skip_while(move |(other, _)| *other < hash)
            .take_while(move |(other, _)| *other == hash)
            .filter_map(|(_, place)| usize::try_from(*place).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_gives_the_places_of_a_value_in_order() {
        for high in [1, u64::MAX / 10] {
            let pairs = [(7, 3), (1, 0), (7, 1), (9, 2)].map(|(hash, place)| (high * hash, place));
            let index = Index::new(pairs.into_iter());
            assert_eq!(index.places(7 * high).collect::<Vec<_>>(), [1, 3]);
            assert_eq!(index.places(9 * high).collect::<Vec<_>>(), [2]);
            for none in [0, 2, 8 * high, 10 * high, u64::MAX] {
                assert_eq!(index.places(none).count(), 0);
            }
        }
        for none in [0, u64::MAX] {
            assert_eq!(Index::new(std::iter::empty()).places(none).count(), 0);
        }
        // Many, of which each is found.
        let hash = |place: usize| hash(CKA_ID, &place.to_ne_bytes());
        let index = Index::new((0..1000).map(|place| (hash(place), place)));
        let found = |place: usize| index.places(hash(place)).eq([place]);
        assert!((0..1000).all(found));
    }

    #[test]
    fn numbers_and_points_are_found_in_each_of_their_spellings() {
        assert!(matches(CKA_MODULUS, &[1, 2], &[0, 0, 1, 2]));
        assert!(!matches(CKA_MODULUS, &[1, 2], &[1, 2, 0]));
        assert_eq!(hash(CKA_MODULUS, &[0, 9]), hash(CKA_MODULUS, &[9]));
        for len in [32, 65, 133, 300] {
            let point = vec![4; len];
            let value = octet_string(&point);
            assert_eq!(content(&value), Some(&*point));
            for wanted in [&point, &value] {
                assert!(matches(CKA_EC_POINT, &value, wanted));
                let found = forms(CKA_EC_POINT, &value)
                    .any(|form| hash(CKA_EC_POINT, form) == hash(CKA_EC_POINT, wanted));
                assert!(found);
            }
            assert!(!matches(CKA_ID, &value, &point));
        }
        for der in [
            &b""[..],
            b"\x04",
            b"\x04\x01",
            b"\x04\x81\x01\x01",
            b"\x04\x82\0",
        ] {
            assert_eq!(content(der), None);
        }
    }

    #[test]
    fn a_search_goes_by_what_tells_objects_apart() {
        let wanted: [(CK_ATTRIBUTE_TYPE, &[u8]); 3] =
            [(CKA_TOKEN, &[1]), (CKA_CLASS, &[2]), (CKA_ID, &[3])];
        let (place, value) = best(&wanted).unwrap();
        assert_eq!((INDEXED[place], value), (CKA_ID, &[3][..]));
        assert!(best(&wanted[..1]).is_none());
    }
}
