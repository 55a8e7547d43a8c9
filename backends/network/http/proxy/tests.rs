//! Settings, variables and answers of proxies.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ctk_token::TokenError;

use super::*;
use crate::Value;

fn surroundings(variable: fn(&str) -> Option<OsString>) -> Surroundings {
    Surroundings {
        home: None::<PathBuf>,
        variable,
        run: Arc::new(|_, _| Err(TokenError::NotSupported)),
    }
}

fn with(proxy: &str) -> Settings {
    let mut settings = Settings::default();
    settings.0.insert("proxy".into(), Value::Text(proxy.into()));
    settings
}

fn header(proxy: &Proxy) -> Option<Zeroizing<String>> {
    let wait = Wait::until(Instant::now() + Duration::from_secs(9));
    proxy.login.header(&wait).unwrap()
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url).unwrap()
}

#[test]
fn a_proxy_is_read_with_its_user_and_shows_none_of_it() {
    let proxy = Proxy::parse("http://me%40work:p%3Aw@proxy.example:3128/").unwrap();
    assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
    let authorization = header(&proxy).unwrap();
    assert_eq!(
        *authorization,
        format!("Basic {}", base64::encode(b"me@work:p:w"))
    );
    assert_eq!(
        *request("h:443", Some(&authorization)),
        format!(
            "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nProxy-Authorization: {}\r\n\r\n",
            *authorization
        )
    );
    for (text, host, port) in [
        ("p", "p", 80),
        ("p:1", "p", 1),
        ("HTTP://[::1]:2", "::1", 2),
    ] {
        let proxy = Proxy::parse(text).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), (host, port));
        assert!(header(&proxy).is_none());
    }
    for wrong in [
        "",
        "https://p",
        "socks5://u:s3cret@p",
        "http://u:s3cret@p:x",
        "http://u:s3cret@p",
        "u:s3cret@p",
        "p/x",
    ] {
        let refused = Proxies::of(&with(wrong), &surroundings(|_| None));
        match (wrong, refused) {
            ("", none) => assert!(none.unwrap().proxy.unwrap().is_none()),
            (_, refused) => {
                let refused = refused.unwrap_err().to_string();
                assert!(
                    refused.starts_with("`proxy`: ") && !refused.contains("s3cret"),
                    "{refused}"
                );
            }
        }
    }
}

#[test]
fn the_user_and_the_password_of_a_proxy_are_settings() {
    let password = |text: &'static str| {
        let read = move |_| Ok(Zeroizing::new(text.as_bytes().to_vec()));
        Value::Secret(Secret::new("file:/p", read))
    };
    let mut settings = with("proxy.example:3128");
    let all = |settings: &Settings, variable: fn(&str) -> Option<OsString>| {
        let proxies = Proxies::of(settings, &surroundings(variable)).unwrap();
        assert!(!format!("{proxies:?}").contains("s3cret"));
        header(&proxies.proxy.unwrap().unwrap()).map(|value| value.to_string())
    };
    let value = |plain: &[u8]| Some(format!("Basic {}", base64::encode(plain)));
    assert_eq!(all(&settings, |_| None), None);
    settings
        .0
        .insert("proxy_user".into(), Value::Text("me%".into()));
    assert_eq!(all(&settings, |_| None), value(b"me%:"));
    settings
        .0
        .insert("proxy_password".into(), password("s3cret:%40"));
    assert_eq!(all(&settings, |_| None), value(b"me%:s3cret:%40"));
    // They are for the environment's proxy too.
    settings.0.remove("proxy");
    let environment =
        |name: &str| (name == "HTTPS_PROXY").then(|| OsString::from("http://a:s3cret@h"));
    assert_eq!(all(&settings, environment), value(b"me%:s3cret:%40"));
    assert_eq!(all(&Settings::default(), environment), value(b"a:s3cret"));
    let refused = |settings: &Settings| {
        let refused = Proxies::of(settings, &surroundings(|_| None));
        refused.unwrap_err().to_string()
    };
    settings
        .0
        .insert("proxy_user".into(), Value::Text("a:b".into()));
    assert!(refused(&settings).contains("colon"));
    settings.0.remove("proxy_user");
    assert!(refused(&settings).contains("`proxy_user`"));
}

