//! What PKCS#11 shows of an X.509 certificate: a walk over its DER that takes what is there.
//!
//! A certificate that a strict parser refuses (a serial number of 21 bytes, a negative one, a wrong
//! date) can still be the one that a person has to log in with, so nothing is judged here.

use std::borrow::Cow;

/// The parts of a certificate (RFC 5280 §4.1), each a whole TLV.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) serial_number: &'a [u8],
    pub(super) issuer: &'a [u8],
    not_before: Tlv<'a>,
    not_after: Tlv<'a>,
    pub(super) subject: &'a [u8],
    pub(super) public_key_info: &'a [u8],
    extensions: Option<Tlv<'a>>,
}

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;

/// 2.5.29.19, basicConstraints.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];

impl<'a> Parts<'a> {
    /// The parts, or `None` if `der` is not built like a certificate.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Walk(Walk(der).next(SEQUENCE)?.content);
        let mut fields = Walk(certificate.next(SEQUENCE)?.content);
        fields.next_if(VERSION);
        let serial_number = fields.any()?.whole;
        let _signature = fields.next(SEQUENCE)?;
        let issuer = fields.next(SEQUENCE)?.whole;
        let mut validity = Walk(fields.next(SEQUENCE)?.content);
        let (not_before, not_after) = (validity.any()?, validity.any()?);
        let subject = fields.next(SEQUENCE)?.whole;
        let public_key_info = fields.next(SEQUENCE)?.whole;
        let extensions = std::iter::from_fn(|| fields.any()).find(|field| field.tag == EXTENSIONS);
        Some(Self {
            serial_number,
            issuer,
            not_before,
            not_after,
            subject,
            public_key_info,
            extensions,
        })
    }

    /// The first day, as PKCS#11 writes days.
    pub(super) fn start_date(&self) -> Option<[u8; 8]> {
        date(self.not_before)
    }

    /// The last day.
    pub(super) fn end_date(&self) -> Option<[u8; 8]> {
        date(self.not_after)
    }

    /// Whether it is an authority's (basicConstraints, RFC 5280 §4.2.1.9).
    pub(super) fn is_authority(&self) -> bool {
        self.extension(BASIC_CONSTRAINTS)
            .and_then(|value| Walk(value).next(SEQUENCE))
            .and_then(|constraints| Walk(constraints.content).next(BOOLEAN))
            .is_some_and(|authority| authority.content.first().is_some_and(|byte| *byte != 0))
    }

    /// The value of an extension.
    fn extension(&self, id: &[u8]) -> Option<&'a [u8]> {
        let mut extensions = Walk(Walk(self.extensions?.content).next(SEQUENCE)?.content);
        while let Some(extension) = extensions.next(SEQUENCE) {
            let mut fields = Walk(extension.content);
            if fields.next(OBJECT_IDENTIFIER)?.content == id {
                fields.next_if(BOOLEAN);
                return Some(fields.next(OCTET_STRING)?.content);
            }
        }
        None
    }
}

/// `YYYYMMDD` of a Time (RFC 5280 §4.1.2.5).
fn date(time: Tlv<'_>) -> Option<[u8; 8]> {
    let digits = match time.tag {
        // Two digits of a year from 1950 to 2049.
        UTC_TIME => {
            let century: &[u8] = if time.content.first()? < &b'5' {
                b"20"
            } else {
                b"19"
            };
            Cow::Owned([century, time.content].concat())
        }
        GENERALIZED_TIME => Cow::Borrowed(time.content),
        _ => return None,
    };
    let day: [u8; 8] = digits.get(..8)?.try_into().ok()?;
    day.iter().all(u8::is_ascii_digit).then_some(day)
}

/// One tag, length and value.
#[derive(Clone, Copy, Debug)]
struct Tlv<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    whole: &'a [u8],
}

/// What is left of a run of TLVs.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn any(&mut self) -> Option<Tlv<'a>> {
        let bytes = self.0;
        let (tag, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            // Up to four bytes of length; the indefinite form (0x80) is not DER.
            0x81..=0x84 => {
                let (len, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                (
                    len.iter()
                        .fold(0, |len, byte| len << 8 | usize::from(*byte)),
                    rest,
                )
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        let whole = bytes.get(..bytes.len() - rest.len())?;
        self.0 = rest;
        Some(Tlv {
            tag: *tag,
            content,
            whole,
        })
    }

    fn next(&mut self, tag: u8) -> Option<Tlv<'a>> {
        self.any().filter(|tlv| tlv.tag == tag)
    }

    fn next_if(&mut self, tag: u8) -> Option<Tlv<'a>> {
        if self.0.first() == Some(&tag) {
            self.any()
        } else {
            None
        }
    }
}

/// `content` as a DER OCTET STRING.
pub(super) fn octet_string(content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let bytes = len.to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![OCTET_STRING];
    match (len, u8::try_from(len)) {
        (0..=0x7F, Ok(short)) => der.push(short),
        _ => {
            der.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            der.extend(significant);
        }
    }
    der.extend(content);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_both_centuries_and_of_both_kinds() {
        let time = |tag, text: &'static str| {
            date(Tlv {
                tag,
                content: text.as_bytes(),
                whole: &[],
            })
        };
        assert_eq!(time(UTC_TIME, "491231235959Z"), Some(*b"20491231"));
        assert_eq!(time(UTC_TIME, "500101000000Z"), Some(*b"19500101"));
        assert_eq!(
            time(GENERALIZED_TIME, "20500101000000Z"),
            Some(*b"20500101")
        );
        assert_eq!(time(GENERALIZED_TIME, "2050"), None);
        assert_eq!(time(UTC_TIME, ""), None);
        assert_eq!(time(UTC_TIME, "5x0101000000Z"), None);
    }

    #[test]
    fn damaged_certificates_have_no_parts_and_do_no_harm() {
        for der in [
            &b""[..],
            b"\x30",
            b"\x30\x80",
            b"\x30\x85\x01\x01\x01\x01\x01",
            b"\x30\x84\xFF\xFF\xFF\xFF",
        ] {
            assert!(Parts::of(der).is_none());
        }
    }

    #[test]
    fn a_certificate_cut_or_changed_anywhere_does_no_harm() {
        use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, x509::X509};
        let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let mut builder = X509::builder().unwrap();
        builder
            .set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::days_from_now(1).unwrap())
            .unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        let der = builder.build().to_der().unwrap();
        // Version 1 and without extensions, an issuer or a subject.
        let parts = Parts::of(&der).unwrap();
        assert_eq!(
            (parts.issuer, parts.subject),
            (&b"\x30\0"[..], &b"\x30\0"[..])
        );
        assert_eq!(parts.public_key_info, key.public_key_to_der().unwrap());
        assert!(!parts.is_authority());
        assert!((0..der.len()).all(|len| Parts::of(&der[..len]).is_none()));
        for place in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[place] ^= 1 << bit;
                if let Some(parts) = Parts::of(&changed) {
                    let _ = (parts.start_date(), parts.end_date(), parts.is_authority());
                }
            }
        }
    }

    #[test]
    fn octet_strings_of_all_length_forms() {
        assert_eq!(octet_string(b"ab"), b"\x04\x02ab");
        assert_eq!(
            octet_string(&[1; 133]).get(..4),
            Some(&b"\x04\x81\x85\x01"[..])
        );
        assert_eq!(
            octet_string(&[1; 300]).get(..5),
            Some(&b"\x04\x82\x01\x2C\x01"[..])
        );
    }
}
