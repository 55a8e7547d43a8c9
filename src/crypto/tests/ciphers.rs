//! AES and triple DES give the published values, in any pieces, and refuse what is not theirs.

// clippy.toml's allowances for tests end at the helper functions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use common::{file, hex, numbers, openssl, unhex};
use ctk_crypto::{CipherMode, CipherStream, MAX_GCM_IV, gcm_decrypt, gcm_encrypt};
use ctk_token::{Result, TokenError};

/// Everything through a stream in pieces of `piece` bytes; each output is as long as was foretold.
fn run(mut stream: CipherStream, input: &[u8], piece: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for input in input.chunks(piece) {
        let ready = stream.update_len(input.len());
        let mut out = vec![0xee; ready + 3];
        assert_eq!(stream.update(input, &mut out)?, ready);
        assert_eq!(out[ready..], [0xee; 3]);
        all.extend_from_slice(&out[..ready]);
    }
    let most = stream.finish_len();
    let end = stream.finish()?.to_vec();
    assert!(end.len() <= most);
    assert_eq!(stream.finish()?, end);
    assert_eq!(stream.finish_len(), end.len());
    assert_eq!(stream.update(&[], &mut []), Err(TokenError::BadParameter));
    all.extend_from_slice(&end);
    Ok(all)
}

fn encrypt(mode: &CipherMode, key: &[u8], iv: &[u8], text: &[u8], piece: usize) -> Vec<u8> {
    run(CipherStream::encrypt(mode, key, iv).unwrap(), text, piece).unwrap()
}

fn decrypt(mode: &CipherMode, key: &[u8], iv: &[u8], text: &[u8], piece: usize) -> Result<Vec<u8>> {
    run(CipherStream::decrypt(mode, key, iv).unwrap(), text, piece)
}

const ALL: [CipherMode; 6] = [
    CipherMode::AesEcb,
    CipherMode::AesCbc,
    CipherMode::AesCbcPad,
    CipherMode::AesCtr { counter_bits: 128 },
    CipherMode::DesEde3Cbc,
    CipherMode::DesEde3CbcPad,
];

fn gcm(aad: &[u8], tag_len: usize) -> CipherMode {
    CipherMode::AesGcm {
        aad: aad.to_vec(),
        tag_len,
    }
}

fn key_lens(mode: &CipherMode) -> &'static [usize] {
    match mode {
        CipherMode::DesEde3Cbc | CipherMode::DesEde3CbcPad => &[24],
        _ => &[16, 24, 32],
    }
}

fn iv_len(mode: &CipherMode) -> usize {
    match mode {
        CipherMode::AesEcb => 0,
        CipherMode::DesEde3Cbc | CipherMode::DesEde3CbcPad => 8,
        _ => 16,
    }
}

/// A block's length if only whole ones are taken, else 1.
fn unit(mode: &CipherMode) -> usize {
    match mode {
        CipherMode::AesEcb | CipherMode::AesCbc => 16,
        CipherMode::DesEde3Cbc => 8,
        _ => 1,
    }
}

const KEYS: [&str; 3] = [
    "2b7e151628aed2a6abf7158809cf4f3c",
    "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
];
const TEXT: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                    30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";

/// SP 800-38A appendix F.
#[test]
fn aes_is_that_of_sp_800_38a() {
    let iv = "000102030405060708090a0b0c0d0e0f";
    let counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
    let ctr = CipherMode::AesCtr { counter_bits: 128 };
    for (mode, iv, expected) in [
        (
            CipherMode::AesEcb,
            "",
            [
                "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf\
                 43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
                "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef\
                 ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
                "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870\
                 b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
            ],
        ),
        (
            CipherMode::AesCbc,
            iv,
            [
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                 73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
                "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a\
                 571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd",
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
                 39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
            ],
        ),
        (
            ctr,
            counter,
            [
                "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff\
                 5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
                "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94\
                 1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050",
                "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5\
                 2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
            ],
        ),
    ] {
        for (key, expected) in KEYS.iter().zip(expected) {
            let (key, iv, text) = (unhex(key), unhex(iv), unhex(TEXT));
            for piece in [1, 5, 16, 17, 64] {
                let ciphertext = encrypt(&mode, &key, &iv, &text, piece);
                assert_eq!(hex(&ciphertext), expected, "{mode:?} {piece}");
                let decrypted = decrypt(&mode, &key, &iv, &ciphertext, piece);
                assert_eq!(decrypted.unwrap(), text, "{mode:?} {piece}");
            }
        }
    }
}

