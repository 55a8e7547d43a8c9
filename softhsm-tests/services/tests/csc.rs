//! The rules and dialects before a CSC server do what real services do.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ctk_services::{
    Backend, Csc, Forward, Request, Response,
    csc::{Authentication, Credential, Rules, Version0, Version2, base32, totp},
};
use openssl::{base64::encode_block, hash::MessageDigest, sign::Verifier, x509::X509};
use serde_json::{Value, json};

const RSA_SHA256: &str = "1.2.840.113549.1.1.11";

struct Service {
    csc: &'static Csc,
    rules: Arc<Rules>,
}

impl Service {
    fn start() -> Self {
        let csc = Csc::shared();
        let rules = Arc::new(Rules::new(Forward::to(csc.port())));
        Self { csc, rules }
    }

    fn ask(&self, method: &str, question: &Value) -> Response {
        let request = Request::post_json(&format!("/csc/v1/{method}"), question);
        self.rules.answer(&request).expect("an answer")
    }

    fn authorize(&self, more: &Value) -> Response {
        let mut question = json!({"credentialID": "t/rsa", "numSignatures": 1});
        merge(&mut question, more);
        self.ask("credentials/authorize", &question)
    }

    fn sign(&self, sad: &Value, hash: &[u8]) -> Response {
        let question = json!({"credentialID": "t/rsa", "SAD": sad, "hash": [encode_block(hash)], "signAlgo": RSA_SHA256});
        self.ask("signatures/signHash", &question)
    }
}

fn merge(object: &mut Value, more: &Value) {
    let more = more.as_object().expect("an object").clone();
    object.as_object_mut().expect("an object").extend(more);
}

#[track_caller]
fn refused(response: &Response, error: &str, description: &str) {
    let answer = response.value();
    assert_eq!(
        (&answer["error"], &answer["error_description"]),
        (&json!(error), &json!(description))
    );
    assert!(response.status >= 400);
}

#[track_caller]
fn invalid(response: &Response, description: &str) {
    refused(response, "invalid_request", description);
}

fn sha256(text: &str) -> Vec<u8> {
    openssl::hash::hash(MessageDigest::sha256(), text.as_bytes())
        .expect("SHA-256")
        .to_vec()
}

#[track_caller]
fn verifies(csc: &Csc, response: &Response, text: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    let signature = response.value()["signatures"][0]
        .as_str()
        .map(str::to_owned)
        .expect("a signature");
    let signature = openssl::base64::decode_block(&signature).expect("base64");
    let certificate = X509::from_der(&csc.chain("t/rsa")[0]).expect("a certificate");
    let key = certificate.public_key().expect("a key");
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).expect("a verifier");
    assert!(
        verifier
            .verify_oneshot(&signature, text.as_bytes())
            .expect("a signature")
    );
}

#[test]
fn a_pin_is_checked_and_locked() {
    let service = Service::start();
    service.rules.all(Credential::with_pin("1234"));
    let info = service
        .ask(
            "credentials/info",
            &json!({"credentialID": "t/rsa", "authInfo": true}),
        )
        .value();
    assert_eq!(
        (
            &info["authMode"],
            &info["PIN"]["presence"],
            &info["OTP"]["presence"]
        ),
        (&json!("explicit"), &json!("true"), &json!("false"))
    );

    let good = service.authorize(&json!({"PIN": "1234"}));
    let sad = &good.value()["SAD"];
    verifies(service.csc, &service.sign(sad, &sha256("text")), "text");
    for wrong in [json!({"PIN": "4321"}), json!({}), json!({"PIN": "12345"})] {
        refused(
            &service.authorize(&wrong),
            "invalid_pin",
            "The PIN is invalid",
        );
    }
    invalid(&service.authorize(&json!({"PIN": "1234"})), "PIN locked");
    assert_eq!(service.rules.wrong_pins("t/rsa"), 3);
    service.rules.unlock("t/rsa");
    assert_eq!(service.authorize(&json!({"PIN": "1234"})).status, 200);
}

