//! An OpenPGP card's contents (OpenPGP card 3.4 §4.4), written as its holder's tools write them.

use std::{
    fs, io,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    authority::{Certified, Contents, PublicKey, openssl},
    tlv::{find, tlv},
    wire::{Wire, unexpected},
};
use crate::Applet;

/// The keys of a card: signature, decryption, authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenPgpKeys {
    /// RSA-2048 three times.
    Rsa,
    /// P-256, P-256, Ed25519.
    Ec,
}

/// One of the three keys, by what belongs to it.
struct Slot {
    name: &'static str,
    /// Its control reference template (§7.2.14).
    template: u16,
    /// Its algorithm attributes.
    attributes: u8,
    /// Its fingerprint.
    fingerprint: u8,
    /// The time it was made.
    date: u8,
}

const SIGNATURE: Slot = Slot {
    name: "sig",
    template: 0xB6,
    attributes: 0xC1,
    fingerprint: 0xC7,
    date: 0xCE,
};
const DECRYPTION: Slot = Slot {
    name: "dec",
    template: 0xB8,
    attributes: 0xC2,
    fingerprint: 0xC8,
    date: 0xCF,
};
const AUTHENTICATION: Slot = Slot {
    name: "aut",
    template: 0xA4,
    attributes: 0xC3,
    fingerprint: 0xC9,
    date: 0xD0,
};

/// An algorithm as the attributes and the fingerprint name it (§4.4.3.9, RFC 9580 §9.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rsa = 1,
    Ecdh = 18,
    Ecdsa = 19,
    Eddsa = 22,
}

const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];

const CARDHOLDER: Contents = Contents {
    name: "aut",
    subject: "Test Card",
    usage: "digitalSignature",
    extensions: "extendedKeyUsage=clientAuth\nsubjectAltName=email:test@example.org",
    length: 900,
};

const ADMIN_PIN: &[u8] = b"12345678";

/// Makes the keys, and a cardholder certificate for the authentication key.
pub(super) fn make(
    mut wire: Wire<'_>,
    keys: OpenPgpKeys,
    certified: &Certified<'_>,
) -> io::Result<()> {
    wire.send([0, 0xA4, 0x04, 0], Applet::OpenPgp.aid())?;
    wire.send([0, 0x20, 0, 0x83], ADMIN_PIN)?;
    let mut put = |tag: u16, value: &[u8]| {
        let [high, low] = tag.to_be_bytes();
        wire.send([0, 0xDA, high, low], value).map(drop)
    };
    put(0x5B, b"Card<<Test")?;
    put(0x5F2D, b"en")?;
    put(0x5F50, b"https://example.org/test-card.asc")?;
    for slot in [SIGNATURE, DECRYPTION, AUTHENTICATION] {
        let algorithm = match (keys, slot.attributes) {
            (OpenPgpKeys::Rsa, _) => Algorithm::Rsa,
            (OpenPgpKeys::Ec, 0xC1) => Algorithm::Ecdsa,
            (OpenPgpKeys::Ec, 0xC2) => Algorithm::Ecdh,
            (OpenPgpKeys::Ec, _) => Algorithm::Eddsa,
        };
        make_key(&mut wire, &slot, algorithm, certified)?;
    }
    Ok(())
}

fn make_key(
    wire: &mut Wire<'_>,
    slot: &Slot,
    algorithm: Algorithm,
    certified: &Certified<'_>,
) -> io::Result<()> {
    // 2048 bits of modulus, 32 of exponent, keys imported as e, p and q.
    const RSA_2048: &[u8] = &[0x08, 0x00, 0x00, 0x20, 0x00];
    let parameters = match algorithm {
        Algorithm::Rsa => RSA_2048,
        Algorithm::Ecdsa | Algorithm::Ecdh => P256,
        Algorithm::Eddsa => ED25519,
    };
    let attributes = [&[algorithm as u8], parameters].concat();
    wire.send([0, 0xDA, 0, slot.attributes], &attributes)?;
    let answer = wire.send([0, 0x47, 0x80, 0], &tlv(slot.template, &[]))?;
    let public = find(&answer, 0x7F49)
        .and_then(|template| match algorithm {
            Algorithm::Rsa => Some(PublicKey::Rsa(
                find(template, 0x81)?.to_vec(),
                find(template, 0x82)?.to_vec(),
            )),
            Algorithm::Ecdsa | Algorithm::Ecdh => {
                Some(PublicKey::P256(find(template, 0x86)?.to_vec()))
            }
            Algorithm::Eddsa => Some(PublicKey::Ed25519(find(template, 0x86)?.to_vec())),
        })
        .ok_or_else(|| unexpected("public key"))?;
    certified.public_key(slot.name, &public)?;

    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u32::try_from(now.map_err(io::Error::other)?.as_secs()).map_err(io::Error::other)?;
    let fingerprint = fingerprint(&public, algorithm, now, certified)?;
    wire.send([0, 0xDA, 0, slot.fingerprint], &fingerprint)?;
    wire.send([0, 0xDA, 0, slot.date], &now.to_be_bytes())?;
    if slot.attributes == AUTHENTICATION.attributes {
        let certificate = certified.issue(&public, &CARDHOLDER)?;
        wire.send([0, 0xDA, 0x7F, 0x21], &certificate)?;
    }
    Ok(())
}

/// SHA-1 of the key as a packet of version 4 (RFC 9580 §5.5.4.1).
fn fingerprint(
    public: &PublicKey,
    algorithm: Algorithm,
    made: u32,
    certified: &Certified<'_>,
) -> io::Result<Vec<u8>> {
    let material = match public {
        PublicKey::Rsa(modulus, exponent) => [number(modulus), number(exponent)].concat(),
        PublicKey::P384(_) => return Err(unexpected("key of a known curve")),
        PublicKey::P256(point) => [curve(P256), number(point)].concat(),
        PublicKey::Ed25519(point) => {
            [curve(ED25519), number(&[&[0x40], &point[..]].concat())].concat()
        }
    };
    // ECDH: key derivation with SHA-256, key wrap with AES-128.
    let derivation: &[u8] = match algorithm {
        Algorithm::Ecdh => &[3, 1, 8, 7],
        _ => &[],
    };
    let body = [
        &[4],
        &made.to_be_bytes()[..],
        &[algorithm as u8],
        &material,
        derivation,
    ]
    .concat();
    let length = u16::try_from(body.len()).map_err(io::Error::other)?;
    let packet = certified.file("packet", "bin");
    fs::write(
        &packet,
        [&[0x99], &length.to_be_bytes()[..], &body].concat(),
    )?;
    let digest = openssl(
        Command::new("openssl")
            .args(["dgst", "-sha1", "-binary"])
            .arg(&packet),
    )?;
    fs::remove_file(packet)?;
    Ok(digest)
}

fn curve(identifier: &[u8]) -> Vec<u8> {
    let length = u8::try_from(identifier.len()).expect("a short identifier");
    [&[length], identifier].concat()
}

/// A multiprecision integer: the number of its bits, and its bytes from the first that is not zero (RFC 9580 §3.2).
fn number(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    let bits =
        u16::try_from(bytes.len() * 8).expect("a key") - u16::try_from(unused).expect("0 to 7");
    [&bits.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_count_their_bits() {
        assert_eq!(number(&[1, 0, 1]), [0, 17, 1, 0, 1]);
        assert_eq!(number(&[0, 0x80]), [0, 8, 0x80]);
        assert_eq!(number(&[]), [0, 0]);
    }
}
