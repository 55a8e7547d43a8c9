//! Faults of C_Login, which is how a CSC service checks a PIN.

use cryptoki_sys::*;
use ctk_services::{
    Fault,
    csc::{Authentication, Credential},
};

use super::{Make, Row, csc::error, does};
use crate::scenes::CSC_PIN;

fn each(fault: Fault) -> Make {
    Box::new(move |scene| scene.pin.proxy.fault("authorize", fault.clone()))
}

fn row(fault: &'static str, make: Make, rv: CK_RV, says: &'static str) -> Row {
    Row {
        fault,
        token: "pin",
        make,
        line: "login 4711-pin",
        rv,
        says,
    }
}

/// What becomes of each.
pub(super) fn rows() -> Vec<Row> {
    assert_eq!(CSC_PIN, "4711-pin");
    let lock = does(|scene| {
        let locked = Credential {
            pin_tries: 0,
            ..Credential::with_pin(CSC_PIN)
        };
        scene.pin.rules.set("t/p256", locked);
    });
    let another_bearer = does(|scene| {
        let another = Authentication::Bearer("another".to_owned());
        scene.pin.rules.authentication(another);
    });
    vec![
        Row {
            line: "login 0815",
            ..row(
                "wrong PIN",
                does(|_| {}),
                CKR_PIN_INCORRECT,
                "wrong PIN or password",
            )
        },
        row(
            "locked PIN",
            lock,
            CKR_PIN_LOCKED,
            "the PIN is locked after too many wrong tries",
        ),
        row(
            "key disabled since it was listed",
            does(|scene| scene.pin.rules.disable("t/p256")),
            CKR_FUNCTION_FAILED,
            "disabled",
        ),
        // Where the access token is good, it is the PIN that is not.
        row(
            "401 without a word of the bearer",
            each(Fault::Answer(error(401))),
            CKR_PIN_INCORRECT,
            "wrong PIN or password",
        ),
        row(
            "bearer that is worth nothing",
            another_bearer,
            CKR_FUNCTION_FAILED,
            "check `authentication`",
        ),
        row(
            "500 during C_Login",
            each(Fault::Answer(error(500))),
            CKR_DEVICE_ERROR,
            "500",
        ),
        row(
            "reset during C_Login",
            each(Fault::Reset),
            CKR_DEVICE_ERROR,
            "ended early",
        ),
        row(
            "stall during C_Login",
            each(Fault::Stall),
            CKR_DEVICE_ERROR,
            "time",
        ),
    ]
}
