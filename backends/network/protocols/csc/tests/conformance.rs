//! Every rule of the contract, for credentials of each kind.

use ctk_token::{KeyAlgorithm, PublicKey, TokenDriver, conformance};

use crate::Driver;

use super::{
    fake::{Credential, Fake, P256, PIN, RSA, credential},
    world::{FAKE_PROTOCOL, World, secret},
};

struct Services(World, String, bool);

impl conformance::Fixture for Services {
    fn driver(&self) -> Box<dyn TokenDriver> {
        let configuration = self.0.configuration(&self.1);
        Box::new(Driver::new(&FAKE_PROTOCOL, vec![configuration]))
    }

    fn pin(&self) -> Option<&[u8]> {
        self.2.then_some(PIN.as_bytes())
    }

    fn wrong_pin(&self) -> &[u8] {
        b"0000"
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }

    fn encrypt(&self, _: &PublicKey, _: KeyAlgorithm, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

fn credentials(
    wants: &'static [&'static str],
    change: impl Fn(&mut Credential),
) -> Vec<Credential> {
    let mut all = vec![credential(RSA, wants), credential(P256, wants)];
    all.iter_mut().for_each(change);
    all
}

/// The rules that held to nothing.
fn run(version: u32, credentials: Vec<Credential>, name: &str, has_pin: bool) -> Vec<String> {
    let shared = ("shared_pin", crate::Value::Flag(true));
    let more = [shared, ("authorization_token", secret("token"))];
    let world = World::new(Fake::new(version, credentials), &more);
    assert_eq!(world.inventory.left_out, [""; 0]);
    assert_eq!(world.inventory.keys.len(), 2);
    let outcomes = conformance::run(&Services(world, format!("{name}{version}"), has_pin));
    let skipped = outcomes
        .into_iter()
        .filter(|outcome| outcome.not_applicable.is_some());
    skipped.map(|outcome| outcome.rule.to_owned()).collect()
}

/// What no token of this protocol is held to: it has no such keys, and changes no secret.
const NEVER: [&str; 3] = [
    "no two ML-DSA signatures are the same",
    "a new secret replaces the old one",
    "a new secret of the wrong length is refused",
];

#[test]
fn a_login_opens_keys_for_a_session() {
    for version in [0, 1, 2] {
        let skipped = run(version, credentials(&["pin"], |_| {}), "session", true);
        assert_eq!(skipped, NEVER);
    }
}

#[test]
fn a_login_opens_keys_for_one_operation() {
    for (version, scal, multisign) in [(1, 2, 1), (2, 2, 5), (1, 1, 1)] {
        let change = |credential: &mut Credential| {
            credential.scal = scal;
            credential.multisign = multisign;
        };
        let name = format!("operation{scal}");
        let skipped = run(version, credentials(&["pin"], change), &name, true);
        let racing = [
            "a login that races its end is whole or not at all",
            "several threads sign",
        ];
        let others: Vec<_> = skipped
            .iter()
            .filter(|rule| !NEVER.contains(&&***rule))
            .collect();
        assert_eq!(others, racing);
    }
}

#[test]
fn keys_are_free_where_nobody_logs_in() {
    for version in [0, 1, 2] {
        run(
            version,
            credentials(&["implicit"], |_| {}),
            "implicit",
            false,
        );
        run(
            version,
            credentials(&["oauth2code"], |_| {}),
            "oauth",
            false,
        );
    }
}
