//! Pairs the private keys of a file with its certificates, and names both.

use std::collections::{HashMap, HashSet};

use ctk_crypto::{PrivateKey, hash};
use ctk_token::{Digest, TokenError};

use crate::{
    bags::{Attributes, CertificateBag, KeyBag},
    ber::{Malformed, Reader, SEQUENCE},
    budget::Hashing,
    certificate::{Facts, public_key_bits},
    failure::Result,
    inventory::{CertificateRecord, Inventory, KeyRecord},
    pfx,
};

/// An opened file.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What everybody may know of it.
    pub(crate) inventory: Inventory,
    /// The private keys, in the order of the inventory's.
    pub(crate) keys: Vec<PrivateKey>,
    /// The kinds of the keys that are in the file but not for this build: AlgorithmIdentifiers.
    pub(crate) unsupported: Vec<Vec<u8>>,
    /// How many parts and keys have another password.
    pub(crate) failed: usize,
    /// How many parts are encrypted, or would be if they were written again.
    pub(crate) parts: usize,
    /// How often the password is hashed for each, and may be.
    pub(crate) hashing: Hashing,
}

/// Opens a file. What this build cannot use (a curve that the crypto library lacks) is left out
/// with a warning.
///
/// # Errors
/// As [`pfx::open`].
pub(crate) fn open(file: &[u8], password: &[u8]) -> Result<Opened> {
    let bags = pfx::open(file, password)?;
    let mut inventory = Inventory::default();
    let (keys, unsupported) = parse_keys(&bags.keys, &mut inventory.left_out);
    let certificates = parse_certificates(&bags.certificates, &mut inventory.left_out);
    let owners = owners(&keys, &certificates);
    for left_out in &inventory.left_out {
        log::warn!("pkcs12: {left_out}");
    }
    if bags.failed > 0 {
        inventory.left_out.push(format!(
            "{} of its parts have another password and are left out",
            bags.failed
        ));
    }
    for (index, key) in keys.iter().enumerate() {
        let own = owners
            .get(key.bits())
            .and_then(|index| certificates.get(*index));
        let label = key
            .attributes
            .friendly_name
            .clone()
            .or_else(|| own.and_then(Candidate::label))
            .unwrap_or_else(|| format!("Key {}", index + 1));
        let identity = hash(Digest::Sha1, key.bits())?.to_vec();
        if let Some(own) = own {
            inventory.certificates.push(CertificateRecord {
                label: label.clone(),
                identity: identity.clone(),
                der: own.facts.der.into(),
            });
        }
        inventory.keys.push(KeyRecord {
            label,
            identity,
            spki: key.private.public_key().spki().into(),
            subject: own.map(|own| own.facts.subject.into()),
        });
    }
    let of_keys: HashSet<&[u8]> = keys.iter().map(Ready::bits).collect();
    for (index, certificate) in certificates.iter().enumerate() {
        let is_owner = owners.get(certificate.bits) == Some(&index);
        if is_owner && of_keys.contains(certificate.bits) {
            continue;
        }
        let named = if is_owner {
            certificate.bits
        } else {
            certificate.facts.der
        };
        inventory.certificates.push(CertificateRecord {
            label: certificate
                .label()
                .unwrap_or_else(|| format!("Certificate {}", index + 1)),
            identity: hash(Digest::Sha1, named)?.to_vec(),
            der: certificate.facts.der.into(),
        });
    }
    Ok(Opened {
        inventory,
        keys: keys.into_iter().map(|key| key.private).collect(),
        unsupported,
        failed: bags.failed,
        parts: bags.parts,
        hashing: bags.hashing,
    })
}

/// A key that can be used.
struct Ready<'a> {
    private: PrivateKey,
    attributes: &'a Attributes,
}

impl Ready<'_> {
    fn bits(&self) -> &[u8] {
        public_key_bits(self.private.public_key().spki()).unwrap_or_default()
    }
}

