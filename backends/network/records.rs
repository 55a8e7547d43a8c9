//! Makes an [`Inventory`] of what a service has told: names keys and certificates, and pairs them.
//!
//! For each key that a protocol has found it calls [`Records::key`], with the public key (from the service, or by
//! [`PublicKey::from_certificate`] from the key's own certificate) and whatever certificates came with it. A CSC service
//! sends the chain with the credential; AWS KMS has no certificates, and those of a folder are given to
//! [`Records::certificates`], of which each finds its key by the public key. [`Records::finish`] is the inventory.
//!
//! Nothing here is trusted to be right or short: what cannot be read is left out with a sentence that says so.

use std::collections::{HashMap, HashSet};

use ctk_crypto::hash;
use ctk_token::{Digest, PublicKey, Result};

use crate::{
    CertificateRecord, Inventory, KeyRecord, Settings,
    certificate::{Facts, public_key_bits},
    text,
};

/// The most keys of one token.
pub const MAX_KEYS: usize = 10_000;
/// The most certificates that come with one key.
pub const MAX_CHAIN: usize = 10;
/// The longest certificate, in bytes.
pub const MAX_CERTIFICATE: usize = 64 << 10;
/// The longest label that a service gives, in characters.
const MAX_LABEL: usize = 64;
/// The same in bytes: OpenSSH stops at a label of 256, and a number may follow.
const MAX_LABEL_BYTES: usize = 200;
/// The most bytes of all certificates of a token.
const MAX_ALL_CERTIFICATES: usize = 32 << 20;
/// The most sentences about what is left out: more would be read by nobody.
const MAX_LEFT_OUT: usize = 100;

/// What has been found so far.
#[derive(Debug, Default)]
pub struct Records {
    keys: Vec<Found>,
    /// By the bits of the public key.
    known: HashSet<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
    /// The same, to find one again.
    seen: HashSet<Vec<u8>>,
    /// How long they are together.
    bytes: usize,
    left_out: Vec<String>,
}

#[derive(Debug)]
struct Found {
    label: String,
    spki: Vec<u8>,
    bits: Vec<u8>,
    facts: Settings,
}

impl Records {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A key: its label at the service (empty: its certificate's common name), its DER SubjectPublicKeyInfo, the
    /// certificates that came with it in any order, and what the protocol has to remember of it. Says whether it is
    /// in: not if its kind is unknown, another has the same public key, or there are [`MAX_KEYS`].
    pub fn key(&mut self, label: &str, spki: &[u8], chain: &[Vec<u8>], facts: Settings) -> bool {
        let label = shown(label);
        match self.try_key(&label, spki, facts) {
            Ok(()) => {}
            Err(why) => {
                self.left_out(format!("the key {label:?} is left out: {why}"));
                return false;
            }
        }
        if chain.len() > MAX_CHAIN {
            self.left_out(format!(
                "of the certificates of the key {label:?}, {} are left out: {MAX_CHAIN} are enough",
                chain.len() - MAX_CHAIN
            ));
        }
        self.certificates(chain.iter().take(MAX_CHAIN).map(Vec::as_slice));
        true
    }

    fn try_key(
        &mut self,
        label: &str,
        spki: &[u8],
        facts: Settings,
    ) -> std::result::Result<(), String> {
        if self.keys.len() >= MAX_KEYS {
            return Err(format!("a token has at most {MAX_KEYS} keys"));
        }
        let public_key = PublicKey::from_spki(spki).map_err(|error| match error {
            ctk_token::TokenError::NotSupported => "keys of its kind are unknown here".to_owned(),
            error => error.to_string(),
        })?;
        let bits = public_key_bits(public_key.spki()).ok_or("its public key cannot be read")?;
        if !self.known.insert(bits.to_vec()) {
            return Err("another one has the same public key".to_owned());
        }
        self.keys.push(Found {
            label: label.to_owned(),
            spki: spki.to_vec(),
            bits: bits.to_vec(),
            facts,
        });
        Ok(())
    }

    /// Certificates (X.509, DER) of whatever keys, in any order; one that was there before counts once.
    pub fn certificates<'a>(&mut self, certificates: impl IntoIterator<Item = &'a [u8]>) {
        for der in certificates {
            if der.len() > MAX_CERTIFICATE {
                self.left_out(format!(
                    "a certificate of {} bytes is left out: it is too long",
                    der.len()
                ));
                continue;
            }
            let Some(facts) = Facts::read(der) else {
                self.left_out("a certificate is left out: it cannot be read".to_owned());
                continue;
            };
            if self.seen.contains(facts.der) {
                continue;
            }
            if self.bytes + facts.der.len() > MAX_ALL_CERTIFICATES {
                self.left_out("a certificate is left out: there are too many".to_owned());
                continue;
            }
            self.bytes += facts.der.len();
            self.seen.insert(facts.der.to_vec());
            self.certificates.push(facts.der.to_vec());
        }
    }

