//! Measures a module beside SoftHSM2 and beside the crypto library in a loop, all in one run and in turns.

mod arguments;
mod contestant;
mod figures;
mod report;
mod tokens;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use arguments::{Arguments, USAGE};
use contestant::Contestant;
use figures::{Effort, counts, objects, process, sign};
use openssl::{pkey::PKey, pkey_ctx::PkeyCtx, rsa::Padding, sign::Verifier};
use report::{LIBRARY, MODULE, Report, SOFTHSM};
use softhsm_bench::Key;
use tokens::{KEYS, Place, TWO, Tokens, certificates};

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
    let mut report = Report::default();
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
    let first = |text: &str, mark: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(mark))
            .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
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
            "processor",
            format!(
                "{}, {cores} cores",
                first(&cpu, "model name").unwrap_or_default()
            ),
        ),
        ("load before", load.trim().to_owned()),
        (
            "effort",
            if arguments.quick { "quick" } else { "full" }.to_owned(),
        ),
    ];
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Who signs fast has to sign rightly.
fn verify(signers: &mut [(&'static str, Contestant)], keys: &Path) {
    for key in Key::ALL {
        let pem = fs::read(keys.join(format!("{}.pub", key.name()))).expect("the public key");
        let public = PKey::public_key_from_pem(&pem).expect("a public key");
        for (who, signer) in signers.iter_mut().filter(|(who, _)| *who != LIBRARY) {
            let signature = match signer.signature(key) {
                Ok(signature) => unhex(&signature),
                Err(reason) => {
                    eprintln!("{who} does not sign with {}: {reason}", key.title());
                    continue;
                }
            };
            let input = key.input();
            let good = match key {
                Key::Rsa2048 | Key::Rsa4096 => {
                    let rsa = public.rsa().expect("an RSA key");
                    let mut out = vec![0; signature.len()];
                    let len = rsa.public_decrypt(&signature, &mut out, Padding::PKCS1);
                    len.is_ok_and(|len| out[..len] == input)
                }
                Key::P256 | Key::P384 => {
                    let (r, s) = signature.split_at(signature.len() / 2);
                    let number = |bytes| openssl::bn::BigNum::from_slice(bytes).expect("a number");
                    let der =
                        openssl::ecdsa::EcdsaSig::from_private_components(number(r), number(s))
                            .and_then(|sides| sides.to_der())
                            .expect("DER");
                    let mut context = PkeyCtx::new(&public).expect("a context");
                    context.verify_init().expect("a context");
                    context.verify(&input, &der).unwrap_or(false)
                }
                Key::Ed25519 => Verifier::new_without_digest(&public)
                    .and_then(|mut verifier| verifier.verify_oneshot(&signature, &input))
                    .unwrap_or(false),
            };
            assert!(good, "{who}: wrong signature with {}", key.title());
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}
