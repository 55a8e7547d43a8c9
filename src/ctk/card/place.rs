//! Places for keys on a card: what a person calls them, and what CKA_ID programs see.

use std::fmt;

use ctk_host::config::{from_hex, to_hex};

use crate::console::{Outcome, failure};

/// What kind of card it is, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Piv,
    OpenPgp,
    Other,
}

impl Kind {
    /// Of what a token calls itself.
    pub(crate) fn of(kind: &str) -> Self {
        match kind {
            kind if kind.starts_with("PIV") => Self::Piv,
            kind if kind.starts_with("OpenPGP") => Self::OpenPgp,
            _ => Self::Other,
        }
    }
}

/// A place for a key, by its CKA_ID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) identity: Vec<u8>,
    name: Option<String>,
}

/// PIV's key references (SP 800-73-4 part 1 table 4b) with the CKA_ID that programs know them by; the retired ones follow.
const PIV: [(u8, &str, u8); 4] = [
    (0x9a, "auth", 1),
    (0x9c, "sign", 2),
    (0x9d, "decrypt", 3),
    (0x9e, "card", 4),
];
/// The first retired key management key, and how many there are.
const RETIRED: (u8, u8) = (0x82, 20);
const FIRST_RETIRED_ID: u8 = 5;
/// The keys of an OpenPGP card (version 3.4 §4.1).
const OPENPGP: [(&str, u8); 3] = [("sign", 1), ("decrypt", 2), ("auth", 3)];

impl Place {
    /// The place that a person means.
    pub(crate) fn parse(kind: Kind, text: &str) -> Outcome<Self> {
        let named = text.to_lowercase();
        let id = match kind {
            Kind::Piv => piv_id(&named),
            Kind::OpenPgp => OPENPGP
                .iter()
                .find_map(|(name, id)| (*name == named).then_some(*id)),
            Kind::Other => None,
        };
        if let Some(id) = id {
            return Ok(Self::of(kind, &[id]));
        }
        let identity = from_hex(&named).filter(|identity| !identity.is_empty());
        let Some(identity) = identity else {
            return failure(format!("{text:?} is no place for a key: {}", names(kind)));
        };
        Ok(Self::of(kind, &identity))
    }

    /// The place of this CKA_ID.
    pub(crate) fn of(kind: Kind, identity: &[u8]) -> Self {
        let name = match (kind, identity) {
            (Kind::Piv, [id]) => piv_reference(*id).map(|reference| format!("{reference:02x}")),
            (Kind::OpenPgp, [id]) => OPENPGP
                .iter()
                .find_map(|(name, known)| (known == id).then(|| (*name).to_owned())),
            _ => None,
        };
        Self {
            identity: identity.to_vec(),
            name,
        }
    }

    /// What a person calls it; `None` if it has a CKA_ID only.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => f.write_str(&to_hex(&self.identity)),
        }
    }
}

fn piv_id(name: &str) -> Option<u8> {
    let reference = u8::from_str_radix(name, 16)
        .ok()
        .filter(|_| name.len() == 2);
    let known = PIV
        .iter()
        .find(|(known, alias, _)| Some(*known) == reference || *alias == name);
    if let Some((.., id)) = known {
        return Some(*id);
    }
    let (first, count) = RETIRED;
    let nth = reference?.checked_sub(first).filter(|nth| *nth < count)?;
    Some(FIRST_RETIRED_ID + nth)
}

fn piv_reference(id: u8) -> Option<u8> {
    if let Some((reference, ..)) = PIV.iter().find(|(.., known)| *known == id) {
        return Some(*reference);
    }
    let (first, count) = RETIRED;
    let nth = id.checked_sub(FIRST_RETIRED_ID)?;
    (nth < count).then(|| first + nth)
}

fn names(kind: Kind) -> &'static str {
    match kind {
        Kind::Piv => {
            "a PIV card has 9a (auth), 9c (sign), 9d (decrypt), 9e (card) and 82 to 95; a CKA_ID in hexadecimal will do, too"
        }
        Kind::OpenPgp => {
            "an OpenPGP card has sign, decrypt and auth; a CKA_ID in hexadecimal will do, too"
        }
        Kind::Other => "give its CKA_ID in hexadecimal, as ctk card info shows it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: Kind, text: &str) -> Option<Vec<u8>> {
        Place::parse(kind, text).ok().map(|place| place.identity)
    }

    #[test]
    fn piv_references_are_the_ids_that_programs_know() {
        for (text, id) in [
            ("9a", 1),
            ("9A", 1),
            ("auth", 1),
            ("9c", 2),
            ("sign", 2),
            ("9d", 3),
            ("9e", 4),
            ("82", 5),
            ("95", 0x18),
            ("01", 1),
            ("18", 0x18),
        ] {
            assert_eq!(identity(Kind::Piv, text), Some(vec![id]), "{text}");
        }
        // An id that is no reference is taken as one; the card knows whether it has that place.
        assert_eq!(identity(Kind::Piv, "96"), Some(vec![0x96]));
        assert_eq!(identity(Kind::Piv, "9a9c"), Some(vec![0x9a, 0x9c]));
        for wrong in ["", "9", "xy", "signature", "9a "] {
            assert_eq!(identity(Kind::Piv, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_place_is_called_as_it_was_named() {
        for id in 1..=0x18 {
            let place = Place::of(Kind::Piv, &[id]);
            assert_eq!(
                identity(Kind::Piv, place.name().unwrap()),
                Some(place.identity)
            );
        }
        assert_eq!(Place::of(Kind::Piv, &[0x19]).to_string(), "19");
        assert_eq!(Place::of(Kind::Piv, &[0]).name(), None);
        assert_eq!(Place::of(Kind::OpenPgp, &[2]).to_string(), "decrypt");
        assert_eq!(identity(Kind::OpenPgp, "auth"), Some(vec![3]));
        assert_eq!(identity(Kind::OpenPgp, "9a"), Some(vec![0x9a]));
        assert_eq!(Place::of(Kind::Other, &[1]).to_string(), "01");
        assert_eq!(identity(Kind::Other, "sign"), None);
    }
}
