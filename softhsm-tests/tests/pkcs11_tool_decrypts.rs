//! OpenSC's pkcs11-tool decrypts, agrees on secrets, hashes, takes random numbers, and its own tests find no error.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{Outcome, run},
};

const SECRET: &[u8] = b"what only the holder of the key may read";

fn read(bed: &Bed, name: &str) -> Vec<u8> {
    fs::read(bed.work.path().join(name)).unwrap_or_default()
}

/// pkcs11-tool with a key, from the file `input` to the file `output`.
fn with_key(bed: &Bed, identity: &Identity, pin: &str, options: &[&str]) -> Outcome {
    let _ = fs::remove_file(bed.work.path().join("output"));
    let mut command = bed.pkcs11_tool();
    command.args(["--login", "--pin", pin, "--id", &identity.id]);
    command.args(["--input-file", "input", "--output-file", "output"]);
    run(command.args(options))
}

/// Right with the PIN, and nothing without.
fn opens(bed: &Bed, identity: &Identity, options: &[&str], wanted: &[u8]) {
    with_key(bed, identity, WRONG_PIN, options)
        .refused()
        .says("CKR_PIN_INCORRECT");
    assert_eq!(read(bed, "output"), b"", "{options:?} with a wrong PIN");
    with_key(bed, identity, PIN, options).succeeded();
    assert_eq!(read(bed, "output"), wanted, "{options:?}");
}

#[test]
fn rsa_decrypts() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let rsa = &identities[0];
    bed.work.write("secret", SECRET);
    let encrypt = |from: &str, options: &[&str]| {
        let mut command = bed.command("openssl");
        command.args([
            "pkeyutl", "-encrypt", "-pubin", "-in", from, "-out", "input",
        ]);
        for option in options {
            command.args(["-pkeyopt", option]);
        }
        run(command.arg("-inkey").arg(&rsa.public)).succeeded();
    };
    encrypt("secret", &["rsa_padding_mode:pkcs1"]);
    opens(&bed, rsa, &["--decrypt", "-m", "RSA-PKCS"], SECRET);
    for (hash, name, mgf) in [
        ("sha1", "SHA-1", "MGF1-SHA1"),
        ("sha224", "SHA224", "MGF1-SHA224"),
        ("sha256", "SHA256", "MGF1-SHA256"),
        ("sha384", "SHA384", "MGF1-SHA384"),
        ("sha512", "SHA512", "MGF1-SHA512"),
    ] {
        let digest = format!("rsa_oaep_md:{hash}");
        encrypt("secret", &["rsa_padding_mode:oaep", &digest]);
        let oaep = [
            "--decrypt",
            "-m",
            "RSA-PKCS-OAEP",
            "--hash-algorithm",
            name,
            "--mgf",
            mgf,
        ];
        opens(&bed, rsa, &oaep, SECRET);
        // As long as a message can be: the modulus less two digests and two bytes.
        let longest = vec![0xA5; 256 - 2 * digest_len(hash) - 2];
        bed.work.write("long", &longest);
        encrypt("long", &["rsa_padding_mode:oaep", &digest]);
        opens(&bed, rsa, &oaep, &longest);
    }
    let mut block = vec![0x5A; 256];
    block[0] = 0;
    bed.work.write("block", &block);
    encrypt("block", &["rsa_padding_mode:none"]);
    opens(&bed, rsa, &["--decrypt", "-m", "RSA-X-509"], &block);
}

fn digest_len(hash: &str) -> usize {
    match hash {
        "sha1" => 20,
        "sha224" => 28,
        "sha256" => 32,
        "sha384" => 48,
        "sha512" => 64,
        _ => panic!("{hash}"),
    }
}

#[test]
fn another_ciphertext_gives_no_message_and_no_hint() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048]);
    let rsa = &identities[0];
    // A number below the modulus that is no ciphertext of anything.
    bed.work.write("input", [0x42; 256]);
    let decrypt = || with_key(&bed, rsa, PIN, &["--decrypt", "-m", "RSA-PKCS"]);
    decrypt().succeeded();
    let first = read(&bed, "output");
    decrypt().succeeded();
    assert_eq!(first, read(&bed, "output"), "the same each time");
    // OAEP has no message to make up: it is one error.
    let oaep = [
        "--decrypt",
        "-m",
        "RSA-PKCS-OAEP",
        "--hash-algorithm",
        "SHA256",
    ];
    with_key(&bed, rsa, PIN, &oaep)
        .refused()
        .says("CKR_ENCRYPTED_DATA_INVALID");
}

