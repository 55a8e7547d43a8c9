//! The applet over a card that answers as each test says.

mod contents;
mod mutations;
mod pins;
mod provisioning;
mod uses;

use ctk_token::{Key, KeyType, PublicKey};

use super::{OpenPgp, place::Place};
use crate::{
    card::{SmartCard, Transaction},
    testing::{Wire, hex},
    tlv,
};

const RSA_2048: &[u8] = &[1, 8, 0, 0, 32, 0];
const P256: &[u8] = &[19, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const X25519: &[u8] = &[18, 0x2B, 6, 1, 4, 1, 0x97, 0x55, 1, 5, 1];
const ED25519: &[u8] = &[22, 0x2B, 6, 1, 4, 1, 0xDA, 0x47, 0x0F, 1];

/// What a card says of itself, to be changed by a test. It takes short commands, so that they look
/// the same everywhere.
struct Said {
    version: [u8; 2],
    capabilities: [u8; 10],
    attributes: [&'static [u8]; 3],
    pins: [u8; 7],
    /// DE, if the card is new enough to have it.
    information: Option<[u8; 6]>,
    fingerprints: [u8; 60],
    touch: [u8; 3],
}

impl Default for Said {
    /// Three RSA keys made on the card, of which the first signs as often as one likes after PW1.
    fn default() -> Self {
        Self {
            version: [3, 4],
            // GET CHALLENGE, import, PW status, private use, attributes change; 255 random bytes,
            // 2048 of certificates.
            capabilities: [0x7C, 0, 0, 0xFF, 8, 0, 8, 0, 0, 1],
            attributes: [RSA_2048, RSA_2048, RSA_2048],
            pins: [1, 127, 127, 127, 3, 0, 3],
            information: Some([1, 1, 2, 1, 3, 1]),
            fingerprints: [7; 60],
            touch: [0; 3],
        }
    }
}

impl Said {
    fn identifier(&self) -> Vec<u8> {
        let serial = [0, 6, 0x12, 0x34, 0x56, 0xAB, 0, 0];
        [super::application::AID, &self.version, &serial].concat()
    }

    /// DO 6E without its tag.
    fn contents(&self) -> Vec<u8> {
        let [signature, encryption, authentication] = self.attributes;
        let mut inner = tlv::Writer::new()
            .put(0xC0, &self.capabilities)
            .put(0xC1, signature)
            .put(0xC2, encryption)
            .put(0xC3, authentication)
            .put(0xC4, &self.pins)
            .put(0xC5, &self.fingerprints);
        if let Some(information) = &self.information {
            inner = inner.put(0xDE, information);
        }
        for (tag, touch) in (0xD6..).zip(self.touch) {
            inner = inner.put(tag, &[touch, 0x20]);
        }
        let historical = [0, 0x31, 0xF5, 0x73, 0xC0, 1, 0x80, 5, 0x90, 0];
        tlv::Writer::new()
            .put(0x4F, &self.identifier())
            .put(0x5F52, &historical)
            .nest(0x73, &inner)
            .as_bytes()
            .to_vec()
    }

    /// The answer to GET DATA 6E.
    fn answer(&self) -> String {
        ok(&self.contents())
    }
}

/// Data with the status of success.
fn ok(data: &[u8]) -> String {
    hex(data) + "9000"
}

/// A card that is about to be asked what it is.
fn asked(wire: &Wire, said: &Said) -> SmartCard {
    wire.expect("00CA006E00", &said.answer());
    SmartCard::new(wire.link())
}

/// A transaction with a card that was asked what it is, and the applet that knows.
fn opened<'a>(card: &'a SmartCard, applet: &OpenPgp) -> Transaction<'a> {
    let mut transaction = card.transaction().unwrap();
    applet.ask(&mut transaction).unwrap();
    transaction
}

/// The key in a place, of this type, with a made-up public half.
fn key(place: Place, key_type: KeyType, said: &Said) -> Key {
    let application = super::Application::parse(&said.contents()).unwrap();
    let public_key = match key_type {
        KeyType::Rsa { bits } => PublicKey::rsa(&modulus(bits), &[1, 0, 1]).unwrap(),
        KeyType::Ec(curve) => {
            PublicKey::ec(curve, &[&[4][..], &vec![7; 2 * curve.bytes()]].concat()).unwrap()
        }
        other => PublicKey::raw(other, &[7; 32]).unwrap(),
    };
    super::contents::key(place, public_key, &application)
}

fn modulus(bits: u32) -> Vec<u8> {
    let mut modulus = vec![0xC3; bits as usize / 8];
    if let Some(last) = modulus.last_mut() {
        *last = 1;
    }
    modulus
}

/// The answer to GENERATE ASYMMETRIC KEY PAIR for an RSA key.
fn rsa_template(bits: u32) -> String {
    let numbers = tlv::Writer::new()
        .put(0x81, &modulus(bits))
        .put(0x82, &[1, 0, 1]);
    ok(&tlv::encode(0x7F49, numbers.as_bytes()))
}

/// The same for a point.
fn point_template(point: &[u8]) -> String {
    let point = tlv::encode(0x86, point);
    ok(&tlv::encode(0x7F49, &point))
}
