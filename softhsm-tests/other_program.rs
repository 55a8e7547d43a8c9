//! Another program with the card: connected to it all the time, and logged in when it is told so. hosts/other_program.c.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{cards::PIN, pcscd::Pcscd, process::run};

/// The running program. It ends with the test.
#[derive(Debug)]
pub struct OtherProgram {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl OtherProgram {
    /// Connects to the PIV card in this reader.
    #[track_caller]
    pub fn start(pcscd: &Pcscd, reader: usize) -> Self {
        let program = pcscd.work().path().join("other_program");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hosts/other_program.c");
        let mut compile = Command::new("cc");
        compile.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror"]);
        compile.args(["-I/usr/include/PCSC", "-o"]).arg(&program);
        run(compile.arg(source).arg("-lpcsclite")).succeeded();
        let mut command = pcscd.command(program);
        command.args([&pcscd.reader(reader), PIN]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the other program");
        Self {
            stdin: child.stdin.take().expect("a pipe"),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    /// The status word for "verify", "status" or "openpgp", as four hexadecimal digits.
    pub fn ask(&mut self, what: &str) -> String {
        writeln!(self.stdin, "{what}").expect("the other program reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("an answer");
        answer.trim().to_owned()
    }

    /// Selects the OpenPGP application, and leaves it selected.
    #[track_caller]
    pub fn select_openpgp(&mut self) {
        assert_eq!(self.ask("openpgp"), "9000");
    }

    /// Verifies the PIN.
    #[track_caller]
    pub fn log_in(&mut self) {
        assert_eq!(self.ask("verify"), "9000");
        assert_eq!(self.ask("status"), "9000");
    }
}

impl Drop for OtherProgram {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
