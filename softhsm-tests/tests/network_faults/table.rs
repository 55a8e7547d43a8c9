//! The table: what each fault of an answer comes to, and that everything works again afterwards.

use std::time::Duration;

use cryptoki_sys::*;
use ctk_services::{
    Connecting, Fault, Response,
    csc::{Authentication, Credential},
};
use serde_json::json;
use softhsm_tests::{
    bed::PIN,
    calls::rv_name,
    network::{KMS_SECRET, PATIENCE},
};

use crate::scenes::{BEARER, CSC_PIN, SIGN, Scene, last_warning};

/// A fault: how it is made, what is done then, and what must come of it.
struct Row {
    fault: &'static str,
    token: &'static str,
    make: fn(&Scene),
    line: &'static str,
    rv: CK_RV,
    says: &'static str,
}

fn kms_error(status: u16, name: &str) -> Response {
    let body = json!({"__type": name, "message": "what the service says of it"});
    Response::json(status, &body)
}

fn csc_error(status: u16) -> Response {
    let body =
        json!({"error": "invalid_request", "error_description": "what the service says of it"});
    Response::json(status, &body)
}

fn kms(scene: &Scene, fault: Fault) {
    scene.kms.proxy.fault("Sign", fault);
}

fn csc(scene: &Scene, fault: Fault) {
    scene.implicit.proxy.fault("signHash", fault);
}

const XML: &str = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
                   <Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match</Message>\
                   </Error><RequestId>7a62c49f</RequestId></ErrorResponse>";

