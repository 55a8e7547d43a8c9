//! Credentials from a command: `credential_process` of a profile (AWS SDKs and Tools Reference, "Process credential
//! provider").

use std::ffi::OsString;

use ctk_token::Result;
use zeroize::Zeroizing;

use crate::{Surroundings, http::Deadline, json::Object};

use super::{Credentials, read_answer, unusable};

/// What the command answers. It is started without a shell.
///
/// # Errors
/// [`TokenError::Unreachable`](ctk_token::TokenError::Unreachable) if it may not be started, fails, or answers something else.
pub(super) fn credentials(
    command: &str,
    profile: &str,
    surroundings: &Surroundings,
    deadline: Deadline,
) -> Result<Credentials> {
    let source = format!("credential_process of profile {profile:?}");
    let words = words(command)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| unusable(format!("{source} is no command: a quote is not closed")))?;
    let words: Vec<_> = words
        .iter()
        .map(|word| OsString::from(word.as_str()))
        .collect();
    let json = (surroundings.run)(&words, deadline.left()?)?;
    if Object::read(&json).is_some_and(|answer| answer.number("Version") != Some(1)) {
        return Err(unusable(format!(
            "{source} answered in a version of its format that is not 1"
        )));
    }
    read_answer(&json, "SessionToken", &source)
}

/// The words of a command line as a POSIX shell splits it, without anything else that a shell does. `None` if a quote is
/// not closed or a backslash stands last.
pub(super) fn words(line: &str) -> Option<Vec<Zeroizing<String>>> {
    let mut words = Vec::new();
    let mut word: Option<Zeroizing<String>> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(|| Zeroizing::new(String::with_capacity(line.len())));
        match char {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    char => word.push(char),
                }
            },
            '"' => loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => match chars.next()? {
                        char @ ('"' | '\\') => word.push(char),
                        char => word.extend(['\\', char]),
                    },
                    char => word.push(char),
                }
            },
            '\\' => word.push(chars.next()?),
            char => word.push(char),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use ctk_token::TokenError;

    use super::*;

    fn in_a_minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    fn answering(json: &str) -> Surroundings {
        let json = json.as_bytes().to_vec();
        Surroundings {
            home: None,
            variable: |_| None,
            run: Arc::new(move |words, _| {
                assert_eq!(words, ["/bin/get", "two words"]);
                Ok(Zeroizing::new(json.clone()))
            }),
        }
    }

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, expected) in [
            ("", &[][..]),
            ("  ", &[]),
            ("a b\tc", &["a", "b", "c"]),
            (r#"a "b c" 'd "e'"#, &["a", "b c", "d \"e"]),
            (r#"a\ b "c\"d\\e\f" '\'"#, &["a b", "c\"d\\e\\f", "\\"]),
            ("a''b '' \"\"", &["ab", "", ""]),
            ("~/x $HOME `y` | z", &["~/x", "$HOME", "`y`", "|", "z"]),
        ] {
            let words = words(line).unwrap();
            let words: Vec<_> = words.iter().map(|word| word.as_str()).collect();
            assert_eq!(words, expected, "{line}");
        }
        for line in ["\"", "'", "a 'b", "a \"b\\\"", "\\"] {
            assert!(words(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_command_tells_credentials() {
        let json = r#"{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"se\/cret","SessionToken":null,
                       "Expiration":"2015-08-30T12:36:00Z","AccountId":"1"}"#;
        let found = credentials(
            "/bin/get 'two words'",
            "ci",
            &answering(json),
            in_a_minute(),
        )
        .unwrap();
        assert_eq!(found.access_key_id(), "AKIDEXAMPLE");
        assert_eq!(found.secret_access_key(), "se/cret");
        assert_eq!(found.session_token(), None);
        assert!(found.expires().is_some());
        let shown = found.to_string();
        assert_eq!(
            shown,
            "access key …MPLE from credential_process of profile \"ci\""
        );
    }

    #[test]
    fn what_else_it_says_is_refused_and_shown_nowhere() {
        for (json, why) in [
            ("", "not a JSON"),
            ("topsecret", "not a JSON"),
            ("{\"Version\":\"topsecret\"}", "not 1"),
            (
                "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"topsecret\"}",
                "not 1",
            ),
            (
                "{\"Version\":2,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"topsecret\"}",
                "not 1",
            ),
            (
                "{\"Version\":1,\"AccessKeyId\":\"A\"}",
                "no SecretAccessKey",
            ),
            (
                "{\"Version\":1,\"SecretAccessKey\":\"topsecret\"}",
                "no AccessKeyId",
            ),
            (
                "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"topsecret\\n\"}",
                "characters",
            ),
            (
                "{\"Version\":1,\"AccessKeyId\":\"\",\"SecretAccessKey\":\"topsecret\"}",
                "is empty",
            ),
            (
                "{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"topsecret\",\"Expiration\":\"x\"}",
                "no time",
            ),
        ] {
            let error = credentials(
                "/bin/get 'two words'",
                "ci",
                &answering(json),
                in_a_minute(),
            )
            .unwrap_err();
            let TokenError::Unreachable(reason) = &error else {
                panic!("{error:?}")
            };
            assert!(reason.as_str().contains(why), "{json}: {reason}");
            assert!(!reason.as_str().contains("topsecret"), "{reason}");
        }
        let error = credentials("'/bin/get", "ci", &answering(""), in_a_minute()).unwrap_err();
        assert!(error.to_string().contains("quote"), "{error}");
    }
}
