//! Programs that know nothing of us use a card through the module.

use std::process::Command;

use softhsm_tests::{
    cards::{Options, PIN, Profile},
    module::module_path,
    pcscd::Pcscd,
    process::run,
};

fn pkcs11_tool(pcscd: &Pcscd) -> Command {
    let mut command = pcscd.command("pkcs11-tool");
    command.arg("--module").arg(module_path());
    command
}

#[test]
fn pkcs11_tool_finds_no_errors_with_cards() {
    for profile in [Profile::PivFour, Profile::OpenPgpRsa, Profile::OpenPgpEc] {
        let pcscd = Pcscd::start();
        let card = pcscd.insert(0, profile, Options::default());
        let outcome = run(pkcs11_tool(&pcscd).args(["--login", "--pin", PIN, "--test"]));
        println!("{profile:?}: {}", outcome.text());
        outcome.succeeded().says("No errors");
        drop(card);
    }
}
