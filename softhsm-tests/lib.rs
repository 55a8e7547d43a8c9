//! What the tests of the built module share: tokens with keys made for the test, programs with a time limit, the loaded module.

pub mod bed;
pub mod isolated;
pub mod module;
pub mod process;
pub mod work;

/// Says that the running test cannot be made here, and why. `run.sh` fails on a skip that it does not expect.
pub fn skip(test: &str, reason: &str) {
    eprintln!("{test}: skipped: {reason}");
    if let Some(path) = std::env::var_os("CTK_TEST_SKIPS") {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("CTK_TEST_SKIPS");
        writeln!(file, "{test}\t{reason}").expect("CTK_TEST_SKIPS");
    }
}