/// Every length around the blocks, in every size of piece, against `openssl enc`.
#[test]
fn every_mode_is_that_of_the_openssl_command() {
    for mode in &ALL {
        for key_len in key_lens(mode) {
            let (key, iv) = (numbers(0, *key_len), numbers(0x10, iv_len(mode)));
            for len in [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 100, 1000] {
                if len % unit(mode) != 0 {
                    continue;
                }
                let text = numbers(0x30, len);
                let expected = by_command(mode, &key, &iv, &text);
                for piece in [1, 3, 8, 15, 16, 17, 40, 2000] {
                    let ciphertext = encrypt(mode, &key, &iv, &text, piece);
                    assert_eq!(ciphertext, expected, "{mode:?} {len} {piece}");
                    let decrypted = decrypt(mode, &key, &iv, &ciphertext, piece);
                    assert_eq!(decrypted.unwrap(), text, "{mode:?} {len} {piece}");
                }
            }
        }
    }
}

fn by_command(mode: &CipherMode, key: &[u8], iv: &[u8], text: &[u8]) -> Vec<u8> {
    let bits = 8 * key.len();
    let (name, padded) = match mode {
        CipherMode::AesEcb => (format!("-aes-{bits}-ecb"), false),
        CipherMode::AesCbc => (format!("-aes-{bits}-cbc"), false),
        CipherMode::AesCbcPad => (format!("-aes-{bits}-cbc"), true),
        CipherMode::AesCtr { .. } => (format!("-aes-{bits}-ctr"), false),
        CipherMode::DesEde3Cbc => ("-des-ede3-cbc".to_owned(), false),
        CipherMode::DesEde3CbcPad => ("-des-ede3-cbc".to_owned(), true),
        CipherMode::AesGcm { .. } => panic!("openssl enc has no GCM"),
    };
    let (key, iv, text) = (hex(key), hex(iv), file("text", text));
    let mut arguments = vec!["enc", &name, "-K", &key, "-in", text.to_str().unwrap()];
    if !iv.is_empty() {
        arguments.extend(["-iv", &iv]);
    }
    if !padded {
        arguments.push("-nopad");
    }
    let (worked, ciphertext) = openssl(&arguments);
    assert!(worked, "{mode:?}");
    ciphertext
}

/// Longer than what is given to the library at once.
#[test]
fn long_data_is_that_of_the_openssl_command() {
    let text = numbers(0, (2 << 20) + 4711 * 16);
    for mode in &ALL {
        let (key, iv) = (numbers(0, 24), numbers(0x10, iv_len(mode)));
        let expected = by_command(mode, &key, &iv, &text);
        for piece in [text.len(), (1 << 20) + 1] {
            let ciphertext = encrypt(mode, &key, &iv, &text, piece);
            assert!(ciphertext == expected, "{mode:?} {piece}");
            let decrypted = decrypt(mode, &key, &iv, &ciphertext, piece).unwrap();
            assert!(decrypted == text, "{mode:?} {piece}");
        }
    }
    let (key, iv, mode) = (numbers(0, 32), numbers(0, 12), gcm(&text, 16));
    let mut sealed = vec![0; text.len() + 16];
    gcm_encrypt(&key, &iv, &text, 16, &text, &mut sealed).unwrap();
    assert!(sealed == encrypt(&mode, &key, &iv, &text, 4096));
    assert!(decrypt(&mode, &key, &iv, &sealed, 4096).unwrap() == text);
    for place in [0, 1 << 20, text.len() - 1] {
        let (mut aad, mut out) = (text.clone(), vec![0; text.len()]);
        aad[place] ^= 1;
        let refused = gcm_decrypt(&key, &iv, &aad, 16, &sealed, &mut out);
        assert_eq!(refused, Err(TokenError::BadCiphertext), "{place}");
    }
}

