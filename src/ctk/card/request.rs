//! `ctk card request`: a certificate request that the card signs.

use std::path::PathBuf;

use ctk_token::{Key, PublicKey, Role, TokenError, TokenSession};
use serde::Serialize;
use x509_cert::{
    der::pem::{self, LineEnding},
    ext::pkix::name::GeneralName,
    name::Name,
};

use super::{
    args::RequestArguments,
    find::{self, Card},
    generate::write,
    pkcs10::{self, Request},
    place::{Kind, Place},
    secret::{Secret, authenticate_again, explain, log_in},
};
use crate::{
    console::{Console, Failure, Outcome, failure},
    sign,
};

#[derive(Serialize)]
struct Requested {
    reader: String,
    id: String,
    request: String,
    file: Option<PathBuf>,
}

pub(crate) fn run(console: &Console, arguments: &RequestArguments) -> Outcome {
    let Some(subject) = &arguments.subject.subject else {
        return Err(Failure::Usage(
            "say whom the certificate is for: --subject CN=NAME".to_owned(),
        ));
    };
    let card = find::card(console, arguments.card.reader.as_deref())?;
    let place = Place::parse(card.kind(), &arguments.place.place)?;
    card.token
        .load()
        .or_else(|error| failure(explain(&card, Role::User, &error)))?;
    let session = card.token.create_session().or_else(failure)?;
    let key = key(&card, &*session, &place, arguments)?;
    if pkcs10::algorithm(&key.public_key).is_none() {
        return failure(format!(
            "the {} key in {place} makes no signatures, so it cannot sign a request",
            key.public_key.key_type()
        ));
    }
    let pin = log_in(console, &card, &*session)?;
    let alternatives = &arguments.subject.san;
    let request = sign(&card, &*session, &key, subject, alternatives, &pin)?;
    session.end_auth(Role::User);
    if let Some(file) = &arguments.out {
        write(file, &request)?;
    }
    if console.json {
        return console.object(&Requested {
            reader: card.reader.clone(),
            id: ctk_host::config::to_hex(&key.identity),
            request,
            file: arguments.out.clone(),
        });
    }
    match &arguments.out {
        None => console.text(&request),
        Some(file) => console.text(&format!(
            "{} asks for a certificate for {subject}. When it comes: ctk card import-cert {place} FILE\n",
            file.display()
        )),
    }
}

/// The key in this place: the one that the card tells of, else the one that the person has the public half of.
fn key(
    card: &Card,
    session: &dyn TokenSession,
    place: &Place,
    arguments: &RequestArguments,
) -> Outcome<Key> {
    let of_place = |key: &&Key| key.identity == place.identity;
    let known = card.token.contents().keys().find(of_place).cloned();
    let given = arguments
        .public_key
        .as_deref()
        .map(public_key)
        .transpose()?;
    match (known, given) {
        (Some(known), Some(given)) if known.public_key.material() != given.material() => {
            failure(format!(
                "the key in {place} of {} is another one than the public key that was given",
                card.named()
            ))
        }
        (Some(known), _) => Ok(known),
        (None, Some(given)) => introduce(card, session, place, &given),
        (None, None) => failure(match card.kind() {
            Kind::Piv => format!(
                "{} tells of no key in {place}, for it has no certificate there: give the public key with --public-key, or \
                 make key and request together: ctk card generate {place} --request",
                card.named()
            ),
            _ => format!(
                "{} has no key in {place}; ctk card generate {place} makes one",
                card.named()
            ),
        }),
    }
}

fn introduce(
    card: &Card,
    session: &dyn TokenSession,
    place: &Place,
    public_key: &PublicKey,
) -> Outcome<Key> {
    let id = session
        .introduce_key(&place.identity, public_key)
        .or_else(|error| {
            failure(match error {
                TokenError::ObjectNotFound => format!("{} has no place {place}", card.named()),
                TokenError::NotSupported => format!(
                    "{} tells of all of its keys, and of none in {place}; ctk card generate {place} makes one",
                    card.named()
                ),
                error => explain(card, Role::User, &error),
            })
        })?;
    let contents = card.token.contents();
    let key = contents.key(&id).cloned();
    key.map_or_else(
        || failure(format!("{} has no place {place}", card.named())),
        Ok,
    )
}

/// A public key as text (SubjectPublicKeyInfo in PEM).
fn public_key(file: &std::path::Path) -> Outcome<PublicKey> {
    let shown = file.display();
    let text = std::fs::read(file).or_else(|error| failure(format!("{shown}: {error}")))?;
    let no_key = || format!("{shown}: this is no public key in PEM (BEGIN PUBLIC KEY)");
    match pem::decode_vec(&text) {
        Ok(("PUBLIC KEY", der)) => {
            PublicKey::from_spki(&der).or_else(|error| failure(format!("{shown}: {error}")))
        }
        _ => failure(no_key()),
    }
}

