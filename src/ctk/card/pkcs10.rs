//! Certificate requests (PKCS#10, RFC 2986): whom they are for, what they say, and who signs them.

use std::net::IpAddr;

use ctk_token::{Digest, KeyAlgorithm, KeyType, PublicKey};
use x509_cert::{
    AlgorithmIdentifier, SubjectPublicKeyInfo,
    attr::Attribute,
    der::{
        self, Any, Decode, Encode, Tag,
        asn1::{BitString, Ia5String, ObjectIdentifier, OctetString, SetOfVec},
    },
    ext::{
        Extension,
        pkix::name::{GeneralName, OtherName},
    },
    name::Name,
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
};

/// id-ce-subjectAltName (RFC 5280 §4.2.1.6).
const SUBJECT_ALTERNATIVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// szOID_NT_PRINCIPAL_NAME, the user principal name of Windows and of PKINIT with it.
const PRINCIPAL_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");

/// sha256WithRSAEncryption (RFC 4055 §5), ecdsa-with-SHA256 and so on (RFC 5758 §3.2), id-Ed25519 (RFC 8410 §3).
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A name as RFC 4514 writes it, most specific part first; a blank after a comma is no part of a name, as people write it.
pub(super) fn parse_subject(text: &str) -> Result<Name, String> {
    let example = "write it like CN=Alice,O=Example,C=DE, with a backslash before a comma that is part of a name";
    let name: Name = without_blanks(text)
        .parse()
        .map_err(|_| format!("this is no name of a certificate: {example}"))?;
    let has_content =
        |part: &x509_cert::attr::AttributeTypeAndValue| !part.value.value().is_empty();
    match !name.is_empty() && name.iter().all(has_content) {
        true => Ok(name),
        false => Err(format!("a part of the name is empty: {example}")),
    }
}

fn without_blanks(text: &str) -> String {
    let (mut clean, mut escaped, mut between) = (String::new(), false, true);
    for character in text.chars() {
        if between && character == ' ' {
            continue;
        }
        clean.push(character);
        between = !escaped && matches!(character, ',' | '+');
        escaped = !escaped && character == '\\';
    }
    clean
}

/// A name beside the subject, like `email:alice@example.org`.
pub(super) fn parse_alternative(text: &str) -> Result<GeneralName, String> {
    let kinds = "write email:…, dns:…, upn:…, uri:… or ip:…";
    let Some((kind, name)) = text.split_once(':') else {
        return Err(kinds.to_owned());
    };
    if name.is_empty() {
        return Err(format!("there is no name after {kind}:"));
    }
    let ascii = || Ia5String::new(name).map_err(|_| format!("{name:?} is not ASCII"));
    match kind.to_lowercase().as_str() {
        "email" => Ok(GeneralName::Rfc822Name(ascii()?)),
        "dns" => Ok(GeneralName::DnsName(ascii()?)),
        "uri" => Ok(GeneralName::UniformResourceIdentifier(ascii()?)),
        "upn" => Ok(GeneralName::OtherName(OtherName {
            type_id: PRINCIPAL_NAME,
            value: Any::new(Tag::Utf8String, name.as_bytes()).map_err(|error| error.to_string())?,
        })),
        "ip" => name
            .parse::<IpAddr>()
            .map(GeneralName::from)
            .map_err(|_| format!("{name:?} is no IP address")),
        _ => Err(kinds.to_owned()),
    }
}

/// How a key signs a request. `None` for one that does not sign.
pub(super) fn algorithm(key: &PublicKey) -> Option<KeyAlgorithm> {
    Some(match key.key_type() {
        KeyType::Rsa { .. } => KeyAlgorithm::RsaPkcs1Message(Digest::Sha256),
        KeyType::Ec(curve) => KeyAlgorithm::EcdsaMessage(match curve.bits() {
            0..=256 => Digest::Sha256,
            257..=384 => Digest::Sha384,
            _ => Digest::Sha512,
        }),
        KeyType::Ed25519 => KeyAlgorithm::EdDsa,
        _ => return None,
    })
}

/// A request that is to be signed.
pub(super) struct Request {
    info: CertReqInfo,
    algorithm: AlgorithmIdentifier,
}

impl Request {
    /// For this key, which signs as [`algorithm`] says.
    pub(super) fn new(
        key: &PublicKey,
        subject: Name,
        alternatives: &[GeneralName],
    ) -> der::Result<Self> {
        let mut attributes = SetOfVec::new();
        if !alternatives.is_empty() {
            let names = Extension {
                extn_id: SUBJECT_ALTERNATIVE,
                critical: false,
                extn_value: OctetString::new(alternatives.to_vec().to_der()?)?,
            };
            attributes.insert(Attribute::try_from(ExtensionReq(vec![names]))?)?;
        }
        let info = CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfo::from_der(key.spki())?,
            attributes,
        };
        let (oid, parameters) = match algorithm(key) {
            Some(KeyAlgorithm::RsaPkcs1Message(_)) => (RSA_SHA256, Some(Any::null())),
            Some(KeyAlgorithm::EcdsaMessage(Digest::Sha384)) => (ECDSA_SHA384, None),
            Some(KeyAlgorithm::EcdsaMessage(Digest::Sha512)) => (ECDSA_SHA512, None),
            Some(KeyAlgorithm::EcdsaMessage(_)) => (ECDSA_SHA256, None),
            _ => (ED25519, None),
        };
        Ok(Self {
            info,
            algorithm: AlgorithmIdentifier { oid, parameters },
        })
    }

    /// What is signed.
    pub(super) fn message(&self) -> der::Result<Vec<u8>> {
        self.info.to_der()
    }

    /// The request with its signature, DER.
    pub(super) fn signed(self, signature: &[u8]) -> der::Result<Vec<u8>> {
        CertReq {
            info: self.info,
            algorithm: self.algorithm,
            signature: BitString::from_bytes(signature)?,
        }
        .to_der()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_written_as_people_write_it() {
        let name = |text: &str| parse_subject(text).map(|name| name.to_string());
        let plain = "CN=Alice,O=Example,C=DE";
        assert_eq!(name(plain), Ok(plain.into()));
        assert_eq!(name("CN=Alice, O=Example,  C=DE"), Ok(plain.into()));
        assert_eq!(
            name(r"CN=Doe\, Alice,O=A B"),
            Ok(r"CN=Doe\, Alice,O=A B".into())
        );
        // The least specific part comes first in DER (RFC 4514 §2.1).
        let first = parse_subject(plain).unwrap();
        assert_eq!(first.iter().next().unwrap().to_string(), "C=DE");
        for wrong in ["", "Alice", "CN=", "CN=Alice,", "X-Y=1", "CN=a,O="] {
            assert!(parse_subject(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_names_are_encoded_as_rfc_5280_says() {
        let der = |text: &str| parse_alternative(text).map(|name| name.to_der().unwrap());
        assert_eq!(der("email:a@b"), Ok(b"\x81\x03a@b".to_vec()));
        assert_eq!(der("DNS:b"), Ok(b"\x82\x01b".to_vec()));
        assert_eq!(der("uri:a:b"), Ok(b"\x86\x03a:b".to_vec()));
        assert_eq!(der("ip:127.0.0.1"), Ok(b"\x87\x04\x7f\0\0\x01".to_vec()));
        let principal =
            b"\xa0\x13\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x05\x0c\x03a@b";
        assert_eq!(der("upn:a@b"), Ok(principal.to_vec()));
        for wrong in ["a@b", "email:", "email:ä@b", "ip:example.org", "fax:1"] {
            assert!(der(wrong).is_err(), "{wrong}");
        }
    }
}
