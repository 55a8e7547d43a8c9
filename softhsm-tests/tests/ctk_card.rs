//! The command makes keys on cards and gives them certificates, from an empty card to a signature.

use std::{fs, os::unix::fs::PermissionsExt as _};

use softhsm_tests::{
    cards::{MANAGEMENT_KEY, Options, PIN, PUK, Profile},
    desk::Desk,
    faulty::Fault,
    module::module_path,
    process::run,
};

#[test]
fn a_key_made_on_an_empty_card_gets_a_certificate_and_signs() {
    let desk = Desk::with(Profile::PivEmpty);
    // It has an identity already, so nobody is asked for a management key.
    desk.ctk(&["card", "init"], "")
        .succeeded()
        .says("nothing was changed");
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("none that the card tells of");

    // The card does not tell of a key without certificate, so that nobody knows that it is empty.
    let generate = [
        "card", "generate", "9a", "--type", "rsa2048", "--out", "9a.pub",
    ];
    desk.admin(&generate, "")
        .refused()
        .says("does not tell whether 9a holds a key, which would be destroyed for good");
    assert_eq!(desk.sent("0047"), 0, "a key was made all the same");
    desk.admin(&[&generate[..], &["--force"]].concat(), "")
        .succeeded()
        .says("RSA-2048 made in 9a");
    desk.openssl(&["pkey", "-pubin", "-in", "9a.pub", "-noout", "-text"])
        .succeeded()
        .says("(2048 bit)");
    let subject = ["--subject", "CN=Alice Doe, O=Example"];
    let names = [
        "--san",
        "email:alice@example.org",
        "--san",
        "upn:alice@EXAMPLE.ORG",
    ];
    let request = ["card", "request", "9a", "--out", "9a.csr"];
    let input = format!("{PIN}\n");
    let without = desk.ctk(&[&request[..], &subject].concat(), &input);
    without.refused().says("--public-key");
    let public = ["--public-key", "9a.pub"];
    desk.ctk(&[&request[..], &subject, &names, &public].concat(), &input)
        .succeeded();
    desk.openssl(&["req", "-verify", "-noout", "-text", "-in", "9a.csr"])
        .succeeded()
        .says("verify OK")
        .says("Subject: O = Example, CN = Alice Doe")
        .says("email:alice@example.org")
        .says("UPN::alice@EXAMPLE.ORG");
    desk.certify("9a.csr", "9a.crt");
    desk.admin(&["card", "import-cert", "9a", "9a.crt"], "")
        .succeeded()
        .says("has the certificate of CN=Alice Doe,O=Example");

    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("9a: RSA-2048, PIV AUTH key")
        .says("Issuer      CN=Test authority")
        .says("Label       Alice Doe");
    desk.ctk(&["list"], "")
        .succeeded()
        .says("Alice Doe  RSA-2048  Alice Doe  ")
        .says(&format!("No card in {}", desk.pcscd.reader(1)));
    desk.ctk(&["test", &desk.pcscd.reader(0)], &input)
        .succeeded()
        .says("RSA PKCS#1 v1.5 SHA-256      OK");

    fs::write(desk.path("text"), "to be signed").expect("a text");
    run(desk
        .pcscd
        .command("pkcs11-tool")
        .arg("--module")
        .arg(module_path())
        .args([
            "--login",
            "--pin",
            PIN,
            "--sign",
            "--id",
            "01",
            "-m",
            "SHA256-RSA-PKCS",
        ])
        .args(["--input-file", "text", "--output-file", "signature"])
        .current_dir(desk.work.path()))
    .succeeded();
    desk.openssl(&[
        "dgst",
        "-sha256",
        "-verify",
        "9a.pub",
        "-signature",
        "signature",
        "text",
    ])
    .succeeded()
    .says("Verified OK");
}