#[test]
fn ec_keys_agree_on_secrets() {
    let curves = [Kind::P256, Kind::P384, Kind::P521];
    let (bed, identities) = Bed::with(&curves);
    for identity in &identities {
        // The peer's key has the curve of ours.
        let peer = bed.identity("peer", identity.kind);
        let mut derive = bed.command("openssl");
        derive.args(["pkeyutl", "-derive", "-out", "wanted", "-inkey"]);
        derive.arg(&peer.key).arg("-peerkey");
        run(derive.arg(&identity.public)).succeeded();
        let mut der = bed.command("openssl");
        der.args(["pkey", "-pubin", "-outform", "DER", "-out", "input", "-in"]);
        run(der.arg(&peer.public)).succeeded();
        let wanted = read(&bed, "wanted");
        for mechanism in ["ECDH1-DERIVE", "ECDH1-COFACTOR-DERIVE"] {
            let derive = ["--derive", "-m", mechanism];
            opens(&bed, identity, &derive, &wanted);
        }
    }
}

#[test]
fn hashes_and_random_numbers_need_no_login() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    bed.work.write("input", vec![9; 5000]);
    for (mechanism, hash) in [
        ("SHA-1", "sha1"),
        ("SHA224", "sha224"),
        ("SHA256", "sha256"),
        ("SHA384", "sha384"),
        ("SHA512", "sha512"),
        ("SHA3-224", "sha3-224"),
        ("SHA3-256", "sha3-256"),
        ("SHA3-384", "sha3-384"),
        ("SHA3-512", "sha3-512"),
    ] {
        let mut command = bed.pkcs11_tool();
        command.args(["--hash", "-m", mechanism, "--input-file", "input"]);
        run(command.args(["--output-file", "output"])).succeeded();
        let mut command = bed.command("openssl");
        command.args(["dgst", "-binary", &format!("-{hash}"), "input"]);
        assert_eq!(
            read(&bed, "output"),
            run(&mut command).succeeded().stdout,
            "{mechanism}"
        );
    }
    let random = || {
        let mut command = bed.pkcs11_tool();
        command.args(["--generate-random", "64", "--output-file", "output"]);
        run(&mut command).succeeded();
        read(&bed, "output")
    };
    let (first, second) = (random(), random());
    assert_eq!((first.len(), second.len()), (64, 64));
    assert_ne!(first, second);
}

#[test]
fn nothing_is_made_on_the_token() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    for options in [
        &["--keygen", "--key-type", "AES:32"][..],
        &["--keypairgen", "--key-type", "EC:prime256v1"],
        &[
            "--write-object",
            "input",
            "--type",
            "data",
            "--label",
            "new",
        ],
    ] {
        bed.work.write("input", b"data");
        let mut command = bed.pkcs11_tool();
        command.args(["--login", "--pin", PIN]).args(options);
        run(&mut command)
            .refused()
            .says("CKR_TOKEN_WRITE_PROTECTED");
    }
}

/// hosts/as_hardware.c, which says of every mechanism that it is one of hardware.
fn as_hardware(bed: &Bed) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = bed.work.path().join("as_hardware.so");
    let mut command = Command::new("cc");
    command.args([
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
    ]);
    command.arg("-I").arg(folder.join("../include")).arg("-o");
    command.arg(&shared).arg(folder.join("hosts/as_hardware.c"));
    run(command.arg("-ldl")).succeeded();
    shared
}

/// Its tests; they say what went well, and go on after what did not.
fn own_tests(bed: &Bed, module: &Path) -> String {
    let own = |pin: &str| {
        let mut command = bed.command("pkcs11-tool");
        command.arg("--module").arg(module);
        run(command.args(["--login", "--pin", pin, "--test"]))
    };
    own(WRONG_PIN).refused().says("CKR_PIN_INCORRECT");
    let text = own(PIN)
        .succeeded()
        .says("  seems to be OK\n")
        .says("all 4 digest functions seem to work")
        .says("No errors")
        .text();
    assert!(!text.contains("CKR_") && !text.contains("ERR"), "{text}");
    text
}

#[test]
fn its_own_tests_find_no_error() {
    let (bed, _) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    // It tries only mechanisms of hardware when it signs.
    let plain = own_tests(&bed, &bed.module);
    assert!(plain.contains("Signatures: not implemented"), "{plain}");
    for text in [plain, own_tests(&bed, &as_hardware(&bed))] {
        for line in ["RSA-PKCS: OK", "RSA-X-509: OK", "SHA1-RSA-PKCS: OK"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        // With a label and without.
        let oaep = text.split("RSA-PKCS-OAEP: ").skip(1);
        let opened = oaep.filter(|rest| rest.contains("OK\n")).count();
        assert_eq!(opened, 2, "{text}");
        assert!(!text.contains("Mechanism not supported"), "{text}");
        if !text.contains("Signatures: not implemented") {
            assert!(
                text.contains("all 4 signature functions seem to work"),
                "{text}"
            );
            assert!(text.contains("SHA256-RSA-PKCS: OK"), "{text}");
        }
    }
}

#[test]
fn its_own_tests_find_no_error_without_an_rsa_key() {
    for kind in [Kind::P384, Kind::Ed25519] {
        let (bed, _) = Bed::with(&[kind]);
        own_tests(&bed, &bed.module);
    }
}
