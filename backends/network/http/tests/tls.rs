//! Connections with TLS, directly and through a proxy.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use ctk_token::TokenError;
use zeroize::Zeroizing;

use super::{
    asking::{client, post, settings, surroundings},
    authority::{Authority, Identity, Wants, serve},
    folder::TestFolder,
    server::{After, Server, Wire, answer},
};
use crate::{
    Finding, Secret, Step, Value, base64,
    http::{Client, Endpoint, Repeat},
};

fn good(_: &super::server::Heard, wire: &mut dyn Wire) -> After {
    answer(wire, 200, "", "good")
}

fn ca_file(folder: &TestFolder, authority: &Authority) -> (&'static str, Value) {
    (
        "ca_file",
        Value::Path(folder.write("ca.pem", &authority.pem())),
    )
}

fn client_files(folder: &TestFolder, identity: &Identity) -> [(&'static str, Value); 2] {
    let chain = folder.write("chain.pem", &identity.certificate.to_pem().unwrap());
    let pem = identity.key.private_key_to_pem_pkcs8().unwrap();
    let key = folder.write("key.pem", &pem);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    [
        ("client_certificate", Value::Path(chain)),
        ("client_key", Value::Path(key)),
    ]
}

fn reason(result: ctk_token::Result<crate::http::Response>) -> String {
    match result {
        Err(TokenError::Unreachable(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_handshake_serves_many_requests() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let identity = authority.issue("127.0.0.1");
    for wants in [Wants::Nothing, Wants::Old] {
        let server = serve(&identity, &authority, wants, |heard, wire| {
            answer(wire, 200, "", &String::from_utf8_lossy(&heard.body))
        });
        let url = format!("https://127.0.0.1:{}", server.port());
        let client = client(&[&url], &[ca_file(&folder, &authority)]);
        for number in 0..20 {
            // Longer than a TLS record and than what is gathered at once.
            let body = format!("{number}").repeat(20_000);
            let response = post(&client, Repeat::Unsent, &body).unwrap();
            assert_eq!(response.body.as_slice(), body.as_bytes());
        }
        assert_eq!((server.connections(), server.requests()), (1, 20));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        assert_eq!(post(&client, Repeat::Unsent, "x").unwrap().status, 200);
                    }
                });
            }
        });
        assert!(server.connections() <= 4);
    }
}

#[test]
fn a_certificate_that_is_not_right_is_refused_once_and_said_why() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let stranger = Authority::named("Another CA");
    for (identity, says) in [
        (authority.issue_expired("127.0.0.1"), "expired"),
        (authority.issue("other.example"), "other.example"),
        (stranger.issue("127.0.0.1"), "ca_file"),
    ] {
        let server = serve(&identity, &authority, Wants::Nothing, good);
        let url = format!("https://127.0.0.1:{}", server.port());
        let client = client(&[&url], &[ca_file(&folder, &authority)]);
        let reason = reason(post(&client, Repeat::Always, ""));
        assert!(
            reason.contains(&format!("127.0.0.1:{}", server.port())),
            "{reason}"
        );
        assert!(reason.contains(says), "{reason}");
        assert_eq!((server.connections(), server.requests()), (1, 0));
    }
}

#[test]
fn a_pinned_key_must_be_in_the_chain() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let identity = authority.issue("127.0.0.1");
    let server = serve(&identity, &authority, Wants::Nothing, good);
    let url = format!("https://127.0.0.1:{}", server.port());
    let spki = identity.key.public_key_to_der().unwrap();
    let pin = base64::encode(&openssl::sha::sha256(&spki));
    let other = base64::encode(&[7; 32]);
    for (pins, trusted) in [
        (vec![pin.clone()], true),
        (vec![other.clone(), format!("sha256//{pin}")], true),
        (vec![other], false),
    ] {
        let pins = ("public_key_pins", Value::Texts(pins));
        let client = client(&[&url], &[ca_file(&folder, &authority), pins]);
        let result = post(&client, Repeat::Unsent, "");
        match trusted {
            true => assert_eq!(result.unwrap().status, 200),
            false => assert!(reason(result).contains("public_key_pins")),
        }
    }
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_client_certificate_is_shown_and_its_lack_is_told() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let identity = authority.issue("127.0.0.1");
    let server = serve(&identity, &authority, Wants::Certificate, good);
    let url = format!("https://127.0.0.1:{}", server.port());
    let ca = ca_file(&folder, &authority);
    let [chain, key] = client_files(&folder, &authority.issue("me"));
    let shown = client(&[&url], &[ca.clone(), chain.clone(), key.clone()]);
    assert_eq!(post(&shown, Repeat::Unsent, "").unwrap().status, 200);
    // TLS 1.3 tells this only when the answer is waited for; the service has not looked at the request.
    let without = client(&[&url], std::slice::from_ref(&ca));
    let refused = reason(post(&without, Repeat::Unsent, ""));
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(server.requests(), 1);
    // The key is nobody else's business.
    let Value::Path(path) = &key.1 else {
        unreachable!()
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let careless = client(&[&url], &[ca, chain, key.clone()]);
    let refused = reason(post(&careless, Repeat::Unsent, ""));
    assert!(
        refused.contains("key.pem") && refused.contains("chmod"),
        "{refused}"
    );
    // The kept connection goes on; a new one would not come about.
    assert_eq!(post(&shown, Repeat::Unsent, "").unwrap().status, 200);
}

