//! The serial number of a token whose key store has none.

use ctk_crypto::Hasher;
use ctk_host::config::{Contents, to_hex};
use ctk_token::{Digest, Result};

/// The first 16 hexadecimal digits of SHA-256 over the sorted public keys: whoever registers the file gets the same.
/// A token without keys takes its certificates.
pub(crate) fn serial(contents: &Contents) -> Result<String> {
    let mut parts: Vec<&[u8]> = contents.keys.iter().map(|key| &*key.spki).collect();
    if parts.is_empty() {
        parts = contents
            .certificates
            .iter()
            .map(|certificate| &*certificate.der)
            .collect();
    }
    parts.sort_unstable();
    let mut hasher = Hasher::new(Digest::Sha256)?;
    for part in parts {
        hasher.update(part)?;
    }
    Ok(to_hex(&hasher.finish()?).chars().take(16).collect())
}

#[cfg(test)]
mod tests {
    use ctk_host::config::{KeyFacts, Settings};

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_count() {
        let key = |spki: &[u8]| KeyFacts {
            label: String::new(),
            identity: vec![1],
            spki: spki.to_vec(),
            subject: None,
            facts: Settings::default(),
        };
        let of = |keys: &[&[u8]]| {
            let keys = keys.iter().map(|spki| key(spki)).collect();
            serial(&Contents {
                keys,
                certificates: Vec::new(),
            })
            .unwrap()
        };
        // printf ab | sha256sum
        assert_eq!(of(&[b"a", b"b"]), "fb8e20fc2e4c3f24");
        assert_eq!(of(&[b"b", b"a"]), of(&[b"a", b"b"]));
        assert_ne!(of(&[b"a"]), of(&[b"b"]));
    }
}
