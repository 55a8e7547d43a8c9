//! What every good file must hold to, seen from the outside.

use std::path::Path;

use ctk_pkcs12::{Inventory, inspect};
use ctk_token::TokenError;

use super::{Workshop, configuration, log_in, sign, token};

/// What a file must turn out to hold: name of the key made by the workshop, label, whether it has a
/// certificate.
pub(crate) type Expected<'a> = &'a [(&'a str, &'a str, bool)];

/// Checks one file from the outside, as `ctk add` and a program use it.
pub(crate) fn check(
    workshop: &Workshop,
    file: &str,
    password: &str,
    expected: Expected<'_>,
    certificates: usize,
) -> Inventory {
    let path = workshop.path(file);
    let inventory = inspect(&path, password.as_bytes())
        .unwrap_or_else(|error| panic!("{file} does not open: {error}"));
    assert_eq!(
        inventory.keys.len(),
        expected.len(),
        "{file}: {inventory:#?}"
    );
    assert_eq!(
        inventory.certificates.len(),
        certificates,
        "{file}: {inventory:#?}"
    );
    for (name, label, certified) in expected {
        let spki = workshop.spki(name);
        let key = inventory
            .keys
            .iter()
            .find(|key| key.spki == spki)
            .unwrap_or_else(|| panic!("{file}: the key {name} is not in it: {inventory:#?}"));
        assert_eq!(key.label, *label, "{file}");
        assert_eq!(key.identity.len(), 20, "{file}");
        let certificate = inventory
            .certificates
            .iter()
            .find(|c| c.identity == key.identity);
        assert_eq!(
            certificate.is_some(),
            *certified,
            "{file}: the certificate of {name}"
        );
        assert_eq!(key.subject.is_some(), *certified, "{file}");
        if let Some(certificate) = certificate {
            assert_eq!(certificate.der, workshop.der(name), "{file}");
            assert_eq!(certificate.label, *label, "{file}");
        }
    }
    refuses_wrong_passwords(&path, password);
    signs(workshop, &path, password, &inventory);
    inventory
}

pub(crate) fn refuses_wrong_passwords(path: &Path, password: &str) {
    let longer = format!("{password}x");
    for wrong in ["", "wrong", &longer] {
        if wrong == password {
            continue;
        }
        let answer = inspect(path, wrong.as_bytes());
        assert_eq!(
            answer,
            Err(TokenError::AuthenticationFailed { tries: None }),
            "{}: the password {wrong:?}",
            path.display()
        );
    }
}

fn signs(workshop: &Workshop, path: &Path, password: &str, inventory: &Inventory) {
    let token = token(configuration(path, inventory.clone()));
    let session = token.create_session().unwrap();
    let contents = token.contents();
    assert_eq!(
        contents.keys().count(),
        inventory.keys.len(),
        "{}",
        path.display()
    );
    assert_eq!(
        contents.certificates().count(),
        inventory.certificates.len()
    );
    assert_eq!(
        log_in(&*session, format!("{password}x").as_bytes()),
        Err(TokenError::AuthenticationFailed { tries: None })
    );
    for key in contents.keys() {
        assert_eq!(
            sign(&*session, key, 1),
            Err(TokenError::AuthenticationNeeded)
        );
    }
    log_in(&*session, password.as_bytes()).unwrap();
    for key in contents.keys() {
        let (input, signature) = sign(&*session, key, 2).unwrap();
        let key_type = key.public_key.key_type();
        assert!(
            workshop.openssl_verifies(key.public_key.spki(), key_type, &input, &signature),
            "{}: openssl does not accept the signature of {:?}",
            path.display(),
            key.label
        );
        let other = [&input[..input.len() - 1], &[3]].concat();
        assert!(
            !workshop.openssl_verifies(key.public_key.spki(), key_type, &other, &signature),
            "openssl accepts anything"
        );
    }
}
