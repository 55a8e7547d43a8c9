//! Measures tokens whose keys are in a service: requests, the time that is added to the service's own, a dead service, threads.

mod added;
mod arguments;
mod bare;
mod listing;
mod requests;
mod services;
mod size;
mod threads;
#[path = "../verify.rs"]
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use arguments::{Arguments, USAGE};
use services::Services;
use softhsm_bench::{
    machine,
    report::{MODULE, Report},
};
use softhsm_tests::module::module_path;

/// The least that a client can do: bytes that are ready, sent by one call on a connection that is open.
pub(crate) const BARE: &str = "bare client";

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often each contestant has its turn.
    pub(crate) rounds: usize,
    /// How many signatures a turn has.
    pub(crate) signatures: usize,
    /// How long a turn is in which threads sign.
    pub(crate) turn: Duration,
    /// How many processes are started of each kind.
    pub(crate) processes: usize,
}

impl Effort {
    /// For figures that are quoted.
    const FULL: Self = Self {
        rounds: 9,
        signatures: 25,
        turn: Duration::from_millis(1000),
        processes: 41,
    };
    /// For a look.
    const QUICK: Self = Self {
        rounds: 3,
        signatures: 10,
        turn: Duration::from_millis(400),
        processes: 9,
    };
}

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
    let (effort, name) = if arguments.quick {
        (Effort::QUICK, "quick")
    } else {
        (Effort::FULL, "full")
    };
    eprintln!("starting localstack and certomancer-csc …");
    let services = Services::start();
    let mut report = Report::new(&[MODULE, BARE]);
    report.facts = vec![
        ("module".to_owned(), module_path().display().to_string()),
        ("effort".to_owned(), name.to_owned()),
    ];
    report.facts.extend(machine::facts());
    report.head();
    report.add(requests::after_the_first(&services));
    report.add(added::to_the_services_time(&services, effort));
    report.add(listing::of_a_dead_service(&services, effort));
    report.add(threads::sixteen(&services, effort));
    report.add(vec![size::of_the_backend(&module_path())]);
    let after = ("load after".to_owned(), machine::load());
    println!("\n{}: {}", after.0, after.1);
    report.facts.push(after);
    report.foot();
    let json = arguments.json.clone().unwrap_or_else(default_json);
    if let Some(folder) = json.parent() {
        let _ = fs::create_dir_all(folder);
    }
    fs::write(&json, report.json()).unwrap_or_else(|e| panic!("{}: {e}", json.display()));
    println!("all figures are in {}", json.display());
}

fn default_json() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../work/bench-network.json")
}
