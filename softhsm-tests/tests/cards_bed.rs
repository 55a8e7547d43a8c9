//! The virtual cards are cards to programs that nobody here wrote, and pcscd sees them come and go.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use softhsm_tests::{
    cards::{Options, PIN, PipedCard, Profile},
    module::opensc_module,
    pcscd::{Pcscd, YUBIKEY},
    process::{LIMIT, Outcome, run},
    work::Work,
};

fn opensc(pcscd: &Pcscd) -> Command {
    let mut command = pcscd.command("pkcs11-tool");
    command.arg("--module").arg(opensc_module());
    command
}

/// Has OpenSSL check a signature of the file `data`.
fn verified(public: &Path, signature: &Path, data: &Path, digest: &str) -> Outcome {
    let mut command = Command::new("openssl");
    command.args(["dgst", digest, "-verify"]).arg(public);
    command.arg("-signature").arg(signature);
    run(command.arg(data))
}

#[test]
fn pcscd_sees_a_card_come_and_go() {
    let pcscd = Pcscd::start();
    let readers = pcscd.readers().expect("readers");
    assert_eq!(readers.len(), 2);
    assert!(readers.iter().all(|reader| !reader.card));
    let mut card = pcscd.insert(1, Profile::PivEmpty, Options::default());
    run(pcscd.command("opensc-tool").arg("-l"))
        .succeeded()
        .says("0    No              Virtual Reader 00 00")
        .says("1    Yes             Virtual Reader 00 01");
    card.remove();
    card.insert();
    card.swap(Profile::PivEmpty, Duration::from_millis(50));
    assert!(pcscd.wait_for_card(1, true).events >= 5);
    drop(card);
    pcscd.wait_for_card(1, false);
}

#[test]
fn a_card_stays_in_when_pcscd_starts_again() {
    let mut pcscd = Pcscd::start();
    let card = pcscd.insert(0, Profile::PivEmpty, Options::default());
    pcscd.kill();
    run(pcscd.command("opensc-tool").arg("-n")).refused();
    pcscd.restart();
    pcscd.wait_for_card(0, true);
    run(pcscd.command("opensc-tool").arg("-n"))
        .succeeded()
        .says("Personal Identity Verification Card");
    drop(card);
}

#[test]
fn readers_come_later() {
    let mut pcscd = Pcscd::without_readers();
    assert_eq!(pcscd.readers().expect("readers"), []);
    pcscd.plug_in_readers();
    assert_eq!(pcscd.readers().expect("readers").len(), 2);
    let _card = pcscd.insert(0, Profile::PivEmpty, Options::default());
}

#[test]
fn two_of_one_profile_are_two_cards() {
    let pcscd = Pcscd::start();
    let first = pcscd.insert(0, Profile::PivEmpty, Options::default());
    let second = pcscd.insert(1, Profile::PivEmpty, Options::default());
    let chuid = |reader| {
        let mut command = pcscd.command("opensc-tool");
        command.args(["--reader", &pcscd.reader(reader)]);
        command.args(["-s", "00A4040009A00000030800001000"]);
        let outcome = run(command.args(["-s", "00CB3FFF055C035FC10200"])).succeeded();
        String::from_utf8(outcome.stdout).expect("text")
    };
    let chuids = [chuid(0), chuid(1)];
    assert!(
        chuids
            .iter()
            .all(|text| text.matches("SW1=0x90").count() == 2)
    );
    assert_ne!(chuids[0], chuids[1]);
    drop((first, second));
}

#[test]
fn opensc_signs_with_a_piv_card_whatever_its_lengths() {
    for options in [Options::default(), Options::SHORT] {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, Profile::PivFour, options);
        run(opensc(&pcscd).arg("-L"))
            .succeeded()
            .says("Test Key 9A");
        let objects = run(opensc(&pcscd).arg("-O")).succeeded();
        assert_eq!(objects.text().matches("Certificate Object").count(), 4);
        let data = pcscd.work().write("data", "data");
        for (id, key, mechanism) in [
            ("01", "9a", "SHA256-RSA-PKCS"),
            ("02", "9c", "ECDSA-SHA256"),
        ] {
            let signature = pcscd.work().path().join("signature");
            let mut command = opensc(&pcscd);
            command.args([
                "--login", "--pin", PIN, "--sign", "--id", id, "-m", mechanism,
            ]);
            command.args(["--signature-format", "openssl", "--input-file"]);
            command.arg(&data).arg("--output-file").arg(&signature);
            run(&mut command).succeeded();
            let public = card.folder().join(format!("{key}.pub"));
            verified(&public, &signature, &data, "-sha256").succeeded();
        }
        let mut command = Command::new("openssl");
        command
            .arg("verify")
            .arg("-CAfile")
            .arg(card.folder().join("ca.crt"));
        let certificates = ["9a", "9c", "9d", "9e"].map(|key| format!("{key}.crt"));
        command.args(certificates.map(|name| card.folder().join(name)));
        run(&mut command).succeeded();
    }
}

