//! Passwords: from the terminal without echo, or a line of standard input. Never from the command line, which
//! everybody on the machine can read.

use std::io::{self, BufRead, Read};

use ctk_token::TokenError;
use zeroize::Zeroizing;

use crate::{
    console::{Console, Failure, Outcome, failure},
    sys::EchoKept,
};

/// Longest password, in bytes: what a PIN can be.
const MAX: usize = 255;
/// What is said of a refused password with one at its end.
pub(crate) const CARRIAGE_RETURN: &str =
    " (it ends with a carriage return: a line of Windows? Write it with a newline alone)";
/// What is said where standard input has no password.
const MISSING: &str = "no password on standard input: write it there as one line (an empty line for an empty password)";
/// How often a person at a terminal may try.
const TRIES: usize = 3;

/// Asks for a password and tries it; at a terminal up to three times. Gives what it opened.
pub(crate) fn with_password<T>(
    console: &Console,
    prompt: &str,
    mut open: impl FnMut(&[u8]) -> ctk_token::Result<T>,
    explain: impl Fn(&TokenError) -> String,
) -> Outcome<T> {
    let tries = if console.is_interactive() { TRIES } else { 1 };
    for left in (0..tries).rev() {
        let password = ask(console, prompt, MISSING)?;
        let explain = |error: &TokenError| match (error, password.last()) {
            (TokenError::AuthenticationFailed { .. }, Some(b'\r')) => {
                format!("{}{CARRIAGE_RETURN}", explain(error))
            }
            _ => explain(error),
        };
        match open(&password) {
            Ok(opened) => return Ok(opened),
            Err(error @ TokenError::AuthenticationFailed { .. }) if left > 0 => {
                console.warn(format!("{}; try again", explain(&error)));
            }
            Err(error) => return failure(explain(&error)),
        }
    }
    Err(Failure::Shown)
}

/// Asks for a password: at the terminal, or the next line of standard input; `missing` is said if there is none.
pub(crate) fn ask(console: &Console, prompt: &str, missing: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    if console.is_interactive() {
        let echo = EchoKept::new();
        let typed = rpassword::prompt_password(prompt);
        drop(echo);
        return match typed {
            Ok(text) => check(Zeroizing::new(text.into_bytes())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                failure("no password was typed; nothing was changed")
            }
            Err(error) => Err(error.into()),
        };
    }
    check(line(&mut io::stdin().lock(), missing)?)
}

fn line(input: &mut impl BufRead, missing: &str) -> Outcome<Zeroizing<Vec<u8>>> {
    // With all its room from the start, the buffer never moves and leaves no copy behind.
    let mut line = Zeroizing::new(Vec::with_capacity(2 * MAX));
    let read = input.take(MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if read == 0 {
        return failure(missing);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(line)
}

fn check(password: Zeroizing<Vec<u8>>) -> Outcome<Zeroizing<Vec<u8>>> {
    if password.len() > MAX {
        return failure(format!("the password is longer than {MAX} bytes"));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password() {
        let read = |input: &[u8]| {
            let read = line(&mut &*input.to_vec(), MISSING);
            read.ok().map(|read| read.to_vec())
        };
        assert_eq!(read(b"secret\nmore\n"), Some(b"secret".to_vec()));
        assert_eq!(read(b"secret"), Some(b"secret".to_vec()));
        assert_eq!(read(b" s \r\n"), Some(b" s \r".to_vec()));
        assert_eq!(read(b"\n"), Some(vec![]));
        assert_eq!(read(b"\xff\xfe\n"), Some(vec![0xff, 0xfe]));
        assert_eq!(read(b""), None);
        let long = line(&mut &*vec![b'a'; 1000], MISSING).unwrap();
        assert!(check(long).is_err());
        assert!(check(Zeroizing::new(vec![b'a'; MAX])).is_ok());
    }
}
