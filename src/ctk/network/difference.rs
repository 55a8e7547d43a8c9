//! What is another than it was after a service was asked again, and what stays a person's: labels and order.

use std::collections::HashMap;

use ctk_host::config::{CertificateFacts, Contents, KeyFacts, to_hex};
use ctk_token::PublicKey;
use serde::Serialize;

use crate::{facts, table::printable};

/// A key that came, went, or is another.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(crate) struct KeyLine {
    /// CKA_ID in hexadecimal.
    pub(crate) id: String,
    pub(crate) label: String,
    /// The kind of key, like `RSA-2048`.
    pub(crate) key: String,
    /// What is another, in words; nothing for a key that came or went.
    pub(crate) what: Vec<String>,
}

/// What is another.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Difference {
    pub(crate) came: Vec<KeyLine>,
    pub(crate) gone: Vec<KeyLine>,
    pub(crate) changed: Vec<KeyLine>,
    /// How many certificates of no key came, and how many went.
    pub(crate) certificates_came: usize,
    pub(crate) certificates_gone: usize,
}

/// `new` with the labels that a person may have given to what was there before, and in the order that it had.
pub(crate) fn keeping(old: &Contents, mut new: Contents) -> Contents {
    let labels: HashMap<&[u8], &str> = (old.keys.iter())
        .map(|key| (&*key.spki, &*key.label))
        .collect();
    for key in &mut new.keys {
        if let Some(label) = labels.get(&*key.spki) {
            key.label = (*label).to_owned();
        }
    }
    // A renewed certificate of the same key is called as the old one.
    let labels: HashMap<&[u8], &str> = (old.certificates.iter())
        .map(|certificate| (&*certificate.identity, &*certificate.label))
        .collect();
    for certificate in &mut new.certificates {
        if let Some(label) = labels.get(&*certificate.identity) {
            certificate.label = (*label).to_owned();
        }
    }
    let place = places(old.keys.iter().map(|key| &*key.spki));
    new.keys.sort_by_key(|key| place(&key.spki));
    let place = places(old.certificates.iter().map(|it| &*it.identity));
    new.certificates.sort_by_key(|it| place(&it.identity));
    new
}

/// Where something was; what is new comes after all that was there, in the order in which it was told.
fn places<'a>(known: impl Iterator<Item = &'a [u8]>) -> impl Fn(&[u8]) -> usize {
    let known: HashMap<&[u8], usize> = known.enumerate().map(|(at, it)| (it, at)).collect();
    move |it| known.get(it).copied().unwrap_or(usize::MAX)
}

/// What `new` has that `old` had not, and so on.
pub(crate) fn difference(old: &Contents, new: &Contents) -> Difference {
    let find = |contents: &'_ Contents, key: &KeyFacts| -> Option<KeyFacts> {
        let mut keys = contents.keys.iter();
        keys.find(|other| other.spki == key.spki).cloned()
    };
    let missing = |from: &Contents, of: &Contents| -> Vec<KeyLine> {
        let keys = of.keys.iter().filter(|key| find(from, key).is_none());
        keys.map(|key| line(key, Vec::new())).collect()
    };
    let changed = new.keys.iter().filter_map(|key| {
        let what = what_changed((old, &find(old, key)?), (new, key));
        (!what.is_empty()).then(|| line(key, what))
    });
    let strangers = |from: &Contents, of: &Contents| {
        let is_of_key = |it: &CertificateFacts| {
            let mut keys = of.keys.iter().chain(&from.keys);
            keys.any(|key| key.identity == it.identity)
        };
        let known = |it: &CertificateFacts| from.certificates.iter().any(|own| own.der == it.der);
        let certificates = of.certificates.iter();
        certificates
            .filter(|it| !is_of_key(it) && !known(it))
            .count()
    };
    Difference {
        came: missing(old, new),
        gone: missing(new, old),
        changed: changed.collect(),
        certificates_came: strangers(old, new),
        certificates_gone: strangers(new, old),
    }
}

fn what_changed(old: (&Contents, &KeyFacts), new: (&Contents, &KeyFacts)) -> Vec<String> {
    let mut what = Vec::new();
    match (certificate(old), certificate(new)) {
        (Some(old), Some(new)) if old.der != new.der => {
            let expiry = facts::CertificateFacts::of(&new.der).expiry();
            what.push(format!("a new certificate, which expires {expiry}"));
        }
        (None, Some(_)) => what.push("it has a certificate now".to_owned()),
        (Some(_), None) => what.push("its certificate is gone".to_owned()),
        _ => {}
    }
    let (old, new) = (&old.1.facts.0, &new.1.facts.0);
    let names = old
        .keys()
        .chain(new.keys().filter(|it| !old.contains_key(*it)));
    let names: Vec<_> = names
        .filter(|name| old.get(*name) != new.get(*name))
        .map(String::as_str)
        .collect();
    if !names.is_empty() {
        what.push(format!("the service says otherwise: {}", names.join(", ")));
    }
    what
}

