//! The Wycheproof vectors, as far as they are about mechanisms of the module, through the C functions of
//! the built module.
//!
//! Each test prints a table of its sets. Vectors that are not asked are counted by reason, and the
//! counts have to be exact, so that none is skipped unnoticed. What was decided for vectors whose
//! result is "acceptable" stands beside the code that asks them, and in pkcs11-spec-notes.

mod agreement;
mod build;
mod decryption;
mod der;
mod lattice;
mod report;
mod session;
mod signatures;
mod symmetric;
mod tokens;

use build::{Library, NO_CURVE, NO_HASH, OTHER_BUILD};
use cryptoki_sys::{CKK_EC, CKK_RSA, CKR_OK};
use report::Report;
use session::{Keys, Session};
use softhsm_tests::{
    bed::{Bed, Kind},
    isolated::isolated,
    module::Module,
};

fn loaded() -> Module {
    let module = Module::load();
    assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
    module
}

/// A chapter that makes its keys in the session: any token will do.
fn with_session_keys(test: &str, chapter: impl FnOnce(&Session<'_>)) {
    isolated(
        test,
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = loaded();
            chapter(&Session::open_all(&module, None)[0]);
        },
    );
}

/// A chapter whose private keys are in tokens.
fn with_keys(test: &str, keys: impl Fn() -> Vec<tokens::Key>, chapter: impl FnOnce(&Keys<'_>)) {
    isolated(
        test,
        || tokens::bed(&keys()),
        || {
            let module = loaded();
            let found = Keys::of(&Session::open_all(&module, Some(tokens::PIN)));
            chapter(&found);
        },
    );
}

#[test]
fn ecdsa_signatures_are_verified() {
    with_session_keys("ecdsa_signatures_are_verified", |session| {
        let (library, mut report) = (Library::of_module(), Report::new());
        signatures::ecdsa(session, library, &mut report);
        report.finish(
            library,
            &[
                (signatures::SHORT_HALVES, 107, 138),
                (signatures::HIGH_S, 2, 2),
                (signatures::NO_FORM, 5138, 6520),
                (NO_CURVE, 7075, 7075),
                (OTHER_BUILD, 4002, 0),
                (NO_HASH, 4751, 4751),
            ],
        );
    });
}

#[test]
fn rsa_and_edwards_signatures_are_verified() {
    with_session_keys("rsa_and_edwards_signatures_are_verified", |session| {
        let (library, mut report) = (Library::of_module(), Report::new());
        signatures::rsa_pkcs1(session, &mut report);
        signatures::rsa_pss(session, &mut report);
        signatures::eddsa(session, library, &mut report);
        report.finish(
            library,
            &[
                (signatures::NO_NULL, 20, 20),
                (signatures::NO_ED448, 87, 0),
                (NO_HASH, 2026, 2026),
            ],
        );
    });
}

#[test]
fn secret_keys_protect_data_and_keys() {
    with_session_keys("secret_keys_protect_data_and_keys", |session| {
        let (library, mut report) = (Library::of_module(), Report::new());
        symmetric::macs(session, &mut report);
        symmetric::cbc(session, &mut report);
        symmetric::gcm(session, &mut report);
        symmetric::key_wrap(session, &mut report);
        report.finish(
            library,
            &[
                (symmetric::LONG_IV, 3, 3),
                (symmetric::SHORT_KEY, 3, 3),
                (symmetric::FILLED_UP, 3, 3),
                (NO_HASH, 348, 348),
            ],
        );
    });
}

#[test]
fn secrets_are_agreed_on() {
    let library = Library::of_module();
    let keys = || agreement::keys(library);
    with_keys("secrets_are_agreed_on", keys, |keys| {
        let mut report = Report::new();
        agreement::ecdh(keys, library, &mut report);
        agreement::xdh(keys, library, &mut report);
        signatures::by_keys_of_others(keys, CKK_EC, &mut report);
        report.finish(
            library,
            &[
                (agreement::NOT_NAMED, 1023, 1636),
                (agreement::ON_BOTH, 92, 160),
                (agreement::NO_POINT, 30, 48),
                (agreement::COMPRESSED, 9, 12),
                (agreement::ALL_ZERO, 31, 42),
                (agreement::EXACT, 223, 457),
                (agreement::NO_X448, 510, 0),
                (NO_CURVE, 1558, 1558),
                (OTHER_BUILD, 2534, 0),
            ],
        );
    });
}

#[test]
fn ciphertexts_of_pkcs1_are_decrypted() {
    let keys = decryption::pkcs1_keys;
    with_keys("ciphertexts_of_pkcs1_are_decrypted", keys, |keys| {
        let mut report = Report::new();
        decryption::pkcs1(keys, &mut report);
        signatures::by_keys_of_others(keys, CKK_RSA, &mut report);
        report.finish(Library::of_module(), &[]);
    });
}

#[test]
fn ciphertexts_of_oaep_are_decrypted() {
    let keys = decryption::oaep_keys;
    with_keys("ciphertexts_of_oaep_are_decrypted", keys, |keys| {
        let mut report = Report::new();
        decryption::oaep(keys, &mut report);
        signatures::by_keys_of_others(keys, CKK_RSA, &mut report);
        let expected = [(decryption::SMALL_CIPHERTEXT, 3, 3), (NO_HASH, 135, 135)];
        report.finish(Library::of_module(), &expected);
    });
}

#[test]
fn lattice_keys_sign_and_decapsulate() {
    with_keys("lattice_keys_sign_and_decapsulate", lattice::keys, |keys| {
        let (library, mut report) = (Library::of_module(), Report::new());
        lattice::signatures(keys, &mut report);
        lattice::verifications(keys, &mut report);
        lattice::encapsulations(keys, &mut report);
        report.finish(
            library,
            &[
                (lattice::HEDGED, 396, 396),
                (lattice::CONTEXT, 21, 21),
                (lattice::INTERNAL, 69, 69),
                (lattice::NO_RANDOMNESS, 399, 399),
            ],
        );
    });
}