/// The table. Each row begins where everything works.
fn table() -> Vec<Row> {
    let row = |fault, token, make, rv, says| Row {
        fault,
        token,
        make,
        line: SIGN,
        rv,
        says,
    };
    let mut rows = vec![
        row(
            "401",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(kms_error(401, "UnrecognizedClientException")),
                )
            },
            CKR_FUNCTION_FAILED,
            "UnrecognizedClientException",
        ),
        row(
            "403, JSON",
            "kms",
            |s| kms(s, Fault::Answer(kms_error(403, "AccessDeniedException"))),
            CKR_FUNCTION_FAILED,
            "access denied: allow kms:Sign",
        ),
        row(
            "403, XML",
            "kms",
            |s| kms(s, Fault::Answer(Response::new(403, "text/xml", XML))),
            CKR_FUNCTION_FAILED,
            "SignatureDoesNotMatch",
        ),
        row(
            "429 with Retry-After, twice",
            "kms",
            |s| {
                s.kms.proxy.fault_times(
                    "Sign",
                    2,
                    Fault::Answer(kms_error(429, "ThrottlingException").with("Retry-After", "1")),
                )
            },
            CKR_OK,
            "",
        ),
        row(
            "429 with Retry-After, for ever",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(kms_error(429, "ThrottlingException").with("Retry-After", "1")),
                )
            },
            CKR_FUNCTION_FAILED,
            "ThrottlingException",
        ),
        row(
            "503 with Retry-After, once",
            "kms",
            |s| {
                s.kms.proxy.fault_times(
                    "Sign",
                    1,
                    Fault::Answer(
                        Response::new(503, "text/plain", "later").with("Retry-After", "1"),
                    ),
                )
            },
            CKR_OK,
            "",
        ),
        row(
            "503 with Retry-After, for ever",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(
                        Response::new(503, "text/plain", "later").with("Retry-After", "1"),
                    ),
                )
            },
            CKR_DEVICE_ERROR,
            "503",
        ),
        row(
            "503 with Retry-After of an hour",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(
                        Response::new(503, "text/plain", "later").with("Retry-After", "3600"),
                    ),
                )
            },
            CKR_DEVICE_ERROR,
            "503",
        ),
        row(
            "500",
            "kms",
            |s| kms(s, Fault::Answer(kms_error(500, "KMSInternalException"))),
            CKR_DEVICE_ERROR,
            "KMSInternalException",
        ),
        row(
            "a page instead of JSON",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(Response::new(
                        200,
                        "text/html",
                        "<html><body>Welcome</body></html>",
                    )),
                )
            },
            CKR_DEVICE_ERROR,
            "",
        ),
        row(
            "JSON of another kind",
            "kms",
            |s| {
                kms(
                    s,
                    Fault::Answer(Response::json(200, &json!({"Signature": 7}))),
                )
            },
            CKR_DEVICE_ERROR,
            "",
        ),
        row(
            "truncated body",
            "kms",
            |s| kms(s, Fault::Truncate(20)),
            CKR_DEVICE_ERROR,
            "ended early",
        ),
        row(
            "100 MB body",
            "kms",
            |s| kms(s, Fault::Long(100 << 20)),
            CKR_DEVICE_ERROR,
            "longer than any",
        ),
        row(
            "body without an end",
            "kms",
            |s| kms(s, Fault::Endless),
            CKR_DEVICE_ERROR,
            "longer than any",
        ),
        row(
            "slow drip",
            "kms",
            |s| kms(s, Fault::Drip(Duration::from_millis(300))),
            CKR_DEVICE_ERROR,
            "time",
        ),
        row(
            "stall",
            "kms",
            |s| kms(s, Fault::Stall),
            CKR_DEVICE_ERROR,
            "time",
        ),
        row(
            "reset in mid-answer",
            "kms",
            |s| kms(s, Fault::Reset),
            CKR_DEVICE_ERROR,
            "",
        ),
        row(
            "reset in mid-answer, once",
            "kms",
            |s| s.kms.proxy.fault_times("Sign", 1, Fault::Reset),
            CKR_OK,
            "",
        ),
        row(
            "end without an answer",
            "kms",
            |s| kms(s, Fault::Close),
            CKR_DEVICE_ERROR,
            "ended the connection",
        ),
        row(
            "no HTTP",
            "kms",
            |s| kms(s, Fault::Garbage),
            CKR_DEVICE_ERROR,
            "no proper answer",
        ),
        row(
            "kept connection that has ended",
            "kms",
            |s| s.kms.proxy.drop_connections(),
            CKR_OK,
            "",
        ),
        row(
            "connections that are reset",
            "kms",
            |s| {
                s.kms.proxy.connecting(Connecting::Reset);
                s.kms.proxy.drop_connections();
            },
            CKR_DEVICE_ERROR,
            "127.0.0.1",
        ),
        row(
            "connections on which nothing is said",
            "kms",
            |s| {
                s.kms.proxy.connecting(Connecting::Stall);
                s.kms.proxy.drop_connections();
            },
            CKR_DEVICE_ERROR,
            "time",
        ),
        row(
            "401",
            "implicit",
            |s| csc(s, Fault::Answer(csc_error(401))),
            CKR_FUNCTION_FAILED,
            "check `authentication`",
        ),
        row(
            "bearer that is worth nothing",
            "implicit",
            |s| {
                s.implicit
                    .rules
                    .authentication(Authentication::Bearer("another".to_owned()))
            },
            CKR_FUNCTION_FAILED,
            "check `authentication`",
        ),
        row(
            "403, JSON",
            "implicit",
            |s| csc(s, Fault::Answer(csc_error(403))),
            CKR_FUNCTION_FAILED,
            "what the service says of it",
        ),
        row(
            "429 with Retry-After",
            "implicit",
            |s| csc(s, Fault::Answer(csc_error(429).with("Retry-After", "1"))),
            CKR_FUNCTION_FAILED,
            "429",
        ),
        row(
            "503 with Retry-After",
            "implicit",
            |s| csc(s, Fault::Answer(csc_error(503).with("Retry-After", "1"))),
            CKR_DEVICE_ERROR,
            "503",
        ),
        row(
            "500, JSON",
            "implicit",
            |s| csc(s, Fault::Answer(csc_error(500))),
            CKR_DEVICE_ERROR,
            "500",
        ),
        row(
            "500, text",
            "implicit",
            |s| csc(s, Fault::Answer(Response::new(500, "text/plain", "oh"))),
            CKR_FUNCTION_FAILED,
            "500",
        ),
        row(
            "a page instead of JSON",
            "implicit",
            |s| {
                csc(
                    s,
                    Fault::Answer(Response::new(
                        200,
                        "text/html",
                        "<html><body>Welcome</body></html>",
                    )),
                )
            },
            CKR_DEVICE_ERROR,
            "",
        ),
        row(
            "truncated body",
            "implicit",
            |s| csc(s, Fault::Truncate(20)),
            CKR_DEVICE_ERROR,
            "ended early",
        ),
        row(
            "100 MB body",
            "implicit",
            |s| csc(s, Fault::Long(100 << 20)),
            CKR_DEVICE_ERROR,
            "longer than any",
        ),
        row(
            "slow drip",
            "implicit",
            |s| csc(s, Fault::Drip(Duration::from_millis(300))),
            CKR_DEVICE_ERROR,
            "time",
        ),
        row(
            "stall",
            "implicit",
            |s| csc(s, Fault::Stall),
            CKR_DEVICE_ERROR,
            "time",
        ),
        row(
            "reset in mid-answer",
            "implicit",
            |s| csc(s, Fault::Reset),
            CKR_DEVICE_ERROR,
            "",
        ),
        row(
            "end without an answer",
            "implicit",
            |s| csc(s, Fault::Close),
            CKR_DEVICE_ERROR,
            "ended the connection",
        ),
        row(
            "SAD expired",
            "implicit",
            |s| s.implicit.rules.expire_authorizations(),
            CKR_OK,
            "",
        ),
        row(
            "SAD good for one request only",
            "implicit",
            |s| {
                s.implicit.rules.set(
                    "t/p256",
                    Credential {
                        single_use: true,
                        ..Credential::default()
                    },
                )
            },
            CKR_OK,
            "",
        ),
        row(
            "key disabled since it was listed",
            "implicit",
            |s| s.implicit.rules.disable("t/p256"),
            CKR_FUNCTION_FAILED,
            "disabled",
        ),
        row(
            "key disabled since it was listed",
            "kms",
            |s| s.kms.account.disable(&s.kms.key),
            CKR_FUNCTION_FAILED,
            "the key is disabled: enable it",
        ),
        row(
            "SAD expired",
            "pin",
            |s| s.pin.rules.expire_authorizations(),
            CKR_USER_NOT_LOGGED_IN,
            "SAD expired",
        ),
    ];
    let login = |fault, make, line, rv, says| Row {
        fault,
        token: "pin",
        make,
        line,
        rv,
        says,
    };
    rows.extend([
        login(
            "wrong PIN",
            |_| {},
            "login 0815",
            CKR_PIN_INCORRECT,
            "PIN is invalid",
        ),
        login(
            "locked PIN",
            |s| {
                s.pin.rules.set(
                    "t/p256",
                    Credential {
                        pin_tries: 0,
                        ..Credential::with_pin(CSC_PIN)
                    },
                )
            },
            "login 4711-pin",
            CKR_PIN_LOCKED,
            "locked",
        ),
        login(
            "stall during C_Login",
            |s| s.pin.proxy.fault("authorize", Fault::Stall),
            "login 4711-pin",
            CKR_FUNCTION_CANCELED,
            "time",
        ),
        login(
            "500 during C_Login",
            |s| {
                s.pin
                    .proxy
                    .fault("authorize", Fault::Answer(csc_error(500)))
            },
            "login 4711-pin",
            CKR_DEVICE_ERROR,
            "500",
        ),
    ]);
    rows
}

