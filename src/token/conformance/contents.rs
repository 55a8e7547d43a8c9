//! Rules for what is there: slots, tokens, items.

use std::{collections::HashSet, sync::Arc};

use super::{
    Fixture, Verdict,
    steps::{authenticate, session, tokens},
};
use crate::{Item, KeychainContents, ObjectId, PublicKey, Slot};

pub(super) fn slots_are_stable(fixture: &dyn Fixture) -> Verdict {
    let driver = fixture.driver();
    assert!(!driver.name().is_empty(), "the driver has no name");
    let ids = |slots: Vec<Arc<dyn Slot>>| -> Vec<String> {
        slots.iter().map(|slot| slot.id().to_owned()).collect()
    };
    let first = ids(driver.slots());
    assert_eq!(first, ids(driver.slots()), "two looks at the slots differ");
    assert_eq!(
        first,
        ids(fixture.driver().slots()),
        "two processes would see different slots"
    );
    let unique: HashSet<&String> = first.iter().collect();
    assert_eq!(
        unique.len(),
        first.len(),
        "two slots with one id: {first:?}"
    );
    Ok(())
}

pub(super) fn slot_keeps_its_token(fixture: &dyn Fixture) -> Verdict {
    let driver = fixture.driver();
    for slot in driver.slots() {
        match (slot.token(), slot.token()) {
            (Some(one), Some(two)) => {
                assert!(
                    Arc::ptr_eq(&one, &two),
                    "slot {}: a new token object each time",
                    slot.id()
                );
            }
            (None, None) => {}
            _ => panic!("slot {}: a token that comes and goes", slot.id()),
        }
    }
    Ok(())
}

pub(super) fn token_describes_itself(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let info = token.info();
        assert!(!info.label.is_empty(), "a token without label");
        assert!(
            !info.label.contains(':'),
            "NSS cuts a nickname at the colon of {:?}",
            info.label
        );
        assert!(
            !info.serial_number.is_empty(),
            "{}: no serial number",
            info.label
        );
        assert!(
            info.min_pin_len <= info.max_pin_len,
            "{}: no PIN could fit",
            info.label
        );
        assert_eq!(info, token.info(), "two looks at the token differ");
    }
    Ok(())
}

pub(super) fn items_are_unique(fixture: &dyn Fixture) -> Verdict {
    let (driver, other) = (fixture.driver(), fixture.driver());
    for (token, other) in tokens(&*driver).into_iter().zip(tokens(&*other)) {
        let contents = token.contents();
        let names = |contents: &KeychainContents| -> Vec<ObjectId> {
            contents.items.iter().map(Item::id).cloned().collect()
        };
        assert_eq!(
            names(&contents),
            names(&other.contents()),
            "two processes would see different names"
        );
        let ids: HashSet<&ObjectId> = contents.items.iter().map(Item::id).collect();
        assert_eq!(ids.len(), contents.items.len(), "two items with one id");
        let identities: Vec<&[u8]> = contents.keys().map(|key| &*key.identity).collect();
        let unique: HashSet<&[u8]> = identities.iter().copied().collect();
        assert_eq!(unique.len(), identities.len(), "two keys with one identity");
        let all = identities
            .into_iter()
            .chain(contents.certificates().map(|c| &*c.identity));
        for identity in all {
            assert!(
                (1..=255).contains(&identity.len()),
                "an identity of {} bytes",
                identity.len()
            );
        }
        let certificates: Vec<&[u8]> = contents.certificates().map(|c| &*c.identity).collect();
        let unique: HashSet<&[u8]> = certificates.iter().copied().collect();
        assert_eq!(
            unique.len(),
            certificates.len(),
            "two certificates with one identity"
        );
    }
    Ok(())
}

pub(super) fn identities_fit(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let contents = token.contents();
        for key in contents.keys() {
            let Some(certificate) = contents.certificates().find(|c| c.identity == key.identity)
            else {
                continue;
            };
            let Ok(certified) = PublicKey::from_certificate(&certificate.der) else {
                panic!("{}: a certificate that cannot be read", certificate.label);
            };
            assert_eq!(
                certified.material(),
                key.public_key.material(),
                "{}: another key",
                key.label
            );
            assert!(
                key.subject.is_some(),
                "{}: a key with certificate, without subject",
                key.label
            );
        }
    }
    Ok(())
}

pub(super) fn contents_are_a_snapshot(fixture: &dyn Fixture) -> Verdict {
    for token in tokens(&*fixture.driver()) {
        let first = token.contents();
        let session = session(&*token);
        authenticate(fixture, &*session);
        let second = token.contents();
        assert_eq!(
            first.generation == second.generation,
            first.items == second.items,
            "the generation must change with the contents and only with them"
        );
        assert!(
            second.generation >= first.generation,
            "a generation that shrinks"
        );
    }
    Ok(())
}
