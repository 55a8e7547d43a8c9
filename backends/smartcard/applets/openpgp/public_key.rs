//! Public keys as cards give them (OpenPGP card 3.4 §7.2.14).

use ctk_token::{KeyType, PublicKey, TokenError};

use super::place::Place;
use crate::{
    apdu::{Command, Le},
    applet::{Failure, Result},
    card::Transaction,
    tlv,
};

const GENERATE_ASYMMETRIC_KEY_PAIR: u8 = 0x47;
/// Its P1: make a key, or answer with the public half of the one that is there.
const GENERATE: u8 = 0x80;
const READ: u8 = 0x81;

/// Asks for the public half of the key in `place`, which is of this type.
pub(super) fn read(
    card: &mut Transaction<'_>,
    place: Place,
    key_type: KeyType,
) -> Result<PublicKey> {
    ask(card, READ, place, key_type)
}

/// Makes a new key of the place's type, which is this one, and answers with its public half.
pub(super) fn generate(
    card: &mut Transaction<'_>,
    place: Place,
    key_type: KeyType,
) -> Result<PublicKey> {
    ask(card, GENERATE, place, key_type)
}

/// Whether the card is sure that there is no key in `place`.
pub(super) fn is_none(card: &mut Transaction<'_>, place: Place) -> Result<bool> {
    let status = card.send(&command(READ, place))?.status;
    Ok(status.error() == TokenError::ObjectNotFound)
}

fn ask(card: &mut Transaction<'_>, p1: u8, place: Place, key_type: KeyType) -> Result<PublicKey> {
    parse(&card.call(&command(p1, place))?.data, key_type)
}

fn command(p1: u8, place: Place) -> Command {
    Command::new(GENERATE_ASYMMETRIC_KEY_PAIR, p1, 0)
        .data(place.control_reference())
        .le(Le::All)
}

/// Takes a public key template (7F49).
fn parse(answer: &[u8], key_type: KeyType) -> Result<PublicKey> {
    let template = tlv::find(answer, 0x7F49)?.unwrap_or(answer);
    let field = |tag| -> Result<&[u8]> { tlv::find(template, tag)?.ok_or_else(malformed) };
    let key = match key_type {
        KeyType::Rsa { .. } => PublicKey::rsa(field(0x81)?, field(0x82)?),
        KeyType::Ec(curve) => PublicKey::ec(curve, field(0x86)?),
        other => {
            let point = field(0x86)?;
            // Some cards put the mark of OpenPGP before it.
            let bare = match point {
                [0x40, bare @ ..] if bare.len() == 32 => bare,
                _ => point,
            };
            PublicKey::raw(other, bare)
        }
    };
    let key = key.map_err(|_: TokenError| malformed())?;
    // An RSA key may be some bits shorter than the card has announced, but not of another kind.
    let announced = match (key.key_type(), key_type) {
        (KeyType::Rsa { bits }, KeyType::Rsa { bits: announced }) => bits.abs_diff(announced) < 8,
        (is, announced) => is == announced,
    };
    if announced { Ok(key) } else { Err(malformed()) }
}

fn malformed() -> Failure {
    Failure::corrupted("the OpenPGP card gives a public key that is none of its kind")
}

#[cfg(test)]
mod tests {
    use ctk_token::Curve;

    use super::*;

    fn template(fields: &tlv::Writer) -> Vec<u8> {
        tlv::encode(0x7F49, fields.as_bytes()).to_vec()
    }

    #[test]
    fn keys_of_every_kind() {
        let modulus = [&[0xC1][..], &[7; 255]].concat();
        let rsa = template(&tlv::Writer::new().put(0x81, &modulus).put(0x82, &[1, 0, 1]));
        let key_type = KeyType::Rsa { bits: 2048 };
        assert_eq!(parse(&rsa, key_type).unwrap().key_type(), key_type);
        assert!(parse(&rsa, KeyType::Rsa { bits: 4096 }).is_err());
        assert!(parse(&rsa, KeyType::Ed25519).is_err());

        let point = [&[4][..], &[7; 64]].concat();
        let ec = template(&tlv::Writer::new().put(0x86, &point));
        let p256 = KeyType::Ec(Curve::P256);
        assert_eq!(parse(&ec, p256).unwrap().key_type(), p256);
        assert!(parse(&ec, KeyType::Ec(Curve::P384)).is_err());

        for point in [vec![9; 32], [&[0x40][..], &[9; 32]].concat()] {
            let raw = template(&tlv::Writer::new().put(0x86, &point));
            let key = parse(&raw, KeyType::X25519).unwrap();
            assert_eq!(key, PublicKey::raw(KeyType::X25519, &[9; 32]).unwrap());
        }
        assert!(parse(&[0x7F, 0x49, 5, 1], p256).is_err());
        assert!(parse(&[], p256).is_err());
    }
}
