//! What a token on a card holds, where the card alone does not tell it.

use ctk_token::{Item, Key, KeychainContents, ObjectId, PublicKey};

/// The items of a card with the keys that it has and does not tell of. Where the card tells of
/// another key in the same place, it goes by a certificate of a key that is gone: both are left
/// out. But what only a certificate has told of, which is gone (it has a subject), does not stand
/// against what is told now.
pub(crate) fn with_untold(mut items: Vec<Item>, untold: &[Key]) -> Vec<Item> {
    for key in untold {
        let is_told = items.iter().any(|item| match item {
            Item::Key(told) => told.identity == key.identity && is_same(told, &key.public_key),
            Item::Certificate(_) | Item::Data(_) => false,
        });
        if is_told {
            continue;
        }
        let is_in_its_place = |item: &Item| match item {
            Item::Key(other) => other.identity == key.identity,
            Item::Certificate(_) | Item::Data(_) => false,
        };
        let place = items.iter().position(is_in_its_place);
        if place.is_some() && key.subject.is_some() {
            continue;
        }
        let place = place.unwrap_or_else(|| {
            let last = items.iter().rposition(|item| matches!(item, Item::Key(_)));
            last.map_or(items.len(), |last| last + 1)
        });
        let told = Item::Key(Box::new(key.clone()));
        items.insert(place, told);
        let mut at = 0;
        items.retain(|item| {
            let is_itself = at == place;
            at += 1;
            is_itself
                || match item {
                    Item::Key(other) => other.identity != key.identity,
                    Item::Certificate(other) => {
                        other.identity != key.identity || is_about(&other.der, &key.public_key)
                    }
                    Item::Data(_) => true,
                }
        });
    }
    items
}

/// The key of a certificate's identity.
pub(crate) fn key_of<'a>(
    contents: &'a KeychainContents,
    certificate: &ObjectId,
) -> Option<&'a Key> {
    let certificate = contents
        .certificates()
        .find(|found| found.id == *certificate)?;
    contents
        .keys()
        .find(|key| key.identity == certificate.identity)
}

/// A token's label as programs take it: without a colon, which some put between it and a
/// certificate's label, and never empty.
pub(crate) fn token_label(label: &str, name: &str) -> String {
    let clean: String = label
        .chars()
        .map(|letter| match letter {
            ':' => ' ',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect();
    match clean.trim() {
        "" => name.into(),
        clean => clean.into(),
    }
}

/// Whether it is the private key of this public one.
pub(crate) fn is_same(key: &Key, public_key: &PublicKey) -> bool {
    key.public_key.material() == public_key.material()
}

fn is_about(certificate: &[u8], key: &PublicKey) -> bool {
    PublicKey::from_certificate(certificate).is_ok_and(|found| found.material() == key.material())
}

#[cfg(test)]
mod tests {
    use ctk_token::{Certificate, Constraint, Curve, DataObject};

    use super::*;

    fn key(identity: u8, point: u8) -> Key {
        let point = [&[4][..], &[point; 64]].concat();
        let public_key = PublicKey::ec(Curve::P256, &point).unwrap();
        Key::new(
            ObjectId::new(&[b'k', identity]),
            "key",
            &[identity],
            public_key,
        )
    }

    fn item(key: &Key) -> Item {
        Item::Key(Box::new(key.clone()))
    }

    fn certificate(identity: u8) -> Item {
        Item::Certificate(Certificate {
            id: ObjectId::new(&[b'c', identity]),
            label: "certificate".into(),
            identity: vec![identity],
            der: vec![0x30, 0],
        })
    }

    #[test]
    fn a_new_key_takes_the_place_of_the_old_one() {
        let data = Item::Data(DataObject {
            id: ObjectId::new(b"data"),
            label: String::new(),
            application: String::new(),
            object_id: Vec::new(),
            value: None,
            read: Constraint::Free,
        });
        let (old, other, new) = (key(1, 1), key(2, 2), key(1, 3));
        let before = vec![
            certificate(1),
            item(&old),
            certificate(2),
            item(&other),
            data.clone(),
        ];
        let after = with_untold(before, std::slice::from_ref(&new));
        // The certificate of the old key is left out as well: it is about no key that is there.
        assert_eq!(after, [item(&new), certificate(2), item(&other), data]);
        assert_eq!(with_untold(after.clone(), &[new]), after);
    }

    #[test]
    fn what_only_a_deleted_certificate_told_of_gives_way() {
        let told = key(1, 1);
        let remembered = Key {
            subject: Some(vec![0x30, 0]),
            ..key(1, 2)
        };
        let remembered = [remembered];
        let after = with_untold(Vec::new(), &remembered);
        assert_eq!(after, [item(&remembered[0])]);
        let now = vec![certificate(1), item(&told)];
        assert_eq!(with_untold(now.clone(), &remembered), now);
    }

    #[test]
    fn a_first_key_comes_after_the_others() {
        let (first, second) = (key(1, 1), key(2, 2));
        assert_eq!(
            with_untold(Vec::new(), std::slice::from_ref(&first)),
            [item(&first)]
        );
        let after = with_untold(
            vec![item(&first), certificate(1)],
            std::slice::from_ref(&second),
        );
        assert_eq!(after, [item(&first), item(&second), certificate(1)]);
    }

    #[test]
    fn a_label_has_no_colon() {
        assert_eq!(token_label("Doe:John\n", "PIV"), "Doe John");
        assert_eq!(token_label(" : ", "PIV"), "PIV");
    }
}
