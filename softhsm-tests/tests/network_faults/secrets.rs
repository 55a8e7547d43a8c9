//! What nobody may read stands in no log, no output and no configuration, also where a service repeats it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ctk_services::{
    Backend, Csc, Forward, Kms, Proxy, Request, Response, Scal,
    csc::{Authentication, Credential, Rules},
};
use serde_json::json;
use softhsm_tests::{
    bed::Bed,
    network::{IMPATIENT, KMS_SECRET, Program},
    process::run,
};

use crate::scenes::{BEARER, CSC_PIN, SIGN};

const SESSION_TOKEN: &str = "session-token-that-nobody-may-see";
const CLIENT_SECRET: &str = "client-secret-that-nobody-may-see";
const PASSWORD: &str = "password-that-nobody-may-see";
/// Of one-time passwords, and in base32.
const SEED: (&[u8], &str) = (b"12345678901234567890", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");

/// Before a service: says what it was asked, with all that was shown to it, if it is told to.
struct Repeating {
    service: Arc<dyn Backend>,
    /// 0 for no; else the status, and by its sign in which order.
    status: AtomicUsize,
}

impl Repeating {
    /// What a client shows comes first, or what it asks.
    const BODY_FIRST: usize = 1000;

    fn answer_to(&self, request: &Request) -> Response {
        let how = self.status.load(Ordering::SeqCst);
        if how == 0 {
            let answer = self.service.answer(request);
            return answer
                .unwrap_or_else(|error| Response::new(502, "text/plain", &error.to_string()));
        }
        let shown = ["X-Amz-Security-Token", "Authorization"];
        let shown = shown.map(|name| request.header(name).unwrap_or_default());
        let (shown, asked) = (shown.join(" "), String::from_utf8_lossy(&request.body));
        let text = match how / Self::BODY_FIRST {
            0 => format!("{shown} {asked}"),
            _ => format!("{asked} {shown}"),
        };
        let status = u16::try_from(how % Self::BODY_FIRST).expect("a status");
        let body = json!({"error": "invalid_request", "error_description": text, "__type": "ValidationException",
            "message": text});
        Response::json(status, &body)
    }
}

/// A service that repeats things, and the token of its own.
struct Place {
    name: &'static str,
    key: &'static str,
    proxy: Proxy,
    repeating: Arc<Repeating>,
}

impl Place {
    fn new(name: &'static str, service: Arc<dyn Backend>) -> Self {
        let repeating = Arc::new(Repeating {
            service,
            status: AtomicUsize::new(0),
        });
        let own = Arc::clone(&repeating);
        Self {
            name,
            key: if name == "kms" { "key" } else { "Test P-256" },
            proxy: Proxy::start(move |request: &Request| own.answer_to(request)),
            repeating,
        }
    }

    /// A CSC service with these rules.
    fn csc(
        bed: &Bed,
        csc: &Csc,
        name: &'static str,
        credential: Credential,
        authentication: Authentication,
        options: &[&str],
    ) -> Self {
        let rules = Arc::new(Rules::new(Forward::to(csc.port())));
        rules.list_only(&["t/p256"]);
        rules.set("t/p256", credential);
        rules.authentication(authentication);
        let backend: Arc<dyn Backend> = rules.clone();
        let place = Self::new(name, backend);
        rules.oauth2(&place.proxy.url());
        let url = format!("{}/csc/v1", place.proxy.url());
        bed.add_csc(name, &url, &[&IMPATIENT, options].concat());
        place
    }

    /// What must not be told of what was sent.
    fn sent(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for request in self.proxy.requests() {
            let shown = request.header("Authorization").unwrap_or_default();
            let bearer = shown
                .strip_prefix("Bearer ")
                .or(shown.strip_prefix("Basic "));
            secrets.extend(bearer.map(str::to_owned));
            let body = request.json();
            let fields = ["PIN", "OTP", "SAD"].map(|name| body[name].as_str().map(str::to_owned));
            secrets.extend(fields.into_iter().flatten());
        }
        secrets.sort();
        secrets.dedup();
        secrets
    }
}

fn places(bed: &Bed, csc: &Csc) -> [Place; 4] {
    let file = |name: &str, content: &str| format!("file:{}", bed.secret(name, content).display());
    let (token, client) = (
        file("session-token", SESSION_TOKEN),
        file("client-secret", CLIENT_SECRET),
    );
    let (bearer, password, seed) = (
        file("bearer", BEARER),
        file("password", PASSWORD),
        file("seed", SEED.1),
    );

    let account = Kms::shared().account();
    let key = account.create_key("ECC_NIST_P256", "SIGN_VERIFY");
    account.create_alias("key", &key);
    let kms = Place::new("kms", Arc::new(Forward::to(Kms::shared().port())));
    let options = [&IMPATIENT[..], &["--session-token", &token]].concat();
    bed.add_kms("kms", &kms.proxy.url(), &account.access_key_id, &options);

    let with_otp = Credential {
        otp_seed: Some(SEED.0.to_vec()),
        ..Credential::with_pin(CSC_PIN)
    };
    let by_client = Authentication::Client {
        id: "app".to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let options = ["--authentication", "oauth2-client", "--client-id", "app"];
    let more = ["--client-secret", &client, "--otp-seed", &seed];
    let options = [&options[..], &more].concat();
    let otp = Place::csc(bed, csc, "otp", with_otp, by_client, &options);

    let by_name = Authentication::Basic {
        user: "somebody".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let options = ["--authentication", "basic", "--user", "somebody"];
    let options = [&options[..], &["--password", &password]].concat();
    let basic = Place::csc(bed, csc, "basic", Credential::default(), by_name, &options);

    let by_bearer = Authentication::Bearer(BEARER.to_owned());
    let options = ["--authentication", "bearer", "--bearer", &bearer];
    let pin = Credential::with_pin(CSC_PIN);
    let pin = Place::csc(bed, csc, "pin", pin, by_bearer, &options);
    [kms, otp, basic, pin]
}

#[test]
fn no_secret_is_told_even_where_a_service_repeats_it() {
    let bed = Bed::empty();
    let csc = Csc::start(Scal::One);
    let places = places(&bed, &csc);
    let mut program = Program::start(&bed, "trace");
    for place in &places {
        let has_pin = ["otp", "pin"].contains(&place.name);
        program.ask(&format!("open {}", place.name)).ok();
        if has_pin {
            program.ask(&format!("login {CSC_PIN}")).ok();
        }
        program.ask(&format!("key {}", place.key)).ok();
        program.ask(SIGN).ok();
        for order in [0, Repeating::BODY_FIRST] {
            for status in [400, 401, 403, 500] {
                let repeat = |how| place.repeating.status.store(how, Ordering::SeqCst);
                repeat(order + status);
                assert_ne!(program.ask(SIGN).rv, 0, "{} {status}", place.name);
                if has_pin {
                    program.ask("logout");
                    assert_ne!(program.ask(&format!("login {CSC_PIN}")).rv, 0);
                }
                repeat(0);
                if place.name == "pin" {
                    program.ask(&format!("login {CSC_PIN}")).ok();
                }
            }
        }
        program.ask("close").ok();
    }

    let mut told = program.log();
    assert!(told.contains(" trace: "), "no trace in the log");
    for arguments in [
        &["list"][..],
        &["show", "otp"],
        &["doctor", "network"],
        &["refresh"],
    ] {
        for how in [0, 400, Repeating::BODY_FIRST + 401] {
            for place in &places {
                place.repeating.status.store(how, Ordering::SeqCst);
            }
            let mut command = bed.without_foreign(bed.ctk());
            told += &run(command.args(arguments)).text();
        }
    }
    for entry in fs::read_dir(bed.configuration()).expect("tokens") {
        told += &fs::read_to_string(entry.expect("a token").path()).expect("a token");
    }

    // What they refuse is told all the same.
    for refusal in [
        "refuses signatures/signHash (400): invalid_request",
        "Sign with arn:",
        ": ValidationException",
    ] {
        assert!(told.contains(refusal), "{told}");
    }

    let mut secrets: Vec<_> = places.iter().flat_map(Place::sent).collect();
    // PIN, one-time password, SADs, bearers that were issued, name and password in base64.
    assert!(secrets.len() > 8, "{secrets:?}");
    assert!(
        secrets.iter().any(|secret| secret.len() == 6),
        "no one-time password"
    );
    let fixed = [KMS_SECRET, SESSION_TOKEN, CLIENT_SECRET, PASSWORD, BEARER];
    secrets.extend(fixed.map(str::to_owned));
    secrets.push(SEED.1.to_owned());
    secrets.push(CSC_PIN.to_owned());
    for secret in secrets {
        let line = told.lines().find(|line| has_word(line, &secret));
        assert_eq!(line, None, "{secret} is told");
    }
}

/// Whether it stands there, and not as a part of a longer number or name: six digits may be anywhere.
fn has_word(line: &str, secret: &str) -> bool {
    let is_part =
        |letter: Option<char>| secret.len() == 6 && letter.is_some_and(char::is_alphanumeric);
    line.match_indices(secret).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + secret.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}