#[test]
fn keys_and_ivs_of_other_lengths_are_refused() {
    for mode in ALL.iter().chain([&gcm(b"", 16)]) {
        for key_len in 0..=40 {
            let fits = key_lens(mode).contains(&key_len);
            let iv = vec![0; iv_len(mode)];
            for begun in [
                CipherStream::encrypt(mode, &vec![1; key_len], &iv),
                CipherStream::decrypt(mode, &vec![1; key_len], &iv),
            ] {
                assert_eq!(begun.is_ok(), fits, "{mode:?} {key_len}");
                assert!(fits || begun.unwrap_err() == TokenError::BadParameter);
            }
        }
        for len in (0..=MAX_GCM_IV + 1).chain([100_000]) {
            let fits = match mode {
                CipherMode::AesGcm { .. } => (1..=MAX_GCM_IV).contains(&len),
                _ => len == iv_len(mode),
            };
            let begun = CipherStream::encrypt(mode, &[1; 24], &vec![0; len]);
            assert_eq!(begun.is_ok(), fits, "{mode:?} {len}");
            assert!(fits || begun.unwrap_err() == TokenError::BadParameter);
        }
    }
}

#[test]
fn part_of_a_block_is_refused_without_padding() {
    for mode in &ALL {
        if unit(mode) == 1 {
            continue;
        }
        let (key, iv) = (numbers(0, 24), numbers(0, iv_len(mode)));
        for len in 1..=40 {
            for mut stream in [
                CipherStream::encrypt(mode, &key, &iv).unwrap(),
                CipherStream::decrypt(mode, &key, &iv).unwrap(),
            ] {
                stream.update(&numbers(0, len), &mut [0; 64]).unwrap();
                let whole = len % unit(mode) == 0;
                let expected = if whole {
                    Ok(&[][..])
                } else {
                    Err(TokenError::DataLength)
                };
                assert_eq!(stream.finish(), expected, "{mode:?} {len}");
                assert_eq!(stream.finish(), expected, "{mode:?} {len}");
            }
        }
    }
}

#[test]
fn every_fault_of_a_padded_ciphertext_is_one_error() {
    for (padded, bare) in [
        (CipherMode::AesCbcPad, CipherMode::AesCbc),
        (CipherMode::DesEde3CbcPad, CipherMode::DesEde3Cbc),
    ] {
        let block = iv_len(&padded);
        let (key, iv) = (numbers(0, 24), numbers(0x10, block));
        for len in 1..=3 * block {
            if len % block != 0 {
                let refused = decrypt(&padded, &key, &iv, &numbers(0, len), 5);
                assert_eq!(refused, Err(TokenError::BadCiphertext), "{padded:?} {len}");
            }
        }
        let nothing = decrypt(&padded, &key, &iv, &[], 5);
        assert_eq!(nothing, Err(TokenError::BadCiphertext));

        for last in 0..=255_u8 {
            for wrong in [None, Some(0), Some(block - 2)] {
                let mut text = vec![last; 2 * block];
                if let Some(wrong) = wrong {
                    text[block + wrong] ^= 0x80;
                }
                let ciphertext = encrypt(&bare, &key, &iv, &text, 1000);
                let count = usize::from(last);
                let right =
                    (1..=block).contains(&count) && wrong.is_none_or(|wrong| wrong < block - count);
                let expected = if right {
                    Ok(text[..2 * block - count].to_vec())
                } else {
                    Err(TokenError::BadCiphertext)
                };
                let decrypted = decrypt(&padded, &key, &iv, &ciphertext, 7);
                assert_eq!(decrypted, expected, "{padded:?} {last} {wrong:?}");
            }
        }
    }
}

