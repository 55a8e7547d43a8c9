//! The fingerprint by which OpenPGP programs know that there is a key, and which (RFC 9580
//! §5.5.4.2, version 4).

use ctk_token::{Curve, Digest, KeyType, PublicKey, PublicKeyMaterial, Result, TokenError};

use super::{
    attributes::{ED25519_LEGACY, X25519_LEGACY},
    place::Place,
};

/// SHA-1's length, in bytes.
pub(super) const LEN: usize = 20;

/// The fingerprint of the key in `place`, made at `time`, in seconds since 1970.
///
/// # Errors
/// [`TokenError::BadParameter`] for a kind of key that OpenPGP cards do not have.
pub(super) fn of(place: Place, key: &PublicKey, time: u32) -> Result<[u8; LEN]> {
    let body = packet(place, key, time)?;
    let len = u16::try_from(body.len()).map_err(|_| TokenError::BadParameter)?;
    let hashed = [&[0x99], &len.to_be_bytes()[..], &body].concat();
    let hash = ctk_crypto::hash(Digest::Sha1, &hashed)?;
    <[u8; LEN]>::try_from(&*hash).map_err(|_| TokenError::BadParameter)
}

/// The body of a version 4 public key packet (RFC 9580 §5.5.2.2).
fn packet(place: Place, key: &PublicKey, time: u32) -> Result<Vec<u8>> {
    let mut body = vec![4];
    body.extend(time.to_be_bytes());
    match key.material() {
        PublicKeyMaterial::Rsa { modulus, exponent } => {
            body.push(1);
            number(&mut body, modulus)?;
            number(&mut body, exponent)?;
        }
        PublicKeyMaterial::Ec { curve, point } => {
            let agrees = place == Place::Encryption;
            body.push(if agrees { 18 } else { 19 });
            counted(&mut body, curve.oid().as_bytes())?;
            number(&mut body, point)?;
            if agrees {
                body.extend(key_derivation(*curve));
            }
        }
        PublicKeyMaterial::Raw { key_type, bytes } => {
            let (algorithm, oid) = match key_type {
                KeyType::Ed25519 => (22, ED25519_LEGACY),
                KeyType::X25519 => (18, X25519_LEGACY),
                _ => return Err(TokenError::BadParameter),
            };
            body.push(algorithm);
            counted(&mut body, oid.as_bytes())?;
            // The mark of a point that is not one of SEC 1 (RFC 9580 §11.2.1).
            number(&mut body, &[&[0x40], &bytes[..]].concat())?;
            if *key_type == KeyType::X25519 {
                body.extend(SHA256_AES128);
            }
        }
    }
    Ok(body)
}

const SHA256_AES128: [u8; 4] = [3, 1, 8, 7];

/// Which hash and cipher go with a curve (RFC 9580 §11.5.1, table 30): part of an ECDH key, and so
/// of its fingerprint.
fn key_derivation(curve: Curve) -> [u8; 4] {
    match curve.bits() {
        0..=256 => SHA256_AES128,
        257..=384 => [3, 1, 9, 8],
        _ => [3, 1, 10, 9],
    }
}

/// A number with its length in bits before it (RFC 9580 §3.2).
fn number(body: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    let bits = u32::try_from(bytes.len() * 8)
        .ok()
        .and_then(|bits| u16::try_from(bits - unused).ok())
        .ok_or(TokenError::BadParameter)?;
    body.extend(bits.to_be_bytes());
    body.extend(bytes);
    Ok(())
}

fn counted(body: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    body.push(u8::try_from(bytes.len()).map_err(|_| TokenError::BadParameter)?);
    body.extend(bytes);
    Ok(())
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

    /// Made by GnuPG 2.2.40, whose secret halves nobody has kept.
    #[test]
    fn gnupg_has_the_same_fingerprints() {
        const TIME: u32 = 1_795_456_925;
        let modulus = "C0142AEAC98B8EC29E09A500289AFE82B65D49BAFF1A2B5814E6ACCAE139FA118097CE4A\
                       29362A63A83F243E2F5DF8704EA3A2E1BFF428CF52C9D29BE14F03E29C2F258432C881A8\
                       7C7A320FB9C12BE8B44370A427941702ED25FAD04D5F28F0E6575AD7FBA38697BEEAB27D\
                       4BE7D92CEC5AD1438AAE6B5229209E057A8E64CE9A1F07AF5C9AB1CB250B90038B39AE0B\
                       3DA90792218FD69C9980EC6C752F2EFCFBF9121E9283228213C0FE67D5130A020E501073\
                       C869EFEFA6D7919A66A92B063815DC482E6ABE2F18B8226CCBEBF789AD384AEE10511FDC\
                       864A66BDCD3ED45BA7D0C5BED5F4357257488C168857753088C1AD370ABF391D3EC30A55\
                       A2F8CDF9";
        let raw = |key_type, point| PublicKey::raw(key_type, &bytes(point)).unwrap();
        let ec = |curve, point| PublicKey::ec(curve, &bytes(point)).unwrap();
        let known = [
            (
                Place::Signature,
                PublicKey::rsa(&bytes(modulus), &[1, 0, 1]).unwrap(),
                "B85FD51C9E2213633C0554E86AA2E096C072BC9E",
            ),
            (
                Place::Authentication,
                raw(
                    KeyType::Ed25519,
                    "7346CC36E1B172594FA7B5637BD45CC0D64AB9953615F1FA63F5EF89A5CD83FF",
                ),
                "065545110B486F76AB88FDD75450C90304E4FB03",
            ),
            (
                Place::Encryption,
                raw(
                    KeyType::X25519,
                    "65EB38E2E5584553443D757E106A50714A1C14DEBC2F3B72C2EEEF734FDC611C",
                ),
                "5A40D8098F47A670BDACC6F3B841AE90D95FE63B",
            ),
            (
                Place::Signature,
                ec(
                    Curve::P256,
                    "04D7BE1210DD5EC61EE3B760C540EF9DBD34C17543B0FB382DFAB124EAC5D794FE166E60\
                     FDC05019EC88406BB12A4C599F74F2223474AA88ACA106D7BACFD4A51B",
                ),
                "F85509DDD1B4AD5BEA7127FE9F8F9CD01039FDB8",
            ),
            (
                Place::Encryption,
                ec(
                    Curve::P256,
                    "049C9B7F7278709DB9D3F6253D84454022481455223E9C890E2F3E38AE3A195CBA0BA1F3\
                     F06AC9A5E509D32E79F940BD61B7E896092F9E9403DD694617B854C29D",
                ),
                "6E3B60B7FCFF8FF56AF63B60451740C7F17C40A1",
            ),
            (
                Place::Encryption,
                ec(
                    Curve::P384,
                    "042D28F4DA41ED3D6BD12BFF8CF590ABC5BE68A86DD06E2CED1BD1390C955B18E865A878\
                     1A76C593CA44851277B59A5F0B5115A4F7C6B798717D02119C37D9B6BEBAD3D283C84F59\
                     1C9CD4831BB4F66EEB3E639928997D7A92EB0CA34FB1FD96D1",
                ),
                "8384C3E542DD3A60BF9DA9C37DFFC0A4F4FC305D",
            ),
        ];
        for (place, key, expected) in known {
            let fingerprint = of(place, &key, TIME).unwrap();
            assert_eq!(fingerprint[..], bytes(expected), "{place:?}");
        }
    }
}
