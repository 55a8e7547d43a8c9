//! The table: what each fault of a service comes to, and that everything works again afterwards.

mod csc;
mod kms;
mod logins;

use cryptoki_sys::*;
use ctk_services::{
    Response,
    csc::{Authentication, Credential},
};
use softhsm_tests::{
    bed::PIN,
    calls::rv_name,
    network::{KMS_SECRET, PATIENCE},
};

use crate::scenes::{BEARER, CSC_PIN, SIGN, Scene, warnings};

/// Makes a fault.
type Make = Box<dyn Fn(&Scene)>;

/// A fault: how it is made, what is done then, and what must come of it.
struct Row {
    fault: &'static str,
    token: &'static str,
    make: Make,
    line: &'static str,
    rv: CK_RV,
    /// Words that a person gets to see, at the level of warnings; empty where it goes well.
    says: &'static str,
}

/// What a test does to the scene itself.
fn does(act: fn(&Scene)) -> Make {
    Box::new(act)
}

/// An answer of its own.
fn text(status: u16, media_type: &str, body: &str) -> Response {
    Response::new(status, media_type, body)
}

/// What everything is like again for the next row.
fn mend(scene: &mut Scene) {
    scene.clear();
    let bearer = Authentication::Bearer(BEARER.to_owned());
    scene.implicit.rules.authentication(bearer.clone());
    scene.pin.rules.authentication(bearer);
    scene.implicit.rules.set("t/p256", Credential::default());
    scene.pin.rules.set("t/p256", Credential::with_pin(CSC_PIN));
    scene.pin.rules.unlock("t/p256");
    scene.kms.account.enable(&scene.kms.key);
}

/// Whether the login is lost with it, as it has to be.
fn ends_login(rv: CK_RV) -> bool {
    rv == CKR_USER_NOT_LOGGED_IN
}

#[test]
fn each_fault_has_its_answer() {
    let mut scene = Scene::new();
    let mut wrong = Vec::new();
    println!("fault | token | CK_RV | ms | what is said");
    let tables = [kms::rows(), csc::rows(), logins::rows()];
    for row in tables.into_iter().flatten() {
        // A login ends with the last session.
        scene.program.ask(&format!("open {}", row.token)).ok();
        if row.line == SIGN {
            scene.get_ready(row.token);
            let signature = scene.program.ask(SIGN).ok();
            scene.verify(row.token, &signature);
        }
        scene.program.new_log();
        (row.make)(&scene);
        let answer = scene.program.ask(row.line);
        let log = scene.program.new_log();
        let said = warnings(&log).join(" / ");
        println!(
            "{} | {} | {} | {} | {said}",
            row.fault,
            row.token,
            rv_name(answer.rv),
            answer.took.as_millis(),
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
            said.contains(row.says),
            format!("does not say {:?}: {said}", row.says),
        );
        check(
            said.is_empty() == (answer.rv == CKR_OK),
            format!("says {said:?}"),
        );
        check(answer.took < PATIENCE, format!("took {:?}", answer.took));
        if row.line == SIGN && answer.rv == CKR_OK {
            scene.verify(row.token, &answer);
        }
        mend(&mut scene);
        // All of it works again, in the same session where that was not lost.
        if row.line == SIGN {
            if ends_login(row.rv) {
                scene.program.ask(&format!("login {CSC_PIN}")).ok();
            }
            let again = scene.program.ask(SIGN);
            check(
                again.rv == CKR_OK,
                format!("{} afterwards", rv_name(again.rv)),
            );
            if again.rv == CKR_OK {
                scene.verify(row.token, &again);
            }
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
}
