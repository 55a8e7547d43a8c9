//! What is in a slot, put together from what its certificate and the card tell of it.

use ctk_token::{Certificate, Constraint, Key, KeyType, Origin, PublicKey, Reuse, TokenError};

use super::{
    certificate::{self, Facts, KeyUsage},
    container,
    data::PIN,
    slot::{self, Slot},
    yubikey::Told,
};

/// What was found in a slot.
#[derive(Default)]
pub(super) struct Found {
    /// The whole container.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) certificate: Option<Certificate>,
    pub(super) key: Option<Key>,
}

/// Puts together what the certificate and the card tell of a slot. The card knows best what key it has; a certificate of
/// another one is not shown, because programs would take it for this one's.
pub(super) fn combine(slot: Slot, der: Option<&[u8]>, told: Told, is_federal: bool) -> Found {
    let place = slot.key_reference();
    let certified = der.and_then(|der| match PublicKey::from_certificate(der) {
        Ok(key) => Some((der, Some(key))),
        // The certificate of a key that nobody here can use is still one.
        Err(TokenError::NotSupported) => Some((der, None)),
        Err(error) => {
            log::warn!("PIV: the certificate in slot {place:02X} is not shown: {error}");
            None
        }
    });
    let mut policy = None;
    let mut origin = Origin::Imported;
    let mut known = None;
    match told {
        Told::Nothing | Told::NoCommand => {}
        Told::NoKey => {
            return Found {
                certificate: certified.map(|(der, _)| container::item(slot, der)),
                ..Found::default()
            };
        }
        Told::Key(metadata) => {
            policy = metadata.constraint;
            origin = metadata.origin;
            known = metadata.public_key;
        }
    }
    let certified = certified.filter(|(_, key)| {
        let fits = known.is_none() || known == *key;
        if !fits {
            log::warn!("PIV: the certificate in slot {place:02X} is of another key, not shown");
        }
        fits
    });
    let facts = certified.as_ref().map(|(der, _)| certificate::facts(der));
    let certificate = certified
        .as_ref()
        .map(|(der, _)| container::item(slot, der));
    let public_key = known.or(certified.and_then(|(_, key)| key));
    let key = public_key
        .filter(|key| slot::algorithm_of(key.key_type()).is_some())
        .map(|public| key(slot, public, facts, policy, origin, is_federal));
    Found {
        answer: None,
        certificate,
        key,
    }
}

