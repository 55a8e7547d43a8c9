//! HMAC, CMAC, the X9.63 derivation and PBKDF2 are those of the `openssl` command, with every hash.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{file, hex, numbers, openssl};
use ctk_crypto::{Mac, hmac, pbkdf2, x963_kdf};
use ctk_token::Digest;

/// The command's name of a hash.
fn name(digest: Digest) -> &'static str {
    match digest {
        Digest::Sha1 => "SHA1",
        Digest::Sha224 => "SHA2-224",
        Digest::Sha256 => "SHA2-256",
        Digest::Sha384 => "SHA2-384",
        Digest::Sha512 => "SHA2-512",
        Digest::Sha3_224 => "SHA3-224",
        Digest::Sha3_256 => "SHA3-256",
        Digest::Sha3_384 => "SHA3-384",
        Digest::Sha3_512 => "SHA3-512",
    }
}

/// What the command prints, as lower-case digits alone.
fn digits(arguments: &[&str]) -> String {
    let (worked, printed) = openssl(arguments);
    assert!(worked, "{arguments:?}");
    let printed = String::from_utf8(printed).unwrap().to_lowercase();
    printed.chars().filter(char::is_ascii_hexdigit).collect()
}

#[test]
fn hmac_is_that_of_the_command() {
    for digest in Digest::ALL {
        for (key_len, len) in [(1, 0), (20, 77), (72, 72), (144, 1), (145, 500), (1000, 64)] {
            let (key, message) = (numbers(3, key_len), numbers(0, len));
            let (option, input) = (format!("hexkey:{}", hex(&key)), file("message", &message));
            let input = input.to_str().unwrap();
            let expected = digits(&[
                "mac",
                "-digest",
                name(digest),
                "-macopt",
                &option,
                "-in",
                input,
                "HMAC",
            ]);
            let code = hmac(digest, &key, &message).unwrap();
            assert_eq!(hex(&code), expected, "{digest:?} {key_len} {len}");
        }
    }
}

#[test]
fn cmac_is_that_of_the_command() {
    for key_len in [16, 24, 32] {
        let key = numbers(3, key_len);
        let (option, cipher) = (
            format!("hexkey:{}", hex(&key)),
            format!("AES-{}-CBC", 8 * key_len),
        );
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 1000] {
            let message = numbers(0, len);
            let input = file("message", &message);
            let input = input.to_str().unwrap();
            let expected = digits(&[
                "mac", "-cipher", &cipher, "-macopt", &option, "-in", input, "CMAC",
            ]);
            for piece in [1, 16, 37, 2000] {
                let mut mac = Mac::aes_cmac(&key).unwrap();
                for piece in message.chunks(piece) {
                    mac.update(piece).unwrap();
                }
                assert_eq!(
                    hex(&mac.finish().unwrap()),
                    expected,
                    "{key_len} {len} {piece}"
                );
            }
        }
    }
}

#[test]
fn x963_derivation_is_that_of_the_command() {
    for digest in Digest::ALL {
        for (len, info_len) in [(1, 0), (16, 1), (32, 100), (64, 0), (65, 33), (1000, 7)] {
            let (secret, info) = (numbers(5, 66), numbers(9, info_len));
            let mut out = vec![0; len];
            x963_kdf(digest, &secret, &info, &mut out).unwrap();
            let options = [
                format!("digest:{}", name(digest)),
                format!("hexsecret:{}", hex(&secret)),
                format!("hexinfo:{}", hex(&info)),
            ];
            assert_eq!(
                hex(&out),
                derived("X963KDF", len, &options),
                "{digest:?} {len}"
            );
        }
    }
}

#[test]
fn pbkdf2_is_that_of_the_command() {
    for digest in Digest::ALL {
        for (len, iterations) in [(1, 1), (32, 2048), (100, 7)] {
            let (password, salt) = (numbers(0x21, 30), numbers(0, 20));
            let mut out = vec![0; len];
            pbkdf2(digest, &password, &salt, iterations, &mut out).unwrap();
            let options = [
                format!("digest:{}", name(digest)),
                format!("hexpass:{}", hex(&password)),
                format!("hexsalt:{}", hex(&salt)),
                format!("iter:{iterations}"),
                // Without SP 800-132's least lengths.
                "pkcs5:1".to_owned(),
            ];
            assert_eq!(
                hex(&out),
                derived("PBKDF2", len, &options),
                "{digest:?} {len}"
            );
        }
    }
}

fn derived(kdf: &str, len: usize, options: &[String]) -> String {
    let len = len.to_string();
    let mut arguments = vec!["kdf", "-keylen", &len];
    for option in options {
        // The command takes no empty value; nothing is its default.
        if !option.ends_with(':') {
            arguments.extend(["-kdfopt", option]);
        }
    }
    arguments.push(kdf);
    digits(&arguments)
}
