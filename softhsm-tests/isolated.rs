//! A test in a process of its own: a module has one state per process, and a crash or a hang must end one test only.

use std::{process::Command, time::Duration};

use crate::process::run_within;

const MARK: &str = "CTK_TEST_ISOLATED";

/// Runs `body` in a new process of the same test program, with the variables that `prepare` gives.
///
/// `test` is the path of the test as `cargo test` prints it. What `prepare` makes lives until the process has ended.
#[track_caller]
pub fn isolated<T: Environment>(test: &str, prepare: impl FnOnce() -> T, body: impl FnOnce()) {
    if std::env::var(MARK).as_deref() == Ok(test) {
        body();
        // Only a body that came to its end says this; a module that ends the process with status 0 does not.
        println!("{MARK}: {test} is done");
        return;
    }
    let prepared = prepare();
    let outcome = run_within(
        limit(),
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(MARK, test)
            .envs(prepared.variables()),
        b"",
    );
    let text = outcome.text();
    let done = outcome.status.success() && text.contains(&format!("{MARK}: {test} is done"));
    // Set off, so that nobody counts the inner test program's results.
    let text: String = text.lines().map(|line| format!("  | {line}\n")).collect();
    assert!(
        done,
        "{test}: its own process ended with {}:\n{text}",
        outcome.status
    );
    // Seen where cargo test shows what tests print.
    print!("{text}");
}

/// How long such a test may take: two minutes, and as long as somebody wants tests to go on that damage their input.
fn limit() -> Duration {
    let longer = std::env::var("CTK_FUZZ_SECONDS").ok();
    let longer = longer.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(120 + longer.unwrap_or(0))
}

/// What a test process needs in its environment.
pub trait Environment {
    /// Name and value of each variable.
    fn variables(&self) -> Vec<(String, String)>;
}