/// A card that has not been given what a PIV card is known by: neither CHUID (5FC102) nor CCC (5FC107) is there until
/// somebody writes it.
fn without_identity() -> Fault {
    const NOT_FOUND: [u8; 2] = [0x6a, 0x82];
    let mut written: Vec<u8> = Vec::new();
    Box::new(move |command, answer| {
        let [
            _,
            instruction,
            0x3f,
            0xff,
            _,
            0x5c,
            0x03,
            0x5f,
            0xc1,
            object,
            ..,
        ] = command
        else {
            return Some(answer);
        };
        let is_identity = matches!(object, 0x02 | 0x07);
        match instruction {
            0xdb => written.push(*object),
            0xcb if is_identity && !written.contains(object) => return Some(NOT_FOUND.to_vec()),
            _ => {}
        }
        Some(answer)
    })
}

#[test]
fn an_empty_card_gets_an_identity_once() {
    let desk = Desk::with(Profile::PivEmpty);
    let blank = desk
        .pcscd
        .insert_faulty(1, Profile::PivEmpty, Options::SHORT, without_identity());
    let reader = ["--reader", "00 01"];
    let init = [&["card", "init"][..], &reader].concat();
    let wrong = format!("{}\n", "00".repeat(24));
    desk.ctk(&init, &wrong)
        .refused()
        .says("wrong management key");
    let writes = || {
        let commands = blank.commands();
        commands.iter().filter(|command| command[1] == 0xdb).count()
    };
    assert_eq!(writes(), 0);
    desk.admin(&init, "")
        .succeeded()
        .says("has an identity now (CHUID and CCC)");
    assert_eq!(writes(), 2);
    desk.ctk(&init, "").succeeded().says("nothing was changed");
    assert_eq!(writes(), 2);
}

#[test]
fn key_and_request_are_made_together() {
    let desk = Desk::with(Profile::PivEmpty);
    let generate = [
        "card",
        "generate",
        "9c",
        "--type",
        "p256",
        "--request",
        "9c.csr",
        "--force",
    ];
    let subject = ["--subject", "CN=Alice signs"];
    let generate = [&generate[..], &subject].concat();
    // Who has no right to sign finds out before a key is made.
    desk.admin(&generate, "000000\n")
        .refused()
        .says("wrong PIN; 2 tries");
    assert_eq!(desk.sent("0047"), 0, "a key was made all the same");
    let made = desk.admin(&generate, &format!("{PIN}\n")).succeeded();
    fs::write(desk.path("9c.pub"), &made.stdout).expect("the public key");
    desk.openssl(&["req", "-verify", "-noout", "-in", "9c.csr"])
        .succeeded()
        .says("verify OK");
    let of_request = desk.openssl(&["req", "-noout", "-pubkey", "-in", "9c.csr"]);
    assert_eq!(of_request.succeeded().stdout, made.stdout);

    desk.certify("9c.csr", "9c.crt");
    let import = ["card", "import-cert", "9c", "9c.crt"];
    desk.admin(&import, "").succeeded();
    // The PIN goes out before each signature of this key.
    desk.ctk(&["test", "Virtual"], &format!("{PIN}\n"))
        .succeeded()
        .says("SIGN key  P-256  ECDSA SHA-256  OK      02");
    desk.admin(&["card", "generate", "9c", "--type", "p256"], "")
        .refused()
        .says("which would be destroyed for good");
    let other = ["card", "generate", "9c", "--type", "p384", "--force"];
    desk.admin(&other, "").succeeded();
    // Its certificate is gone with it, and does not go back.
    desk.ctk(&["card", "delete-cert", "9c", "--yes"], "")
        .refused()
        .says("no certificate in 9c");
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    let desk = Desk::with(Profile::PivFour);
    let theirs = desk.card.folder();
    let other = fs::read_dir(&theirs).expect("the card's files");
    let names: Vec<_> = other
        .filter_map(|entry| entry.expect("a file").file_name().into_string().ok())
        .collect();
    let certificate = |wanted: &str| {
        let name = names
            .iter()
            .find(|name| name.to_lowercase().contains(wanted) && name.ends_with(".crt"));
        let name = name.unwrap_or_else(|| panic!("no {wanted} among {names:?}"));
        theirs.join(name).to_str().expect("UTF-8").to_owned()
    };
    let (own, other) = (certificate("9a"), certificate("9d"));
    desk.admin(&["card", "import-cert", "9a", &other], "")
        .refused()
        .says("is about another key");
    desk.admin(&["card", "import-cert", "9a", &own], "")
        .succeeded();
    desk.admin(&["card", "import-cert", "9a", "management-key"], "")
        .refused()
        .says("no X.509 certificate");
    let wrong = "00".repeat(24);
    desk.ctk(&["card", "import-cert", "9a", &own], &format!("{wrong}\n"))
        .refused()
        .says("wrong management key");
    desk.ctk(&["card", "import-cert", "9a", &own], &format!("{PUK}\n"))
        .refused()
        .says("32, 48 or 64 hexadecimal digits");
    let open = desk.work.write("open-key", MANAGEMENT_KEY);
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).expect("chmod");
    let read_by_all = ["--management-key-file", "open-key"];
    desk.ctk(
        &[&["card", "import-cert", "9a", &own][..], &read_by_all].concat(),
        "",
    )
    .refused()
    .says("chmod go=");
    desk.admin(&["card", "delete-cert", "9a", "--yes"], "")
        .succeeded()
        .says("its key stays");
    let left = desk.ctk(&["card", "info", "--json"], "").succeeded();
    let left = String::from_utf8(left.stdout).expect("JSON");
    assert!(
        !left.contains("\"9a\"") && left.contains("\"9c\""),
        "{left}"
    );
}