    /// What the service has and nothing else here tells of: a sentence for a person that says why it is left out.
    pub fn left_out(&mut self, sentence: String) {
        match self.left_out.len() {
            ..MAX_LEFT_OUT => self.left_out.push(sentence),
            MAX_LEFT_OUT => self.left_out.push("more is left out".to_owned()),
            _ => {}
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The inventory. Of several certificates with one public key the newest is the key's.
    ///
    /// # Errors
    /// What keeps the crypto library from hashing.
    pub fn finish(self) -> Result<Inventory> {
        let certificates: Vec<Facts<'_>> = self
            .certificates
            .iter()
            .filter_map(|der| Facts::read(der))
            .collect();
        let owners = owners(&certificates);
        let mut inventory = Inventory {
            left_out: self.left_out,
            ..Inventory::default()
        };
        let mut labels = Labels::default();
        let mut own: HashSet<usize> = HashSet::new();
        for (number, key) in (1..).zip(self.keys) {
            let index = owners.get(&*key.bits).copied();
            let certificate = index.and_then(|index| certificates.get(index));
            let common_name = || certificate.and_then(|facts| facts.common_name.as_deref());
            let label = match &*key.label {
                "" => common_name().map(shown).filter(|name| !name.is_empty()),
                label => Some(label.to_owned()),
            };
            let label = labels.unique(label.unwrap_or_else(|| format!("Key {number}")));
            let identity = hash(Digest::Sha1, &key.bits)?.to_vec();
            if let Some(facts) = certificate {
                own.extend(index);
                inventory.certificates.push(CertificateRecord {
                    label: label.clone(),
                    identity: identity.clone(),
                    der: facts.der.to_vec(),
                });
            }
            inventory.keys.push(KeyRecord {
                label,
                identity,
                spki: key.spki,
                subject: certificate.map(|facts| facts.subject.to_vec()),
                facts: key.facts,
            });
        }
        for (index, facts) in certificates.iter().enumerate() {
            if own.contains(&index) {
                continue;
            }
            let first = owners.get(facts.bits) == Some(&index);
            let named = if first { facts.bits } else { facts.der };
            let name = facts.common_name.as_deref().map(shown);
            let name = name.filter(|name| !name.is_empty());
            let label = name.unwrap_or_else(|| format!("Certificate {}", index + 1));
            inventory.certificates.push(CertificateRecord {
                label: labels.unique(label),
                identity: hash(Digest::Sha1, named)?.to_vec(),
                der: facts.der.to_vec(),
            });
        }
        Ok(inventory)
    }
}

/// For each public key the newest certificate.
fn owners<'a>(certificates: &[Facts<'a>]) -> HashMap<&'a [u8], usize> {
    let mut owners: HashMap<&[u8], usize> = HashMap::new();
    for (index, facts) in certificates.iter().enumerate() {
        let current = owners
            .get(facts.bits)
            .and_then(|old| certificates.get(*old));
        if current.is_none_or(|current| facts.not_before > current.not_before) {
            owners.insert(facts.bits, index);
        }
    }
    owners
}

/// A name as a person can be shown it: in one line and not too long.
pub(crate) fn shown(name: &str) -> String {
    let mut name = text::shown(name, MAX_LABEL);
    while name.len() > MAX_LABEL_BYTES {
        name.pop();
    }
    name
}

/// The labels that are taken.
#[derive(Debug, Default)]
struct Labels {
    taken: HashSet<String>,
    /// The number that a label got last, so that thousands of one name are no square.
    last: HashMap<String, usize>,
}

