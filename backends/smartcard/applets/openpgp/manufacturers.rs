//! Who made a card, by the number in its AID (OpenPGP card 3.4 §4.2.1).

/// As OpenSC names a maker that it does not know.
pub(super) const UNKNOWN: &str = "OpenPGP project";

/// The names that OpenSC 0.23 shows: they are part of the URIs that people have.
const NAMES: &[(u16, &str)] = &[
    (0x0000, "test card"),
    (0x0001, "PPC Card Systems"),
    (0x0002, "Prism"),
    (0x0003, "OpenFortress"),
    (0x0004, "Wewid AB"),
    (0x0005, "ZeitControl"),
    (0x0006, "Yubico"),
    (0x0007, "OpenKMS"),
    (0x0008, "LogoEmail"),
    (0x0009, "Fidesmo"),
    (0x000A, "Dangerous Things"),
    (0x000B, "Feitian Technologies"),
    (0x002A, "Magrathea"),
    (0x0042, "GnuPG e.V."),
    (0x1337, "Warsaw Hackerspace"),
    (0x2342, "warpzone"),
    (0x4354, "Confidential Technologies"),
    (0x5443, "TIF-IT e.V."),
    (0x63AF, "Trustica"),
    (0xBA53, "c-base e.V."),
    (0xBD0E, "Paranoidlabs"),
    (0xF517, "FSIJ"),
    (0xF5EC, "F-Secure"),
    (0xFFFF, "test card"),
];

/// The maker's name.
pub(super) fn name(number: u16) -> &'static str {
    NAMES
        .binary_search_by_key(&number, |(known, _)| *known)
        .ok()
        .and_then(|at| NAMES.get(at))
        .map_or(UNKNOWN, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(NAMES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(name(6), "Yubico");
        assert_eq!(name(0xFFFF), "test card");
        assert_eq!(name(0x000F), UNKNOWN);
    }
}
