//! Which kinds of keys the library has.

use ctk_token::{Curve, KeyType};

/// Whether the library has keys of this kind. Asks nothing of it, so that a listing may ask for every key.
pub const fn has_key_type(key_type: KeyType) -> bool {
    let is_missing_in_aws_lc = matches!(
        key_type,
        KeyType::Ed448
            | KeyType::X448
            | KeyType::Ec(Curve::BrainpoolP256r1 | Curve::BrainpoolP384r1 | Curve::BrainpoolP512r1)
    );
    !(cfg!(feature = "aws-lc") && is_missing_in_aws_lc)
}

#[cfg(test)]
mod tests {
    use ctk_token::TokenError;

    use super::*;
    use crate::PrivateKey;

    #[test]
    fn what_is_there_can_be_made() {
        let curves = Curve::ALL.iter().map(|curve| KeyType::Ec(*curve));
        let others = [
            KeyType::Rsa { bits: 1024 },
            KeyType::Ed25519,
            KeyType::Ed448,
            KeyType::X25519,
            KeyType::X448,
            KeyType::MlDsa44,
            KeyType::MlDsa65,
            KeyType::MlDsa87,
            KeyType::MlKem512,
            KeyType::MlKem768,
            KeyType::MlKem1024,
        ];
        for key_type in curves.chain(others) {
            let made = PrivateKey::generate(key_type).map(drop);
            let expected = match has_key_type(key_type) {
                true => Ok(()),
                false => Err(TokenError::NotSupported),
            };
            assert_eq!(made, expected, "{key_type}");
        }
    }
}