#[test]
fn extended_length_is_taken_and_refused_as_the_atr_says() {
    // Le is extended in the first, Lc and Le in the second.
    const CERTIFICATE: &[u8] = b"\x00\xCB\x3F\xFF\x00\x00\x05\x5C\x03\x5F\xC1\x05\x00\x00";
    let mut card = PipedCard::new(Profile::PivOne, Options::default());
    assert_eq!(capabilities(&card.reset()), 0xC0);
    card.transmit(SELECT_PIV).expect("an answer");
    let whole = card.transmit(CERTIFICATE).expect("an answer");
    assert!(whole.len() > 900 && whole.ends_with(&[0x90, 0x00]));

    let mut card = PipedCard::new(Profile::PivOne, Options::SHORT);
    assert_eq!(capabilities(&card.reset()), 0x80);
    card.transmit(SELECT_PIV).expect("an answer");
    assert_eq!(card.transmit(CERTIFICATE).expect("an answer"), [0x67, 0x00]);
    let short = [&CERTIFICATE[..4], &CERTIFICATE[6..13]].concat();
    let mut parts = card.transmit(&short).expect("an answer");
    let mut lengths = Vec::new();
    while let Some((data, &[0x61, _])) = parts.split_last_chunk() {
        lengths.push(data.len());
        parts = card.transmit(b"\x00\xC0\x00\x00\x00").expect("an answer");
    }
    assert_eq!(lengths, [256, 256, 256]);
    assert!(parts.ends_with(&[0x90, 0x00]));
}

/// The third software function byte of an ATR's historical bytes, behind a check byte that fits.
fn capabilities(atr: &[u8]) -> u8 {
    assert_eq!(atr[1..].iter().fold(0, |check, byte| check ^ byte), 0);
    let at = atr.windows(2).position(|window| window == [0x80, 0x73]);
    atr[at.expect("card capabilities") + 4]
}

#[test]
fn no_pin_is_in_the_log() {
    let pcscd = Pcscd::start();
    let card = pcscd.insert(0, Profile::PivOne, Options::default());
    run(opensc(&pcscd).args(["--login", "--pin", PIN, "-O"])).succeeded();
    let log = card.log();
    let verify = log
        .iter()
        .find(|apdu| apdu.command.starts_with("00200080") && apdu.length == 0);
    assert!(verify.is_some());
    assert!(
        log.iter()
            .all(|apdu| !apdu.command.contains("313233343536"))
    );
    assert!(
        log.iter()
            .any(|apdu| apdu.command == "0020008008****************")
    );
}

#[test]
fn yubico_piv_tool_and_ssh_know_a_piv_card() {
    let pcscd = Pcscd::with_readers_named(YUBIKEY);
    let card = pcscd.insert(0, Profile::PivFour, Options::default());
    run(pcscd.command("yubico-piv-tool").args(["-a", "status"]))
        .succeeded()
        .says("PIN tries left:\t3")
        .says("Subject DN:\tCN=Test Key 9A");
    let mut command = pcscd.command("yubico-piv-tool");
    command.args(["-a", "verify-pin", "-P", PIN]);
    run(&mut command).succeeded();

    let listed = run(pcscd.command("ssh-keygen").arg("-D").arg(opensc_module())).succeeded();
    let mut command = Command::new("ssh-keygen");
    command.args(["-i", "-m", "PKCS8", "-f"]);
    let key = run(command.arg(card.folder().join("9a.pub"))).succeeded();
    let key = String::from_utf8(key.stdout).expect("text");
    assert!(listed.text().contains(key.trim()), "{}", listed.text());
}

