//! What the contract's conformance suite needs of a card.

use ctk_crypto::{PrivateKey, RsaEncryption};
use ctk_token::{KeyAlgorithm, PublicKey, PublicKeyMaterial, TokenDriver, conformance::Fixture};
use virtual_cards::{Applet, Model};

use crate::{Bench, Reader};

/// A card of a bench: a fresh copy for each driver.
#[derive(Debug)]
pub struct CardFixture {
    /// Where it is from.
    pub bench: Bench,
    /// What it can do.
    pub model: Model,
}

impl CardFixture {
    /// Cards of this bench with this applet alone.
    pub fn new(bench: Bench, applet: Applet) -> Self {
        let mut model = Model::default();
        model.applets = vec![applet];
        Self { bench, model }
    }
}

impl Fixture for CardFixture {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Reader::new(self.bench.card(self.model.clone())).driver())
    }

    fn pin(&self) -> Option<&[u8]> {
        Some(b"123456")
    }

    fn wrong_pin(&self) -> &[u8] {
        b"654321"
    }

    fn new_pin(&self) -> Option<&[u8]> {
        Some(b"2718281")
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).expect("a signature that can be checked")
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        let how = match how {
            KeyAlgorithm::RsaRaw => RsaEncryption::Raw,
            KeyAlgorithm::RsaPkcs1 => RsaEncryption::Pkcs1,
            _ => return None,
        };
        let mut ciphertext = vec![0; key.max_signature_len()];
        let len = ctk_crypto::encrypt(&how, key, plaintext, &mut ciphertext).ok()?;
        ciphertext.truncate(len);
        Some(ciphertext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        let bytes = |key: &PublicKey| match key.material() {
            PublicKeyMaterial::Ec { point, .. } => Some(point.to_vec()),
            PublicKeyMaterial::Raw { bytes, .. } => Some(bytes.to_vec()),
            PublicKeyMaterial::Rsa { .. } => None,
        };
        let other = PrivateKey::generate(key.key_type()).ok()?;
        let mut secret = vec![0; key.shared_secret_len()];
        other.key_exchange(how, &bytes(key)?, &mut secret).ok()?;
        Some((bytes(other.public_key())?, secret))
    }
}