/// What everything is like again for the next row.
fn mend(scene: &mut Scene) {
    scene.clear();
    let bearer = Authentication::Bearer(BEARER.to_owned());
    scene.implicit.rules.authentication(bearer);
    scene.implicit.rules.set("t/p256", Credential::default());
    scene.pin.rules.set("t/p256", Credential::with_pin(CSC_PIN));
    scene.pin.rules.unlock("t/p256");
    scene.kms.account.enable(&scene.kms.key);
}

#[test]
fn each_fault_has_its_answer() {
    let mut scene = Scene::new();
    let mut wrong = Vec::new();
    println!(
        "{:<42} {:<9} {:<24} {:>6}  log",
        "fault", "token", "CK_RV", "ms"
    );
    for row in table() {
        // A login ends with the last session.
        scene.program.ask(&format!("open {}", row.token)).ok();
        if row.line == SIGN {
            scene.get_ready(row.token);
            scene.program.ask(SIGN).ok();
        }
        scene.program.new_log();
        (row.make)(&scene);
        let answer = scene.program.ask(row.line);
        let log = scene.program.new_log();
        let said = last_warning(&log);
        println!(
            "{:<42} {:<9} {:<24} {:>6}  {}",
            row.fault,
            row.token,
            rv_name(answer.rv),
            answer.took.as_millis(),
            said
        );
        let mut check = |is_so: bool, what: String| {
            if !is_so {
                wrong.push(format!("{} ({}): {what}", row.fault, row.token));
            }
        };
        check(
            answer.rv == row.rv,
            format!("{} instead of {}", rv_name(answer.rv), rv_name(row.rv)),
        );
        check(
            log.contains(row.says),
            format!("does not say {:?}: {said}", row.says),
        );
        check(answer.took < PATIENCE, format!("took {:?}", answer.took));
        mend(&mut scene);
        // All of it works again, in the same session where that was not lost.
        if row.line == SIGN && row.rv != CKR_USER_NOT_LOGGED_IN {
            let again = scene.program.ask(SIGN);
            check(
                again.rv == CKR_OK,
                format!("{} afterwards", rv_name(again.rv)),
            );
        }
        scene.program.ask("close").ok();
    }
    let memory = scene.program.ask("memory").number();
    println!("most memory: {memory} KiB");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(memory < 64 << 10, "{memory} KiB");

    // No other token has noticed anything.
    scene.program.ask("open file").ok();
    scene.program.ask(&format!("login {PIN}")).ok();
    scene.program.ask("key file P256").ok();
    scene.program.ask(SIGN).ok();
    let log = scene.program.log();
    for secret in [BEARER, CSC_PIN, KMS_SECRET, PIN] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert!(log.contains(" trace: "), "no trace in the log");
    drop(scene.bed);
}
