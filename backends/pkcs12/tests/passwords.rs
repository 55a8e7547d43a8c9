//! Passwords that are not UTF-8: what a program hands on that keeps the low byte of each character, as
//! Java's SunPKCS11 does, or that runs in a Latin-1 terminal.
//!
//! keytool writes no file under a password beyond ASCII, so that there is none of it here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

mod support;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt,
};

use ctk_pkcs12::inspect;
use ctk_token::{AuthSecret, Role, TokenError};
use support::{Workshop, configuration, log_in, sign, token, writer};

const TEXT: &str = "gr\u{f6}\u{df}er";
const LOW_BYTES: &[u8] = b"gr\xf6\xdfer";
const WRONG: [&[u8]; 4] = [
    b"gr\xf6\xdfe",
    b"gr\xd6\xdfer",
    b"gr\xc3\xb6\xdfer",
    b"\xff",
];

/// `line` with a password of any bytes after it.
fn run(workshop: &Workshop, program: &str, line: &str, password: &[u8]) {
    let password = OsString::from_vec(password.to_vec());
    let arguments: Vec<&OsStr> = line
        .split_whitespace()
        .map(OsStr::new)
        .chain([password.as_os_str()])
        .collect();
    workshop.run(program, &arguments);
}

/// `password` logs in, and what is wrong is told as wrong.
fn logs_in(workshop: &Workshop, file: &str, password: &[u8]) {
    let path = workshop.path(file);
    let inventory = inspect(&path, password).unwrap();
    let token = token(configuration(&path, inventory));
    let session = token.create_session().unwrap();
    for wrong in WRONG {
        let refused = Err(TokenError::AuthenticationFailed { tries: None });
        assert_eq!(log_in(&*session, wrong), refused, "{file}: {wrong:x?}");
    }
    log_in(&*session, password).unwrap();
    let contents = token.contents();
    assert_eq!(contents.certificates().count(), 1, "{file}");
    sign(&*session, contents.keys().next().unwrap(), 1).unwrap();
}

#[test]
fn the_low_bytes_of_a_password_open_its_file() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    let export = "pkcs12 -export -inkey ec.key -in ec.crt -out file.p12";
    let aes = "-keypbe AES-256-CBC -certpbe AES-256-CBC";
    let triple_des = "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES";
    let mixed = "-keypbe AES-256-CBC -certpbe PBE-SHA1-3DES";
    for options in [aes, triple_des, mixed] {
        for mac in ["-macalg sha256", "-nomac"] {
            let line = format!("{export} {options} {mac} -iter 2048 -passout");
            let password = format!("pass:{TEXT}");
            run(&workshop, "openssl", &line, password.as_bytes());
            logs_in(&workshop, "file.p12", LOW_BYTES);
            logs_in(&workshop, "file.p12", TEXT.as_bytes());
        }
    }
    for cipher in ["aes-256", "3des-pkcs12"] {
        let line = format!(
            "--to-p12 --load-privkey ec.key --load-certificate ec.crt --p12-name ec --outder \
             --pkcs-cipher {cipher} --outfile file.p12 --password"
        );
        run(&workshop, "certtool", &line, TEXT.as_bytes());
        logs_in(&workshop, "file.p12", LOW_BYTES);
    }
}

#[test]
fn what_openssl_took_byte_by_byte_opens_by_the_same_bytes() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    for options in ["", "-nomac", "-keypbe PBE-SHA1-3DES", "-keypbe NONE"] {
        let line = format!(
            "pkcs12 -export -inkey ec.key -in ec.crt -out file.p12 -iter 2048 {options} -passout"
        );
        run(&workshop, "openssl", &line, &[b"pass:", LOW_BYTES].concat());
        logs_in(&workshop, "file.p12", LOW_BYTES);
    }
}

#[test]
fn the_low_bytes_are_an_old_password_and_no_new_one() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    let password = format!("pass:{TEXT}");
    let line = "pkcs12 -export -inkey ec.key -in ec.crt -out file.p12 -iter 2048 -passout";
    run(&workshop, "openssl", line, password.as_bytes());
    let path = workshop.path("file.p12");
    let token = token(configuration(
        &path,
        inspect(&path, TEXT.as_bytes()).unwrap(),
    ));
    let session = token.create_session().unwrap();
    let change = |old, new| session.change_pin(Role::User, AuthSecret::Pin(old), new);
    assert_eq!(
        change(TEXT.as_bytes(), LOW_BYTES),
        Err(TokenError::DataInvalid)
    );
    assert_eq!(change(LOW_BYTES, b"new"), Ok(()));
    logs_in(&workshop, "file.p12", b"new");
}

/// The MAC says that the bytes may be right, and nothing that is encrypted says so.
#[test]
fn bytes_that_only_the_mac_takes_are_a_wrong_password() {
    let workshop = Workshop::new();
    workshop.identity("ec", "ec");
    let export = "pkcs12 -export -inkey ec.key -in ec.crt -out file.p12 -iter 2048 -nomac -passout";
    run(&workshop, "openssl", export, b"pass:other");
    let inventory = inspect(&workshop.path("file.p12"), b"other").unwrap();
    let safes = writer::sequence(&writer::safes(&workshop.read("file.p12")));
    let mac = writer::sha1_mac(&safes, TEXT);
    let path = workshop.write("file.p12", &writer::pfx(&safes, Some(mac)));
    let token = token(configuration(&path, inventory));
    let session = token.create_session().unwrap();
    let refused = Err(TokenError::AuthenticationFailed { tries: None });
    assert_eq!(log_in(&*session, LOW_BYTES), refused);
    // Whoever types this text has the file's password, and hears what is the matter with it.
    let told = log_in(&*session, TEXT.as_bytes());
    assert!(matches!(told, Err(TokenError::Corrupted(_))), "{told:?}");
}