#[test]
fn a_counter_does_not_overflow() {
    let key = numbers(0, 16);
    // PKCS#11's own example: two bits that start as 1 are good for three blocks.
    for (bits, last, blocks) in [
        (1, 1, 1),
        (2, 1, 3),
        (2, 0, 4),
        (2, 0xfc, 4),
        (8, 0xff, 1),
        (8, 0, 256),
        (9, 0xff, 257),
    ] {
        let mode = CipherMode::AesCtr { counter_bits: bits };
        let mut iv = [0; 16];
        iv[15] = last;
        let begin = || CipherStream::encrypt(&mode, &key, &iv).unwrap();
        let text = numbers(0, 16 * blocks);
        let ciphertext = run(begin(), &text, 1000).unwrap();
        let whole = CipherMode::AesCtr { counter_bits: 128 };
        assert_eq!(ciphertext, encrypt(&whole, &key, &iv, &text, 1000));

        let more = numbers(0, text.len() + 1);
        for piece in [1, 16, 10_000] {
            assert_eq!(run(begin(), &more, piece), Err(TokenError::DataLength));
        }
    }
    // 128 bits are counted to their end, and with a carry through all of them before.
    let mode = CipherMode::AesCtr { counter_bits: 128 };
    let begin = |iv| CipherStream::encrypt(&mode, &key, iv).unwrap();
    assert!(run(begin(&[0xff; 16]), &[0; 16], 16).is_ok());
    assert_eq!(
        run(begin(&[0xff; 16]), &[0; 17], 16),
        Err(TokenError::DataLength)
    );
    assert!(run(begin(&[0; 16]), &[0; 100_000], 1000).is_ok());
    for bits in [0, 129, 256, u32::MAX] {
        let mode = CipherMode::AesCtr { counter_bits: bits };
        let refused = CipherStream::encrypt(&mode, &key, &[0; 16]).unwrap_err();
        assert_eq!(refused, TokenError::BadParameter, "{bits}");
    }
}

/// Nothing is taken, so the same piece can come again with more room.
#[test]
fn a_short_output_changes_nothing() {
    for mode in ALL.iter().chain([&gcm(b"aad", 12)]) {
        let (key, iv) = (numbers(0, 24), numbers(0, iv_len(mode).max(1)));
        let iv = &iv[..if iv_len(mode) == 0 { 0 } else { iv.len() }];
        let text = numbers(0, 80);
        let mut stream = CipherStream::encrypt(mode, &key, iv).unwrap();
        let ready = stream.update_len(text.len());
        let mut out = vec![0; ready];
        let short = stream.update(&text, &mut out[1..]);
        assert_eq!(short, Err(TokenError::BadParameter), "{mode:?}");
        let mut clone = stream.try_clone().unwrap();
        assert_eq!(stream.update(&text, &mut out), Ok(ready));
        let mut all = out;
        all.extend_from_slice(stream.finish().unwrap());
        assert_eq!(all, encrypt(mode, &key, iv, &text, 1000), "{mode:?}");

        let mut again = vec![0; ready];
        clone.update(&text, &mut again).unwrap();
        again.extend_from_slice(clone.finish().unwrap());
        assert_eq!(again, all, "{mode:?}");
        assert_eq!(stream.try_clone().unwrap_err(), TokenError::BadParameter);
    }
}

