//! Faults in answers of a CSC service to signHash, which is asked for once: what authorises a signature may be spent.

use std::time::Duration;

use cryptoki_sys::*;
use ctk_services::{
    Fault, Response,
    csc::{Authentication, Credential},
};
use serde_json::json;

use super::{Make, Row, does, text};
use crate::scenes::{CSC_PIN, SIGN};

const SAID: &str = "what the service says of it";

/// As the service says it (CSC API §10.1).
pub(super) fn error(status: u16) -> Response {
    let body = json!({"error": "invalid_request", "error_description": SAID});
    Response::json(status, &body)
}

fn each(fault: Fault) -> Make {
    Box::new(move |scene| scene.implicit.proxy.fault("signHash", fault.clone()))
}

fn answers(response: Response) -> Make {
    each(Fault::Answer(response))
}

fn row(fault: &'static str, make: Make, rv: CK_RV, says: &'static str) -> Row {
    Row {
        fault,
        token: "implicit",
        make,
        line: SIGN,
        rv,
        says,
    }
}

/// What becomes of each.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = refusals();
    rows.extend(authorizations());
    rows.extend(bad_answers());
    rows
}

fn refusals() -> Vec<Row> {
    const FAILED: CK_RV = CKR_FUNCTION_FAILED;
    let another_bearer = does(|scene| {
        let another = Authentication::Bearer("another".to_owned());
        scene.implicit.rules.authentication(another);
    });
    vec![
        // The access token is good, as another request shows.
        row(
            "401 without a word of the bearer",
            answers(error(401)),
            FAILED,
            "check what authorises this credential",
        ),
        row(
            "bearer that is worth nothing",
            another_bearer,
            FAILED,
            "check `authentication`",
        ),
        row("403, JSON", answers(error(403)), FAILED, SAID),
        row(
            "429 with Retry-After",
            answers(error(429).with("Retry-After", "1")),
            FAILED,
            "429",
        ),
        row(
            "503 with Retry-After",
            answers(error(503).with("Retry-After", "1")),
            CKR_DEVICE_ERROR,
            "503",
        ),
        row("500, JSON", answers(error(500)), CKR_DEVICE_ERROR, "500"),
        // A gateway's, in words of its own: a service that fails, and refuses nothing.
        row(
            "500, text",
            answers(text(500, "text/plain", "oh")),
            CKR_DEVICE_ERROR,
            "500",
        ),
        row(
            "key disabled since it was listed",
            does(|scene| scene.implicit.rules.disable("t/p256")),
            FAILED,
            "disabled",
        ),
    ]
}

fn authorizations() -> Vec<Row> {
    let once = |credential| Credential {
        single_use: true,
        ..credential
    };
    let implicit: Make = Box::new(move |scene| {
        let rules = &scene.implicit.rules;
        rules.set("t/p256", once(Credential::default()));
    });
    // The one of the login was used already.
    let pin: Make = Box::new(move |scene| {
        let rules = &scene.pin.rules;
        rules.set("t/p256", once(Credential::with_pin(CSC_PIN)));
        rules.use_up_authorizations();
    });
    vec![
        row(
            "SAD expired",
            does(|scene| scene.implicit.rules.expire_authorizations()),
            CKR_OK,
            "",
        ),
        row("SAD good for one request only", implicit, CKR_OK, ""),
        Row {
            token: "pin",
            ..row(
                "SAD expired",
                does(|scene| scene.pin.rules.expire_authorizations()),
                CKR_USER_NOT_LOGGED_IN,
                "SAD expired",
            )
        },
        Row {
            token: "pin",
            ..row(
                "SAD reused",
                pin,
                CKR_USER_NOT_LOGGED_IN,
                "Invalid parameter SAD",
            )
        },
    ]
}

fn bad_answers() -> Vec<Row> {
    const ERROR: CK_RV = CKR_DEVICE_ERROR;
    let page = text(200, "text/html", "<html><body>Welcome</body></html>");
    vec![
        row("a page instead of JSON", answers(page), ERROR, "no JSON"),
        row(
            "JSON of another kind",
            answers(Response::json(200, &json!({"signatures": "none"}))),
            ERROR,
            "signHash",
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
            "slow drip",
            each(Fault::Drip(Duration::from_millis(300))),
            ERROR,
            "time",
        ),
        row("stall", each(Fault::Stall), ERROR, "time"),
        row(
            "reset in mid-answer",
            each(Fault::Reset),
            ERROR,
            "ended early",
        ),
        row(
            "end without an answer",
            each(Fault::Close),
            ERROR,
            "ended the connection",
        ),
    ]
}