#[test]
fn a_password_that_cannot_be_read_is_said() {
    let mut settings = with("proxy.example:3128");
    let user = Value::Text("me".into());
    settings.0.insert("proxy_user".into(), user);
    let none = Secret::new("file:/p", |_| Err(wrong("the file /p is gone")));
    settings
        .0
        .insert("proxy_password".into(), Value::Secret(none));
    let proxies = Proxies::of(&settings, &surroundings(|_| None)).unwrap();
    let wait = Wait::until(Instant::now() + Duration::from_secs(9));
    let failure = proxies
        .proxy
        .unwrap()
        .unwrap()
        .login
        .header(&wait)
        .unwrap_err();
    let said = failure.to_string();
    assert!(
        said.contains("`proxy_password`: the file /p is gone"),
        "{said}"
    );
}

#[test]
fn the_setting_counts_before_the_environment() {
    let environment = surroundings(|name| match name {
        "HTTPS_PROXY" => Some("http://upper:1".into()),
        "NO_PROXY" => Some("direct.example, port.example:444 [2001:db8::1]:444".into()),
        _ => None,
    });
    let of = |settings: &Settings, url| {
        let proxies = Proxies::of(settings, &environment).unwrap();
        let endpoint = endpoint(url);
        let proxy = proxies.of_endpoint(&endpoint).unwrap();
        proxy.map(|proxy| proxy.host.clone())
    };
    let none = Settings::default();
    assert_eq!(of(&none, "https://h.example"), Some("upper".into()));
    assert_eq!(of(&none, "https://direct.example"), None);
    assert_eq!(of(&none, "https://x.direct.example"), None);
    assert_eq!(of(&none, "https://indirect.example"), Some("upper".into()));
    for (url, is_direct) in [
        ("https://port.example:444", true),
        ("https://port.example", false),
        ("https://[2001:db8::1]:444", true),
        ("https://[2001:db8::1]", false),
    ] {
        assert_eq!(of(&none, url).is_none(), is_direct, "{url}");
    }
    assert_eq!(of(&none, "http://127.0.0.1:1"), None);
    assert_eq!(of(&none, "https://127.0.0.1:1"), None);
    assert_eq!(of(&none, "https://localhost:1"), None);
    assert_eq!(of(&with("none"), "https://h.example"), None);
    assert_eq!(
        of(&with("http://set:1"), "https://direct.example"),
        Some("set".into())
    );
    let lower = surroundings(|name| match name {
        "HTTPS_PROXY" => Some("http://upper:1".into()),
        "https_proxy" => Some("http://lower:1".into()),
        _ => None,
    });
    let proxies = Proxies::of(&none, &lower).unwrap();
    assert_eq!(
        proxies
            .of_endpoint(&endpoint("https://h.example"))
            .unwrap()
            .unwrap()
            .host,
        "lower"
    );
    let bad = surroundings(|name| (name == "https_proxy").then(|| "socks5://u:s3cret@h".into()));
    let proxies = Proxies::of(&none, &bad).unwrap();
    assert!(!format!("{proxies:?}").contains("s3cret"));
    let proxied = endpoint("https://h.example");
    let refused = proxies.of_endpoint(&proxied).map(drop).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("HTTPS_PROXY") && !refused.contains("s3cret"),
        "{refused}"
    );
    // It is nothing to what it is not used for.
    let here = endpoint("https://localhost:1");
    assert!(proxies.of_endpoint(&here).unwrap().is_none());
}

#[test]
fn a_status_is_three_digits_in_the_right_place() {
    assert_eq!(
        status(b"HTTP/1.1 200 Connection established\r\n"),
        Some(200)
    );
    assert_eq!(status(b"HTTP/1.0 407\r\n"), Some(407));
    for wrong in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 2000 \r\n",
        "HTTP/2 200 \r\n",
        "HTTP/1.1 +20 \r\n",
        "ICY 200 OK",
    ] {
        assert_eq!(status(wrong.as_bytes()), None, "{wrong}");
    }
}
