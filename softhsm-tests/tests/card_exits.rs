//! Programs that end without C_Finalize leave no card logged in. hosts/exit.c.

use std::{path::Path, process::Command, time::Duration};

use softhsm_tests::{
    cards::{Options, PIN, Profile, VirtualCard},
    module::module_path,
    other_program::OtherProgram,
    pcscd::Pcscd,
    process::run,
};

/// VERIFY that says without a PIN whether one was given: it was not, and three tries are left.
const NOT_VERIFIED: &str = "63C3";

fn exit(pcscd: &Pcscd, how: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = pcscd.work().path().join("exit");
    let mut compile = Command::new("cc");
    compile.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    compile.arg("-I").arg(folder.join("../include"));
    compile.arg("-o").arg(&program);
    compile.arg(folder.join("hosts/exit.c"));
    run(compile.args(["-ldl", "-lcrypto"])).succeeded();
    let mut command = pcscd.command(&program);
    command.arg(how);
    command.env("CTK_MODULE", module_path());
    command.env("TEST_PIN", PIN);
    run(&mut command).succeeded();
}

/// A card in a reader, and another program that is connected to it, so that its power stays on.
fn shared() -> (VirtualCard, OtherProgram, Pcscd) {
    let pcscd = Pcscd::start();
    let card = pcscd.insert(0, Profile::PivFour, Options::default());
    let other = OtherProgram::start(&pcscd, 0);
    (card, other, pcscd)
}

/// How many PINs the card has got.
fn pins(card: &VirtualCard) -> usize {
    let log = card.log();
    let is_pin = |command: &str| command.starts_with("00200080") && command.contains("**");
    log.iter().filter(|apdu| is_pin(&apdu.command)).count()
}

#[test]
fn a_program_that_exits_is_logged_out() {
    for how in ["plain", "context", "busy", "late", "fork"] {
        let (card, mut other, pcscd) = shared();
        assert_eq!(other.ask("status"), NOT_VERIFIED);
        exit(&pcscd, how);
        assert_eq!(other.ask("status"), NOT_VERIFIED, "{how}");
        assert_eq!(pins(&card), 1 + usize::from(how == "context"), "{how}");
    }
}

#[test]
fn a_program_that_exits_alone_is_logged_out_at_once() {
    for how in ["plain", "busy", "signal"] {
        let pcscd = Pcscd::start();
        let mut card = pcscd.insert(0, Profile::PivFour, Options::default());
        if how == "signal" {
            card.delay(Duration::from_millis(300));
        }
        exit(&pcscd, how);
        let mut next = OtherProgram::start(&pcscd, 0);
        assert_eq!(next.ask("status"), NOT_VERIFIED, "{how}");
    }
}