#[test]
fn opensc_reads_compressed_certificates_and_retired_keys() {
    let pcscd = Pcscd::start();
    let compressed = pcscd.insert(0, Profile::PivCompressed, Options::default());
    let read = pcscd.work().path().join("certificate");
    let mut command = opensc(&pcscd);
    command.args(["--read-object", "--type", "cert", "--id", "01", "-o"]);
    run(command.arg(&read)).succeeded();
    let mut command = Command::new("openssl");
    command.args(["x509", "-outform", "DER", "-in"]);
    let issued = run(command.arg(compressed.folder().join("9a.crt"))).succeeded();
    assert_eq!(fs::read(read).expect("what was read"), issued.stdout);
    drop(compressed);
    pcscd.wait_for_card(0, false);

    let _retired = pcscd.insert(0, Profile::PivRetired, Options::default());
    run(opensc(&pcscd).arg("-O"))
        .succeeded()
        .says("CN=Test Key 9A")
        .says("CN=Test Key 82");
}

#[test]
fn opensc_signs_with_long_keys() {
    let pcscd = Pcscd::start();
    let card = pcscd.insert(0, Profile::PivLarge, Options::SHORT);
    let data = pcscd.work().write("data", "data");
    for (id, key, mechanism, digest) in [
        // The applet takes a digest as long as the curve only.
        ("01", "9a", "ECDSA-SHA384", "-sha384"),
        ("02", "9c", "SHA256-RSA-PKCS", "-sha256"),
    ] {
        let signature = pcscd.work().path().join("signature");
        let mut command = opensc(&pcscd);
        command.args([
            "--login", "--pin", PIN, "--sign", "--id", id, "-m", mechanism,
        ]);
        command.args(["--signature-format", "openssl", "--input-file"]);
        command.arg(&data).arg("--output-file").arg(&signature);
        run(&mut command).succeeded();
        let public = card.folder().join(format!("{key}.pub"));
        verified(&public, &signature, &data, digest).succeeded();
    }
}

#[test]
fn the_longest_key_works_by_chaining_and_by_extended_length() {
    // OpenSC 0.23 knows PIV's RSA keys of up to 3072 bits.
    let work = Work::new();
    for options in [Options::default(), Options::SHORT] {
        let mut card = PipedCard::new(Profile::PivLarge, options);
        let block = [&[0, 1], &[0xFF; 512 - 7][..], &[0], b"data"].concat();
        let template = [&[0x82, 0, 0x81, 0x82, 2, 0][..], &block].concat();
        let data = [&[0x7C, 0x82, 2, 6][..], &template].concat();
        let header = [0, 0x87, 0x16, 0x9D];
        card.transmit(SELECT_PIV).expect("an answer");
        card.transmit(VERIFY_PIV).expect("an answer");
        let response = if options.short {
            let (first, last) = data.split_at(2 * 255);
            for part in first.chunks(255) {
                let command = [&[0x10, 0x87, 0x16, 0x9D, 255], part].concat();
                assert_eq!(card.transmit(&command).expect("an answer"), [0x90, 0x00]);
            }
            let length = u8::try_from(last.len()).expect("a short part");
            whole(&mut card, &[&header[..], &[length], last, &[0]].concat())
        } else {
            let length = u16::try_from(data.len()).expect("an extended length");
            whole(
                &mut card,
                &[&header[..], &[0], &length.to_be_bytes(), &data, &[0, 0]].concat(),
            )
        };
        let (tag, signature) = response.split_at(response.len() - 512);
        assert_eq!(tag, [0x7C, 0x82, 2, 4, 0x82, 0x82, 2, 0]);
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-verifyrecover", "-pubin", "-inkey"]);
        command.arg(card.folder().join("9d.pub")).arg("-in");
        command.arg(work.write("signature", signature));
        assert_eq!(run(&mut command).succeeded().stdout, b"data");
    }
}

/// The response's data, with what GET RESPONSE brings.
fn whole(card: &mut PipedCard, command: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut response = card.transmit(command).expect("an answer");
    loop {
        let (part, status) = response.split_last_chunk().expect("a status word");
        data.extend(part);
        match *status {
            [0x90, 0x00] => return data,
            [0x61, _] => response = card.transmit(b"\x00\xC0\x00\x00\x00").expect("an answer"),
            other => panic!("{other:02X?}"),
        }
    }
}