/// A request for this key in PEM, signed by the card, whose signature is checked before anybody sees it.
pub(super) fn sign(
    card: &Card,
    session: &dyn TokenSession,
    key: &Key,
    subject: &Name,
    alternatives: &[GeneralName],
    pin: &Secret,
) -> Outcome<String> {
    let public = &key.public_key;
    let Some(algorithm) = pkcs10::algorithm(public) else {
        return failure(format!("the {} key makes no signatures", public.key_type()));
    };
    let request = Request::new(public, subject.clone(), alternatives).or_else(failure)?;
    let message = request.message().or_else(failure)?;
    let ready = || match key.authenticates_always() {
        true => authenticate_again(session, &key.id, pin),
        false => Ok(()),
    };
    let signature = sign::sign(session, key, algorithm, &message, &ready).or_else(|error| {
        failure(match error {
            TokenError::NotSupported => format!(
                "{} makes no signatures with this {} key",
                card.named(),
                public.key_type()
            ),
            TokenError::ObjectNotFound => format!(
                "{} has no key {:?}; ctk card generate makes one",
                card.named(),
                key.label
            ),
            error => explain(card, Role::User, &error),
        })
    })?;
    if !ctk_crypto::verify(public, algorithm, &message, &signature).or_else(failure)? {
        return failure(format!(
            "the signature is not of the public key that was given: {} has another key there",
            card.named()
        ));
    }
    let der = request.signed(&signature).or_else(failure)?;
    pem::encode_string("CERTIFICATE REQUEST", LineEnding::LF, &der).or_else(failure)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use ctk_token::{AuthSecret, Curve, KeyType, Reuse};
    use zeroize::Zeroizing;

    use super::*;
    use crate::card::{
        pkcs10::{parse_alternative, parse_subject},
        testing::{PIN, TestCard},
    };

    /// What openssl reads in a request, after it has checked the signature.
    fn read_by_openssl(request: &str) -> String {
        let mut openssl = Command::new("openssl")
            .args(["req", "-verify", "-noout", "-text"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let mut input = openssl.stdin.take().unwrap();
        input.write_all(request.as_bytes()).unwrap();
        drop(input);
        let output = openssl.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("verify OK"),
            "{said}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn log_in(session: &dyn TokenSession) -> Secret {
        let login = session.begin_auth(Role::User, None).unwrap();
        login.finish(AuthSecret::Pin(PIN)).unwrap();
        Secret::Typed(Zeroizing::new(PIN.to_vec()))
    }

    #[test]
    fn openssl_verifies_requests_of_every_kind_of_key() {
        for (key_type, reuse, algorithm) in [
            (
                KeyType::Rsa { bits: 2048 },
                Reuse::Session,
                "sha256WithRSAEncryption",
            ),
            (
                KeyType::Ec(Curve::P256),
                Reuse::Operation,
                "ecdsa-with-SHA256",
            ),
            (
                KeyType::Ec(Curve::P384),
                Reuse::Session,
                "ecdsa-with-SHA384",
            ),
            (
                KeyType::Ec(Curve::P521),
                Reuse::Operation,
                "ecdsa-with-SHA512",
            ),
            (KeyType::Ed25519, Reuse::Session, "ED25519"),
        ] {
            let card = TestCard::empty().with(key_type, 1, reuse).card();
            let session = card.token.create_session().unwrap();
            let pin = log_in(&*session);
            let key = card.token.contents().keys().next().unwrap().clone();
            let subject = parse_subject(r"CN=Alice Doe, O=A\, B, C=DE").unwrap();
            let alternatives = [
                "email:alice@example.org",
                "upn:alice@EXAMPLE.ORG",
                "dns:a.b",
            ]
            .map(|text| parse_alternative(text).unwrap());
            let request = sign(&card, &*session, &key, &subject, &alternatives, &pin).unwrap();
            let text = read_by_openssl(&request);
            assert!(
                text.contains("Subject: C = DE, O = \"A, B\", CN = Alice Doe\n"),
                "{text}"
            );
            assert!(
                text.contains(&format!("Signature Algorithm: {algorithm}\n")),
                "{text}"
            );
            assert!(
                text.contains("email:alice@example.org, othername:"),
                "{text}"
            );
            assert!(text.contains("UPN::alice@EXAMPLE.ORG, DNS:a.b\n"), "{text}");
            let plain = sign(&card, &*session, &key, &subject, &[], &pin).unwrap();
            assert!(!read_by_openssl(&plain).contains("Alternative"));
        }
    }

    #[test]
    fn without_the_pin_or_the_key_there_is_no_request() {
        let card = TestCard::piv().card();
        let session = card.token.create_session().unwrap();
        let key = card.token.contents().keys().next().unwrap().clone();
        let subject = parse_subject("CN=Alice").unwrap();
        let said = |pin: &Secret| match sign(&card, &*session, &key, &subject, &[], pin) {
            Err(Failure::Said(message)) => message,
            other => panic!("{other:?}"),
        };
        let pin = Secret::Typed(Zeroizing::new(PIN.to_vec()));
        assert_eq!(said(&pin), "the PIV card in Test Reader: log in first");
        log_in(&*session);
        // The key that is there is not the one whose public half is known.
        let other = TestCard::piv().card();
        let other = other.token.contents().keys().next().unwrap().clone();
        let key = Key {
            public_key: other.public_key,
            ..key
        };
        let Err(Failure::Said(message)) = sign(&card, &*session, &key, &subject, &[], &pin) else {
            panic!()
        };
        assert!(message.contains("has another key there"), "{message}");
    }

    #[test]
    fn a_key_that_the_card_does_not_tell_of_is_given() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("ctk-public-key-{}.pem", std::process::id()));
        let other = TestCard::piv().card();
        let known = other.token.contents().keys().next().unwrap().clone();
        let text = pem::encode_string("PUBLIC KEY", LineEnding::LF, known.public_key.spki());
        std::fs::write(&file, text.unwrap()).unwrap();
        let read = public_key(&file);
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(public_key(&file).is_err());
        std::fs::remove_file(&file).unwrap();
        let public = read.unwrap();
        assert_eq!(public, known.public_key);

        let card = TestCard::empty().card();
        let session = card.token.create_session().unwrap();
        let place = Place::parse(Kind::Piv, "9c").unwrap();
        let key = introduce(&card, &*session, &place, &public).unwrap();
        assert_eq!((key.public_key, key.identity), (public, vec![2]));
    }
}
