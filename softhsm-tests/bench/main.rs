//! Measures a module beside SoftHSM2 and beside the crypto library in a loop, all in one run and in turns.

mod arguments;
mod figures;
mod tokens;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use arguments::{Arguments, USAGE};
use contestant::Contestant;
use figures::{Effort, counts, objects, process, sign};
use openssl::pkey::PKey;
use report::{LIBRARY, MODULE, Report, SOFTHSM};
use softhsm_bench::{Key, contestant, machine, place::Place, report};
use tokens::{KEYS, TWO, Tokens, certificates};

/// How many certificates the searches have, and how many the measured memory.
const FEW: usize = 10;
const MANY: usize = 10_000;
const SOME: usize = 1_000;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(Some(mistake)) => {
            eprintln!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    run(&arguments);
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) {
    let effort = if arguments.quick {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let module = arguments.module.as_ref().map(|path| {
        path.canonicalize()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    eprintln!("making keys and tokens …");
    let tokens = Tokens::new(module.clone());
    for token in [KEYS, TWO] {
        create(&tokens, token);
    }
    let foreign = arguments.label.as_ref().map(|label| Place {
        module: module.clone().expect("--label goes with --module"),
        label: label.clone(),
        pin: arguments.pin.clone(),
        variables: Vec::new(),
    });
    let ours = |token| foreign.clone().unwrap_or_else(|| tokens.ours(token));
    let mut report = Report::new(&[MODULE, SOFTHSM, LIBRARY]);
    let mut signers = vec![
        (MODULE, Contestant::module(&ours(KEYS))),
        (SOFTHSM, Contestant::module(&tokens.softhsm(KEYS))),
        (LIBRARY, Contestant::bare(tokens.keys(KEYS))),
    ];
    report.facts = facts(arguments, &ours(KEYS), &mut signers);
    report.head();
    if foreign.is_none() {
        verify(&mut signers, &tokens.keys(KEYS));
    }

    report.add(sign::one_thread(&mut signers, effort));
    report.add(sign::two_threads(&mut signers, effort));
    drop(signers);
    report.add(counts::signature(&tokens, &ours(KEYS)));
    report.add(process::first_signature(&tokens, &ours(TWO), effort));
    report.add(process::start(&tokens, &ours(TWO), effort));
    if foreign.is_none() {
        for count in [FEW, MANY, SOME] {
            eprintln!("making {count} certificates …");
            tokens.make_certificates(count);
            create(&tokens, &certificates(count));
        }
        let with = |count| {
            let token = certificates(count);
            [
                (MODULE, Contestant::module(&tokens.ours(&token))),
                (SOFTHSM, Contestant::module(&tokens.softhsm(&token))),
            ]
        };
        let (mut few, mut many) = (with(FEW), with(MANY));
        report.add(objects::find(&mut few, &mut many, [FEW, MANY], effort));
        report.add(objects::attributes(&mut many, effort));
        drop((few, many));
        report.add(process::memory(&tokens, SOME, effort));
    }
    report.add(process::size(&ours(KEYS).module));
    report.foot();
    let json = arguments.json.clone().unwrap_or_else(default_json);
    if let Some(folder) = json.parent() {
        let _ = fs::create_dir_all(folder);
    }
    fs::write(&json, report.json()).unwrap_or_else(|e| panic!("{}: {e}", json.display()));
    println!("all figures are in {}", json.display());
}

fn default_json() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../work/bench.json")
}

/// Puts a token's certificates into SoftHSM2.
fn create(tokens: &Tokens, token: &str) {
    Contestant::module(&tokens.softhsm(token))
        .ask(&format!("create {}", tokens.list(token).display()))
        .unwrap_or_else(|reason| panic!("SoftHSM2's certificates: {reason}"));
}

/// What was measured, and on what.
fn facts(
    arguments: &Arguments,
    ours: &Place,
    signers: &mut [(&'static str, Contestant)],
) -> Vec<(String, String)> {
    let version = Command::new("softhsm2-util").arg("--version").output();
    let version = version.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    });
    let library = signers
        .iter_mut()
        .find(|(who, _)| *who == LIBRARY)
        .and_then(|(_, library)| library.ask("version").ok());
    let facts = [
        ("module", ours.module.display().to_string()),
        ("SoftHSM2", version),
        ("library", library.unwrap_or_default()),
        (
            "effort",
            if arguments.quick { "quick" } else { "full" }.to_owned(),
        ),
    ];
    let own = facts.map(|(name, value)| (name.to_owned(), value));
    own.into_iter().chain(machine::facts()).collect()
}

/// Who signs fast has to sign rightly.
fn verify(signers: &mut [(&'static str, Contestant)], keys: &Path) {
    for key in Key::ALL {
        let pem = fs::read(keys.join(format!("{}.pub", key.name()))).expect("the public key");
        let public = PKey::public_key_from_pem(&pem).expect("a public key");
        for (who, signer) in signers.iter_mut().filter(|(who, _)| *who != LIBRARY) {
            match signer.signature(key) {
                Ok(signature) => assert!(
                    verify::is_right(key, &public, &signature),
                    "{who}: wrong signature with {}",
                    key.title()
                ),
                Err(reason) => eprintln!("{who} does not sign with {}: {reason}", key.title()),
            }
        }
    }
}