/// A key as the token shows it.
pub(super) fn key(
    slot: Slot,
    public_key: PublicKey,
    facts: Option<Facts>,
    policy: Option<Constraint>,
    origin: Origin,
    is_federal: bool,
) -> Key {
    let constraint = policy.unwrap_or(match slot {
        Slot::CardAuthentication => Constraint::Free,
        Slot::Signature => Constraint::Auth(PIN, Reuse::Operation),
        Slot::Authentication | Slot::KeyManagement | Slot::Retired(_) => {
            Constraint::Auth(PIN, Reuse::Session)
        }
    });
    let allowed = |is_allowed| {
        if is_allowed {
            constraint
        } else {
            Constraint::Never
        }
    };
    let has_certificate = facts.is_some();
    let (subject, key_usage) =
        facts.map_or((None, None), |facts| (Some(facts.subject), facts.key_usage));
    let key_usage = key_usage.filter(|_| !is_federal);
    let uses = uses(slot, public_key.key_type(), key_usage, has_certificate);
    let labels = (slot.key_label(), slot.public_label());
    let key = Key::new(slot.key_id(), &labels.0, &[slot.identity()], public_key);
    Key {
        public_label: (labels.0 != labels.1).then_some(labels.1),
        subject,
        sign: allowed(uses.sign),
        decrypt: allowed(uses.decrypt),
        key_exchange: allowed(uses.key_exchange),
        origin,
        ..key
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Uses {
    sign: bool,
    decrypt: bool,
    key_exchange: bool,
}

/// As OpenSC tells it: by the certificate's KeyUsage, and by the slot for a card of a federal agency or a certificate
/// without KeyUsage. The card itself does not care. A key without certificate signs, at least its certificate request.
fn uses(slot: Slot, key_type: KeyType, key_usage: Option<KeyUsage>, has_certificate: bool) -> Uses {
    use KeyUsage as U;
    let is_rsa = matches!(key_type, KeyType::Rsa { .. });
    let can = Uses {
        sign: key_type != KeyType::X25519,
        decrypt: is_rsa,
        key_exchange: matches!(key_type, KeyType::Ec(_) | KeyType::X25519),
    };
    let signs = U::DIGITAL_SIGNATURE | U::NON_REPUDIATION;
    let wanted = match key_usage {
        Some(usage) => Uses {
            sign: usage.has(signs | U::KEY_CERT_SIGN | U::CRL_SIGN),
            decrypt: usage
                .has(signs | U::KEY_ENCIPHERMENT | U::DATA_ENCIPHERMENT | U::ENCIPHER_ONLY),
            key_exchange: usage.has(U::KEY_AGREEMENT),
        },
        None => {
            let is_management = matches!(slot, Slot::KeyManagement | Slot::Retired(_));
            Uses {
                sign: !is_management || !has_certificate,
                decrypt: slot != Slot::CardAuthentication,
                key_exchange: is_management,
            }
        }
    };
    let both = Uses {
        sign: can.sign && wanted.sign,
        decrypt: can.decrypt && wanted.decrypt,
        key_exchange: can.key_exchange && wanted.key_exchange,
    };
    // A key that is for nothing would be of no use to anybody, and X25519 in 9A is for that one thing.
    if both == Uses::default() { can } else { both }
}

#[cfg(test)]
mod tests {
    use ctk_token::Curve;

    use super::*;
    use crate::applets::piv::yubikey;

    const P256: KeyType = KeyType::Ec(Curve::P256);
    const RSA: KeyType = KeyType::Rsa { bits: 2048 };

    fn of_certificate(key: u8, usage: Option<u8>) -> Vec<u8> {
        certificate::tests::certificate(&certificate::tests::key(key), "Jane Doe", usage)
    }

    #[test]
    fn uses_are_opensc_s() {
        let names = |uses: Uses| {
            let mut names = String::new();
            for (is_set, name) in [
                (uses.sign, 's'),
                (uses.decrypt, 'd'),
                (uses.key_exchange, 'x'),
            ] {
                if is_set {
                    names.push(name);
                }
            }
            names
        };
        let by_slot = |slot, key_type| names(uses(slot, key_type, None, true));
        assert_eq!(by_slot(Slot::Authentication, RSA), "sd");
        assert_eq!(by_slot(Slot::Signature, RSA), "sd");
        assert_eq!(by_slot(Slot::KeyManagement, RSA), "d");
        assert_eq!(by_slot(Slot::CardAuthentication, RSA), "s");
        assert_eq!(by_slot(Slot::Retired(3), RSA), "d");
        assert_eq!(by_slot(Slot::Authentication, P256), "s");
        assert_eq!(by_slot(Slot::KeyManagement, P256), "x");
        assert_eq!(by_slot(Slot::Authentication, KeyType::X25519), "x");
        assert_eq!(by_slot(Slot::KeyManagement, KeyType::Ed25519), "s");

        let by_usage = |key_type, bits| {
            let der = of_certificate(1, Some(bits));
            let usage = certificate::facts(&der).key_usage;
            names(uses(Slot::KeyManagement, key_type, usage, true))
        };
        assert_eq!(by_usage(RSA, 0x80), "sd");
        assert_eq!(by_usage(RSA, 0x20), "d");
        assert_eq!(by_usage(P256, 0x80), "s");
        assert_eq!(by_usage(P256, 0x08), "x");
        assert_eq!(by_usage(P256, 0x88), "sx");
        assert_eq!(by_usage(P256, 0x20), "sx", "for nothing that it can");

        let without = uses(Slot::KeyManagement, P256, None, false);
        assert_eq!(names(without), "sx");
    }

    #[test]
    fn a_certificate_tells_of_its_key() {
        let der = of_certificate(1, Some(0x80));
        let found = combine(Slot::Authentication, Some(&der), Told::Nothing, false);
        assert!(found.certificate.is_some());
        let key = found.key.unwrap();
        assert_eq!(key.public_key, certificate::tests::key(1));
        assert_eq!(key.origin, Origin::Imported);
        assert!(key.subject.is_some());
        assert_eq!(key.public_label.as_deref(), Some("PIV AUTH pubkey"));
    }

    #[test]
    fn what_a_card_tells_of_its_key_counts() {
        let der = of_certificate(1, None);
        let told = |public_key| {
            Told::Key(yubikey::Metadata {
                algorithm: 0x11,
                constraint: Some(Constraint::Free),
                origin: Origin::Generated,
                public_key,
            })
        };
        let other = told(Some(certificate::tests::key(2)));
        let found = combine(Slot::Signature, Some(&der), other, false);
        assert!(found.certificate.is_none());
        let key = found.key.unwrap();
        assert_eq!(
            (key.sign, key.origin),
            (Constraint::Free, Origin::Generated)
        );
        assert_eq!(key.public_key, certificate::tests::key(2));

        let found = combine(Slot::Signature, Some(&der), told(None), false);
        assert!(found.certificate.is_some() && found.key.is_some());

        let found = combine(Slot::Signature, Some(&der), Told::NoKey, false);
        assert!(found.certificate.is_some() && found.key.is_none());

        let found = combine(Slot::Signature, Some(&[0x30, 1]), Told::Nothing, false);
        assert!(found.certificate.is_none() && found.key.is_none());
    }
}