/// A certificate that can be read.
struct Candidate<'a> {
    facts: Facts<'a>,
    bits: &'a [u8],
    attributes: &'a Attributes,
}

impl Candidate<'_> {
    fn label(&self) -> Option<String> {
        self.attributes
            .friendly_name
            .clone()
            .or_else(|| self.facts.common_name.clone())
    }
}

/// The keys that can be used, and the kinds of those that this build cannot use.
fn parse_keys<'a>(
    bags: &'a [KeyBag],
    left_out: &mut Vec<String>,
) -> (Vec<Ready<'a>>, Vec<Vec<u8>>) {
    let (mut ready, mut unsupported) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for bag in bags {
        let attributes = &bag.attributes;
        let private = match PrivateKey::from_pkcs8(&bag.pkcs8) {
            Ok(private) => private,
            Err(error) => {
                let name = attributes.friendly_name.as_deref();
                let name = name.unwrap_or("without name");
                let why = match &error {
                    TokenError::NotSupported => "this build has no keys of its kind".to_owned(),
                    error => error.to_string(),
                };
                left_out.push(format!("the private key {name:?} is left out: {why}"));
                if error == TokenError::NotSupported {
                    unsupported.extend(algorithm_of_key(&bag.pkcs8).ok());
                }
                continue;
            }
        };
        let key = Ready {
            private,
            attributes,
        };
        if seen.insert(key.bits().to_vec()) {
            ready.push(key);
        }
    }
    (ready, unsupported)
}

/// The AlgorithmIdentifier of a PrivateKeyInfo.
fn algorithm_of_key(pkcs8: &[u8]) -> std::result::Result<Vec<u8>, Malformed> {
    let mut info = Reader::new(pkcs8).sequence()?;
    info.unsigned()?;
    Ok(info.element(SEQUENCE)?.raw.to_vec())
}

/// The same of a SubjectPublicKeyInfo.
pub(crate) fn algorithm(spki: &[u8]) -> Option<&[u8]> {
    let algorithm = Reader::new(spki).sequence().ok()?.element(SEQUENCE).ok()?;
    Some(algorithm.raw)
}

fn parse_certificates<'a>(
    bags: &'a [CertificateBag],
    left_out: &mut Vec<String>,
) -> Vec<Candidate<'a>> {
    let mut seen = HashSet::new();
    bags.iter()
        .filter_map(|bag| {
            let read =
                Facts::read(&bag.der).and_then(|facts| Ok((public_key_bits(facts.spki)?, facts)));
            match read {
                Ok((bits, facts)) => Some(Candidate {
                    facts,
                    bits,
                    attributes: &bag.attributes,
                }),
                Err(why) => {
                    let name = bag
                        .attributes
                        .friendly_name
                        .as_deref()
                        .unwrap_or("without name");
                    left_out.push(format!("the certificate {name:?} is left out: {}", why.0));
                    None
                }
            }
        })
        .filter(|certificate| seen.insert(certificate.facts.der))
        .collect()
}

/// For each public key, the certificate that stands for it: the one with the key's localKeyID,
/// among several the newest.
fn owners<'a>(keys: &[Ready<'_>], certificates: &[Candidate<'a>]) -> HashMap<&'a [u8], usize> {
    let local_ids: HashMap<&[u8], &[u8]> = keys
        .iter()
        .filter_map(|key| Some((key.bits(), key.attributes.local_key_id.as_deref()?)))
        .collect();
    let rank = |certificate: &Candidate<'_>| {
        let wanted = local_ids.get(certificate.bits).copied();
        let linked = wanted.is_some() && certificate.attributes.local_key_id.as_deref() == wanted;
        (linked, certificate.facts.not_before.clone())
    };
    let mut owners: HashMap<&[u8], usize> = HashMap::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let current = owners
            .get(certificate.bits)
            .and_then(|index| certificates.get(*index));
        if current.is_none_or(|current| rank(certificate) > rank(current)) {
            owners.insert(certificate.bits, index);
        }
    }
    owners
}
