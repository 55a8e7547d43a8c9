//! What the tests of PIV cards share.
#![allow(dead_code, reason = "no test needs all of it")]

use std::sync::Arc;

use ctk_crypto::PrivateKey;
use ctk_smartcard::Driver;
use ctk_token::{
    AuthSecret, Key, KeyAlgorithm, ObjectId, PublicKey, Result, Role, Token, TokenDriver,
    TokenSession,
};
use in_process::{Bench, Reader};
use virtual_cards::{Applet, Model};

pub(crate) const PIN: &[u8] = b"123456";
pub(crate) const PUK: &[u8] = b"12345678";
pub(crate) const MANAGEMENT_KEY: &[u8] = b"010203040506070801020304050607080102030405060708";

/// A card of this bench in a reader, with PIV alone.
pub(crate) fn insert(bench: &Bench, extended_length: bool) -> Reader {
    let mut model = Model::default();
    model.applets = vec![Applet::Piv];
    model.extended_length = extended_length;
    Reader::new(bench.card(model))
}

/// One program's use of the card in a reader.
pub(crate) struct Program {
    _driver: Driver,
    pub(crate) token: Arc<dyn Token>,
    pub(crate) session: Arc<dyn TokenSession>,
}

impl Program {
    /// A program that has just started, and has read what the card holds.
    pub(crate) fn start(reader: &Reader) -> Self {
        let program = Self::start_unread(reader);
        program.token.load().expect("a card that can be read");
        program
    }

    /// The same without reading.
    pub(crate) fn start_unread(reader: &Reader) -> Self {
        let driver = reader.driver();
        let slots = driver.slots();
        let token = slots[0].token().expect("a card that is known");
        let session = token.create_session().expect("a session");
        Self {
            _driver: driver,
            token,
            session,
        }
    }

    pub(crate) fn log_in(&self, role: Role, secret: &[u8]) -> Result<()> {
        let operation = self.session.begin_auth(role, None)?;
        operation.finish(AuthSecret::Pin(secret))
    }

    /// Authenticates for one operation with a key.
    pub(crate) fn log_in_for(&self, key: &Key) -> Result<()> {
        let operation = self.session.begin_auth(Role::Context, Some(&key.id))?;
        operation.finish(AuthSecret::Pin(PIN))
    }

    /// The key of this identity.
    pub(crate) fn key(&self, identity: u8) -> Key {
        let contents = self.token.contents();
        let mut keys = contents.keys();
        let key = keys.find(|key| key.identity == [identity]);
        key.expect("there is a key").clone()
    }

    pub(crate) fn identities(&self) -> Vec<u8> {
        let contents = self.token.contents();
        contents.keys().map(|key| key.identity[0]).collect()
    }

    pub(crate) fn certified(&self) -> Vec<u8> {
        let contents = self.token.contents();
        let identities = contents.certificates();
        identities
            .map(|certificate| certificate.identity[0])
            .collect()
    }

    /// Signs something with a primitive of the key, and checks that.
    pub(crate) fn sign(&self, key: &Key) -> Result<()> {
        let how = match key.public_key.max_signature_len() {
            256.. => KeyAlgorithm::RsaRaw,
            _ => KeyAlgorithm::EcdsaDigest,
        };
        let input = match how {
            KeyAlgorithm::RsaRaw => vec![0x11; key.public_key.max_signature_len()],
            _ => vec![0x11; 32],
        };
        let mut signature = vec![0; key.public_key.max_signature_len()];
        let len = self.session.sign(&key.id, how, &input, &mut signature)?;
        let fits = ctk_crypto::verify(&key.public_key, how, &input, &signature[..len]);
        assert_eq!(fits, Ok(true), "{}", key.label);
        Ok(())
    }

    /// Agrees with somebody on a secret, and checks that it is the same.
    pub(crate) fn agree(&self, key: &Key) -> Result<()> {
        let other = PrivateKey::generate(key.public_key.key_type()).expect("a key");
        let len = key.public_key.shared_secret_len();
        let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
        let ecdh = KeyAlgorithm::Ecdh;
        let peer = point(other.public_key());
        self.session.key_exchange(&key.id, ecdh, &peer, &mut ours)?;
        let answer = other.key_exchange(ecdh, &point(&key.public_key), &mut theirs);
        answer.expect("a secret");
        assert_eq!(ours, theirs, "{}", key.label);
        Ok(())
    }

    /// Writes a certificate about a key.
    pub(crate) fn certify(&self, identity: Option<&[u8]>, key: &PublicKey) -> Result<ObjectId> {
        self.session
            .import_certificate(identity, &certificate(key, 700))
    }
}

fn point(key: &PublicKey) -> Vec<u8> {
    match key.material() {
        ctk_token::PublicKeyMaterial::Ec { point, .. } => point.to_vec(),
        other => panic!("no point: {other:?}"),
    }
}

/// A certificate about this key with about this length. Nobody signed it.
pub(crate) fn certificate(key: &PublicKey, len: usize) -> Vec<u8> {
    let empty = tlv(0x30, &[]);
    let name = tlv(
        0x30,
        &tlv(
            0x31,
            &tlv(
                0x30,
                &[&[6, 3, 0x55, 4, 3][..], &tlv(0x0c, b"Jane Doe")].concat(),
            ),
        ),
    );
    let tbs = [
        &[0xa0, 3, 2, 1, 2, 2, 1, 1][..],
        &empty,
        &empty,
        &empty,
        &name,
        key.spki(),
    ]
    .concat();
    let signature = tlv(3, &vec![0; len.saturating_sub(tbs.len())]);
    tlv(0x30, &[tlv(0x30, &tbs), empty, signature].concat())
}

/// DER, for values below 64 KiB.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("a short value");
    let header = match len {
        ..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => [&[tag, 0x82][..], &len.to_be_bytes()].concat(),
    };
    [&header, value].concat()
}
