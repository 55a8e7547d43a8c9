//! A PIV card's contents (SP 800-73-4 part 1), written as its issuer writes them.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

use des::{
    TdesEde3,
    cipher::{BlockEncrypt as _, KeyInit as _, generic_array::GenericArray},
};

use super::{
    authority::{Certified, Contents, PublicKey},
    tlv::{find, tlv},
    wire::{Wire, unexpected},
};
use crate::{Applet, memory::random_bytes};

/// A session in which the management key has been shown.
pub(super) struct PivAdmin<'a>(Wire<'a>);

/// Key references (SP 800-78-4 table 6-1).
#[derive(Clone, Copy)]
enum Key {
    Authentication = 0x9A,
    Signature = 0x9C,
    Management = 0x9D,
    CardAuthentication = 0x9E,
    Retired1 = 0x82,
}

/// Algorithms (SP 800-78-4 table 6-2).
#[derive(Clone, Copy)]
enum Algorithm {
    Rsa2048 = 0x07,
    Rsa3072 = 0x05,
    Rsa4096 = 0x16,
    P256 = 0x11,
    P384 = 0x14,
}

const MANAGEMENT_KEY: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
const TRIPLE_DES: u8 = 0x03;
const MANAGEMENT_KEY_REFERENCE: u8 = 0x9B;

const RSA_LENGTH: usize = 950;
const P256_LENGTH: usize = 725;
/// What Windows, pam_pkcs11 and sssd take for a login certificate.
const LOGIN: &str = "extendedKeyUsage=clientAuth,1.3.6.1.4.1.311.20.2.2\n\
     subjectAltName=email:test@example.org,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:test@EXAMPLE.ORG";

const CERTIFICATE_9A: Contents = Contents {
    name: "9a",
    subject: "Test Key 9A",
    usage: "digitalSignature",
    extensions: LOGIN,
    length: RSA_LENGTH,
};
const CERTIFICATE_9C: Contents = Contents {
    name: "9c",
    subject: "Test Key 9C",
    usage: "digitalSignature,nonRepudiation",
    extensions: "",
    length: P256_LENGTH,
};
const CERTIFICATE_9D: Contents = Contents {
    name: "9d",
    subject: "Test Key 9D",
    usage: "keyEncipherment",
    extensions: "extendedKeyUsage=emailProtection",
    length: RSA_LENGTH,
};
const CERTIFICATE_9E: Contents = Contents {
    name: "9e",
    subject: "Test Key 9E",
    usage: "digitalSignature",
    extensions: "",
    length: P256_LENGTH,
};
const CERTIFICATE_82: Contents = Contents {
    name: "82",
    subject: "Test Key 82",
    usage: "keyEncipherment",
    extensions: "extendedKeyUsage=emailProtection",
    length: RSA_LENGTH,
};