#[test]
fn an_authorisation_is_used_up_bound_and_expires() {
    let service = Service::start();
    let (hash, other) = (sha256("text"), sha256("other"));
    let sad = |response: Response| response.value()["SAD"].clone();

    let once = sad(service.authorize(&json!({})));
    verifies(service.csc, &service.sign(&once, &hash), "text");
    invalid(&service.sign(&once, &hash), "Invalid parameter SAD");
    let twice = sad(service.authorize(&json!({"numSignatures": 2})));
    for _ in 0..2 {
        verifies(service.csc, &service.sign(&twice, &hash), "text");
    }
    invalid(&service.sign(&twice, &hash), "Invalid parameter SAD");
    invalid(
        &service.authorize(&json!({"numSignatures": 11})),
        "Numbers of signatures is too high",
    );
    invalid(
        &service.sign(&json!("made up"), &hash),
        "Invalid parameter SAD",
    );

    service.rules.all(Credential {
        single_use: true,
        ..Credential::default()
    });
    let single = sad(service.authorize(&json!({"numSignatures": 5})));
    verifies(service.csc, &service.sign(&single, &hash), "text");
    invalid(&service.sign(&single, &hash), "Invalid parameter SAD");

    service.rules.all(Credential {
        hashes_are_bound: true,
        lifetime: Some(Duration::from_secs(300)),
        ..Credential::default()
    });
    invalid(
        &service.authorize(&json!({})),
        "Missing (or invalid type) string array parameter hash",
    );
    let bound = service
        .authorize(&json!({"hash": [encode_block(&hash)]}))
        .value();
    assert_eq!(bound["expiresIn"], json!(300));
    invalid(
        &service.sign(&bound["SAD"], &other),
        "Hash is not authorized by the SAD",
    );
    verifies(service.csc, &service.sign(&bound["SAD"], &hash), "text");
    let old = sad(service.authorize(&json!({"hash": [encode_block(&hash)]})));
    service.rules.expire_authorizations();
    invalid(&service.sign(&old, &hash), "SAD expired");
    let short = sad(service.authorize(&json!({"hash": [encode_block(&[1; 31])]})));
    invalid(
        &service.sign(&short, &[1; 31]),
        "Invalid digest value length",
    );
}

