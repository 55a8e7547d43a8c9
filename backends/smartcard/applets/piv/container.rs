//! What the containers hold (SP 800-73-4 part 1 appendix A): read leniently, because real cards differ, and with bounds.

use ctk_token::Certificate;

use super::{gzip, slot::Slot};
use crate::tlv::{self, Writer};

/// The value of a field, if there is one before anything malformed.
pub(super) fn field(bytes: &[u8], tag: u32) -> Option<&[u8]> {
    tlv::find(bytes, tag).ok().flatten()
}

/// Which PIN a person has for the card (SP 800-73-4 part 1 §3.3.2, PIN usage policy).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PinReference {
    /// The applet's own, 80.
    Application,
    /// The card's, 00.
    Global,
}

impl PinReference {
    /// P2 of the commands.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Application => 0x80,
            Self::Global => 0x00,
        }
    }
}

/// What the discovery object says: `None` if it is not PIV's.
pub(super) fn parse_discovery(answer: &[u8]) -> Option<PinReference> {
    let template = field(answer, 0x7e)?;
    if !field(template, 0x4f)?.starts_with(super::AID) {
        return None;
    }
    // Bit 6 of the first byte: the global PIN counts as well. 20 in the second: it is the one that people have.
    Some(match field(template, 0x5f2f) {
        Some(&[policy, 0x20, ..]) if policy & 0x20 != 0 => PinReference::Global,
        _ => PinReference::Application,
    })
}

/// Whose card it is (SP 800-73-4 part 1 §3.1.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CardHolder {
    /// The whole container, which no other card has.
    pub(super) answer: Vec<u8>,
    fasc_n: Vec<u8>,
    guid: Vec<u8>,
}

impl CardHolder {
    /// Takes the card holder unique identifier apart, as far as it can be.
    pub(super) fn parse(answer: Vec<u8>) -> Self {
        let content = field(&answer, 0x53).unwrap_or_default();
        let number = |tag| field(content, tag).unwrap_or_default().to_vec();
        let (fasc_n, guid) = (number(0x30), number(0x34));
        Self {
            answer,
            fasc_n,
            guid,
        }
    }

    /// Whether a federal agency issued the card: its FASC-N names an agency other than 9999, which stands for none.
    pub(super) fn is_federal(&self) -> bool {
        let no_agency =
            matches!(*self.fasc_n, [0xd4, 0xe7, 0x39, agency, ..] if agency | 0x7f == 0xff);
        self.fasc_n.len() == 25 && !no_agency
    }

