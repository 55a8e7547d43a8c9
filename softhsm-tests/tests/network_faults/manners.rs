//! What touches no network, what is not waited for, and what is refused before anybody is asked.

use cryptoki_sys::*;
use ctk_services::{Connecting, Csc, Fault, Scal, csc::Credential};
use softhsm_tests::{
    bed::{Bed, Kind, PIN},
    calls::rv_name,
    network::{PATIENCE, Program},
};

use crate::scenes::{CSC_PIN, CscScene, KmsScene, SIGN, last_warning};

#[test]
fn listing_touches_no_network_and_works_without_it() {
    let bed = Bed::empty();
    bed.token("file", &[Kind::P256]);
    let mut kms = KmsScene::new();
    kms.register(&bed, "kms", &[]);
    let csc = Csc::start(Scal::One);
    let mut pin = CscScene::new(&csc, Credential::with_pin(CSC_PIN));
    pin.register(&bed, "pin", &[]);
    for proxy in [&kms.proxy, &pin.proxy] {
        proxy.drop_connections();
        proxy.forget();
    }
    let look = || {
        let mut program = Program::start(&bed, "debug");
        let mut found = vec![program.ask("list").ok().number()];
        for token in ["kms", "pin", "file"] {
            program.ask(&format!("open {token}")).ok();
            found.push(program.ask("objects").ok().number());
        }
        program.ask("finalize").ok();
        found
    };
    let found = look();
    assert_eq!(found[0], 3);
    assert!(found[1..].iter().all(|&objects| objects > 0), "{found:?}");
    for proxy in [&kms.proxy, &pin.proxy] {
        let counts = proxy.counts();
        assert_eq!((counts.connections, counts.requests), (0, 0), "{proxy:?}");
    }
    // The same with both services dead, and then one that takes connections and says nothing.
    kms.proxy.go_down();
    pin.proxy.go_down();
    assert_eq!(look(), found);
    kms.proxy.come_up();
    kms.proxy.connecting(Connecting::Stall);
    assert_eq!(look(), found);
    assert_eq!(kms.proxy.counts().connections, 0);

    let mut program = Program::start(&bed, "debug");
    pin.proxy.come_up();
    kms.proxy.go_down();
    program.open("kms", "key");
    let answer = program.ask(SIGN).gives(CKR_DEVICE_ERROR);
    assert!(answer.took < PATIENCE, "{:?}", answer.took);
    let place = format!("127.0.0.1:{}", kms.proxy.port());
    let log = program.new_log();
    assert!(last_warning(&log).contains(&place), "{log}");
    // It is used again when it is back, in the same session.
    kms.proxy.come_up();
    kms.proxy.clear();
    program.ask(SIGN).ok();
}

#[test]
fn opening_again_and_again_costs_nothing() {
    let bed = Bed::empty();
    let kms = KmsScene::new();
    kms.register(&bed, "kms", &[]);
    let mut program = Program::start(&bed, "warn");
    program.open("kms", "key");
    kms.proxy.forget();
    for _ in 0..50 {
        program.ask("close").ok();
        program.open("kms", "key");
        kms.verify(&program.ask(SIGN).ok());
    }
    // One request for each signature and none besides, over one connection for all sessions.
    let counts = kms.proxy.counts();
    assert_eq!((counts.requests, counts.connections), (50, 1));
    for _ in 0..20 {
        program.ask("finalize").ok();
        program.ask("initialize").ok();
        program.open("kms", "key");
        program.ask("objects").ok();
    }
    assert_eq!(kms.proxy.counts().requests, 50);
    program.ask(SIGN).ok();
    assert_eq!(kms.proxy.counts().requests, 51);
}

#[test]
fn a_stalled_service_costs_other_tokens_no_time() {
    let bed = Bed::empty();
    bed.token("file", &[Kind::P256]);
    let kms = KmsScene::new();
    // The thread is not through before ten seconds have passed.
    let patient = ["--read-timeout", "10", "--total-timeout", "10"];
    let url = kms.proxy.url();
    bed.add_kms("kms", &url, &kms.account.access_key_id, &patient);
    let mut program = Program::start(&bed, "debug");
    program.open("kms", "key");
    program.ask(SIGN).ok();
    kms.proxy.fault("Sign", Fault::Stall);
    // In one process, at a time: the first signs with the KMS in a thread, and this with the file.
    let line = format!("beside {} {PIN}", SIGN.trim_start_matches("sign "));
    let was_first = program.ask(&line).ok().number();
    assert_eq!(was_first, 1, "the file's token waited for the service");
}