impl<'a> PivAdmin<'a> {
    /// Authenticates with the management key of a new card (SP 800-73-4 part 2 appendix A.2, external authentication).
    pub(super) fn log_in(mut wire: Wire<'a>) -> io::Result<Self> {
        wire.send([0, 0xA4, 0x04, 0], Applet::Piv.aid())?;
        let authenticate = [0, 0x87, TRIPLE_DES, MANAGEMENT_KEY_REFERENCE];
        let answer = wire.send(authenticate, &tlv(0x7C, &tlv(0x81, &[])))?;
        let challenge = find(&answer, 0x7C).and_then(|template| find(template, 0x81));
        let challenge: [u8; 8] = challenge
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| unexpected("challenge"))?;
        let mut block = GenericArray::from(challenge);
        let key = [MANAGEMENT_KEY; 3].concat();
        TdesEde3::new(GenericArray::from_slice(&key)).encrypt_block(&mut block);
        wire.send(authenticate, &tlv(0x7C, &tlv(0x82, &block)))?;
        Ok(Self(wire))
    }

    pub(super) fn make_four(&mut self, certified: &Certified<'_>) -> io::Result<()> {
        self.put_objects()?;
        for (key, algorithm, contents) in [
            (Key::Authentication, Algorithm::Rsa2048, &CERTIFICATE_9A),
            (Key::Signature, Algorithm::P256, &CERTIFICATE_9C),
            (Key::Management, Algorithm::Rsa2048, &CERTIFICATE_9D),
            (Key::CardAuthentication, Algorithm::P256, &CERTIFICATE_9E),
        ] {
            self.make_key(key, algorithm, contents, certified)?;
        }
        Ok(())
    }

    /// The longest keys of each kind.
    pub(super) fn make_large(&mut self, certified: &Certified<'_>) -> io::Result<()> {
        self.put_objects()?;
        for (key, algorithm, contents, length) in [
            (Key::Authentication, Algorithm::P384, &CERTIFICATE_9A, 850),
            (Key::Signature, Algorithm::Rsa3072, &CERTIFICATE_9C, 1150),
            (Key::Management, Algorithm::Rsa4096, &CERTIFICATE_9D, 1300),
            (
                Key::CardAuthentication,
                Algorithm::P384,
                &CERTIFICATE_9E,
                800,
            ),
        ] {
            let contents = Contents {
                length,
                ..contents.clone()
            };
            self.make_key(key, algorithm, &contents, certified)?;
        }
        Ok(())
    }

    /// As `make_one`, and the certificate is compressed (part 1 §3.1.3 and appendix A).
    pub(super) fn make_compressed(&mut self, certified: &Certified<'_>) -> io::Result<()> {
        self.make_one(certified)?;
        let der = certified.read_der(CERTIFICATE_9A.name)?;
        self.put_certificate(Key::Authentication, &gzip(&der)?, COMPRESSED)
    }

    pub(super) fn make_one(&mut self, certified: &Certified<'_>) -> io::Result<()> {
        self.put_objects()?;
        self.make_key(
            Key::Authentication,
            Algorithm::Rsa2048,
            &CERTIFICATE_9A,
            certified,
        )
    }

    pub(super) fn make_retired(&mut self, certified: &Certified<'_>) -> io::Result<()> {
        self.make_one(certified)?;
        self.make_key(
            Key::Retired1,
            Algorithm::Rsa2048,
            &CERTIFICATE_82,
            certified,
        )
    }

    /// A CHUID with a GUID of its own (part 1 §3.1.2), unsigned. The FASC-N is the one for issuers outside the US government.
    pub(super) fn put_chuid(&mut self) -> io::Result<()> {
        const FASC_N: [u8; 25] = [
            0xD4, 0xE7, 0x39, 0xDA, 0x73, 0x9C, 0xED, 0x39, 0xCE, 0x73, 0x9D, 0x83, 0x68, 0x58,
            0x21, 0x08, 0x42, 0x10, 0x84, 0x21, 0xC8, 0x42, 0x10, 0xC3, 0xEB,
        ];
        let mut guid = random_bytes::<16>()?;
        // A UUID of version 4, RFC 9562 §5.4.
        guid[6] = guid[6] & 0x0F | 0x40;
        guid[8] = guid[8] & 0x3F | 0x80;
        let chuid = [
            tlv(0x30, &FASC_N),
            tlv(0x34, &guid),
            tlv(0x35, b"20401231"),
            tlv(0x3E, &[]),
            tlv(0xFE, &[]),
        ];
        self.put(&[0x5F, 0xC1, 0x02], &chuid.concat())
    }

    /// CHUID, card capability container, discovery object and printed information. The key history object is the applet's own.
    fn put_objects(&mut self) -> io::Result<()> {
        self.put_chuid()?;
        let card_identifier = [
            &[0xA0, 0x00, 0x00, 0x01, 0x16, 0xFF, 0x02][..],
            &random_bytes::<14>()?,
        ]
        .concat();
        let capabilities = [
            tlv(0xF0, &card_identifier),
            tlv(0xF1, &[0x21]),
            tlv(0xF2, &[0x21]),
            tlv(0xF3, &[]),
            tlv(0xF4, &[0x00]),
            tlv(0xF5, &[0x10]),
            tlv(0xF6, &[]),
            tlv(0xF7, &[]),
            tlv(0xFA, &[]),
            tlv(0xFB, &[]),
            tlv(0xFC, &[]),
            tlv(0xFD, &[]),
            tlv(0xFE, &[]),
        ];
        self.put(&[0x5F, 0xC1, 0x07], &capabilities.concat())?;
        // The PIV PIN satisfies the access rules, and no other (part 1 §3.3.2).
        let discovery = [tlv(0x4F, Applet::Piv.aid()), tlv(0x5F2F, &[0x40, 0x00])].concat();
        self.0.send(PUT_DATA, &tlv(0x7E, &discovery))?;
        let printed = [
            tlv(0x01, b"Test Card"),
            tlv(0x02, b"Employee"),
            tlv(0x04, b"2040DEC31"),
            tlv(0x05, b"0000000001"),
            tlv(0x06, b"Virtual cards"),
            tlv(0xFE, &[]),
        ];
        self.put(&[0x5F, 0xC1, 0x09], &printed.concat())
    }

    fn make_key(
        &mut self,
        key: Key,
        algorithm: Algorithm,
        contents: &Contents,
        certified: &Certified<'_>,
    ) -> io::Result<()> {
        let template = tlv(0xAC, &tlv(0x80, &[algorithm as u8]));
        let answer = self.0.send([0, 0x47, 0, key as u8], &template)?;
        let public = find(&answer, 0x7F49)
            .and_then(|template| match algorithm {
                Algorithm::P256 => Some(PublicKey::P256(find(template, 0x86)?.to_vec())),
                Algorithm::P384 => Some(PublicKey::P384(find(template, 0x86)?.to_vec())),
                Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => {
                    Some(PublicKey::Rsa(
                        find(template, 0x81)?.to_vec(),
                        find(template, 0x82)?.to_vec(),
                    ))
                }
            })
            .ok_or_else(|| unexpected("public key"))?;
        let certificate = certified.issue(&public, contents)?;
        self.put_certificate(key, &certificate, 0)
    }

    fn put_certificate(&mut self, key: Key, certificate: &[u8], information: u8) -> io::Result<()> {
        let tag = match key {
            Key::Authentication => 0x05,
            Key::Signature => 0x0A,
            Key::Management => 0x0B,
            Key::CardAuthentication => 0x01,
            Key::Retired1 => 0x0D,
        };
        let object = [
            tlv(0x70, certificate),
            tlv(0x71, &[information]),
            tlv(0xFE, &[]),
        ];
        self.put(&[0x5F, 0xC1, tag], &object.concat())
    }

    fn put(&mut self, tag: &[u8], value: &[u8]) -> io::Result<()> {
        let data = [tlv(0x5C, tag), tlv(0x53, value)].concat();
        self.0.send(PUT_DATA, &data).map(drop)
    }
}

/// By the program of that name.
fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "-n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // It reads all before it writes what fits a pipe.
    if let Some(mut stdin) = gzip.stdin.take() {
        stdin.write_all(bytes)?;
    }
    let output = gzip.wait_with_output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other("gzip failed"))
}

/// CertInfo of a certificate that is compressed by gzip.
const COMPRESSED: u8 = 0x01;
const PUT_DATA: [u8; 4] = [0, 0xDB, 0x3F, 0xFF];
