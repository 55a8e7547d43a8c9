//! OpenSC's pkcs11-tool lists, signs with every mechanism of this release, and gets neither a key nor a signature without the PIN.

use std::{fs, process::Command};

use softhsm_tests::{
    bed::{Bed, Identity, Kind, PIN, WRONG_PIN},
    process::{Outcome, run},
};

/// How `openssl` checks what a mechanism has signed.
#[derive(Clone, Copy)]
enum Check {
    /// `openssl dgst -HASH -verify`, PKCS#1 v1.5 or ECDSA.
    Digest(&'static str),
    /// `openssl dgst -HASH -verify` with PSS, the salt as long as the digest.
    Pss(&'static str),
    /// `openssl pkeyutl -verify` of a digest that was made before.
    Prehashed(&'static str),
    /// As before, with PSS.
    PrehashedPss(&'static str),
    /// `openssl pkeyutl -verify -rawin`.
    Whole,
    /// `openssl pkeyutl -verify` of a PKCS#1 v1.5 block that was padded before.
    Raw,
}

use Check::{Digest, Prehashed, PrehashedPss, Pss, Raw, Whole};

/// Every mechanism with which this release signs, as pkcs11-tool names it.
const RSA: [(&str, Check); 21] = [
    ("RSA-PKCS", Prehashed("sha256")),
    ("SHA1-RSA-PKCS", Digest("sha1")),
    ("SHA224-RSA-PKCS", Digest("sha224")),
    ("SHA256-RSA-PKCS", Digest("sha256")),
    ("SHA384-RSA-PKCS", Digest("sha384")),
    ("SHA512-RSA-PKCS", Digest("sha512")),
    ("SHA3-224-RSA-PKCS", Digest("sha3-224")),
    ("SHA3-256-RSA-PKCS", Digest("sha3-256")),
    ("SHA3-384-RSA-PKCS", Digest("sha3-384")),
    ("SHA3-512-RSA-PKCS", Digest("sha3-512")),
    ("RSA-X-509", Raw),
    ("RSA-PKCS-PSS", PrehashedPss("sha256")),
    ("SHA1-RSA-PKCS-PSS", Pss("sha1")),
    ("SHA224-RSA-PKCS-PSS", Pss("sha224")),
    ("SHA256-RSA-PKCS-PSS", Pss("sha256")),
    ("SHA384-RSA-PKCS-PSS", Pss("sha384")),
    ("SHA512-RSA-PKCS-PSS", Pss("sha512")),
    ("SHA3-224-RSA-PKCS-PSS", Pss("sha3-224")),
    ("SHA3-256-RSA-PKCS-PSS", Pss("sha3-256")),
    ("SHA3-384-RSA-PKCS-PSS", Pss("sha3-384")),
    ("SHA3-512-RSA-PKCS-PSS", Pss("sha3-512")),
];
const EC: [(&str, Check); 10] = [
    ("ECDSA", Prehashed("sha256")),
    ("ECDSA-SHA1", Digest("sha1")),
    ("ECDSA-SHA224", Digest("sha224")),
    ("ECDSA-SHA256", Digest("sha256")),
    ("ECDSA-SHA384", Digest("sha384")),
    ("ECDSA-SHA512", Digest("sha512")),
    ("ECDSA-SHA3-224", Digest("sha3-224")),
    ("ECDSA-SHA3-256", Digest("sha3-256")),
    ("ECDSA-SHA3-384", Digest("sha3-384")),
    ("ECDSA-SHA3-512", Digest("sha3-512")),
];
const ED25519: [(&str, Check); 1] = [("EDDSA", Whole)];
/// Those whose keys this pkcs11-tool cannot have: secret keys of a session, which ends with it, and ML-DSA, which it does not know.
/// What it has no name for it shows by number.
const WITHOUT_A_KEY: [&str; 20] = [
    "SHA-1-HMAC",
    "SHA-1-HMAC-GENERAL",
    "SHA224-HMAC",
    "mechtype-0x257",
    "SHA256-HMAC",
    "mechtype-0x252",
    "SHA384-HMAC",
    "mechtype-0x262",
    "SHA512-HMAC",
    "mechtype-0x272",
    "SHA3-224-HMAC",
    "mechtype-0x2B7",
    "SHA3-256-HMAC",
    "mechtype-0x2B2",
    "SHA3-384-HMAC",
    "mechtype-0x2C2",
    "SHA3-512-HMAC",
    "mechtype-0x2D2",
    "AES-CMAC",
    "mechtype-0x108B",
];
const ML_DSA: &str = "mechtype-0x1D";

/// DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2, note 1).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Signs the file `input` with pkcs11-tool.
fn sign(bed: &Bed, identity: &Identity, mechanism: &str, input: &str, pin: &str) -> Outcome {
    let _ = fs::remove_file(bed.work.path().join("signature"));
    let mut command = bed.pkcs11_tool();
    command
        .args([
            "--login",
            "--pin",
            pin,
            "--id",
            &identity.id,
            "--sign",
            "-m",
            mechanism,
        ])
        .args(["--input-file", input, "--output-file", "signature"]);
    if mechanism.starts_with("ECDSA") {
        command.args(["--signature-format", "openssl"]);
    }
    if mechanism == "RSA-PKCS-PSS" {
        command.args(["--hash-algorithm", "SHA256"]);
    }
    run(&mut command)
}

/// Has `openssl` check the file `signature` over the file `message`.
fn openssl_verifies(bed: &Bed, identity: &Identity, check: Check) -> Outcome {
    let mut command = bed.command("openssl");
    match check {
        Digest(hash) | Pss(hash) => {
            command.args(["dgst", &format!("-{hash}")]);
            if matches!(check, Pss(_)) {
                command.args([
                    "-sigopt",
                    "rsa_padding_mode:pss",
                    "-sigopt",
                    "rsa_pss_saltlen:digest",
                ]);
            }
            command.arg("-verify").arg(&identity.public);
            command.args(["-signature", "signature", "message"]);
        }
        // The signature over a padded block is a PKCS#1 v1.5 signature.
        Raw => return openssl_verifies(bed, identity, Prehashed("sha256")),
        Prehashed(hash) | PrehashedPss(hash) => {
            command.args([
                "pkeyutl",
                "-verify",
                "-pubin",
                "-in",
                "digest",
                "-sigfile",
                "signature",
            ]);
            if identity.kind == Kind::Rsa2048 {
                command.args(["-pkeyopt", &format!("digest:{hash}")]);
            }
            if matches!(check, PrehashedPss(_)) {
                command.args([
                    "-pkeyopt",
                    "rsa_padding_mode:pss",
                    "-pkeyopt",
                    "rsa_pss_saltlen:digest",
                ]);
            }
            command.arg("-inkey").arg(&identity.public);
        }
        Whole => {
            command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-in", "message"]);
            command
                .args(["-sigfile", "signature", "-inkey"])
                .arg(&identity.public);
        }
    }
    run(&mut command)
}

/// Every mechanism signs a message of `length` bytes so that openssl agrees, and does not with a wrong PIN.
fn every_mechanism(kind: Kind, mechanisms: &[(&str, Check)], length: usize) {
    let (bed, identities) = Bed::with(&[kind]);
    let identity = &identities[0];
    let message: Vec<u8> = (0..length)
        .map(|at| u8::try_from(at % 251).expect("a byte"))
        .collect();
    bed.work.write("message", &message);
    run(bed
        .command("openssl")
        .args(["dgst", "-sha256", "-binary", "-out", "digest", "message"]))
    .succeeded();
    let digest = fs::read(bed.work.path().join("digest")).expect("the digest");
    bed.work
        .write("digest-info", [&SHA256_PREFIX[..], &digest].concat());
    // RFC 8017 §9.2: 00 01 FF … 00 before the DigestInfo, as long as the modulus.
    let padding = [&[0, 1][..], &[0xFF; 256 - 54], &[0]].concat();
    let block = [&padding, &SHA256_PREFIX[..], &digest].concat();
    bed.work.write("block", block);

    for (mechanism, check) in mechanisms {
        let input = match check {
            Digest(_) | Pss(_) | Whole => "message",
            Raw => "block",
            Prehashed(_) if kind == Kind::Rsa2048 => "digest-info",
            Prehashed(_) | PrehashedPss(_) => "digest",
        };
        sign(&bed, identity, mechanism, input, PIN).succeeded();
        openssl_verifies(&bed, identity, *check).succeeded();

        // The check itself is a check: another message must not pass.
        bed.work.write("message", b"another message");
        bed.work.write("digest", [0x5A; 32]);
        openssl_verifies(&bed, identity, *check).refused();
        bed.work.write("message", &message);
        bed.work.write("digest", &digest);

        sign(&bed, identity, mechanism, input, WRONG_PIN)
            .refused()
            .says("CKR_PIN_INCORRECT");
        let signature = fs::read(bed.work.path().join("signature")).unwrap_or_default();
        assert!(
            signature.is_empty(),
            "{mechanism}: a signature in spite of a wrong PIN"
        );
    }
}

/// Up to 1024 bytes pkcs11-tool calls C_Sign, above that C_SignUpdate and C_SignFinal.
const SINGLE: usize = 1000;
const MULTI: usize = 5000;

#[test]
fn rsa_signs_in_one_part() {
    every_mechanism(Kind::Rsa2048, &RSA, SINGLE);
}

#[test]
fn rsa_signs_in_parts() {
    every_mechanism(Kind::Rsa2048, &RSA, MULTI);
}

#[test]
fn p256_signs_in_one_part() {
    every_mechanism(Kind::P256, &EC, SINGLE);
}

#[test]
fn p256_signs_in_parts() {
    every_mechanism(Kind::P256, &EC, MULTI);
}

#[test]
fn p384_signs() {
    every_mechanism(Kind::P384, &EC, MULTI);
}

#[test]
fn p521_signs() {
    every_mechanism(Kind::P521, &EC, MULTI);
}

#[test]
fn ed25519_signs() {
    every_mechanism(Kind::Ed25519, &ED25519, SINGLE);
}

#[test]
fn every_mechanism_that_is_listed_is_tested_here() {
    let (bed, _) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    bed.token("edwards", &[Kind::Ed25519]);
    let mut listed: Vec<String> = Vec::new();
    for token in 0..2 {
        let outcome = run(bed
            .pkcs11_tool()
            .args(["-M", "--slot-index", &token.to_string()]))
        .succeeded();
        let text = String::from_utf8(outcome.stdout).expect("text");
        for line in text.lines().filter(|line| line.contains("sign")) {
            let name = line.trim().split(',').next().expect("a name").to_owned();
            listed.push(name);
        }
    }
    // Not with every crypto library.
    listed.retain(|name| name != ML_DSA);
    listed.sort();
    listed.dedup();
    let mut tested: Vec<_> = RSA
        .iter()
        .chain(&EC)
        .chain(&ED25519)
        .map(|(name, _)| *name)
        .chain(WITHOUT_A_KEY)
        .map(str::to_owned)
        .collect();
    tested.sort();
    assert_eq!(listed, tested);
}

#[test]
fn slots_and_objects_are_listed_without_a_pin() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    run(bed.pkcs11_tool().arg("-L"))
        .succeeded()
        .says("login required")
        .says("token initialized")
        .says("PKCS#12");
    let outcome = run(bed.pkcs11_tool().arg("-O")).succeeded();
    let text = outcome.text();
    assert!(
        !text.contains("Private Key Object"),
        "a private key before login:\n{text}"
    );
    for identity in &identities {
        let count = text
            .matches(&format!("  ID:         {}\n", identity.id))
            .count();
        assert_eq!(
            count, 2,
            "certificate and public key of {}:\n{text}",
            identity.name
        );
        let read = |kind: &str, name: &str| {
            run(bed
                .pkcs11_tool()
                .args(["-r", "--type", kind, "--id", &identity.id, "-o", name]))
            .succeeded();
            fs::read(bed.work.path().join(name)).expect("what was read")
        };
        let mut as_der = bed.command("openssl");
        as_der
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&identity.certificate);
        assert_eq!(
            read("cert", "read.crt"),
            run(&mut as_der).succeeded().stdout
        );
        let mut as_der = bed.command("openssl");
        as_der
            .args(["pkey", "-pubin", "-outform", "DER", "-in"])
            .arg(&identity.public);
        assert_eq!(
            read("pubkey", "read.pub"),
            run(&mut as_der).succeeded().stdout
        );
    }
}

#[test]
fn private_keys_are_listed_after_login_and_cannot_be_read() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    let outcome = run(bed.pkcs11_tool().args(["-O", "--login", "--pin", PIN])).succeeded();
    let text = outcome.text();
    assert_eq!(text.matches("Private Key Object").count(), 2, "{text}");
    // Keys from a file are sensitive now, and were not always: the file's owner has them.
    assert_eq!(
        text.matches("  Access:     sensitive\n").count(),
        2,
        "{text}"
    );
    for usage in ["decrypt, sign, unwrap", "sign, derive"] {
        let line = format!("  Usage:      {usage}\n");
        assert_eq!(text.matches(&line).count(), 1, "{text}");
    }
    run(bed
        .pkcs11_tool()
        .args(["-O", "--login", "--pin", WRONG_PIN]))
    .refused()
    .says("CKR_PIN_INCORRECT");
    for identity in &identities {
        let mut command = bed.pkcs11_tool();
        command.args([
            "--login",
            "--pin",
            PIN,
            "-r",
            "--type",
            "privkey",
            "--id",
            &identity.id,
        ]);
        // pkcs11-tool refuses this by itself, without asking the module. That the module refuses is in secrets.rs.
        run(command.args(["-o", "stolen"])).says("reading private keys not (yet) supported");
        assert!(!bed.work.path().join("stolen").exists());
    }
}

#[test]
fn it_forks() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    let outcome = run(bed
        .pkcs11_tool()
        .args(["--login", "--pin", PIN, "--test-fork"]))
    .succeeded()
    .says("Calling C_Initialize in forked child process");
    assert!(!outcome.text().contains("CKR_"), "{}", outcome.text());
}

