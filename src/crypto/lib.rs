//! The crypto library behind one safe face: the only crate that knows which library it is.
//!
//! Everything that another crate needs of cryptography is here, and nothing in the signatures tells AWS-LC from OpenSSL.
//! Own code stands only where the library has nothing: the walk from a signature scheme to a raw private-key operation
//! ([`Reduction`]) and back from one to a plaintext ([`Decryption`]), the two forms of ECDSA signatures and the length of what
//! they are over ([`ecdsa`]), what stands for a message of ML-DSA ([`MlDsaMu`]), the key derivations of PKCS#12 and X9.63 ([`pkcs12_kdf`], [`x963_kdf`]), and AES key wrap with any initial value ([`key_wrap()`]).
//! What differs between the libraries, and all `unsafe`, is in `sys`.

#![deny(missing_docs, unsafe_code)]

#[cfg(all(feature = "aws-lc", feature = "openssl-vendored"))]
compile_error!(
    "features aws-lc and openssl-vendored exclude each other: use --no-default-features --features openssl-vendored"
);
#[cfg(not(any(feature = "aws-lc", feature = "openssl-vendored")))]
compile_error!("choose a crypto library: feature aws-lc (the default) or openssl-vendored");

mod agreement;
mod available;
mod curve;
mod decryption;
mod der;
mod digest;
mod digest_info;
pub mod ecdsa;
mod encoding;
mod encryption;
mod fork;
mod gcm;
#[cfg(test)]
mod hex;
mod kdf;
mod key;
mod key_wrap;
mod mac;
mod ml_dsa;
mod pbe;
mod per_thread;
mod pkcs7;
mod pkcs8;
mod post_quantum;
mod reduction;
mod rsa;
mod rsa_check;
mod secret;
mod stream;
#[allow(unsafe_code)]
mod sys;
pub mod tls;
mod unpadding;
mod verify;

pub use available::has_key_type;
pub use curve::check_point;
pub use decryption::{Decryption, RsaEncryption};
pub use digest::{Hash, Hasher, hash};
pub use encoding::{Block, MAX_BLOCK};
pub use encryption::encrypt;
pub use gcm::{MAX_GCM_IV, gcm_decrypt, gcm_encrypt};
pub use kdf::{Pkcs12Purpose, pbkdf2, pkcs12_kdf, scrypt, x963_kdf};
pub use key::PrivateKey;
pub use key_wrap::{
    key_unwrap, key_unwrap_padded, key_unwrap_pkcs7, key_wrap, key_wrap_padded,
    key_wrap_padded_len, key_wrap_pkcs7,
};
pub use mac::{Mac, hmac};
pub use ml_dsa::{ML_DSA_MU_LEN, MlDsaMu};
pub use pbe::{PbeCipher, pbe_decrypt};
pub use per_thread::PerThread;
pub use post_quantum::{check_encapsulation_key, encapsulate};
pub use reduction::{Reduction, Request};
pub use secret::{SecretBytes, SecretStore};
pub use stream::{CipherMode, CipherStream};
pub use verify::{verify, verify_recover};

use ctk_token::Result;

/// Fills with random bytes from the library's generator, which reseeds itself after a fork.
///
/// # Errors
/// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if the system gives no entropy.
pub fn random(out: &mut [u8]) -> Result<()> {
    sys::ready();
    let _inside = fork::enter();
    // The library counts in C ints.
    for chunk in out.chunks_mut(1 << 20) {
        openssl::rand::rand_bytes(chunk).map_err(sys::failed)?;
    }
    Ok(())
}

/// Compares without telling by time where they differ. Different lengths are told at once.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && openssl::memcmp::eq(a, b)
}

/// The version string of the library that is really linked, such as `AWS-LC 1.60.0` or `OpenSSL 3.6.3 …`.
pub fn library_version() -> String {
    sys::ready();
    openssl::version::version().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_library_is_the_one_of_the_feature() {
        let version = library_version();
        // Not by println, which shows nothing of a test that passes: each run says what it has tested.
        let line = format!("crypto library: {version}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        let name = if cfg!(feature = "aws-lc") {
            "AWS-LC "
        } else {
            "OpenSSL 3."
        };
        assert!(version.contains(name), "{version}");
    }

    #[test]
    fn random_bytes_fill_everything_and_differ() {
        let (mut first, mut second) = ([0; 64], [0; 64]);
        random(&mut first).unwrap();
        random(&mut second).unwrap();
        assert_ne!(first, second);
        assert!(first.rchunks(8).all(|chunk| chunk != [0; 8]));
        random(&mut []).unwrap();

        let mut long = vec![0; (1 << 20) + 16];
        random(&mut long).unwrap();
        assert_ne!(long[1 << 20..], [0; 16]);
    }

    #[test]
    fn comparison_sees_every_byte() {
        assert!(constant_time_eq(b"", b""));
        assert!(constant_time_eq(b"secret", b"secret"));
        assert!(!constant_time_eq(b"secret", b"secreT"));
        assert!(!constant_time_eq(b"Secret", b"secret"));
        assert!(!constant_time_eq(b"secret", b"secre"));
    }
}
