//! OpenPGP cards keep every rule of the contract: with RSA keys and keys on curves, with short
//! commands, with a PIN for each signature (as cards are delivered) and for many.

use ctk_token::{KeyAlgorithm, PublicKey, TokenDriver, conformance};
use in_process::{Bench, CardFixture, Reader};
use virtual_cards::{Applet, Card, personalise::Profile};

/// Cards on which one PIN is for many signatures.
struct NotForced(CardFixture);

impl conformance::Fixture for NotForced {
    fn driver(&self) -> Box<dyn TokenDriver> {
        let mut card = self.0.bench.card(self.0.model.clone());
        for command in [
            "00A4040006D27600012401",
            "00200083083132333435363738",
            "00DA00C40101",
        ] {
            assert_eq!(sent(&mut card, command), [0x90, 0], "{command}");
        }
        card.reset();
        Box::new(Reader::new(card).driver())
    }

    fn pin(&self) -> Option<&[u8]> {
        self.0.pin()
    }

    fn wrong_pin(&self) -> &[u8] {
        self.0.wrong_pin()
    }

    fn new_pin(&self) -> Option<&[u8]> {
        self.0.new_pin()
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        self.0.verify(key, how, input, signature)
    }

    fn encrypt(&self, key: &PublicKey, how: KeyAlgorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(key, how, plaintext)
    }

    fn peer(&self, key: &PublicKey, how: KeyAlgorithm) -> Option<(Vec<u8>, Vec<u8>)> {
        self.0.peer(key, how)
    }
}

const NOT_APPLICABLE: [(&str, &str); 2] = [
    (
        "no two ML-DSA signatures are the same",
        "no key is for ML-DSA",
    ),
    (
        "a role that the token does not have has no secret",
        "the token has every role",
    ),
];
const EACH_TIME: &str = "each use of the key needs a secret";

fn fixture(profile: Profile) -> CardFixture {
    CardFixture::new(Bench::new(profile), Applet::OpenPgp)
}

/// The rules that there was nothing to hold to.
fn not_applicable(fixture: &dyn conformance::Fixture) -> Vec<(&'static str, &'static str)> {
    conformance::run(fixture)
        .iter()
        .filter_map(|outcome| outcome.not_applicable.map(|why| (outcome.rule, why)))
        .collect()
}

#[test]
fn rsa_keys_conform() {
    let fixture = NotForced(fixture(Profile::OpenPgpRsa));
    assert_eq!(not_applicable(&fixture), NOT_APPLICABLE);
}

#[test]
fn rsa_keys_conform_with_short_commands() {
    let mut fixture = fixture(Profile::OpenPgpRsa);
    fixture.model.extended_length = false;
    assert_eq!(not_applicable(&NotForced(fixture)), NOT_APPLICABLE);
}

#[test]
fn keys_on_curves_conform() {
    let fixture = NotForced(fixture(Profile::OpenPgpEc));
    assert_eq!(not_applicable(&fixture), NOT_APPLICABLE);
}

#[test]
fn a_pin_for_each_signature_conforms() {
    let [ml_dsa, roles] = NOT_APPLICABLE;
    for profile in [Profile::OpenPgpRsa, Profile::OpenPgpEc] {
        let expected = [
            ml_dsa,
            (
                "a login that races its end is whole or not at all",
                EACH_TIME,
            ),
            ("several threads sign", EACH_TIME),
            roles,
        ];
        assert_eq!(not_applicable(&fixture(profile)), expected);
    }
}

fn sent(card: &mut Card, command: &str) -> Vec<u8> {
    let bytes = |at: usize| u8::from_str_radix(&command[at..at + 2], 16).expect("hexadecimal");
    let command: Vec<u8> = (0..command.len()).step_by(2).map(bytes).collect();
    card.transmit(&command).expect("the card answers")
}