#[test]
fn a_child_makes_connections_of_its_own() {
    let bed = Bed::empty();
    let kms = KmsScene::new();
    kms.register(&bed, "kms", &[]);
    let mut program = Program::start(&bed, "debug");
    program.open("kms", "key");
    kms.verify(&program.ask(SIGN).ok());
    kms.proxy.forget();
    let child = SIGN.replace("sign", "child");
    for _ in 0..3 {
        kms.verify(&program.ask(&child).ok());
    }
    let counts = kms.proxy.counts();
    assert_eq!(
        (counts.requests, counts.connections),
        (3, 3),
        "a connection for each child"
    );
    // The parent's is as it was.
    program.ask(SIGN).ok();
    let counts = kms.proxy.counts();
    assert_eq!((counts.requests, counts.connections), (4, 3));
}

#[test]
fn what_a_service_cannot_do_is_refused_before_it_is_asked() {
    let bed = Bed::empty();
    let kms = KmsScene::new();
    let rsa = kms.account.create_key("RSA_2048", "SIGN_VERIFY");
    kms.account.create_alias("rsa", &rsa);
    let oaep = kms.account.create_key("RSA_2048", "ENCRYPT_DECRYPT");
    kms.account.create_alias("oaep", &oaep);
    kms.register(&bed, "kms", &[]);
    kms.proxy.forget();
    let mut program = Program::start(&bed, "debug");
    program.open("kms", "rsa");
    let (sha256, mgf1_256, mgf1_384) = (CKM_SHA256, 2, 3);
    let refused: [(&str, u64, u64, u64, u64, CK_RV); 5] = [
        (
            "a salt of 20 bytes",
            CKM_SHA256_RSA_PKCS_PSS,
            sha256,
            mgf1_256,
            20,
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            "no salt",
            CKM_RSA_PKCS_PSS,
            sha256,
            mgf1_256,
            0,
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            "another mask",
            CKM_SHA256_RSA_PKCS_PSS,
            sha256,
            mgf1_384,
            32,
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            "SHA-1",
            CKM_RSA_PKCS_PSS,
            CKM_SHA_1,
            1,
            20,
            CKR_MECHANISM_PARAM_INVALID,
        ),
        (
            "what it can",
            CKM_SHA256_RSA_PKCS_PSS,
            sha256,
            mgf1_256,
            32,
            CKR_OK,
        ),
    ];
    for (what, mechanism, hash, mask, salt, rv) in refused {
        program.ask(&format!("pss {hash:x} {mask:x} {salt:x}")).ok();
        let answer = program.ask(&format!("init {mechanism:x}"));
        println!("PSS with {what}: {}", rv_name(answer.rv));
        assert_eq!(rv_name(answer.rv), rv_name(rv), "{what}");
    }
    program.ask("plain").ok();
    for mechanism in [CKM_SHA1_RSA_PKCS, CKM_RSA_X_509, CKM_MD5_RSA_PKCS] {
        let answer = program.ask(&format!("init {mechanism:x}"));
        assert_eq!(rv_name(answer.rv), "CKR_MECHANISM_INVALID", "{mechanism:x}");
    }
    program.ask("key oaep").ok();
    program.ask(&format!("oaep {:x} 1", CKM_SHA_1)).ok();
    let refused = program.ask(&format!("sign {CKM_RSA_PKCS:x} 00"));
    assert_eq!(rv_name(refused.rv), "CKR_KEY_FUNCTION_NOT_PERMITTED");
    program.ask(&format!("oaep {CKM_SHA384:x} 3")).ok();
    let refused = program.ask(&format!("decrypt {CKM_RSA_PKCS_OAEP:x} 00"));
    assert_eq!(rv_name(refused.rv), "CKR_MECHANISM_PARAM_INVALID");
    assert_eq!(kms.proxy.counts().requests, 0, "the service was asked");
}
