//! python-pkcs11 and PyKCS11 list, sign, decrypt, derive and have session objects.

use softhsm_tests::{
    bed::{Bed, Kind, PIN, WRONG_PIN},
    process::{Outcome, run},
    python::{python, script},
};

#[test]
fn python_pkcs11_uses_the_keys() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    let program = |pin: &str| -> Outcome {
        let mut command = bed.command(python());
        command.arg(script("python_pkcs11.py")).arg(&bed.module);
        command.arg(pin);
        run(command.args(identities.iter().map(|identity| &identity.key)))
    };
    program(PIN).succeeded().says("all of it");
    assert_eq!(program(WRONG_PIN).refused().status.code(), Some(3));
}

#[test]
fn pykcs11_uses_the_keys() {
    let (bed, identities) = Bed::with(&[Kind::Rsa2048, Kind::P256]);
    let program = |pin: &str| -> Outcome {
        let mut command = bed.command(python());
        command.arg(script("pykcs11.py")).arg(&bed.module).arg(pin);
        run(command.args(identities.iter().map(|identity| &identity.public)))
    };
    program(PIN).succeeded().says("all of it");
    assert_eq!(program(WRONG_PIN).refused().status.code(), Some(3));
}
