//! `ctk card import-cert` and `ctk card delete-cert`: certificates are written to a card and deleted from it.

use std::{fs::File, io::Read, path::Path};

use ctk_token::{PublicKey, Role, TokenError};
use serde::Serialize;
use x509_cert::der::pem;

use super::{
    args::{DeleteArguments, ImportArguments},
    find,
    place::Place,
    secret::{explain, log_in_admin},
};
use crate::{
    console::{Console, Outcome, failure},
    facts::CertificateFacts,
    table::printable,
};

/// How much of a file is read as a certificate, in bytes: cards take a few thousand.
const MAX_FILE: u64 = 1 << 20;

#[derive(Serialize)]
struct Changed {
    reader: String,
    id: String,
    subject: Option<String>,
    expires: Option<String>,
}

/// Writes a certificate to the card.
pub(crate) fn import(console: &Console, arguments: &ImportArguments) -> Outcome {
    let der = read(&arguments.file)?;
    let shown = arguments.file.display();
    let public = PublicKey::from_certificate(&der)
        .or_else(|_| failure(format!("{shown}: this is no X.509 certificate")))?;
    let facts = CertificateFacts::of(&der);
    let admin = &arguments.admin;
    let card = find::card(console, admin.card.reader.as_deref())?;
    let place = Place::parse(card.kind(), &arguments.place.place)?;
    card.token
        .load()
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    let contents = card.token.contents();
    let of_place = contents.keys().find(|key| key.identity == place.identity);
    let other_key = format!(
        "{shown} is about another key than the one in {place} of {}",
        card.named()
    );
    let mut replaced = None;
    if of_place.is_some_and(|key| key.public_key.material() != public.material()) {
        // What is known of the key may be no more than its certificate says.
        replaced = contents
            .certificates()
            .find(|certificate| certificate.identity == place.identity);
        if replaced.is_none() {
            return failure(other_key);
        }
        if !arguments.force {
            return failure(format!(
                "{other_key}, as the certificate there has it; if that one is wrong: --force"
            ));
        }
    }
    if facts.expired == Some(true) {
        console.warn(format!("{shown} has expired"));
    }
    let session = card.token.create_session().or_else(failure)?;
    let file = admin.management_key_file.as_deref();
    log_in_admin(console, &card, &*session, file)?;
    if let Some(old) = replaced {
        session
            .delete(&old.id)
            .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    }
    session
        .import_certificate(Some(&place.identity), &der)
        .or_else(|error| {
            if let Some(old) = replaced
                && let Err(error) = session.import_certificate(Some(&place.identity), &old.der)
            {
                let said = explain(&card, Role::Admin, &error);
                console.warn(format!("the certificate that was in {place} is gone: {said}"));
            }
            failure(match error {
                TokenError::DataInvalid => other_key,
                TokenError::ObjectNotFound => format!("{} has no place {place}", card.named()),
                TokenError::NoSpace => format!(
                    "{} has no room for {} bytes; delete a certificate that is not needed: ctk card delete-cert",
                    card.named(),
                    der.len()
                ),
                TokenError::NotSupported => {
                    format!("{} keeps no certificate in {place}", card.named())
                }
                error => explain(&card, Role::Admin, &error),
            })
        })?;
    session.end_auth(Role::Admin);
    let subject = facts.subject.clone().unwrap_or_default();
    let said = format!(
        "{place} of {} has the certificate of {}, which expires {}.\n",
        card.named(),
        printable(&subject),
        facts.expiry()
    );
    done(console, &card.reader, &place, Some(facts), &said)
}

/// Deletes a certificate from the card.
pub(crate) fn delete(console: &Console, arguments: &DeleteArguments) -> Outcome {
    let admin = &arguments.admin;
    let card = find::card(console, admin.card.reader.as_deref())?;
    let place = Place::parse(card.kind(), &arguments.place.place)?;
    card.token
        .load()
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    let contents = card.token.contents();
    let mut certificates = contents.certificates();
    let Some(certificate) = certificates.find(|other| other.identity == place.identity) else {
        return failure(format!(
            "{} has no certificate in {place}; nothing was changed",
            card.named()
        ));
    };
    let facts = CertificateFacts::of(&certificate.der);
    let subject = printable(facts.subject.as_deref().unwrap_or(&certificate.label));
    if !arguments.yes {
        console.confirm(
            &format!(
                "Delete the certificate of {subject} from {place} of {}? Its key stays. [y/N]",
                card.named()
            ),
            &["y", "yes"],
            &format!("to delete the certificate of {subject}: --yes"),
            "nothing was deleted",
        )?;
    }
    let session = card.token.create_session().or_else(failure)?;
    let file = admin.management_key_file.as_deref();
    log_in_admin(console, &card, &*session, file)?;
    session
        .delete(&certificate.id)
        .or_else(|error| failure(explain(&card, Role::Admin, &error)))?;
    session.end_auth(Role::Admin);
    let said = format!(
        "The certificate of {subject} is deleted from {place} of {}; its key stays.\n",
        card.named()
    );
    done(console, &card.reader, &place, Some(facts), &said)
}

fn done(
    console: &Console,
    reader: &str,
    place: &Place,
    facts: Option<CertificateFacts>,
    said: &str,
) -> Outcome {
    if !console.json {
        return console.text(said);
    }
    let facts = facts.unwrap_or_default();
    console.object(&Changed {
        reader: reader.to_owned(),
        id: ctk_host::config::to_hex(&place.identity),
        subject: facts.subject,
        expires: facts.not_after,
    })
}

/// A certificate, DER, from a file in PEM or DER.
fn read(file: &Path) -> Outcome<Vec<u8>> {
    let shown = file.display();
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_FILE).read_to_end(&mut bytes))
        .or_else(|error| failure(format!("{shown}: {error}")))?;
    let begin: &[u8] = b"-----BEGIN ";
    if !bytes.windows(begin.len()).any(|part| part == begin) {
        return Ok(bytes);
    }
    certificate_in(&bytes).map_or_else(
        || {
            failure(format!(
                "{shown}: there is no certificate in it (BEGIN CERTIFICATE)"
            ))
        },
        Ok,
    )
}

/// The first certificate in a PEM file, which may hold its chain after it and a key before it.
fn certificate_in(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let start = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = "-----END CERTIFICATE-----";
    let rest = text.get(start..)?;
    let len = rest.find(end)? + end.len();
    let (_, der) = pem::decode_vec(rest.get(..len)?.as_bytes()).ok()?;
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_certificate_of_a_file_is_taken() {
        let block = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        let text = format!(
            "subject=CN = x\n{}{}{}",
            block("PRIVATE KEY", "AAAA"),
            block("CERTIFICATE", "AQID"),
            block("CERTIFICATE", "BAUG")
        );
        assert_eq!(certificate_in(text.as_bytes()), Some(vec![1, 2, 3]));
        assert_eq!(
            certificate_in(block("PRIVATE KEY", "AQID").as_bytes()),
            None
        );
        assert_eq!(certificate_in(b"-----BEGIN CERTIFICATE-----\nAQID"), None);
        assert_eq!(certificate_in(block("CERTIFICATE", "!").as_bytes()), None);
    }
}
