//! The servers start from nothing, listen on this machine only, do what they are for, and end.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use ctk_services::{Access, Account, Authority, Csc, Kms, Moto, Scal, listening_addresses};
use serde_json::json;

/// The server listens on this port of 127.0.0.1 and nowhere else.
#[track_caller]
fn listens_here_only(group: u32, port: u16) {
    let addresses = listening_addresses(group);
    assert_eq!(addresses, [([127, 0, 0, 1], port).into()]);
}

/// Nothing listens on the port any more.
#[track_caller]
fn is_gone(port: u16) {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < end, "port {port} still answers");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_csc_server_lists_its_credentials_and_authorises() {
    let mut csc = Csc::start(Scal::One);
    listens_here_only(csc.id(), csc.port());
    let list = csc.ask("credentials/list", &json!({}));
    let mut expected: Vec<_> = Csc::CREDENTIALS.to_vec();
    expected.push(Csc::DISABLED);
    assert_eq!(list["credentialIDs"], json!(expected));
    let chain = csc.chain("t/p384");
    assert_eq!(chain.len(), 2);
    let question = json!({"credentialID": "t/p384", "numSignatures": 1});
    assert!(csc.ask("credentials/authorize", &question)["SAD"].is_string());

    csc.restart();
    assert_eq!(csc.chain("t/p384"), chain, "the same certificates");
    let port = csc.port();
    drop(csc);
    is_gone(port);
}

#[test]
fn a_kms_has_accounts_of_their_own() {
    let kms = Kms::shared();
    listens_here_only(kms.id(), kms.port());
    let (one, other) = (kms.account(), kms.account());
    let keys = one.create_every_key();
    assert_eq!(keys.len(), Account::EVERY_KEY.len());
    one.create_alias("first", &keys[0]);
    let found = one.ask("DescribeKey", &json!({"KeyId": "alias/first"}));
    assert_eq!(found["KeyMetadata"]["KeyId"], json!(keys[0].id));
    let listed = |account: &Account| {
        let answer = account.ask("ListKeys", &json!({}));
        answer["Keys"].as_array().map(Vec::len)
    };
    assert_eq!(listed(&one), Some(keys.len()));
    assert_eq!(listed(&other), Some(0));

    one.disable(&keys[3]);
    let question = json!({"KeyId": keys[3].id, "Message": openssl::base64::encode_block(&[1; 32]),
        "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"});
    let refused = one.try_ask("Sign", &question);
    assert_eq!(refused.value()["__type"], json!("DisabledException"));
    one.enable(&keys[3]);
    assert!(one.ask("Sign", &question)["Signature"].is_string());
}

#[test]
fn a_kms_of_ones_own_ends() {
    let kms = Kms::start();
    let port = kms.port();
    listens_here_only(kms.id(), port);
    drop(kms);
    is_gone(port);
}

#[test]
fn a_server_that_checks_has_users_and_takes_nothing_unsigned() {
    let moto = Moto::start();
    listens_here_only(moto.id(), moto.port());
    let Access {
        access_key_id,
        secret_access_key,
        ..
    } = &moto.allowed;
    assert!(access_key_id.starts_with("AKIA"), "{access_key_id}");
    assert_eq!(secret_access_key.len(), 40);
    assert!(moto.temporary.access_key_id.starts_with("ASIA"));
    assert!(moto.temporary.session_token.is_some());
    let unsigned = ctk_services::Request::post_json("/", &json!({"KeyId": moto.key()}))
        .with("X-Amz-Target", "TrentService.DescribeKey")
        .with("Authorization", "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0");
    let refused = ctk_services::ask(moto.port(), &unsigned).expect("an answer");
    assert_eq!(refused.status, 403);
    let port = moto.port();
    drop(moto);
    is_gone(port);
}

#[test]
fn certificates_are_made_for_keys_of_a_service() {
    let account = Kms::shared().account();
    let authority = Authority::new();
    for (spec, usage) in [
        ("RSA_2048", "SIGN_VERIFY"),
        ("ECC_SECG_P256K1", "SIGN_VERIFY"),
        ("ECC_NIST_P521", "KEY_AGREEMENT"),
    ] {
        let key = account.create_key(spec, usage);
        let certificate = authority.certify(spec, &key.spki);
        let certificate = openssl::x509::X509::from_der(&certificate).expect("a certificate");
        let public = certificate.public_key().expect("a key");
        assert_eq!(public.public_key_to_der().expect("DER"), key.spki, "{spec}");
    }
}
