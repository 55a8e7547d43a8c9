//! Faults in answers of a KMS to Sign, which may be asked for again.

use std::time::Duration;

use cryptoki_sys::*;
use ctk_services::{Connecting, Fault, Response};
use serde_json::json;

use super::{Make, Row, does, text};
use crate::scenes::SIGN;

const PAGE: &str = "<html><body>Welcome</body></html>";
const XML: &str = "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
                   <Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match</Message>\
                   </Error><RequestId>7a62c49f</RequestId></ErrorResponse>";

fn error(status: u16, name: &str) -> Response {
    let body = json!({"__type": name, "message": "what the service says of it"});
    Response::json(status, &body)
}

/// From now on.
fn each(fault: Fault) -> Make {
    Box::new(move |scene| scene.kms.proxy.fault("Sign", fault.clone()))
}

fn times(times: usize, fault: Fault) -> Make {
    Box::new(move |scene| scene.kms.proxy.fault_times("Sign", times, fault.clone()))
}

fn answers(response: Response) -> Make {
    each(Fault::Answer(response))
}

/// An answer with the signature of something else, which is one all the same.
fn another_signature() -> Make {
    does(|scene| {
        let question = json!({"KeyId": scene.kms.key.id, "Message": "A".repeat(43) + "=",
            "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"});
        let answer = scene.kms.account.try_ask("Sign", &question);
        assert_eq!(answer.status, 200);
        scene.kms.proxy.fault("Sign", Fault::Answer(answer));
    })
}

fn new_connections(connecting: Connecting) -> Make {
    Box::new(move |scene| {
        scene.kms.proxy.connecting(connecting);
        scene.kms.proxy.drop_connections();
    })
}

fn slow_down() -> Response {
    error(429, "ThrottlingException").with("Retry-After", "1")
}

fn later(seconds: &str) -> Response {
    text(503, "text/plain", "later").with("Retry-After", seconds)
}

fn row(fault: &'static str, make: Make, rv: CK_RV, says: &'static str) -> Row {
    Row {
        fault,
        token: "kms",
        make,
        line: SIGN,
        rv,
        says,
    }
}

/// What becomes of each.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = refusals();
    rows.extend(answers_that_are_none());
    rows.extend(times_and_connections());
    rows
}

fn refusals() -> Vec<Row> {
    const FAILED: CK_RV = CKR_FUNCTION_FAILED;
    let denied = error(403, "AccessDeniedException");
    let moved = text(302, "text/plain", "").with("Location", "http://127.0.0.1:1/");
    vec![
        row(
            "401",
            answers(error(401, "UnrecognizedClientException")),
            FAILED,
            "UnrecognizedClientException",
        ),
        row(
            "403, JSON",
            answers(denied),
            FAILED,
            "access denied: allow kms:Sign",
        ),
        row(
            "403, XML",
            answers(text(403, "text/xml", XML)),
            FAILED,
            "SignatureDoesNotMatch",
        ),
        row(
            "429 with Retry-After, twice",
            times(2, Fault::Answer(slow_down())),
            CKR_OK,
            "",
        ),
        row(
            "429 with Retry-After, for ever",
            answers(slow_down()),
            FAILED,
            "ThrottlingException",
        ),
        row(
            "503 with Retry-After, once",
            times(1, Fault::Answer(later("1"))),
            CKR_OK,
            "",
        ),
        row(
            "503 with Retry-After, for ever",
            answers(later("1")),
            CKR_DEVICE_ERROR,
            "503",
        ),
        row(
            "503 with Retry-After of an hour",
            answers(later("3600")),
            CKR_DEVICE_ERROR,
            "503",
        ),
        row(
            "500",
            answers(error(500, "KMSInternalException")),
            CKR_DEVICE_ERROR,
            "KMSInternalException",
        ),
        row(
            "redirect to another host",
            answers(moved),
            CKR_DEVICE_ERROR,
            "not followed",
        ),
        row(
            "key disabled since it was listed",
            does(|scene| scene.kms.account.disable(&scene.kms.key)),
            FAILED,
            "the key is disabled: enable it",
        ),
        row(
            "key gone since it was listed",
            answers(error(400, "NotFoundException")),
            FAILED,
            "NotFound",
        ),
    ]
}

fn answers_that_are_none() -> Vec<Row> {
    const ERROR: CK_RV = CKR_DEVICE_ERROR;
    let number = Response::json(200, &json!({"Signature": 7}));
    vec![
        row(
            "a page instead of JSON",
            answers(text(200, "text/html", PAGE)),
            ERROR,
            "Sign",
        ),
        row("JSON of another kind", answers(number), ERROR, "Sign"),
        row(
            "JSON that is called a page",
            each(Fault::Called("text/html")),
            CKR_OK,
            "",
        ),
        row(
            "signature of something else",
            another_signature(),
            ERROR,
            "signature",
        ),
        row(
            "truncated body",
            each(Fault::Truncate(20)),
            ERROR,
            "ended early",
        ),
        row(
            "100 MB body",
            each(Fault::Long(100 << 20)),
            ERROR,
            "longer than any",
        ),
        row(
            "body without an end",
            each(Fault::Endless),
            ERROR,
            "longer than any",
        ),
        row("no HTTP", each(Fault::Garbage), ERROR, "no proper answer"),
    ]
}

fn times_and_connections() -> Vec<Row> {
    const ERROR: CK_RV = CKR_DEVICE_ERROR;
    let drip = Fault::Drip(Duration::from_millis(300));
    vec![
        row("slow drip", each(drip), ERROR, "time"),
        row("stall", each(Fault::Stall), ERROR, "time"),
        row("stall, once", times(1, Fault::Stall), CKR_OK, ""),
        row(
            "reset in mid-answer",
            each(Fault::Reset),
            ERROR,
            "ended early",
        ),
        row(
            "reset in mid-answer, once",
            times(1, Fault::Reset),
            CKR_OK,
            "",
        ),
        row(
            "end without an answer",
            each(Fault::Close),
            ERROR,
            "ended the connection",
        ),
        row(
            "kept connection that has ended",
            does(|scene| scene.kms.proxy.drop_connections()),
            CKR_OK,
            "",
        ),
        row(
            "connections that are reset",
            new_connections(Connecting::Reset),
            ERROR,
            "127.0.0.1",
        ),
        row(
            "connections on which nothing is said",
            new_connections(Connecting::Stall),
            ERROR,
            "time",
        ),
    ]
}
