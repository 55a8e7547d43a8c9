//! Configurations keep working when the path of the module changes: on the same card every token and every object has the
//! `pkcs11:` URI that it has with OpenSC's module.

use std::{collections::BTreeSet, path::Path};

use softhsm_tests::{
    cards::{Options, PIN, Profile},
    module::{module_path, opensc_module},
    pcscd::Pcscd,
    process::run,
};

/// What the label of OpenSC's second token of an OpenPGP card has besides: " (sig)".
const SIG: &str = "%20%28sig%29";

/// The URIs that GnuTLS makes of what a module says of its tokens and, after a login, of their objects.
fn uris(pcscd: &Pcscd, module: &Path) -> BTreeSet<String> {
    let list = |options: &[&str]| -> Vec<String> {
        let mut command = pcscd.command("p11tool");
        command.arg("--provider").arg(module).arg("--only-urls");
        let outcome = run(command.args(options)).succeeded();
        let text = String::from_utf8(outcome.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    };
    let tokens = list(&["--list-token-urls"]);
    let tokens = tokens.into_iter().filter(|uri| uri.starts_with("pkcs11:"));
    let mut all = BTreeSet::new();
    for token in tokens {
        let pin = format!("--set-pin={PIN}");
        let objects = list(&["--login", &pin, "--list-all", &token]);
        all.extend(objects);
        all.insert(token);
    }
    all
}

/// A card of this profile has so many objects of each type, with the same URIs in both modules.
fn same_uris(profile: Profile, count: [(&str, usize); 4]) {
    let pcscd = Pcscd::start();
    let _card = pcscd.insert(0, profile, Options::default());
    let opensc = uris(&pcscd, &opensc_module());
    let ours = uris(&pcscd, &module_path());
    for (kind, count) in count {
        let kind = format!(";type={kind}");
        let of_kind = opensc.iter().filter(|uri| uri.ends_with(&kind));
        assert_eq!(of_kind.count(), count, "{kind}: {opensc:#?}");
    }
    let gone: Vec<_> = opensc.difference(&ours).collect();
    let new: Vec<_> = ours.difference(&opensc).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}\nnew: {new:#?}"
    );
}

#[test]
fn four_keys() {
    same_uris(
        Profile::PivFour,
        [("private", 4), ("public", 4), ("cert", 4), ("data", 13)],
    );
}

#[test]
fn one_key() {
    same_uris(
        Profile::PivOne,
        [("private", 1), ("public", 1), ("cert", 1), ("data", 13)],
    );
}

#[test]
fn a_retired_key() {
    same_uris(
        Profile::PivRetired,
        [("private", 2), ("public", 2), ("cert", 2), ("data", 14)],
    );
}

/// OpenSC makes two tokens of an OpenPGP card, one of them for the signature key alone, whose PIN is another constraint of the same
/// PIN; here it is one token with two constraints. But for that the URIs of keys and certificates are the same.
#[test]
fn an_openpgp_card() {
    let pcscd = Pcscd::start();
    for profile in [Profile::OpenPgpRsa, Profile::OpenPgpEc] {
        let _card = pcscd.insert(0, profile, Options::default());
        let opensc = uris(&pcscd, &opensc_module());
        let signs = opensc.iter().filter(|uri| uri.contains(SIG));
        assert_eq!(signs.count(), 3, "{opensc:#?}");
        let wanted: BTreeSet<_> = opensc.iter().map(|uri| uri.replace(SIG, "")).collect();
        assert!(wanted.len() >= 7, "{opensc:#?}");
        let ours = uris(&pcscd, &module_path());
        let ours: BTreeSet<_> = ours
            .into_iter()
            .filter(|uri| !uri.ends_with(";type=data"))
            .collect();
        assert_eq!(wanted, ours, "{profile:?}");
    }
}
