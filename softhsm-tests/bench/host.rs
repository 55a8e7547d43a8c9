//! The small C programs of hosts/: how they are compiled and run, and what they say.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_tests::process::run;

/// Compiles hosts/NAME.c into `folder`, to a program or, if `shared`, to a library.
pub fn compile(folder: &Path, name: &str, shared: bool) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = folder.join(name);
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]);
    if shared {
        command.args(["-shared", "-fPIC"]);
    }
    run(command
        .arg("-I")
        .arg(tests.join("../include"))
        .arg("-o")
        .arg(&program)
        .arg(tests.join(format!("hosts/{name}.c")))
        .arg("-ldl"))
    .succeeded();
    program
}

/// What hosts/fresh.c says.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// CPU time from before dlopen until after C_Finalize, in nanoseconds.
    pub cpu_ns: f64,
    /// The same by the clock on the wall.
    pub wall_ns: f64,
    /// The most memory that the process had, in bytes.
    pub peak: f64,
    /// From before C_Initialize until all objects were listed, in nanoseconds.
    pub listed_ns: f64,
    /// What listing the token that was named takes when all is listed already, in nanoseconds; 0 if none was.
    pub token_ns: f64,
}

/// Runs hosts/fresh.c, which has to see at least as many objects as are there for sure: a module may have more of its own.
///
/// # Errors
/// What it said instead of numbers.
pub fn fresh(command: &mut Command, objects: u64) -> Result<Fresh, String> {
    let numbers = numbers(command)?;
    let [cpu_ns, wall_ns, peak, _tokens, seen, listed_ns, token_ns] = numbers.as_slice() else {
        return Err(format!("{numbers:?}"));
    };
    if (*seen as u64) < objects {
        return Err(format!("saw {seen} objects instead of {objects}"));
    }
    Ok(Fresh {
        cpu_ns: *cpu_ns,
        wall_ns: *wall_ns,
        peak: *peak * 1024.0,
        listed_ns: *listed_ns,
        token_ns: *token_ns,
    })
}

/// The numbers that a program prints.
///
/// # Errors
/// What it said, if it failed or said anything else.
pub fn numbers(command: &mut Command) -> Result<Vec<f64>, String> {
    let outcome = run(command);
    if !outcome.status.success() {
        return Err(outcome.text().trim().to_owned());
    }
    String::from_utf8_lossy(&outcome.stdout)
        .split_whitespace()
        .map(|number| number.parse().map_err(|_| outcome.text()))
        .collect()
}
