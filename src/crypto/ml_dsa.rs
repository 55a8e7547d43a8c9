//! What ML-DSA signs instead of a message, for a key store that does not take messages of any length.

use std::fmt;

use ctk_token::{KeyType, PublicKey, PublicKeyMaterial, Result, TokenError};
use openssl::hash::MessageDigest;

use crate::sys;

/// The length of [`MlDsaMu`], in bytes.
pub const ML_DSA_MU_LEN: usize = 64;

/// The message representative μ of ML-DSA without context in the making (FIPS 204 §6.2, algorithm 7 line 6): a signature
/// over it, which FIPS 204 calls external μ, is one over the message.
pub struct MlDsaMu(sys::HashContext);

impl fmt::Debug for MlDsaMu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlDsaMu")
    }
}

impl MlDsaMu {
    /// Begins, with the key that will sign: it is part of it.
    ///
    /// # Errors
    /// [`TokenError::NotSupported`] for another kind of key, [`TokenError::Unreachable`] if the library fails, here and below.
    pub fn new(key: &PublicKey) -> Result<Self> {
        let PublicKeyMaterial::Raw {
            key_type: KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87,
            bytes,
        } = key.material()
        else {
            return Err(TokenError::NotSupported);
        };
        let mut of_key = shake256()?;
        of_key.update(bytes)?;
        let mut hash = [0; ML_DSA_MU_LEN];
        of_key.fill(&mut hash)?;

        let mut of_message = shake256()?;
        of_message.update(&hash)?;
        // A message as it is, with a context of no bytes (algorithm 2 line 10).
        of_message.update(&[0, 0])?;
        Ok(Self(of_message))
    }

    /// Takes the next bytes of the message.
    pub fn update(&mut self, data: &[u8]) -> Result<()> {
        self.0.update(data)
    }

    /// μ of everything taken.
    pub fn finish(self) -> Result<[u8; ML_DSA_MU_LEN]> {
        let mut mu = [0; ML_DSA_MU_LEN];
        self.0.fill(&mut mu)?;
        Ok(mu)
    }
}

fn shake256() -> Result<sys::HashContext> {
    sys::ready();
    sys::HashContext::begin(sys::md(MessageDigest::shake_256()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::unhex;

    fn mu(key: &PublicKey, message: &[u8]) -> [u8; ML_DSA_MU_LEN] {
        let mut mu = MlDsaMu::new(key).unwrap();
        mu.update(message).unwrap();
        mu.finish().unwrap()
    }

    const MESSAGE: &[u8] = b"pay to the bearer on demand";

    /// Computed with Python's hashlib for keys of the bytes 0, 1, …, 250, 0, …
    #[test]
    fn it_is_what_fips_204_says() {
        for (key_type, len, message, expected) in [
            (
                KeyType::MlDsa44,
                1312,
                &b""[..],
                "ac77022bfe6f8cb9eefdceb486c82a6d0c38293ed066d6fa438d77173d371d1fa469abdf178c68e5db1c0d7014ede2d5d6d3ce9765133e60e6039484f25e8923",
            ),
            (
                KeyType::MlDsa44,
                1312,
                MESSAGE,
                "bfde015f8f1573dbd06bf20b5818669627e8405a1eca5d57fdb85f07c20373a8515c4cd191e1504f1fda5467161695a530478a18a92dda7803b20474c2ef59e5",
            ),
            (
                KeyType::MlDsa65,
                1952,
                MESSAGE,
                "fd3940a587684ac1ab2f30db62f0569d674f093d9997fc13f03c0a2da5c05a3681d6df15d158d2491dfa855357c41d43cba375d4fade42fac42573dc77e5f560",
            ),
            (
                KeyType::MlDsa87,
                2592,
                MESSAGE,
                "4dab65e0e073641125b6e22aea5f51b1a830f5b23506625a53b9443b9aeec0cf3843d7015c23f62a5165ad2f569117b84c4cb1480efe78ca2bbbd7b876750c42",
            ),
        ] {
            let bytes: Vec<u8> = (0..251).cycle().take(len).collect();
            let key = PublicKey::raw(key_type, &bytes).unwrap();
            assert_eq!(mu(&key, message).to_vec(), unhex(expected), "{key_type:?}");
        }
    }

    #[test]
    fn it_is_taken_in_parts_and_for_ml_dsa_only() {
        let key = PublicKey::raw(KeyType::MlDsa65, &[7; 1952]).unwrap();
        let mut parts = MlDsaMu::new(&key).unwrap();
        for part in [&MESSAGE[..3], b"", &MESSAGE[3..]] {
            parts.update(part).unwrap();
        }
        assert_eq!(parts.finish(), Ok(mu(&key, MESSAGE)));
        let other = PublicKey::raw(KeyType::Ed25519, &[7; 32]).unwrap();
        assert_eq!(MlDsaMu::new(&other).err(), Some(TokenError::NotSupported));
    }

    /// AWS-LC signs what it is given without hashing it; OpenSSL has no such call in the crate.
    #[cfg(feature = "aws-lc")]
    #[test]
    fn a_signature_over_it_is_one_over_the_message() {
        use ctk_token::KeyAlgorithm;
        use openssl::{pkey::PKey, pkey_ctx::PkeyCtx};

        for (key_type, oid) in [
            (KeyType::MlDsa44, 17),
            (KeyType::MlDsa65, 18),
            (KeyType::MlDsa87, 19),
        ] {
            // RFC 9881 §6: PKCS#8 with a seed.
            let oid = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, oid];
            let mut pkcs8 = vec![0x30, 52, 2, 1, 0, 0x30, 11, 6, 9];
            pkcs8.extend(oid);
            pkcs8.extend([4, 34, 0x80, 32]);
            pkcs8.extend([0x42; 32]);
            let private = PKey::private_key_from_der(&pkcs8).unwrap();
            let public = PublicKey::raw(key_type, &private.raw_public_key().unwrap()).unwrap();
            let mut context = PkeyCtx::new(&private).unwrap();
            context.sign_init().unwrap();
            let mut signature = Vec::new();
            context
                .sign_to_vec(&mu(&public, MESSAGE), &mut signature)
                .unwrap();
            let verified =
                |message| crate::verify(&public, KeyAlgorithm::MlDsa, message, &signature);
            assert_eq!(verified(MESSAGE), Ok(true), "{key_type:?}");
            assert_eq!(verified(b"another message"), Ok(false), "{key_type:?}");
        }
    }
}
