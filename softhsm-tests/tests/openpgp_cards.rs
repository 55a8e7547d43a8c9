//! OpenPGP cards through the module: programs use each key, find what OpenSC's module shows, and
//! need fewer commands.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use softhsm_tests::{
    cards::{Options, PIN, Profile, VirtualCard},
    module::{module_path, opensc_module},
    pcscd::Pcscd,
    process::run,
};

const ADMIN_PIN: &str = "12345678";
const MESSAGE: &str = "a message\n";

/// `pkcs11-tool` with a module, as its user.
fn tool(pcscd: &Pcscd, module: &Path, arguments: &[&str]) -> Command {
    let mut command = pcscd.command("pkcs11-tool");
    command.arg("--module").arg(module).args(arguments);
    command.current_dir(pcscd.work().path());
    command
}

/// A use of a key as its user, from the file `in` to the file `out`.
fn used(pcscd: &Pcscd, arguments: &[&str]) {
    let login = ["--login", "--pin", PIN, "-i", "in", "-o", "out"];
    let arguments = [&login[..], arguments].concat();
    run(&mut tool(pcscd, &module_path(), &arguments)).succeeded();
}

fn openssl(pcscd: &Pcscd, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    run(command.args(arguments).current_dir(pcscd.work().path())).succeeded();
}

fn read(pcscd: &Pcscd, name: &str) -> Vec<u8> {
    fs::read(pcscd.work().path().join(name)).expect("what the program wrote")
}

/// A pcscd with a card in its first reader, and the path of each of its public keys.
fn inserted(profile: Profile) -> (Pcscd, VirtualCard, impl Fn(&str) -> String) {
    let pcscd = Pcscd::start();
    let card = pcscd.insert(0, profile, Options::default());
    let folder = card.folder();
    let public = move |name: &str| {
        let path = folder.join(name).with_extension("pub");
        path.to_str().expect("UTF-8").to_owned()
    };
    pcscd.work().write("in", MESSAGE);
    (pcscd, card, public)
}

#[test]
fn rsa_keys_sign_and_decrypt() {
    let (pcscd, _card, public) = inserted(Profile::OpenPgpRsa);
    // A PIN for the login and one for the signature, because the card wants one for each.
    for (id, key) in [("01", "sig"), ("03", "aut")] {
        used(&pcscd, &["--sign", "--id", id, "-m", "SHA256-RSA-PKCS"]);
        let key = public(key);
        openssl(
            &pcscd,
            &[
                "dgst",
                "-sha256",
                "-verify",
                &key,
                "-signature",
                "out",
                "in",
            ],
        );
    }
    let key = public("dec");
    openssl(
        &pcscd,
        &[
            "pkeyutl", "-encrypt", "-pubin", "-inkey", &key, "-in", "in", "-out", "secret",
        ],
    );
    pcscd.work().write("in", read(&pcscd, "secret"));
    used(&pcscd, &["--decrypt", "--id", "02", "-m", "RSA-PKCS"]);
    assert_eq!(read(&pcscd, "out"), MESSAGE.as_bytes());
    // A wrong padding is told by nothing, in one program as in the next.
    pcscd.work().write("in", [1; 256]);
    used(&pcscd, &["--decrypt", "--id", "02", "-m", "RSA-PKCS"]);
    let made_up = read(&pcscd, "out");
    used(&pcscd, &["--decrypt", "--id", "02", "-m", "RSA-PKCS"]);
    assert_eq!(read(&pcscd, "out"), made_up);
}

#[test]
fn keys_on_curves_sign_and_agree() {
    let (pcscd, _card, public) = inserted(Profile::OpenPgpEc);
    let format = ["--signature-format", "openssl"];
    used(
        &pcscd,
        &[&["--sign", "--id", "01", "-m", "ECDSA-SHA256"], &format[..]].concat(),
    );
    let key = public("sig");
    openssl(
        &pcscd,
        &[
            "dgst",
            "-sha256",
            "-verify",
            &key,
            "-signature",
            "out",
            "in",
        ],
    );

    used(&pcscd, &["--sign", "--id", "03", "-m", "EDDSA"]);
    let key = public("aut");
    let verify = [
        "pkeyutl", "-verify", "-pubin", "-rawin", "-in", "in", "-sigfile", "out",
    ];
    openssl(&pcscd, &[&verify[..], &["-inkey", &key]].concat());

    openssl(
        &pcscd,
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "peer.pem",
        ],
    );
    openssl(
        &pcscd,
        &[
            "ec", "-in", "peer.pem", "-pubout", "-outform", "der", "-out", "in",
        ],
    );
    used(&pcscd, &["--derive", "--id", "02", "-m", "ECDH1-DERIVE"]);
    let key = public("dec");
    openssl(
        &pcscd,
        &[
            "pkeyutl", "-derive", "-inkey", "peer.pem", "-peerkey", &key, "-out", "theirs",
        ],
    );
    assert_eq!(read(&pcscd, "out"), read(&pcscd, "theirs"));
}