fn certificate<'a>((contents, key): (&'a Contents, &KeyFacts)) -> Option<&'a CertificateFacts> {
    let mut certificates = contents.certificates.iter();
    certificates.find(|it| it.identity == key.identity)
}

fn line(key: &KeyFacts, what: Vec<String>) -> KeyLine {
    KeyLine {
        id: to_hex(&key.identity),
        label: key.label.clone(),
        key: match PublicKey::from_spki(&key.spki) {
            Ok(public) => public.key_type().to_string(),
            Err(_) => "unknown".to_owned(),
        },
        what,
    }
}

impl Difference {
    /// Whether all is as it was.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// In words, a line for each thing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let named = |key: &KeyLine| format!("{} {:?}", key.key, printable(&key.label));
        let mut lines = Vec::new();
        lines.extend(self.came.iter().map(|key| format!("new: {}", named(key))));
        lines.extend(self.gone.iter().map(|key| format!("gone: {}", named(key))));
        let changed = |key: &KeyLine| format!("changed: {}: {}", named(key), key.what.join("; "));
        lines.extend(self.changed.iter().map(changed));
        let counted = [
            ("new", self.certificates_came),
            ("gone", self.certificates_gone),
        ];
        for (word, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
            let plural = if count == 1 { "" } else { "s" };
            lines.push(format!("{word}: {count} certificate{plural} without key"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use ctk_host::config::{Setting, Settings};

    use super::*;

    fn key(spki: u8, label: &str, algorithms: &[&str]) -> KeyFacts {
        let algorithms = algorithms.iter().map(|it| (*it).to_owned()).collect();
        KeyFacts {
            label: label.into(),
            identity: vec![spki],
            spki: vec![spki],
            subject: None,
            facts: Settings([("algorithms".to_owned(), Setting::Texts(algorithms))].into()),
        }
    }

    fn certificate(identity: u8, label: &str, der: u8) -> CertificateFacts {
        CertificateFacts {
            label: label.into(),
            identity: vec![identity],
            der: vec![der],
        }
    }

    fn contents(keys: Vec<KeyFacts>, certificates: Vec<CertificateFacts>) -> Contents {
        Contents { keys, certificates }
    }

    #[test]
    fn labels_and_order_stay_a_persons() {
        let old = contents(
            vec![key(1, "mine", &[]), key(2, "two", &[])],
            vec![certificate(9, "root", 9), certificate(1, "mine", 1)],
        );
        let new = contents(
            vec![
                key(3, "three", &[]),
                key(2, "alias/two", &[]),
                key(1, "alias/one", &[]),
            ],
            vec![certificate(1, "alias/one", 11), certificate(9, "CA", 9)],
        );
        let kept = keeping(&old, new);
        let labels: Vec<_> = kept.keys.iter().map(|key| &*key.label).collect();
        assert_eq!(labels, ["mine", "two", "three"]);
        let certificates = kept.certificates.iter().map(|it| (&*it.label, it.der[0]));
        assert_eq!(
            certificates.collect::<Vec<_>>(),
            [("root", 9), ("mine", 11)]
        );
        assert_eq!(keeping(&old, old.clone()), old);
    }

    #[test]
    fn what_came_went_and_changed_is_told() {
        let old = contents(
            vec![
                key(1, "one", &["A"]),
                key(2, "two", &["A"]),
                key(4, "four", &[]),
            ],
            vec![certificate(1, "one", 1), certificate(9, "root", 9)],
        );
        assert!(difference(&old, &old).is_none());
        let new = contents(
            vec![
                key(1, "one", &["A"]),
                key(2, "two", &["B"]),
                key(3, "three", &["A"]),
            ],
            vec![certificate(1, "one", 11), certificate(8, "new root", 8)],
        );
        let found = difference(&old, &new);
        assert!(!found.is_none());
        let lines = found.lines();
        assert_eq!(
            lines,
            [
                "new: unknown \"three\"",
                "gone: unknown \"four\"",
                "changed: unknown \"one\": a new certificate, which expires -",
                "changed: unknown \"two\": the service says otherwise: algorithms",
                "new: 1 certificate without key",
                "gone: 1 certificate without key",
            ]
        );
    }

    #[test]
    fn a_certificate_that_comes_or_goes_with_its_key_is_not_told_twice() {
        let old = contents(vec![key(1, "one", &[])], vec![certificate(1, "one", 1)]);
        let empty = contents(Vec::new(), Vec::new());
        assert_eq!(difference(&old, &empty).lines(), ["gone: unknown \"one\""]);
        assert_eq!(difference(&empty, &old).lines(), ["new: unknown \"one\""]);
        let bare = contents(old.keys.clone(), Vec::new());
        let lines = difference(&old, &bare).lines();
        assert_eq!(lines, ["changed: unknown \"one\": its certificate is gone"]);
    }
}