/// Its threads; it ends with status 0 whatever they meet, so that only what they say counts.
fn threads(bed: &Bed, login: &[&str]) -> Outcome {
    let mut command: Command = bed.pkcs11_tool();
    // Something to do meanwhile: if it came to its end before the threads, it would wait for 30 seconds.
    command.args(login).args(["-O", "-L", "-M"]);
    for _ in 0..THREADS {
        // IL: C_Initialize with locking by the system, GI: C_GetInfo, SL: C_GetSlotList, twice, T0: the first token.
        command.args(["--test-threads", "ILGISLT0"]);
    }
    run(&mut command)
}

const THREADS: usize = 8;

/// Whether the program, which is through, says here how far a thread has come: no further than C_Initialize.
fn is_state_of_beginner(line: &str) -> bool {
    line.starts_with("test_threads thread:") && line.contains(" state:0,")
}

#[test]
fn its_threads_race_for_initialisation() {
    let (bed, _) = Bed::with(&[Kind::P256]);
    for login in [&[][..], &["--login", "--pin", PIN]] {
        let outcome = threads(&bed, login)
            .succeeded()
            .says("all threads have ended with CKR_OK");
        let text = outcome.text();
        for line in text.lines().filter(|line| line.contains("CKR_")) {
            let begins = line.contains("C_Initialize") || is_state_of_beginner(line);
            let late = begins && line.contains("CKR_CRYPTOKI_ALREADY_INITIALIZED");
            assert!(line.ends_with("CKR_OK") || late, "{line}\n{text}");
        }
        assert!(!text.contains("error"), "{text}");
        let told: Vec<_> = text
            .lines()
            .filter(|line| !is_state_of_beginner(line))
            .collect();
        let told = told.join("\n");
        let count = |wanted: &str| told.matches(wanted).count();
        // The program's own C_Initialize is one more, and one of them all is the first.
        assert_eq!(count("CKR_CRYPTOKI_ALREADY_INITIALIZED"), THREADS, "{text}");
        assert_eq!(count("C_GetInfo returned CKR_OK"), THREADS, "{text}");
        assert_eq!(
            count("C_GetSlotList returned CKR_OK"),
            2 * THREADS,
            "{text}"
        );
        // What they show of the token is printed in pieces, and so mixed up.
        assert_eq!(count("C_GetTokenInfo from slot_index 0"), THREADS, "{text}");
        assert_eq!(count("returning rv = 0"), THREADS, "{text}");
    }
    threads(&bed, &["--login", "--pin", WRONG_PIN])
        .refused()
        .says("CKR_PIN_INCORRECT");
}
