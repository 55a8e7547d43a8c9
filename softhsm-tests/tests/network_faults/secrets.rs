//! What nobody may read stands in no log, no output and no configuration, also where a service repeats it.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use ctk_services::{
    Backend, Csc, Forward, Kms, Proxy, Request, Response, Scal,
    csc::{Authentication, Credential, Rules, totp},
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
/// A one-time password that somebody types.
const TYPED: &str = "926451";
/// Of one-time passwords, and in base32.
const SEED: (&[u8], &str) = (b"12345678901234567890", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");

/// Before a service: says what it was asked, with all that was shown to it, if it is told to.
struct Repeating {
    service: Arc<dyn Backend>,
    /// 0 for no; else the status, and one of the thousands below for what it says.
    status: AtomicUsize,
}

impl Repeating {
    /// What a client asks comes first, and then what it shows; without this the other way round.
    const BODY_FIRST: usize = 1000;
    /// One secret alone: that another one stands beside it hides nothing.
    const ALONE: usize = 2000;

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
        let text = match how / 1000 * 1000 {
            Self::BODY_FIRST => format!("{asked} {shown}"),
            Self::ALONE => {
                let body = request.json();
                let fields = ["OTP", "PIN", "SAD"].map(|name| body[name].as_str());
                fields
                    .into_iter()
                    .flatten()
                    .next()
                    .unwrap_or(&shown)
                    .to_owned()
            }
            _ => format!("{shown} {asked}"),
        };
        let status = u16::try_from(how % 1000).expect("a status");
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

    /// What a program logs in with, and where it has to type the one-time password, this one.
    fn login(&self, otp: &str) -> Option<String> {
        match self.name {
            "pin" | "otp" => Some(format!("login {CSC_PIN}")),
            "typed" => Some(format!("login {CSC_PIN},{otp}")),
            _ => None,
        }
    }

    /// Asks the service for a signature.
    #[track_caller]
    fn sign(&self, program: &mut Program, otp: &str) {
        if let Some(login) = self.login(otp) {
            program.ask(&login).ok();
        }
        program.ask(&format!("key {}", self.key)).ok();
        program.ask(SIGN).ok();
    }

    /// Has the service repeat what comes in this call: this operation must come to it, and be refused.
    #[track_caller]
    fn repeats(&self, how: usize, program: &mut Program, line: &str, operation: &str) {
        let count = || self.proxy.requests_for(operation).len();
        let before = count();
        self.repeating.status.store(how, Ordering::SeqCst);
        assert_ne!(program.ask(line).rv, 0, "{} {how}", self.name);
        self.repeating.status.store(0, Ordering::SeqCst);
        assert!(count() > before, "{} {how}: no {operation}", self.name);
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

fn places(bed: &Bed, csc: &Csc) -> [Place; 6] {
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

    let by_client = Authentication::Client {
        id: "app".to_owned(),
        secret: CLIENT_SECRET.to_owned(),
    };
    let options = ["--authentication", "oauth2-client", "--client-id", "app"];
    let options = [&options[..], &["--client-secret", &client]].concat();
    let free = Credential::default();
    let client = Place::csc(bed, csc, "client", free.clone(), by_client, &options);

    let by_name = Authentication::Basic {
        user: "somebody".to_owned(),
        password: PASSWORD.to_owned(),
    };
    let options = ["--authentication", "basic", "--user", "somebody"];
    let options = [&options[..], &["--password", &password]].concat();
    let basic = Place::csc(bed, csc, "basic", free, by_name, &options);

    let by_bearer = || Authentication::Bearer(BEARER.to_owned());
    let options = ["--authentication", "bearer", "--bearer", &bearer];
    let with_pin = Credential::with_pin(CSC_PIN);
    let with_otp = Credential {
        otp_seed: Some(SEED.0.to_vec()),
        ..with_pin.clone()
    };
    let pin = Place::csc(bed, csc, "pin", with_pin, by_bearer(), &options);
    let own = with_otp.clone();
    let typed = Place::csc(bed, csc, "typed", own, by_bearer(), &options);
    let options = [&options[..], &["--otp-seed", &seed]].concat();
    let otp = Place::csc(bed, csc, "otp", with_otp, by_bearer(), &options);
    [kms, client, basic, pin, typed, otp]
}

/// Has the service repeat all that programs show it, each of which begins anew: who was refused does not ask again at once.
#[track_caller]
fn repeat_all(bed: &Bed, place: &Place, how: usize) {
    let start = || {
        let mut program = Program::start(bed, "trace");
        program.ask(&format!("open {}", place.name)).ok();
        program
    };
    let login = place.login(TYPED);
    // Who it is, PIN and one-time password.
    let mut program = start();
    if login.is_none() {
        program.ask(&format!("key {}", place.key)).ok();
    }
    let operation = match place.name {
        "kms" => "Sign",
        "client" => "oauth2/token",
        "basic" => "auth/login",
        _ => "credentials/authorize",
    };
    let line = login.as_deref().unwrap_or(SIGN);
    place.repeats(how, &mut program, line, operation);
    // What the service has given for that; but a one-time password is good once, and a KMS gives nothing.
    if ["client", "basic", "pin"].contains(&place.name) {
        let mut program = start();
        place.sign(&mut program, "");
        place.repeats(how, &mut program, SIGN, "signatures/signHash");
    }
}

#[test]
fn no_secret_is_told_even_where_a_service_repeats_it() {
    let bed = Bed::empty();
    let csc = Csc::start(Scal::One);
    let places = places(&bed, &csc);
    let mut program = Program::start(&bed, "trace");
    for place in &places {
        program.ask(&format!("open {}", place.name)).ok();
        place.sign(&mut program, &totp(SEED.0, SystemTime::now()));
        program.ask("close").ok();
        for order in [0, Repeating::BODY_FIRST, Repeating::ALONE] {
            for status in [400, 401, 403, 500] {
                repeat_all(&bed, place, order + status);
            }
        }
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
    let has_password = |place: &Place| place.sent().iter().any(|secret| secret.len() == 6);
    for place in &places[4..] {
        assert!(has_password(place), "no one-time password: {}", place.name);
    }
    assert!(secrets.iter().any(|secret| secret == TYPED));
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