#[test]
fn a_command_ends_when_the_card_is_pulled_out() {
    let pcscd = Pcscd::start();
    let mut card = pcscd.insert(0, Profile::PivOne, Options::default());
    // Longer than a program may run.
    card.delay(2 * LIMIT);
    let mut command = pcscd.command("opensc-tool");
    command.args(["-s", "00A4040009A00000030800001000"]);
    let running = thread::spawn(move || run(&mut command));
    thread::sleep(Duration::from_secs(1));
    card.pull_out();
    running.join().expect("it ended in time").refused();
    card.delay(Duration::ZERO);
    card.insert();
    card.cut_after(0);
    run(pcscd
        .command("opensc-tool")
        .args(["-s", "00A4040009A00000030800001000"]))
    .refused();
    pcscd.wait_for_card(0, false);
    card.insert();
    run(pcscd.command("opensc-tool").arg("-n"))
        .succeeded()
        .says("Personal Identity Verification Card");
}

#[test]
fn two_pcscds_do_not_see_each_other() {
    let (first, second) = (Pcscd::start(), Pcscd::start());
    let _card = first.insert(0, Profile::PivEmpty, Options::default());
    assert!(first.watch(0).state().card);
    assert!(!second.watch(0).state().card);
}

#[test]
fn a_card_that_is_no_yubikey_knows_none_of_its_commands() {
    let options = Options {
        plain_piv: true,
        ..Options::default()
    };
    let commands: [&[u8]; 4] = [
        b"\x00\xFD\x00\x00",
        b"\x00\xF8\x00\x00",
        b"\x00\xF7\x00\x9A",
        b"\x00\x01\x00\x00",
    ];
    for (options, good) in [(options, false), (Options::default(), true)] {
        let mut card = PipedCard::new(Profile::PivEmpty, options);
        card.transmit(SELECT_PIV).expect("an answer");
        for command in commands {
            let response = card.transmit(command).expect("an answer");
            let status = if good { [0x90, 0x00] } else { [0x6D, 0x00] };
            assert!(response.ends_with(&status), "{command:02X?}");
        }
    }
}

#[test]
fn opensc_signs_with_openpgp_cards() {
    for (profile, mechanism) in [
        (Profile::OpenPgpRsa, "SHA256-RSA-PKCS"),
        (Profile::OpenPgpEc, "ECDSA-SHA256"),
    ] {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        run(pcscd
            .command("openpgp-tool")
            .args(["--card-info", "--key-info"]))
        .succeeded()
        .says("Version:         3.4");
        run(pcscd.command("openpgp-tool").arg("--user-info"))
            .succeeded()
            .says("Card Test")
            .says("https://example.org/test-card.asc");
        run(opensc(&pcscd).arg("-O"))
            .succeeded()
            .says("Certificate Object");
        let data = pcscd.work().write("data", "data");
        let signature = pcscd.work().path().join("signature");
        let mut command = opensc(&pcscd);
        // Its second slot is that of the signature PIN.
        command.args(["--slot-index", "1", "--login", "--pin", PIN]);
        command.args(["--sign", "--id", "01", "-m", mechanism]);
        command.args(["--signature-format", "openssl", "--input-file"]);
        command.arg(&data).arg("--output-file").arg(&signature);
        run(&mut command).succeeded();
        verified(&card.folder().join("sig.pub"), &signature, &data, "-sha256").succeeded();
    }
}

#[test]
fn openpgp_cards_agree_and_sign_as_openssl_does() {
    let work = Work::new();
    let path = |name: &str| work.path().join(name);
    let mut card = PipedCard::new(Profile::OpenPgpEc, Options::default());
    whole(&mut card, b"\x00\xA4\x04\x00\x06\xD2\x76\x00\x01\x24\x01");
    whole(&mut card, b"\x00\x20\x00\x82\x06123456");

    // A point of somebody else's; what both get is the same.
    let mut command = Command::new("openssl");
    command.args([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "group:P-256",
        "-out",
    ]);
    run(command.arg(path("other.key"))).succeeded();
    let mut command = Command::new("openssl");
    command.args(["pkey", "-pubout", "-outform", "DER", "-in"]);
    let public = run(command.arg(path("other.key"))).succeeded().stdout;
    let point = &public[public.len() - 65..];
    let external = [&[0xA6, 70, 0x7F, 0x49, 67, 0x86, 65], point].concat();
    let decipher = [&[0x00, 0x2A, 0x80, 0x86, 72], &external[..], &[0]].concat();
    let agreed = whole(&mut card, &decipher);
    let mut command = Command::new("openssl");
    command
        .args(["pkeyutl", "-derive", "-inkey"])
        .arg(path("other.key"));
    command.arg("-peerkey").arg(card.folder().join("dec.pub"));
    assert_eq!(agreed, run(&mut command).succeeded().stdout);

    let message = [7; 40];
    let authenticate = [&[0x00, 0x88, 0x00, 0x00, 40], &message[..], &[0]].concat();
    let signature = whole(&mut card, &authenticate);
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"]);
    command.arg(card.folder().join("aut.pub"));
    command.arg("-in").arg(work.write("message", message));
    command
        .arg("-sigfile")
        .arg(work.write("signature", signature));
    run(&mut command).succeeded();
}