/// Test cases 1 to 6 and 16 to 18 of the GCM specification (McGrew and Viega, appendix B).
#[test]
fn gcm_is_that_of_its_specification() {
    let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let long_iv = "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728\
                   c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b";
    let key = "feffe9928665731c6d6a8f9467308308";
    let long_key = format!("{key}{key}");
    let zero = "00000000000000000000000000000000";
    for (key, iv, aad, text, expected) in [
        (
            zero,
            &zero[..24],
            "",
            "",
            "58e2fccefa7e3061367f1d57a4e7455a",
        ),
        (
            zero,
            &zero[..24],
            "",
            zero,
            "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            key,
            "cafebabefacedbaddecaf888",
            aad,
            text,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
             5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            key,
            "cafebabefacedbad",
            aad,
            text,
            "61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c7423\
             73806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598\
             3612d2e79e3b0785561be14aaca2fccb",
        ),
        (
            key,
            long_iv,
            aad,
            text,
            "8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca7\
             01e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5\
             619cc5aefffe0bfa462af43c1699d050",
        ),
        (
            &long_key,
            "cafebabefacedbaddecaf888",
            aad,
            text,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
             76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let (key, iv, aad, text) = (unhex(key), unhex(iv), unhex(aad), unhex(text));
        let mut out = vec![0; text.len() + 16];
        let len = gcm_encrypt(&key, &iv, &aad, 16, &text, &mut out).unwrap();
        assert_eq!((hex(&out).as_str(), len), (expected, out.len()));
        let mut back = vec![0; text.len()];
        let len = gcm_decrypt(&key, &iv, &aad, 16, &out, &mut back);
        assert_eq!((len, &back), (Ok(text.len()), &text));

        let mode = gcm(&aad, 16);
        for piece in [1, 15, 16, 17, 1000] {
            assert_eq!(encrypt(&mode, &key, &iv, &text, piece), out);
            assert_eq!(decrypt(&mode, &key, &iv, &out, piece), Ok(text.clone()));
        }
    }
}

#[test]
fn gcm_releases_nothing_without_its_tag() {
    let (key, iv, aad, text) = (
        numbers(0, 32),
        numbers(0, 12),
        numbers(0, 5),
        numbers(0, 50),
    );
    for tag_len in 0..=20 {
        let mut out = vec![0; text.len() + tag_len];
        let sealed = gcm_encrypt(&key, &iv, &aad, tag_len, &text, &mut out);
        if !matches!(tag_len, 4 | 8 | 12..=16) {
            assert_eq!(sealed, Err(TokenError::BadParameter), "{tag_len}");
            let begun = CipherStream::decrypt(&gcm(&aad, tag_len), &key, &iv);
            assert_eq!(begun.unwrap_err(), TokenError::BadParameter);
            continue;
        }
        assert_eq!(sealed, Ok(out.len()));
        for place in 0..out.len() {
            let mut changed = out.clone();
            changed[place] ^= 1;
            let mut back = vec![0xee; text.len()];
            let opened = gcm_decrypt(&key, &iv, &aad, tag_len, &changed, &mut back);
            assert_eq!(opened, Err(TokenError::BadCiphertext), "{place}");
            assert_eq!(back, vec![0; text.len()]);
            let opened = decrypt(&gcm(&aad, tag_len), &key, &iv, &changed, 9);
            assert_eq!(opened, Err(TokenError::BadCiphertext), "{place}");
        }
        let mut back = vec![0; text.len()];
        let other = |key: &[u8], iv: &[u8], aad: &[u8], back: &mut [u8]| {
            gcm_decrypt(key, iv, aad, tag_len, &out, back)
        };
        assert_eq!(other(&key, &iv, &aad, &mut back), Ok(text.len()));
        for (key, iv, aad) in [
            (&numbers(1, 32), &iv, &aad),
            (&key, &numbers(1, 12), &aad),
            (&key, &iv, &numbers(1, 5)),
            (&key, &iv, &Vec::new()),
        ] {
            let refused = other(key, iv, aad, &mut back);
            assert_eq!(refused, Err(TokenError::BadCiphertext));
        }
        for len in 0..tag_len {
            let refused = gcm_decrypt(&key, &iv, &aad, tag_len, &out[..len], &mut back);
            assert_eq!(refused, Err(TokenError::BadCiphertext), "{len}");
        }
        let short = &mut back[1..];
        let refused = gcm_decrypt(&key, &iv, &aad, tag_len, &out, short);
        assert_eq!(refused, Err(TokenError::BadParameter));
        let mut short = vec![0; out.len() - 1];
        let refused = gcm_encrypt(&key, &iv, &aad, tag_len, &text, &mut short);
        assert_eq!(refused, Err(TokenError::BadParameter));
    }
}

#[test]
fn lengths_beyond_everything_are_foretold_without_a_panic() {
    let key = [0; 24];
    for mode in ALL.iter().chain([&gcm(b"", 16)]) {
        let iv = vec![0; iv_len(mode)];
        for mut stream in [
            CipherStream::encrypt(mode, &key, &iv).unwrap(),
            CipherStream::decrypt(mode, &key, &iv).unwrap(),
        ] {
            stream.update(&[1, 2, 3], &mut [0; 3]).unwrap();
            for len in [0, 1, usize::MAX - 1, usize::MAX] {
                assert!(stream.update_len(len) >= stream.update_len(0));
            }
        }
    }
}

#[test]
fn a_stream_moves_between_threads_and_tells_nothing() {
    fn send(_: &impl Send) {}
    let stream = CipherStream::decrypt(&CipherMode::AesEcb, &[7; 16], &[]).unwrap();
    send(&stream);
    assert_eq!(format!("{stream:?}"), "CipherStream(Decrypt)");
}