#[test]
fn a_renewed_file_is_used_without_a_restart() {
    let (folder, authority, next) = (TestFolder::new(), Authority::new(), Authority::new());
    let ca = ca_file(&folder, &authority);
    let server = serve(&next.issue("127.0.0.1"), &next, Wants::Nothing, good);
    let url = format!("https://127.0.0.1:{}", server.port());
    let client = client(&[&url], &[ca]);
    reason(post(&client, Repeat::Unsent, ""));
    std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
    ca_file(&folder, &next);
    assert_eq!(post(&client, Repeat::Unsent, "").unwrap().status, 200);
}

#[test]
fn what_speaks_no_tls_is_said_to() {
    let plain = Server::start(good);
    let url = format!("https://127.0.0.1:{}", plain.port());
    let limits = ("connect_timeout", Value::Number(2));
    let refused = reason(post(&client(&[&url], &[limits]), Repeat::Unsent, ""));
    assert!(
        refused.contains(&format!("127.0.0.1:{}", plain.port())),
        "{refused}"
    );
}

#[test]
fn an_answer_that_is_cut_without_a_goodbye_is_no_whole_one() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let server = serve(
        &authority.issue("127.0.0.1"),
        &authority,
        Wants::Nothing,
        |_, wire| {
            let _ = wire.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\nall that there");
            // The socket is closed under TLS, as somebody on the way could do.
            After::Close
        },
    );
    let url = format!("https://127.0.0.1:{}", server.port());
    let client = client(&[&url], &[ca_file(&folder, &authority)]);
    let result = post(&client, Repeat::Unsent, "");
    assert!(
        matches!(result, Err(TokenError::Corrupted(_))),
        "{result:?}"
    );
}

/// A proxy that connects every name to one port of this machine.
fn proxy(to: u16, credentials: Option<&'static str>) -> Server {
    Server::with(
        false,
        |stream| Ok(Box::new(stream)),
        move |heard, wire| {
            let wanted =
                credentials.map(|text| format!("Basic {}", base64::encode(text.as_bytes())));
            if heard.field("proxy-authorization") != wanted.as_deref() {
                answer(wire, 407, "Proxy-Authenticate: Basic\r\n", "who are you?");
                return After::Close;
            }
            if heard.first_line() != "CONNECT service.test:443 HTTP/1.1" {
                answer(wire, 403, "", "not there");
                return After::Close;
            }
            let mut service = TcpStream::connect(("127.0.0.1", to)).unwrap();
            wire.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .unwrap();
            tunnel(wire, &mut service);
            After::Close
        },
    )
}

/// Carries bytes both ways until one side ends. The sockets' own times make it look at both in turn.
fn tunnel(wire: &mut dyn Wire, service: &mut TcpStream) {
    service
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut buffer = [0; 16384];
    let again = |error: &std::io::Error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        )
    };
    // Nobody needs longer.
    for _ in 0..5000 {
        match wire.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) if service.write_all(&buffer[..count]).is_err() => return,
            Err(error) if !again(&error) => return,
            _ => {}
        }
        match service.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) if wire.write_all(&buffer[..count]).is_err() => return,
            Err(error) if !again(&error) => return,
            _ => {}
        }
    }
}

#[test]
fn a_proxy_leads_to_the_service_with_its_password() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let server = serve(
        &authority.issue("service.test"),
        &authority,
        Wants::Nothing,
        |heard, wire| {
            assert_eq!(heard.field("host"), Some("service.test"));
            assert_eq!(heard.field("proxy-authorization"), None);
            answer(wire, 200, "", "good")
        },
    );
    let proxy = proxy(server.port(), Some("me:pass word"));
    let ca = ca_file(&folder, &authority);
    let of = |login: Option<(&str, &'static str)>| {
        let url = format!("http://127.0.0.1:{}", proxy.port());
        let mut settings = vec![ca.clone(), ("proxy", Value::Text(url))];
        settings.extend(login.into_iter().flat_map(|(user, password)| {
            let read = move |_| Ok(Zeroizing::new(password.as_bytes().to_vec()));
            let password = Value::Secret(Secret::new("file:/password", read));
            [
                ("proxy_user", Value::Text(user.to_owned())),
                ("proxy_password", password),
            ]
        }));
        settings
    };
    let with = of(Some(("me", "pass word")));
    let client_with = client(&["https://service.test"], &with);
    for _ in 0..3 {
        assert_eq!(post(&client_with, Repeat::Unsent, "").unwrap().status, 200);
    }
    assert_eq!(
        (proxy.connections(), server.connections(), server.requests()),
        (1, 1, 3)
    );
    for (login, says) in [
        (None, "wants a user"),
        (Some(("me", "wr0ng")), "does not take"),
    ] {
        let refused = client(&["https://service.test"], &of(login));
        let refused = reason(post(&refused, Repeat::Always, ""));
        assert!(
            refused.contains(says) && !refused.contains("wr0ng"),
            "{refused}"
        );
    }
    let elsewhere = client(&["https://else.test:444"], &with);
    let refused = reason(post(&elsewhere, Repeat::Always, ""));
    assert!(refused.contains("else.test:444"), "{refused}");
    assert_eq!(server.requests(), 3);
}