impl Labels {
    /// The label, with a number after it if somebody has it already.
    fn unique(&mut self, label: String) -> String {
        if self.taken.insert(label.clone()) {
            return label;
        }
        let last = self.last.entry(label.clone()).or_insert(1);
        loop {
            *last += 1;
            let numbered = format!("{label} ({last})");
            if self.taken.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ctk_token::Curve;

    use super::*;
    use crate::{Value, certificate::made::certificate};

    fn spki(fill: u8) -> Vec<u8> {
        let point = [&[4][..], &[fill; 64]].concat();
        PublicKey::ec(Curve::P256, &point).unwrap().spki().to_vec()
    }

    fn identity(fill: u8) -> Vec<u8> {
        let bits = [&[4][..], &[fill; 64]].concat();
        hash(Digest::Sha1, &bits).unwrap().to_vec()
    }

    #[test]
    fn a_key_has_the_newest_of_its_certificates() {
        let mut records = Records::new();
        let facts = Settings([("key".to_owned(), Value::Text("k1".to_owned()))].into());
        let old = certificate("Alice", "200101000000Z", &spki(1));
        let new = certificate("Alice Adams", "250101000000Z", &spki(1));
        let authority = certificate("Authority", "190101000000Z", &spki(9));
        let chain = [old.clone(), authority.clone(), authority.clone()];
        assert!(records.key("", &spki(1), &chain, facts.clone()));
        assert!(records.key("bare", &spki(2), &[], Settings::default()));
        records.certificates([&*new, b"garbage"]);
        let inventory = records.finish().unwrap();
        let [first, second] = &inventory.keys[..] else {
            panic!("{inventory:?}")
        };
        assert_eq!((&*first.label, &*second.label), ("Alice Adams", "bare"));
        assert_eq!(first.identity, identity(1));
        assert_eq!(first.facts, facts);
        assert_eq!(
            first.subject,
            Some(crate::certificate::made::name("Alice Adams"))
        );
        assert_eq!(second.subject, None);
        let listed: Vec<_> = inventory
            .certificates
            .iter()
            .map(|record| (&*record.label, &record.identity, &record.der))
            .collect();
        let of_old = hash(Digest::Sha1, &old).unwrap().to_vec();
        assert_eq!(
            listed,
            [
                ("Alice Adams", &identity(1), &new),
                ("Alice", &of_old, &old),
                ("Authority", &identity(9), &authority),
            ]
        );
        assert_eq!(
            inventory.left_out,
            ["a certificate is left out: it cannot be read"]
        );
    }

    #[test]
    fn labels_are_shown_in_one_line_and_once() {
        let mut records = Records::new();
        let long = "x".repeat(1000);
        for (fill, label) in [
            (1, "a\nb "),
            (2, "a b"),
            (3, "a b (2)"),
            (4, &*long),
            (5, ""),
        ] {
            assert!(records.key(label, &spki(fill), &[], Settings::default()));
        }
        let inventory = records.finish().unwrap();
        let labels: Vec<_> = inventory.keys.iter().map(|key| &*key.label).collect();
        assert_eq!(
            labels,
            ["a b", "a b (2)", "a b (2) (2)", &long[..64], "Key 5"]
        );
    }

    #[test]
    fn a_label_fits_where_programs_keep_it() {
        let mut records = Records::new();
        let wide = "\u{1f511}".repeat(100);
        for fill in [1, 2] {
            assert!(records.key(&wide, &spki(fill), &[], Settings::default()));
        }
        let inventory = records.finish().unwrap();
        let labels: Vec<_> = inventory.keys.iter().map(|key| key.label.len()).collect();
        assert_eq!(labels, [200, 204]);
    }

    #[test]
    fn certificates_without_end_are_left_out() {
        let mut records = Records {
            bytes: MAX_ALL_CERTIFICATES - 1,
            ..Records::new()
        };
        let certificate = certificate("CA", "250101000000Z", &spki(1));
        records.certificates([&*certificate, &*certificate]);
        let inventory = records.finish().unwrap();
        assert!(inventory.certificates.is_empty());
        assert!(inventory.left_out[0].contains("too many"));
    }

    #[test]
    fn what_cannot_be_a_key_is_left_out_with_its_reason() {
        let mut records = Records::new();
        assert!(records.key("one", &spki(1), &[], Settings::default()));
        assert!(!records.key("two", &spki(1), &[], Settings::default()));
        assert!(!records.key("three", b"garbage", &[], Settings::default()));
        let dsa = [
            0x30, 0x11, 0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1, 3, 4, 0, 2, 1, 15,
        ];
        assert!(!records.key("four", &dsa, &[], Settings::default()));
        let long = vec![0; MAX_CERTIFICATE + 1];
        records.certificates([&*long]);
        assert_eq!(records.len(), 1);
        let inventory = records.finish().unwrap();
        assert_eq!(inventory.keys.len(), 1);
        let [two, three, four, certificate] = &inventory.left_out[..] else {
            panic!("{:?}", inventory.left_out)
        };
        assert!(
            two.contains("\"two\"") && two.contains("same public key"),
            "{two}"
        );
        assert!(three.contains("not a SubjectPublicKeyInfo"), "{three}");
        assert!(four.contains("unknown here"), "{four}");
        assert!(certificate.contains("too long"), "{certificate}");
    }

    #[test]
    fn a_service_that_tells_without_end_is_heard_for_so_long() {
        let mut records = Records::new();
        for number in 0..1000 {
            records.left_out(format!("{number}"));
        }
        let certificates: Vec<_> = (0..20)
            .map(|fill| certificate("CA", "250101000000Z", &spki(fill)))
            .collect();
        assert!(records.key("key", &spki(0), &certificates, Settings::default()));
        let inventory = records.finish().unwrap();
        assert_eq!(inventory.left_out.len(), MAX_LEFT_OUT + 1);
        assert_eq!(inventory.certificates.len(), MAX_CHAIN);
    }
}
