//! What there is at a service, and what is left out of it.

use ctk_token::TokenError;
use serde_json::json;

use crate::{Inventory, Service, Value};

use super::{
    fake::{Credential, Fake, P256, RSA, credential},
    world::{World, client, settings, text},
};

fn left_out(change: impl FnOnce(&mut Credential)) -> (Inventory, String) {
    let mut odd = credential(P256, &["implicit"]);
    change(&mut odd);
    let world = World::new(
        Fake::new(1, vec![odd, credential(P256, &["implicit"])]),
        &[],
    );
    assert_eq!(world.inventory.keys.len(), 1);
    let [why] = &world.inventory.left_out[..] else {
        panic!("{:?}", world.inventory.left_out)
    };
    assert!(why.contains("c/1"), "{why}");
    let why = why.clone();
    (world.inventory, why)
}

#[test]
fn what_cannot_sign_is_left_out_and_why() {
    // Of one that is switched off nothing is shown.
    let (inventory, why) = left_out(|one| one.status = "disabled");
    assert!(why.contains("disabled"));
    assert_eq!(inventory.certificates.len(), 2);
    for status in ["expired", "revoked", "suspended"] {
        let (inventory, why) = left_out(|one| one.certificate_status = Some(status));
        assert!(why.contains(status), "{why}");
        assert_eq!(inventory.certificates.len(), 4);
    }
    let (inventory, why) = left_out(|one| one.has_certificate = false);
    assert!(why.contains("no certificate"), "{why}");
    assert_eq!(inventory.certificates.len(), 2);
    let (_, why) = left_out(|one| one.algorithms = vec!["1.2.840.113549.1.1.11", "9.9"]);
    assert!(why.contains("9.9"), "{why}");
    let (_, why) = left_out(|one| one.wants = &["oauth2code"]);
    assert!(why.contains("authorization_token"), "{why}");
}

#[test]
fn a_list_has_pages() {
    let keys = || (0..5).map(|_| credential(P256, &["implicit"])).collect();
    let mut fake = Fake::new(1, keys());
    fake.page = 2;
    let world = World::new(fake, &[]);
    assert_eq!(world.inventory.keys.len(), 5);
    let mut said = Vec::new();
    client(&world.fake, &settings(&[]))
        .list(None, &mut |step| said.push(step.to_owned()))
        .unwrap();
    assert!(
        said.contains(&"asking for credential 3 of 5".to_owned()),
        "{said:?}"
    );
    // One that goes round in circles, and one that has no end.
    world.fake.calls();
    world.fake.answer(
        "credentials/list",
        200,
        r#"{"credentialIDs":["c/1"],"nextPageToken":"x"}"#,
    );
    let inventory = client(&world.fake, &settings(&[]))
        .list(None, &mut |_| {})
        .unwrap();
    assert_eq!(inventory.keys.len(), 1);
    assert_eq!(world.fake.calls().len(), 4);
    world.fake.answer_by(|call| {
        let next = format!("{}x", call.body["pageToken"].as_str().unwrap_or_default());
        let page = json!({"credentialIDs": [], "nextPageToken": next});
        (call.operation == "credentials/list").then(|| (200, page.to_string()))
    });
    client(&world.fake, &settings(&[]))
        .list(None, &mut |_| {})
        .unwrap();
    assert!(world.fake.calls().len() < 105);
}

#[test]
fn a_list_is_asked_for_as_configured() {
    let fake = || {
        Fake::new(
            1,
            vec![
                credential(RSA, &["implicit"]),
                credential(P256, &["implicit"]),
            ],
        )
    };
    let named = (
        "credentials",
        Value::Texts(vec!["c/2".to_owned(), "c/9".to_owned()]),
    );
    let world = World::new(fake(), &[named]);
    assert_eq!(world.inventory.keys.len(), 1);
    assert_eq!(
        world.inventory.keys[0].facts.text("credential"),
        Some("c/2")
    );
    assert_eq!(world.inventory.left_out.len(), 1);

    let more = [("user_id", text("alice")), ("client_data", text("EVCS"))];
    let fake = std::sync::Arc::new(fake());
    client(&fake, &settings(&more))
        .list(None, &mut |_| {})
        .unwrap();
    let calls = fake.calls();
    assert_eq!(calls[0].operation, "info");
    assert_eq!(
        calls[1].body,
        json!({"userID": "alice", "clientData": "EVCS"})
    );
    let expected = json!({"credentialID": "c/1", "certificates": "chain", "authInfo": true});
    assert_eq!(calls[2].body, expected);
}

#[test]
fn version_2_tells_everything_in_one_answer_if_it_can() {
    let world = World::new(Fake::new(2, vec![credential(P256, &["pin"])]), &[]);
    let fake = world.fake.clone();
    client(&fake, &settings(&[]))
        .list(None, &mut |_| {})
        .unwrap();
    let info = fake.calls().pop().unwrap();
    assert_eq!(info.operation, "credentials/info");
    let answer = serde_json::json!({"credentialIDs": ["c/1"], "credentialInfos": [{
        "credentialID": "c/1", "key": {"status": "disabled"}, "cert": {}}]});
    fake.answer("credentials/list", 200, &answer.to_string());
    let inventory = client(&fake, &settings(&[]))
        .list(None, &mut |_| {})
        .unwrap();
    assert_eq!(fake.operations(), ["info", "credentials/list"]);
    assert!(inventory.left_out[0].contains("disabled"));
}

#[test]
fn who_wants_two_secrets_of_one_kind_is_left_out() {
    for wants in [&["pin", "pin"][..], &["otp", "online"]] {
        let two = vec![credential(P256, wants), credential(P256, &["pin", "otp"])];
        let world = World::new(Fake::new(2, two), &[]);
        assert_eq!(world.inventory.keys.len(), 1);
        let why = &world.inventory.left_out[0];
        assert!(why.contains("c/1") && why.contains("two"), "{why}");
    }
}

#[test]
fn a_service_without_info_is_what_its_address_says() {
    let fake = std::sync::Arc::new(Fake::new(1, vec![credential(P256, &["pin"])]));
    for status in [404, 405, 500, 501] {
        fake.answer("info", status, "no such page");
        let inventory = client(&fake, &settings(&[]))
            .list(None, &mut |_| {})
            .unwrap();
        assert_eq!(inventory.keys[0].facts.number("version"), Some(1));
    }
    fake.answer("info", 503, "");
    let refused = client(&fake, &settings(&[])).list(None, &mut |_| {});
    assert!(matches!(refused, Err(TokenError::Unreachable(_))));
}

#[test]
fn an_address_that_is_no_service_is_told_so() {
    let fake = std::sync::Arc::new(Fake::new(1, Vec::new()));
    fake.answer_by(|_| Some((404, "<html>".to_owned())));
    let Err(TokenError::Unreachable(why)) = client(&fake, &settings(&[])).list(None, &mut |_| {})
    else {
        panic!("404")
    };
    assert!(why.as_str().contains("endpoints"), "{why}");
    fake.answer_by(|_| Some((200, "<html>".to_owned())));
    let Err(TokenError::Corrupted(why)) = client(&fake, &settings(&[])).list(None, &mut |_| {})
    else {
        panic!("a page")
    };
    assert!(why.as_str().contains("endpoints"), "{why}");
}
