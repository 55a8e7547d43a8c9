//! What honest cards answer, whole.

use ctk_token::{Curve, PublicKey};

use super::PIN;
use crate::{
    testing::hex,
    tlv::{self, Writer},
};

/// X.509 as far as anybody here looks at it.
pub(super) fn certificate(public_key: &PublicKey) -> Vec<u8> {
    let algorithm = Writer::new().put(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
    let attribute = Writer::new().put(6, &[0x55, 4, 3]).put(0x0c, b"Somebody");
    let attribute = Writer::new().nest(0x30, &attribute);
    let name = Writer::new().nest(0x31, &attribute);
    let validity = Writer::new()
        .put(0x17, b"240101000000Z")
        .put(0x17, b"440101000000Z");
    let head = Writer::new()
        .put(0xa0, &[2, 1, 2])
        .put(2, &[5])
        .nest(0x30, &algorithm)
        .nest(0x30, &name)
        .nest(0x30, &validity)
        .nest(0x30, &name);
    let signed = [head.as_bytes(), public_key.spki()].concat();
    let whole = Writer::new()
        .put(0x30, &signed)
        .nest(0x30, &algorithm)
        .put(3, &[0, 1, 2, 3]);
    tlv::encode(0x30, whole.as_bytes()).to_vec()
}

pub(super) fn rsa() -> PublicKey {
    PublicKey::rsa(&[0xc3; 256], &[1, 0, 1]).unwrap()
}

/// The base point, so that it is on the curve.
pub(super) fn ec() -> PublicKey {
    let x = "6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296";
    let y = "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5";
    let point = crate::testing::bytes(&format!("04{x}{y}"));
    PublicKey::ec(Curve::P256, &point).unwrap()
}

/// An answer with status 9000.
fn ok(data: &[u8]) -> Vec<u8> {
    [data, &[0x90, 0]].concat()
}

fn verified(pin: &[u8]) -> Vec<u8> {
    match pin.starts_with(PIN) {
        true => ok(&[]),
        false => vec![0x63, 0xc2],
    }
}

/// What an honest PIV card answers, whole.
pub(super) fn piv(command: &[u8]) -> Vec<u8> {
    let content = |content: &[u8]| ok(&tlv::encode(0x53, content));
    let certified = |key: &PublicKey| {
        let certificate = Writer::new().put(0x70, &certificate(key));
        content(certificate.put(0x71, &[0]).put(0xfe, &[]).as_bytes())
    };
    let [_, ins, p1, p2, ..] = command else {
        return vec![0x67, 0];
    };
    let text = hex(command);
    match (ins, p1, p2) {
        (0xa4, 4, 0) if text.contains("A000000308") => {
            let aid = Writer::new().put(0x4f, &[0, 0, 0x10, 0, 1, 0]);
            ok(&tlv::encode(0x61, aid.as_bytes()))
        }
        (0xcb, 0x3f, 0xff) if text.contains("5C017E") => {
            let discovery = Writer::new()
                .put(0x4f, &[0xa0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0])
                .put(0x5f2f, &[0x40, 0]);
            ok(&tlv::encode(0x7e, discovery.as_bytes()))
        }
        (0xcb, 0x3f, 0xff) if text.contains("5FC102") => {
            let holder = Writer::new().put(0x30, &[0xd4; 25]).put(0x34, &[7; 16]);
            content(holder.put(0x35, b"20400101").put(0x3e, &[]).as_bytes())
        }
        (0xcb, 0x3f, 0xff) if text.contains("5FC105") => certified(&rsa()),
        (0xcb, 0x3f, 0xff) if text.contains("5FC10B") => certified(&rsa()),
        (0xcb, 0x3f, 0xff) if text.contains("5FC10A") => certified(&ec()),
        (0xcb, 0x3f, 0xff) if text.contains("5FC101") => certified(&ec()),
        (0xcb, 0x3f, 0xff) if text.contains("5FC10C") => {
            let history = Writer::new().put(0xc1, &[1]).put(0xc2, &[0]);
            content(history.put(0xfe, &[]).as_bytes())
        }
        (0xcb, 0x3f, 0xff) if text.contains("5FC10D") => certified(&ec()),
        (0xcb, 0x3f, 0xff) if text.contains("5FC109") => content(&[1, 4, b'n', b'a', b'm', b'e']),
        (0x20, 0, 0x80) if command.len() > 5 => verified(&command[5..]),
        (0x20, 0, 0x80) => vec![0x63, 0xc3],
        (0x20, 0xff, 0x80) => ok(&[]),
        (0x87, 7, _) => {
            let answer = Writer::new().put(0x82, &[0x11; 256]);
            ok(&tlv::encode(0x7c, answer.as_bytes()))
        }
        (0x87, ..) if command.len() < 20 => {
            let witness = Writer::new().put(0x80, &[9; 8]);
            ok(&tlv::encode(0x7c, witness.as_bytes()))
        }
        (0x87, ..) => {
            let signature = [0x30, 6, 2, 1, 1, 2, 1, 1];
            let answer = Writer::new().put(0x82, &signature);
            ok(&tlv::encode(0x7c, answer.as_bytes()))
        }
        (0x24 | 0x2c | 0xdb, ..) => ok(&[]),
        _ => vec![0x6d, 0],
    }
}

/// What an honest OpenPGP card answers, whole.
pub(super) fn open_pgp(command: &[u8]) -> Vec<u8> {
    const AID: [u8; 16] = [
        0xd2, 0x76, 0, 1, 0x24, 1, 3, 4, 0, 6, 0x12, 0x34, 0x56, 0x78, 0, 0,
    ];
    let [_, ins, p1, p2, ..] = command else {
        return vec![0x67, 0];
    };
    match (ins, p1, p2) {
        (0xa4, 4, 0) if hex(command).contains("D27600012401") => ok(&[]),
        (0xca, 0, 0x4f) => ok(&AID),
        (0xca, 0, 0x6e) => {
            let attributes = [1, 8, 0, 0, 32, 0];
            let p256 = [18, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
            let inner = Writer::new()
                .put(0xc0, &[0x7c, 0, 0, 0xff, 8, 0, 8, 0, 0, 1])
                .put(0xc1, &attributes)
                .put(0xc2, &p256)
                .put(0xc3, &attributes)
                .put(0xc4, &[1, 127, 127, 127, 3, 0, 3])
                .put(0xc5, &[7; 60])
                .put(0xde, &[1, 1, 2, 1, 3, 1]);
            let whole = Writer::new()
                .put(0x4f, &AID)
                .put(0x5f52, &[0, 0x31, 0xf5, 0x73, 0xc0, 1, 0x80, 5, 0x90, 0])
                .nest(0x73, &inner);
            ok(&tlv::encode(0x6e, whole.as_bytes()))
        }
        (0xca, 0, 0xc4) => ok(&[1, 127, 127, 127, 3, 0, 3]),
        (0xca, 0, 0x65) => {
            let holder = Writer::new().put(0x5b, b"Card<<Test").put(0x5f35, &[0x39]);
            ok(&tlv::encode(0x65, holder.as_bytes()))
        }
        (0xca, 0x7f, 0x21) => ok(&certificate(&rsa())),
        (0xca, ..) => ok(b"text"),
        (0x47, 0x81, 0) if hex(command).contains("B800") => {
            let PublicKeyPoint(point) = PublicKeyPoint::of(&ec());
            let point = Writer::new().put(0x86, &point);
            ok(&tlv::encode(0x7f49, point.as_bytes()))
        }
        (0x47, ..) => {
            let numbers = Writer::new().put(0x81, &[0xc3; 256]).put(0x82, &[1, 0, 1]);
            ok(&tlv::encode(0x7f49, numbers.as_bytes()))
        }
        (0x20, 0, _) if command.len() > 5 => verified(&command[5..]),
        (0x20, 0, _) => vec![0x63, 0xc3],
        (0x2a, 0x9e, 0x9a) | (0x88, ..) => ok(&[0x11; 256]),
        (0x2a, 0x80, 0x86) => ok(&[0x11; 32]),
        (0x84, ..) => ok(&[5; 32]),
        (0x20 | 0x22 | 0x24 | 0x2c | 0xa5 | 0xda | 0xdb, ..) => ok(&[]),
        _ => vec![0x6d, 0],
    }
}

/// The point of a key on a curve.
pub(super) struct PublicKeyPoint(pub(super) Vec<u8>);

impl PublicKeyPoint {
    pub(super) fn of(key: &PublicKey) -> Self {
        match key.material() {
            ctk_token::PublicKeyMaterial::Ec { point, .. } => Self(point.to_vec()),
            _ => panic!("not on a curve"),
        }
    }
}