    /// What OpenSC shows as the serial number: the last 8 bytes of the GUID, or of the FASC-N of a federal card and of one
    /// without GUID. `None` if there is neither.
    pub(super) fn serial_number(&self) -> Option<String> {
        let has_guid = self.guid.len() == 16 && self.guid.iter().any(|byte| *byte != 0);
        let number = match self.fasc_n.len() {
            25 if self.is_federal() || !has_guid => &self.fasc_n,
            _ if has_guid => &self.guid,
            _ => return None,
        };
        let last = number.get(number.len().checked_sub(8)?..)?;
        Some(last.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// How many retired keys have their certificates on the card (SP 800-73-4 part 1 §3.3.3): they are in the first containers.
pub(super) fn parse_key_history(answer: &[u8]) -> Option<u8> {
    let content = field(answer, 0x53)?;
    match *field(content, 0xc1)? {
        [count] => Some(count.min(super::slot::RETIRED)),
        _ => None,
    }
}

/// A key history that says so, with what else an older one says.
pub(super) fn key_history(count: u8, older: Option<&[u8]>) -> Writer {
    let older = older.and_then(|answer| field(answer, 0x53));
    let kept = |tag| older.and_then(|content| field(content, tag));
    let mut content = Writer::new()
        .put(0xc1, &[count])
        .put(0xc2, kept(0xc2).unwrap_or(&[0]));
    if let Some(url) = kept(0xf3) {
        content = content.put(0xf3, url);
    }
    content.put(ERROR_DETECTION, &[])
}

/// Why a container has no certificate.
pub(super) type NoCertificate = &'static str;

/// The certificate in its container (SP 800-73-4 part 1 table 10): `None` if it is empty.
pub(super) fn parse_certificate(answer: &[u8]) -> Result<Option<Vec<u8>>, NoCertificate> {
    let content = field(answer, 0x53).ok_or("the container is not in its template")?;
    if content.is_empty() {
        return Ok(None);
    }
    let der = field(content, 0x70).ok_or("the container has no certificate in it")?;
    if der.is_empty() {
        return Ok(None);
    }
    // Bit 0 of CertInfo; cards exist that keep compressed certificates and do not say so.
    let info = field(content, 0x71).and_then(<[u8]>::first);
    let compressed = info.is_some_and(|info| info & 1 != 0) || der.starts_with(&gzip::MAGIC);
    if compressed && der.starts_with(&gzip::MAGIC) {
        return gzip::unpack(der, MAX_CERTIFICATE).map(Some);
    }
    // And such that say so and do not. Some fill the container up after the certificate.
    let certificate = field(der, DER_SEQUENCE);
    let certificate = certificate.ok_or("the container holds something else than a certificate")?;
    Ok(Some(tlv::encode(DER_SEQUENCE, certificate).to_vec()))
}

/// The longest certificate that is unpacked, in bytes.
const MAX_CERTIFICATE: usize = 64 << 10;
const DER_SEQUENCE: u32 = 0x30;
const ERROR_DETECTION: u32 = 0xfe;

/// A container with this certificate, as PUT DATA takes it.
pub(super) fn certificate(der: &[u8]) -> Writer {
    Writer::new()
        .put(0x70, der)
        .put(0x71, &[0])
        .put(ERROR_DETECTION, &[])
}

/// The certificate of a slot as the token shows it.
pub(super) fn item(slot: Slot, der: &[u8]) -> Certificate {
    Certificate {
        id: slot.certificate_id(),
        label: slot.certificate_label(),
        identity: vec![slot.identity()],
        der: der.to_vec(),
    }
}

/// A card holder unique identifier with this GUID for a card that no federal agency issues (SP 800-73-4 part 1 §3.1.2).
pub(super) fn new_card_holder(guid: &[u8; 16]) -> Writer {
    Writer::new()
        .put(0x30, &no_agency())
        .put(0x34, guid)
        // The card does not end: it is not the one that says who may use a certificate.
        .put(0x35, b"20991231")
        // Nobody signs it.
        .put(0x3e, &[])
        .put(ERROR_DETECTION, &[])
}

/// A card capability container (GSC-IS 2.1 §6.3) with this number of the card.
pub(super) fn new_capabilities(number: &[u8; 14]) -> Writer {
    let mut identifier = GSC_ISSUER.to_vec();
    identifier.extend(number);
    let content = Writer::new()
        .put(0xf0, &identifier)
        .put(0xf1, &[0x21]) // version of the container
        .put(0xf2, &[0x21]) // version of the grammar
        .put(0xf3, &[])
        .put(0xf4, &[0]) // no PKCS#15
        .put(0xf5, &[0x10]); // PIV's data model
    let empty = [0xf6, 0xf7, 0xfa, 0xfb, 0xfc, 0xfd, ERROR_DETECTION];
    empty
        .into_iter()
        .fold(content, |content, tag| content.put(tag, &[]))
}

/// GSC's RID, a manufacturer that is not registered, a Java card.
const GSC_ISSUER: [u8; 7] = [0xa0, 0x00, 0x00, 0x01, 0x16, 0xff, 0x02];

/// The FASC-N of nobody: agency, system and credential all nines (PACS 2.3 §2.1 and §6).
fn no_agency() -> Vec<u8> {
    // Start, fields with separators, end; each digit in four bits from the lowest, then odd parity.
    let text = b";9999=9999=999999=0=1=0000000000300001?";
    let mut symbols: Vec<u8> = text.iter().map(|symbol| symbol & 0x0f).collect();
    let check = symbols.iter().fold(0, |check, symbol| check ^ symbol);
    symbols.push(check);
    let bits: Vec<u8> = symbols
        .iter()
        .flat_map(|symbol| {
            let parity = 1 ^ (symbol.count_ones() as u8 & 1);
            let data = (0..4).map(move |bit| symbol >> bit & 1);
            data.chain([parity])
        })
        .collect();
    let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | bit);
    bits.chunks(8).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn container(content: &[u8]) -> Vec<u8> {
        tlv::encode(0x53, content).to_vec()
    }

    #[test]
    fn the_discovery_object_tells_the_pin() {
        let discovery = |policy: &str| {
            parse_discovery(&bytes(&format!(
                "7e124f0ba0000003080000100001005f2f02{policy}"
            )))
        };
        assert_eq!(discovery("4000"), Some(PinReference::Application));
        assert_eq!(discovery("6010"), Some(PinReference::Application));
        assert_eq!(discovery("6020"), Some(PinReference::Global));
        // A global PIN that does not count is not asked for.
        assert_eq!(discovery("4020"), Some(PinReference::Application));
        assert_eq!(
            parse_discovery(&bytes("7e0d4f0ba000000308000010000100")),
            Some(PinReference::Application)
        );
        assert_eq!(
            parse_discovery(&bytes("7e084f06d27600012401")),
            None,
            "another applet's"
        );
        assert_eq!(parse_discovery(&[]), None);
        assert_eq!(parse_discovery(&[0x7e, 0x20, 0x4f]), None);
    }

    #[test]
    fn serial_numbers_are_opensc_s() {
        let guid: Vec<u8> = (1..=16).collect();
        let numbered = |fasc_n: &[u8]| {
            let content = Writer::new().put(0x30, fasc_n).put(0x34, &guid);
            CardHolder::parse(container(content.as_bytes()))
        };
        let holder = numbered(&no_agency());
        assert!(!holder.is_federal());
        assert_eq!(holder.serial_number().as_deref(), Some("090a0b0c0d0e0f10"));

        let mut federal = no_agency();
        federal[1] = 0x32;
        let holder = numbered(&federal);
        assert!(holder.is_federal());
        assert_eq!(holder.serial_number().as_deref(), Some("108421c84210c3eb"));

        let without_guid = Writer::new().put(0x30, &no_agency()).put(0x34, &[0; 16]);
        let holder = CardHolder::parse(container(without_guid.as_bytes()));
        assert!(!holder.is_federal());
        assert_eq!(holder.serial_number().as_deref(), Some("108421c84210c3eb"));

        let content = tlv::encode(0x34, &[0; 16]);
        assert_eq!(CardHolder::parse(container(&content)).serial_number(), None);
        for damaged in [&[][..], &[0x53], &[0x53, 0x82, 1], &[0x53, 2, 0x34, 0x10]] {
            let holder = CardHolder::parse(damaged.to_vec());
            assert_eq!((holder.serial_number(), holder.is_federal()), (None, false));
        }
    }

    #[test]
    fn a_new_card_holder_is_of_no_agency() {
        let guid = [7; 16];
        let holder = CardHolder::parse(container(new_card_holder(&guid).as_bytes()));
        assert!(!holder.is_federal());
        assert_eq!(holder.serial_number().as_deref(), Some("0707070707070707"));
        // The one that everybody writes who issues no credentials.
        assert_eq!(
            no_agency(),
            bytes("d4e739da739ced39ce739d836858210842108421c84210c3eb")
        );
        assert_eq!(new_capabilities(&[1; 14]).as_bytes().len(), 51);
    }

    #[test]
    fn key_histories_are_bounded() {
        let history = |content: &[u8]| parse_key_history(&container(content));
        assert_eq!(history(&[0xc1, 1, 3, 0xc2, 1, 0, 0xfe, 0]), Some(3));
        assert_eq!(history(&[0xc1, 1, 200]), Some(20));
        assert_eq!(history(&[0xc1, 2, 0, 1]), None);
        assert_eq!(history(&[0xc2, 1, 1]), None);
        assert_eq!(parse_key_history(&[]), None);

        let older = container(&[0xc1, 1, 3, 0xc2, 1, 2, 0xf3, 3, b'u', b'r', b'l', 0xfe, 0]);
        let newer = container(key_history(4, Some(&older)).as_bytes());
        assert_eq!(parse_key_history(&newer), Some(4));
        assert!(newer.windows(5).any(|window| window == b"\xf3\x03url"));
        assert_eq!(
            key_history(1, None).as_bytes(),
            [0xc1, 1, 1, 0xc2, 1, 0, 0xfe, 0]
        );
    }

    #[test]
    fn a_certificate_comes_out_of_its_container_as_it_went_in() {
        let der = [0x30, 3, 1, 2, 3];
        let put = container(certificate(&der).as_bytes());
        assert_eq!(parse_certificate(&put), Ok(Some(der.to_vec())));
        assert_eq!(parse_certificate(&container(&[])), Ok(None));
        assert_eq!(
            parse_certificate(&container(&[0x70, 0, 0x71, 1, 0])),
            Ok(None)
        );
        let filled = [0x70, 7, 0x30, 3, 1, 2, 3, 0, 0, 0x71, 1, 0];
        assert_eq!(
            parse_certificate(&container(&filled)),
            Ok(Some(der.to_vec()))
        );
        // One that says that it is compressed, and is not.
        let wrong = [0x70, 5, 0x30, 3, 1, 2, 3, 0x71, 1, 1];
        assert_eq!(
            parse_certificate(&container(&wrong)),
            Ok(Some(der.to_vec()))
        );
        for damaged in [
            &[0x71, 1, 0][..],
            &[0x70, 0x20, 0x30],
            &[0x70, 2, 0x55, 0x55],
            &[0x70, 2, 0x1f, 0x8b, 0x71, 1, 1],
        ] {
            assert!(
                parse_certificate(&container(damaged)).is_err(),
                "{damaged:?}"
            );
        }
        assert!(parse_certificate(&[]).is_err());
    }
}