#[test]
fn an_administrator_makes_keys_and_sets_pins() {
    let (pcscd, _card, _) = inserted(Profile::OpenPgpRsa);
    let admin = ["--login", "--login-type", "so", "--so-pin", ADMIN_PIN];
    let as_admin = |arguments: &[&str]| {
        run(&mut tool(
            &pcscd,
            &module_path(),
            &[&admin[..], arguments].concat(),
        ))
    };
    as_admin(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "03"])
        .succeeded()
        .says("EC_POINT 256 bits")
        .says("Authentication key");
    used(&pcscd, &["--sign", "--id", "03", "-m", "ECDSA-SHA256"]);
    as_admin(&["--init-pin", "--new-pin", "654321"]).succeeded();
    let list = |pin| {
        run(&mut tool(
            &pcscd,
            &module_path(),
            &["--login", "--pin", pin, "-O"],
        ))
    };
    list("654321").succeeded();
    list(PIN).refused().says("CKR_PIN_INCORRECT");
}

/// The URIs that GnuTLS makes of what a module says of its tokens and, after a login, of their
/// objects.
fn uris(pcscd: &Pcscd, module: &Path) -> BTreeSet<String> {
    let list = |options: &[&str]| -> Vec<String> {
        let mut command = pcscd.command("p11tool");
        command.arg("--provider").arg(module).arg("--only-urls");
        let outcome = run(command.args(options)).succeeded();
        let text = String::from_utf8(outcome.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    };
    let pin = format!("--set-pin={PIN}");
    let tokens = list(&["--list-token-urls"]);
    let tokens = tokens.into_iter().filter(|uri| uri.starts_with("pkcs11:"));
    tokens
        .flat_map(|token| {
            let objects = list(&["--login", &pin, "--list-all", &token]);
            [objects, vec![token]].concat()
        })
        .collect()
}

#[test]
fn uris_are_those_of_opensc() {
    for profile in [Profile::OpenPgpRsa, Profile::OpenPgpEc] {
        let (pcscd, _card, _) = inserted(profile);
        let ours = uris(&pcscd, &module_path());
        // What OpenSC has as two tokens is one here, with the label of its first.
        let opensc: BTreeSet<String> = uris(&pcscd, &opensc_module())
            .into_iter()
            .map(|uri| uri.replace("User%20PIN%20%28sig%29%29", "User%20PIN%29"))
            .collect();
        let count = |kind| opensc.iter().filter(|uri| uri.ends_with(kind)).count();
        let counts = [";type=private", ";type=public", ";type=cert"].map(count);
        assert_eq!(counts, [3, 3, 1], "{opensc:#?}");
        let gone: Vec<_> = opensc.difference(&ours).collect();
        assert!(gone.is_empty(), "gone: {gone:#?}\nof {ours:#?}");
        let new: Vec<_> = ours.difference(&opensc).collect();
        assert!(
            new.iter().all(|uri| uri.ends_with(";type=data")) && new.len() == 2,
            "more than URL and PrivDO3: {new:#?}"
        );
    }
}

#[test]
fn fewer_commands_than_opensc() {
    let (pcscd, mut card, _) = inserted(Profile::OpenPgpRsa);
    let mut commands = |module: &Path, arguments: &[&str]| {
        card.reset_count();
        run(&mut tool(&pcscd, module, arguments)).succeeded();
        card.count()
    };
    let sign = [
        "--login",
        "--pin",
        PIN,
        "--sign",
        "--id",
        "03",
        "-m",
        "SHA256-RSA-PKCS",
    ];
    let sign = [&sign[..], &["-i", "in", "-o", "out"]].concat();
    for (arguments, budget) in [(&["-L"][..], 3), (&["-O"], 15), (&sign, 20)] {
        let ours = commands(&module_path(), arguments);
        let opensc = commands(&opensc_module(), arguments);
        println!("{}: ours {ours}, OpenSC {opensc}", arguments.join(" "));
        assert!(
            ours <= budget && ours < opensc,
            "{arguments:?}: {ours}, OpenSC {opensc}"
        );
    }
}