#[test]
fn selecting_the_other_applet_ends_the_login() {
    let mut card = PipedCard::new(Profile::Both, Options::default());
    let mut status = |apdu: &[u8]| -> u16 {
        let response = card.transmit(apdu).expect("an answer");
        let status = response.last_chunk().copied().expect("a status word");
        u16::from_be_bytes(status)
    };
    assert_eq!(status(SELECT_PIV), 0x9000);
    assert_eq!(status(VERIFY_PIV), 0x9000);
    assert_eq!(status(b"\x00\xA4\x04\x00\x05\xA0\x00\x00\x01\x51"), 0x6A82);
    assert_eq!(
        status(b"\x00\x20\x00\x80"),
        0x9000,
        "nothing else was selected"
    );
    assert_eq!(
        status(b"\x00\xA4\x04\x00\x06\xD2\x76\x00\x01\x24\x01"),
        0x9000
    );
    assert_eq!(status(b"\x00\x20\x00\x82\x06123456"), 0x9000);
    assert_eq!(status(SELECT_PIV), 0x9000);
    assert_eq!(status(b"\x00\x20\x00\x80"), 0x63C3);
}

const SELECT_PIV: &[u8] = b"\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08";
const VERIFY_PIV: &[u8] = b"\x00\x20\x00\x80\x08123456\xFF\xFF";

#[test]
fn a_reset_forgets_the_pin_and_a_wrong_pin_is_counted_for_good() {
    const WRONG: &[u8] = b"\x00\x20\x00\x80\x08654321\xFF\xFF";
    const TRIES: &[u8] = b"\x00\x20\x00\x80";
    const PRINTED: &[u8] = b"\x00\xCB\x3F\xFF\x05\x5C\x03\x5F\xC1\x09\x00";
    let mut card = PipedCard::new(Profile::PivFour, Options::default());
    let mut status = |apdu: &[u8]| -> u16 {
        let response = card.transmit(apdu).expect("an answer");
        let status = response.last_chunk().copied().expect("a status word");
        u16::from_be_bytes(status)
    };
    assert_eq!(status(VERIFY_PIV), 0x6D00, "nothing is selected");
    assert_eq!(status(SELECT_PIV), 0x9000);
    assert_eq!(status(PRINTED), 0x6982);
    assert_eq!(status(VERIFY_PIV), 0x9000);
    assert_eq!(status(TRIES), 0x9000);
    assert_eq!(status(PRINTED), 0x9000);
    assert_eq!(status(SELECT_PIV), 0x9000);
    assert_eq!(
        status(PRINTED),
        0x9000,
        "selecting it again changes nothing"
    );
    card.reset();
    let mut status = |apdu: &[u8]| -> u16 {
        let response = card.transmit(apdu).expect("an answer");
        let status = response.last_chunk().copied().expect("a status word");
        u16::from_be_bytes(status)
    };
    assert_eq!(status(SELECT_PIV), 0x9000);
    assert_eq!(status(PRINTED), 0x6982);
    assert_eq!(status(WRONG), 0x63C2);
    assert_eq!(status(WRONG), 0x63C1);
    assert_eq!(status(WRONG), 0x6983);
    assert_eq!(status(VERIFY_PIV), 0x6983);
    assert_eq!(status(TRIES), 0x6983);
}

#[test]
fn a_card_that_loses_power_is_silent_and_whole_afterwards() {
    let mut card = PipedCard::new(Profile::PivFour, Options::default());
    card.cut_after(1);
    assert!(card.transmit(SELECT_PIV).is_some());
    assert_eq!(card.transmit(SELECT_PIV), None);
    assert!(card.transmit(SELECT_PIV).is_some());
    assert_eq!(card.count(), 3);
    card.cut_in_key_operation();
    assert!(card.transmit(VERIFY_PIV).is_some());
    let authenticate = b"\x00\x87\x11\x9C\x04\x7C\x02\x81\x00";
    assert_eq!(card.transmit(authenticate), None);
    assert_eq!(
        card.transmit(SELECT_PIV).expect("an answer").last_chunk(),
        Some(&[0x90, 0x00])
    );
}