#[test]
fn of_two_cards_one_is_named() {
    let desk = Desk::with(Profile::PivOne);
    let _other = desk.pcscd.insert(1, Profile::OpenPgpEc, Options::default());
    let (first, second) = (desk.pcscd.reader(0), desk.pcscd.reader(1));
    desk.ctk(&["card", "info"], "")
        .refused()
        .says(&format!("--reader: \"{first}\", \"{second}\""));
    desk.ctk(&["pin", "change"], "123456\n654321\n")
        .refused()
        .says("several cards");
    desk.ctk(&["card", "info", "--reader", "00 01"], "")
        .succeeded()
        .says("OpenPGP card")
        .says("auth: Ed25519");
    desk.ctk(&["show", &first], "").succeeded().says("PIV card");
    desk.ctk(&["card", "info", "--reader", "02"], "")
        .refused()
        .says("no reader is called");
    let listed = desk.ctk(&["list", "--json"], "").succeeded();
    listed
        .says("\"kind\": \"PIV card\"")
        .says("\"kind\": \"OpenPGP card\"");
    desk.ctk(&["test", "00 01"], &format!("{PIN}\n"))
        .succeeded()
        .says("EdDSA");
}

#[test]
fn an_openpgp_card_is_provisioned_alike() {
    let desk = Desk::with(Profile::OpenPgpRsa);
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("OpenPGP card")
        .says("sign: RSA-2048")
        .says("auth: RSA-2048");
    desk.ctk(&["test", "Virtual"], &format!("{PIN}\n"))
        .succeeded();
    desk.ctk(&["pin", "change"], &format!("{PIN}\n654321\n"))
        .succeeded()
        .says("has a new PIN");
    let subject = ["--subject", "CN=Alice"];
    let generate = [
        "card",
        "generate",
        "auth",
        "--type",
        "p256",
        "--request",
        "auth.csr",
        "--force",
    ];
    let input = format!("654321\n{PUK}\n");
    desk.ctk(&[&generate[..], &subject].concat(), &input)
        .succeeded();
    desk.openssl(&["req", "-verify", "-noout", "-in", "auth.csr"])
        .succeeded()
        .says("verify OK");
    desk.certify("auth.csr", "auth.crt");
    desk.ctk(
        &["card", "import-cert", "auth", "auth.crt"],
        &format!("{PUK}\n"),
    )
    .succeeded();
    desk.ctk(&["card", "info"], "")
        .succeeded()
        .says("auth: P-256")
        .says("Subject     CN=Alice");
    desk.ctk(&["pin", "change", "--admin"], &format!("{PUK}\n87654321\n"))
        .succeeded()
        .says("has a new admin PIN");
    desk.ctk(&["pin", "unblock"], "87654321\n111111\n")
        .succeeded()
        .says("has a new PIN");
    desk.ctk(&["test", "Virtual"], "111111\n").succeeded();
    desk.ctk(&["card", "init"], "")
        .refused()
        .says("nothing to do");
}
