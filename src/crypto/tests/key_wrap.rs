//! AES key wrap gives the published values and those of the `openssl` command, and takes back nothing else.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{file, hex, numbers, openssl, unhex};
use ctk_crypto::{
    CipherMode, CipherStream, key_unwrap, key_unwrap_padded, key_unwrap_pkcs7, key_wrap,
    key_wrap_padded, key_wrap_padded_len, key_wrap_pkcs7,
};
use ctk_token::{Result, TokenError};

type Way = fn(&[u8], Option<&[u8]>, &[u8], &mut [u8]) -> Result<usize>;

const WAYS: [(Way, Way, usize); 3] = [
    (key_wrap, key_unwrap, 8),
    (key_wrap_padded, key_unwrap_padded, 4),
    (key_wrap_pkcs7, key_unwrap_pkcs7, 8),
];

fn run(way: Way, key: &[u8], iv: Option<&[u8]>, input: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0xee; input.len() + 16];
    let len = way(key, iv, input, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// RFC 3394 §4.
#[test]
fn key_wrap_is_that_of_rfc_3394() {
    let data = unhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    for (key_len, data_len, expected) in [
        (16, 16, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
        (24, 16, "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d"),
        (32, 16, "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"),
        (
            24,
            24,
            "031d33264e15d33268f24ec260743edce1c6c7ddee725a936ba814915c6762d2",
        ),
        (
            32,
            24,
            "a8f9bc1612c68b3ff6e6f4fbe30e71e4769c8b80a32cb8958cd5d17d6b254da1",
        ),
        (
            32,
            32,
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
    ] {
        let key = numbers(0, key_len);
        let data = &data[..data_len];
        let wrapped = run(key_wrap, &key, None, data).unwrap();
        assert_eq!(hex(&wrapped), expected);
        assert_eq!(run(key_unwrap, &key, None, &wrapped).unwrap(), data);
    }
}

/// RFC 5649 §6.
#[test]
fn padded_key_wrap_is_that_of_rfc_5649() {
    let key = unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    for (data, expected) in [
        (
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    ] {
        let data = unhex(data);
        let wrapped = run(key_wrap_padded, &key, None, &data).unwrap();
        assert_eq!(hex(&wrapped), expected);
        assert_eq!(run(key_unwrap_padded, &key, None, &wrapped).unwrap(), data);
    }
}

/// Every length and initial values of the caller's, by `openssl enc`.
#[test]
fn wrapping_is_that_of_the_openssl_command() {
    let by_command = |name: &str, key: &[u8], iv: &[u8], data: &[u8]| {
        let (key, iv, data) = (hex(key), hex(iv), file("data", data));
        let data = data.to_str().unwrap();
        let (worked, wrapped) = openssl(&["enc", name, "-K", &key, "-iv", &iv, "-in", data]);
        assert!(worked);
        wrapped
    };
    for key_len in [16, 24, 32] {
        let (key, bits) = (numbers(9, key_len), 8 * key_len);
        let (plain, padded) = (
            format!("-id-aes{bits}-wrap"),
            format!("-id-aes{bits}-wrap-pad"),
        );
        for len in (1..=40).chain([64, 121, 1000, 2400]) {
            let data = numbers(0x40, len);
            for (iv, given) in [
                ([0xa6, 0x59, 0x59, 0xa6], false),
                ([1, 2, 3, 4], true),
                ([0; 4], true),
            ] {
                let expected = by_command(&padded, &key, &iv, &data);
                let iv = given.then_some(&iv[..]);
                let wrapped = run(key_wrap_padded, &key, iv, &data).unwrap();
                assert_eq!(wrapped, expected, "{len}");
                assert_eq!(key_wrap_padded_len(len), Some(wrapped.len()));
                assert_eq!(run(key_unwrap_padded, &key, iv, &wrapped), Ok(data.clone()));
            }
            if len % 8 == 0 && len >= 16 {
                for (iv, given) in [([0xa6; 8], false), ([1, 2, 3, 4, 5, 6, 7, 8], true)] {
                    let expected = by_command(&plain, &key, &iv, &data);
                    let iv = given.then_some(&iv[..]);
                    let wrapped = run(key_wrap, &key, iv, &data).unwrap();
                    assert_eq!(wrapped, expected, "{len}");
                    assert_eq!(run(key_unwrap, &key, iv, &wrapped), Ok(data.clone()));
                }
            }
            if len >= 8 {
                let count = 8 - len % 8;
                let filled = [&data[..], &vec![count as u8; count]].concat();
                let expected = by_command(&plain, &key, &[0xa6; 8], &filled);
                let wrapped = run(key_wrap_pkcs7, &key, None, &data).unwrap();
                assert_eq!(wrapped, expected, "{len}");
                assert_eq!(run(key_unwrap_pkcs7, &key, None, &wrapped), Ok(data));
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let (key, mut out) = (numbers(0, 16), [0; 100]);
    for (wrap, unwrap, iv_len) in WAYS {
        let wrapped = run(wrap, &key, None, &numbers(0, 24)).unwrap();
        for len in 0..=40 {
            let fits = matches!(len, 16 | 24 | 32);
            let done = wrap(&numbers(0, len), None, &[1; 24], &mut out);
            assert!(done.is_ok() == fits && (fits || done == Err(TokenError::BadParameter)));
            let undone = unwrap(&numbers(0, len), None, &wrapped, &mut out);
            assert_eq!(undone.is_ok(), len == 16);
            assert!(fits || undone == Err(TokenError::BadParameter));
        }
        for len in (0..=16).filter(|len| *len != iv_len) {
            let iv = Some(numbers(0, len));
            let done = wrap(&key, iv.as_deref(), &[1; 24], &mut out);
            assert_eq!(done, Err(TokenError::BadParameter));
            let undone = unwrap(&key, iv.as_deref(), &wrapped, &mut out);
            assert_eq!(undone, Err(TokenError::BadParameter));
        }
        // One byte of room less than the result or what unwrapping needs.
        let short = &mut out[..wrapped.len() - 1];
        assert_eq!(
            wrap(&key, None, &[1; 24], short),
            Err(TokenError::BadParameter)
        );
        let short = &mut out[..wrapped.len() - 9];
        assert_eq!(
            unwrap(&key, None, &wrapped, short),
            Err(TokenError::BadParameter)
        );
        assert!(unwrap(&key, None, &wrapped, &mut out[..wrapped.len() - 8]).is_ok());
        for len in (0..16).chain([17, 23, 25, 33]) {
            let refused = unwrap(&key, None, &numbers(0, len), &mut out);
            assert_eq!(refused, Err(TokenError::BadCiphertext), "{len}");
        }
    }
    let refused = Err(TokenError::DataLength);
    for len in (0..16).chain([17, 23, 25]) {
        assert_eq!(key_wrap(&key, None, &numbers(0, len), &mut out), refused);
    }
    for len in 0..8 {
        assert_eq!(
            key_wrap_pkcs7(&key, None, &numbers(0, len), &mut out),
            refused
        );
    }
    assert_eq!(key_wrap_padded(&key, None, &[], &mut out), refused);
    assert_eq!(key_wrap_padded_len(usize::MAX), None);
    assert_eq!(key_wrap_padded_len(usize::MAX - 7), None);
}

#[test]
fn every_change_is_one_error_and_leaves_nothing() {
    let key = numbers(0, 32);
    let iv = numbers(0x80, 8);
    for (wrap, unwrap, iv_len) in WAYS {
        for len in [8, 16, 24, 30, 31] {
            let Ok(wrapped) = run(wrap, &key, None, &numbers(0, len)) else {
                continue;
            };
            for place in 0..wrapped.len() {
                for change in [1, 0x80] {
                    let mut changed = wrapped.clone();
                    changed[place] ^= change;
                    let mut out = vec![0xee; wrapped.len() - 8];
                    let refused = unwrap(&key, None, &changed, &mut out);
                    assert_eq!(refused, Err(TokenError::BadCiphertext), "{len} {place}");
                    assert!(out.iter().all(|byte| matches!(byte, 0 | 0xee)));
                }
            }
            let other_key = run(unwrap, &numbers(1, 32), None, &wrapped);
            assert_eq!(other_key, Err(TokenError::BadCiphertext));
            let other_iv = run(unwrap, &key, Some(&iv[..iv_len]), &wrapped);
            assert_eq!(other_iv, Err(TokenError::BadCiphertext));
        }
    }
}

/// Whole and well encrypted, with a length or a padding that cannot be (RFC 5649 §3's second and third check).
#[test]
fn a_wrong_length_or_padding_inside_is_the_same_error() {
    let key = numbers(0, 16);
    let sealed = |len: u32, data: &[u8]| {
        let iv = [&[0xa6, 0x59, 0x59, 0xa6][..], &len.to_be_bytes()].concat();
        run(key_wrap, &key, Some(&iv), data).unwrap()
    };
    let mut data = numbers(1, 24);
    let bad = Err(TokenError::BadCiphertext);
    for len in [0, 1, 8, 15, 16, 25, 32, u32::MAX] {
        assert_eq!(run(key_unwrap_padded, &key, None, &sealed(len, &data)), bad);
    }
    assert_eq!(
        run(key_unwrap_padded, &key, None, &sealed(24, &data)),
        Ok(data.clone())
    );
    for len in 17..24 {
        data[len..].fill(0);
        let right = run(key_unwrap_padded, &key, None, &sealed(len as u32, &data));
        assert_eq!(right, Ok(data[..len].to_vec()));
        for place in len..24 {
            let mut changed = data.clone();
            changed[place] = 1;
            let sealed = sealed(len as u32, &changed);
            assert_eq!(run(key_unwrap_padded, &key, None, &sealed), bad, "{len}");
        }
        data = numbers(1, 24);
    }
    // Zeros enough for more padding than a semiblock, and none of it inside.
    data[8..].fill(0);
    for len in [0, 8, 15, 16, 25, 31, 32, u32::MAX] {
        assert_eq!(run(key_unwrap_padded, &key, None, &sealed(len, &data)), bad);
    }
    data = numbers(1, 24);
    // One semiblock, which only the padded form has.
    let block = [&[0xa6; 8][..], &data[..8]].concat();
    let mut single = [0; 16];
    let mut ecb = CipherStream::encrypt(&CipherMode::AesEcb, &key, &[]).unwrap();
    ecb.update(&block, &mut single).unwrap();
    assert_eq!(run(key_unwrap, &key, None, &single), bad);
    for last in [0, 9, 255] {
        data[23] = last;
        let wrapped = run(key_wrap, &key, None, &data).unwrap();
        assert_eq!(run(key_unwrap_pkcs7, &key, None, &wrapped), bad);
    }
}