#[test]
fn the_environments_proxy_is_used_unless_the_name_is_excepted() {
    static PORT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let server = serve(
        &authority.issue("service.test"),
        &authority,
        Wants::Nothing,
        good,
    );
    let proxy = proxy(server.port(), None);
    PORT.store(proxy.port(), std::sync::atomic::Ordering::SeqCst);
    let environment = surroundings(|name| match name {
        "HTTPS_PROXY" => {
            let port = PORT.load(std::sync::atomic::Ordering::SeqCst);
            Some(format!("http://127.0.0.1:{port}").into())
        }
        "NO_PROXY" => Some("127.0.0.1,.excepted.invalid".into()),
        _ => None,
    });
    let settings = settings(&[ca_file(&folder, &authority)]);
    let client =
        |url| Client::new(&settings, &environment, vec![Endpoint::parse(url).unwrap()]).unwrap();
    let through = client("https://service.test");
    assert_eq!(post(&through, Repeat::Unsent, "").unwrap().status, 200);
    assert_eq!(proxy.connections(), 1);
    let direct = reason(post(
        &client("https://a.excepted.invalid"),
        Repeat::Unsent,
        "",
    ));
    assert!(
        direct.contains("a.excepted.invalid cannot be looked up"),
        "{direct}"
    );
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn what_is_no_proxy_is_said_to() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n\r\nsurplus",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 503 Busy\r\n\r\n",
    ] {
        let wrong = Server::start(move |_, wire| {
            let _ = wire.write_all(text.as_bytes());
            After::Close
        });
        let url = format!("http://127.0.0.1:{}", wrong.port());
        let client = client(&["https://service.test"], &[("proxy", Value::Text(url))]);
        let refused = reason(post(&client, Repeat::Unsent, ""));
        let place = format!("127.0.0.1:{}", wrong.port());
        assert!(refused.contains(&place), "{refused}");
    }
}

fn findings(client: &Client) -> (bool, Vec<(Step, bool, String)>) {
    let mut all = Vec::new();
    let well = client.check(&mut |Finding { step, result }| {
        let good = result.is_ok();
        let text = result.unwrap_or_else(|reason| reason.to_string());
        all.push((step, good, text));
    });
    (well, all)
}

#[test]
fn a_doctor_looks_at_name_connection_and_tls() {
    let (folder, authority) = (TestFolder::new(), Authority::new());
    let identity = authority.issue("localhost");
    let server = serve(&identity, &authority, Wants::Nothing, good);
    let ca = ca_file(&folder, &authority);
    let url = format!("https://localhost:{}", server.port());
    let (well, all) = findings(&client(&[&url], std::slice::from_ref(&ca)));
    assert!(well);
    let steps: Vec<_> = all.iter().map(|(step, good, _)| (*step, *good)).collect();
    let three = [
        (Step::Name, true),
        (Step::Connection, true),
        (Step::Tls, true),
    ];
    assert_eq!(steps, three, "{all:?}");
    assert!(
        all[0].2.contains("localhost is ") && all[0].2.contains("127.0.0.1"),
        "{all:?}"
    );
    assert!(
        all[2].2.contains("TLSv1.3") && all[2].2.contains("Test CA"),
        "{all:?}"
    );

    let dead = format!("https://127.0.0.1:{}", super::asking::dead_port());
    let urls = ["https://nowhere.invalid", &dead, &url];
    let (well, all) = findings(&client(&urls, &[]));
    assert!(!well);
    let steps: Vec<_> = all.iter().map(|(step, good, _)| (*step, *good)).collect();
    let expected = [
        (Step::Name, false),
        (Step::Name, true),
        (Step::Connection, false),
        (Step::Name, true),
        (Step::Connection, true),
        (Step::Tls, false),
    ];
    assert_eq!(steps, expected, "{all:?}");
    let (well, _) = findings(&client(&urls, &[ca]));
    assert!(well);

    let plain = Server::start(good);
    let (well, all) = findings(&client(&[&plain.url()], &[]));
    assert!(well && all[2].2.contains("plain HTTP"), "{all:?}");
    assert_eq!(server.requests() + plain.requests(), 0);
}