#[test]
fn a_one_time_password_is_good_once() {
    // RFC 6238, appendix B, at 59 s and at 1111111109 s.
    let seed = b"12345678901234567890";
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(totp(seed, at(59)), "287082");
    assert_eq!(totp(seed, at(1_111_111_109)), "081804");
    assert_eq!(base32(seed), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");

    let service = Service::start();
    service.rules.all(Credential {
        otp_seed: Some(seed.to_vec()),
        ..Credential::with_pin("1234")
    });
    let now = totp(seed, SystemTime::now());
    refused(
        &service.authorize(&json!({"PIN": "1234", "OTP": "12345"})),
        "invalid_otp",
        "The OTP is invalid",
    );
    assert_eq!(
        service
            .authorize(&json!({"PIN": "1234", "OTP": now}))
            .status,
        200
    );
    refused(
        &service.authorize(&json!({"PIN": "1234", "OTP": now})),
        "invalid_otp",
        "The OTP is invalid",
    );
}

#[test]
fn nobody_asks_without_a_login() {
    let service = Service::start();
    let list = || Request::post_json("/csc/v1/credentials/list", &json!({}));
    let status = |bearer: &str| {
        let request = list().with("Authorization", &format!("Bearer {bearer}"));
        service.rules.answer(&request).expect("an answer").status
    };
    let bearer = |response: Response| {
        let answer = response.value();
        answer["access_token"]
            .as_str()
            .map(str::to_owned)
            .expect("a bearer")
    };
    service
        .rules
        .authentication(Authentication::Bearer("abc".into()));
    assert_eq!(service.ask("credentials/list", &json!({})).status, 400);
    assert_eq!([status("abd"), status("abc")], [401, 200]);

    service.rules.authentication(Authentication::Basic {
        user: "u".into(),
        password: "p".into(),
    });
    let login = |text: &str| {
        let shown = format!("Basic {}", encode_block(text.as_bytes()));
        let request =
            Request::post_json("/csc/v1/auth/login", &json!({})).with("Authorization", &shown);
        service.rules.answer(&request).expect("an answer")
    };
    assert_eq!(status("abc"), 401);
    refused(
        &login("u:q"),
        "authentication_error",
        "An error occurred during authentication process",
    );
    assert_eq!(status(&bearer(login("u:p"))), 200);
    assert_eq!(
        service.ask("info", &json!({})).value()["authType"],
        json!(["basic"])
    );

    let token = |body: &str| {
        let request = Request {
            method: "POST".into(),
            target: "/oauth2/token".into(),
            headers: Vec::new(),
            body: body.into(),
        };
        service.rules.answer(&request).expect("an answer")
    };
    service.rules.authentication(Authentication::Client {
        id: "me".into(),
        secret: "a b+c".into(),
    });
    refused(
        &token("grant_type=client_credentials&client_id=me&client_secret=x"),
        "invalid_client",
        "Client authentication failed",
    );
    let got = bearer(token(
        "grant_type=client_credentials&client_id=me&client_secret=a+b%2Bc",
    ));
    assert_eq!(status(&got), 200);
    service.rules.expire_bearers();
    assert_eq!(status(&got), 401);
    service.rules.authentication(Authentication::Password {
        client: "app".into(),
        user: "u".into(),
        password: "p".into(),
    });
    let got = bearer(token(
        r#"{"grant_type": "password", "client_id": "app", "username": "u", "password": "p"}"#,
    ));
    assert_eq!(status(&got), 200);
    assert_eq!(service.rules.bearers_issued(), 3);
}

#[test]
fn credentials_are_disabled_paged_and_authorised_elsewhere() {
    let service = Service::start();
    service.rules.list_only(&["t/rsa", "t/p256", "t/disabled"]);
    service.rules.page(2);
    let first = service.ask("credentials/list", &json!({})).value();
    assert_eq!(first["credentialIDs"], json!(["t/rsa", "t/p256"]));
    let rest = service
        .ask(
            "credentials/list",
            &json!({"pageToken": first["nextPageToken"]}),
        )
        .value();
    assert_eq!(rest, json!({"credentialIDs": ["t/disabled"]}));
    invalid(
        &service.ask("credentials/info", &json!({"credentialID": "t/none"})),
        "Invalid parameter credentialID",
    );

    let sad = service.authorize(&json!({})).value()["SAD"].clone();
    service.rules.disable("t/rsa");
    let disabled = "The credential identified by credentialID is disabled";
    invalid(&service.sign(&sad, &sha256("text")), disabled);
    invalid(&service.authorize(&json!({})), disabled);
    let info = service
        .ask("credentials/info", &json!({"credentialID": "t/rsa"}))
        .value();
    assert_eq!(info["key"]["status"], json!("disabled"));

    service.rules.set(
        "t/rsa",
        Credential {
            external_token: Some("from elsewhere".into()),
            ..Credential::default()
        },
    );
    let info = service
        .ask(
            "credentials/info",
            &json!({"credentialID": "t/rsa", "authInfo": true}),
        )
        .value();
    assert_eq!(info["authMode"], json!("oauth2code"));
    invalid(
        &service.authorize(&json!({})),
        "Invalid parameter credentialID",
    );
    invalid(
        &service.sign(&sad, &sha256("text")),
        "Invalid parameter SAD",
    );
    verifies(
        service.csc,
        &service.sign(&json!("from elsewhere"), &sha256("text")),
        "text",
    );
}

#[test]
fn version_2_has_other_names() {
    let service = Service::start();
    let seed = b"12345678901234567890";
    service.rules.list_only(&["t/rsa"]);
    service.rules.all(Credential {
        otp_seed: Some(seed.to_vec()),
        hashes_are_bound: true,
        ..Credential::with_pin("1234")
    });
    let version2 = Version2::new(Arc::clone(&service.rules));
    let ask = |method: &str, question: &Value| {
        let request = Request::post_json(&format!("/csc/v2/{method}"), question);
        version2.answer(&request).expect("an answer")
    };
    assert_eq!(ask("info", &json!({})).value()["specs"], json!("2.0.0.0"));
    let list = ask(
        "credentials/list",
        &json!({"credentialInfo": true, "authInfo": true, "certificates": "chain"}),
    )
    .value();
    let info = &list["credentialInfos"][0];
    assert_eq!(info["credentialID"], json!("t/rsa"));
    assert_eq!(
        info["cert"]["certificates"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(info["auth"]["expression"], json!("PIN AND OTP"));
    assert_eq!(info["auth"]["objects"][1]["generator"], json!("totp"));
    assert_eq!(info.get("authMode").or(info.get("PIN")), None);

    let hash = encode_block(&sha256("text"));
    let otp = totp(seed, SystemTime::now());
    let question = |pin: &str| {
        json!({"credentialID": "t/rsa", "numSignatures": 1, "hashes": [hash], "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1",
        "authData": [{"id": "PIN", "value": pin}, {"id": "OTP", "value": otp}]})
    };
    refused(
        &ask("credentials/authorize", &question("4321")),
        "invalid_authentication_data",
        "The authentication data is invalid",
    );
    let sad = ask("credentials/authorize", &question("1234")).value()["SAD"].clone();
    let question = json!({"credentialID": "t/rsa", "SAD": sad, "hashes": [hash], "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1", "signAlgo": "1.2.840.113549.1.1.1"});
    verifies(service.csc, &ask("signatures/signHash", &question), "text");
    for _ in 0..3 {
        ask(
            "credentials/authorize",
            &json!({"credentialID": "t/rsa", "numSignatures": 1, "hashes": [hash], "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1"}),
        );
    }
    let locked = ask(
        "credentials/authorize",
        &json!({"credentialID": "t/rsa", "numSignatures": 1, "hashes": [hash], "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1"}),
    );
    invalid(&locked, "Credential locked");
}

#[test]
fn version_0_has_another_path() {
    let service = Service::start();
    let version0 = Version0::new(Arc::clone(&service.rules));
    let ask = |method: &str, question: &Value| {
        let request = Request::post_json(&format!("/csc/v0/{method}"), question);
        version0.answer(&request).expect("an answer")
    };
    assert_eq!(ask("info", &json!({})).value()["specs"], json!("0.1.7.9"));
    let list = ask("credentials/list", &json!({"clientData": "EVCS"})).value();
    assert!(
        list["credentialIDs"]
            .as_array()
            .is_some_and(|names| names.contains(&json!("t/rsa")))
    );
    let hash = encode_block(&sha256("text"));
    let sad = ask(
        "credentials/authorize",
        &json!({"credentialID": "t/rsa", "numSignatures": 1, "hash": [hash]}),
    )
    .value()["SAD"]
        .clone();
    let signed = ask(
        "signatures/signHash",
        &json!({"credentialID": "t/rsa", "SAD": sad, "hash": [hash], "signAlgo": RSA_SHA256}),
    );
    verifies(service.csc, &signed, "text");
}
