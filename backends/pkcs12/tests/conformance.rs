//! Tokens from PKCS#12 files keep every rule of the contract.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use ctk_pkcs12::{Configuration, Driver, inspect};
use ctk_token::{KeyAlgorithm, PublicKey, TokenDriver, conformance};
use support::{Workshop, configuration};

struct Files(Vec<Configuration>);

impl conformance::Fixture for Files {
    fn driver(&self) -> Box<dyn TokenDriver> {
        Box::new(Driver::new(self.0.clone()))
    }

    fn pin(&self) -> Option<&[u8]> {
        Some(b"correct")
    }

    fn wrong_pin(&self) -> &[u8] {
        b"wrong"
    }

    fn verify(&self, key: &PublicKey, how: KeyAlgorithm, input: &[u8], signature: &[u8]) -> bool {
        ctk_crypto::verify(key, how, input, signature).unwrap()
    }
}

#[test]
fn conforms() {
    let workshop = Workshop::new();
    let files = ["rsa", "ec", "ed25519"].map(|kind| {
        workshop.identity(kind, kind);
        workshop.openssl(&format!(
            "pkcs12 -export -inkey {kind}.key -in {kind}.crt -out {kind}.p12 -passout pass:correct"
        ));
        let path = workshop.path(&format!("{kind}.p12"));
        let contents = inspect(&path, b"correct").unwrap();
        Configuration {
            name: kind.into(),
            ..configuration(&path, contents)
        }
    });
    assert_eq!(conformance::run(&Files(files.to_vec())).len(), 16);
}
