//! Algorithm attributes: what kind of key is, or may be, in a place (OpenPGP card 3.4 §4.4.3.9).

use ctk_token::{Curve, KeyType};
use der::asn1::ObjectIdentifier;

use super::place::Place;

/// Algorithms by their numbers in OpenPGP (RFC 9580 §9.1).
const RSA: u8 = 1;
const ECDH: u8 = 18;
const ECDSA: u8 = 19;
const EDDSA: u8 = 22;

/// Ed25519 as OpenPGP cards and version 4 keys name it (RFC 9580 §9.2).
pub(super) const ED25519_LEGACY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11591.15.1");
/// X25519, likewise.
pub(super) const X25519_LEGACY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3029.1.5.1");
/// The names of RFC 8410 §3, which some cards use.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// The length of an RSA exponent that cards take unless they say otherwise, in bits (§4.4.3.9, as
/// GnuPG writes it).
const EXPONENT_BITS: [u8; 2] = [0, 32];

/// The kind of key that the attributes of `place` name; `None` if it is one that nobody here can
/// use.
pub(super) fn key_type(place: Place, attributes: &[u8]) -> Option<KeyType> {
    let (algorithm, rest) = attributes.split_first()?;
    if *algorithm == RSA {
        let bits = rest.first_chunk::<2>()?;
        return Some(KeyType::Rsa {
            bits: u16::from_be_bytes(*bits).into(),
        });
    }
    // What the curve is for goes without saying by the place, and not every card has the number of
    // the algorithm right.
    if ![ECDH, ECDSA, EDDSA].contains(algorithm) {
        return None;
    }
    // A trailing FF or 00 says how keys are imported (§4.4.3.9); no object identifier ends with
    // FF, and none here with 00.
    let oid = match rest.split_last()? {
        (0 | 0xFF, oid) => oid,
        _ => rest,
    };
    let oid = ObjectIdentifier::from_bytes(oid).ok()?;
    let key_type = match oid {
        ED25519_LEGACY | ED25519 => KeyType::Ed25519,
        X25519_LEGACY | X25519 => KeyType::X25519,
        _ => KeyType::Ec(Curve::from_oid(oid)?),
    };
    place.takes(key_type).then_some(key_type)
}

/// The attributes to write for a new key of another type than the place has now. `current` are
/// those of the place, and `offered` what the card's algorithm information (FA) lists for it, which
/// decides if there is any.
///
/// `None` if the card or the specification has no such key for this place.
pub(super) fn for_new_key(
    place: Place,
    wanted: KeyType,
    current: &[u8],
    offered: &[&[u8]],
) -> Option<Vec<u8>> {
    if !offered.is_empty() {
        let same = |attributes: &&&[u8]| key_type(place, attributes) == Some(wanted);
        return offered.iter().find(same).map(|found| found.to_vec());
    }
    let curve = |algorithm: u8, oid: ObjectIdentifier| [&[algorithm], oid.as_bytes()].concat();
    match wanted {
        KeyType::Rsa { bits } => {
            let bits = u16::try_from(bits).ok()?.to_be_bytes();
            // The exponent's length and the format of import are the card's own if it says them.
            let rest = match current.split_first_chunk::<3>() {
                Some(([RSA, ..], rest)) => rest,
                _ => &[EXPONENT_BITS[0], EXPONENT_BITS[1], 0],
            };
            Some([&[RSA], &bits[..], rest].concat())
        }
        KeyType::Ec(named) if place == Place::Encryption => Some(curve(ECDH, named.oid())),
        KeyType::Ec(named) => Some(curve(ECDSA, named.oid())),
        KeyType::Ed25519 => Some(curve(EDDSA, ED25519_LEGACY)),
        KeyType::X25519 => Some(curve(ECDH, X25519_LEGACY)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA_2048: &[u8] = &[1, 8, 0, 0, 32, 2];
    const ED25519_ATTRIBUTES: &[u8] = &[22, 0x2B, 6, 1, 4, 1, 0xDA, 0x47, 0x0F, 1];
    const CV25519_ATTRIBUTES: &[u8] = &[18, 0x2B, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1];
    const P256: &[u8] = &[19, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];

    #[test]
    fn attributes_name_kinds_of_keys() {
        let signature = |attributes| key_type(Place::Signature, attributes);
        assert_eq!(signature(RSA_2048), Some(KeyType::Rsa { bits: 2048 }));
        assert_eq!(signature(ED25519_ATTRIBUTES), Some(KeyType::Ed25519));
        assert_eq!(
            signature(&[22, 0x2B, 0x65, 0x70]),
            Some(KeyType::Ed25519),
            "the name of RFC 8410"
        );
        assert_eq!(signature(P256), Some(KeyType::Ec(Curve::P256)));
        let with_format = [P256, &[0xFF]].concat();
        assert_eq!(signature(&with_format), Some(KeyType::Ec(Curve::P256)));
        let cv25519 = [CV25519_ATTRIBUTES, &[0xFF]].concat();
        assert_eq!(key_type(Place::Encryption, &cv25519), Some(KeyType::X25519));
        assert_eq!(signature(&cv25519), None, "signs nothing");
        for malformed in [
            &[][..],
            &[1],
            &[1, 8],
            &[19],
            &[19, 0xFF],
            &[19, 0x80],
            &[99, 1, 2],
        ] {
            assert_eq!(signature(malformed), None, "{malformed:02X?}");
        }
    }

    #[test]
    fn new_attributes_mean_what_was_wanted() {
        let mut wanted = vec![
            KeyType::Rsa { bits: 3072 },
            KeyType::Ed25519,
            KeyType::X25519,
        ];
        wanted.extend(Curve::ALL.iter().copied().map(KeyType::Ec));
        for place in Place::ALL {
            for wanted in wanted.iter().copied().filter(|wanted| place.takes(*wanted)) {
                let attributes = for_new_key(place, wanted, RSA_2048, &[]).unwrap();
                assert_eq!(key_type(place, &attributes), Some(wanted));
            }
        }
    }

    #[test]
    fn the_card_decides_the_format() {
        let wanted = KeyType::Rsa { bits: 4096 };
        let signature = Place::Signature;
        assert_eq!(
            for_new_key(signature, wanted, RSA_2048, &[]),
            Some(vec![1, 16, 0, 0, 32, 2])
        );
        assert_eq!(
            for_new_key(signature, wanted, P256, &[]),
            Some(vec![1, 16, 0, 0, 32, 0])
        );
        let offered: &[&[u8]] = &[RSA_2048, &[1, 16, 0, 0, 17, 0], P256];
        assert_eq!(
            for_new_key(signature, wanted, RSA_2048, offered),
            Some(vec![1, 16, 0, 0, 17, 0])
        );
        assert_eq!(
            for_new_key(signature, KeyType::Ed25519, RSA_2048, offered),
            None
        );
    }
}
