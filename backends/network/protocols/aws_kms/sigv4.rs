//! Signature Version 4, by which a request shows whose it is (AWS General Reference, "Signing AWS API requests").

use std::{fmt::Write, sync::Arc, time::SystemTime};

use ctk_crypto::{Hash, hash, hmac};
use ctk_token::{Digest, Result};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::{credentials::Credentials, time};

/// What is signed of a request. AWS has more: path and query are always `/` and empty here.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    /// What the Host header says.
    pub(super) host: &'a str,
    /// Other header fields: lower-case names in alphabetical order, without `host`, `x-amz-date` and
    /// `x-amz-security-token`.
    pub(super) headers: &'a [(&'static str, &'a str)],
    /// The body.
    pub(super) body: &'a [u8],
}

/// Header fields that belong to a signed request.
pub(super) type Headers = Vec<(&'static str, Zeroizing<String>)>;

/// Signs for one service in several regions, and keeps the keys that are the same all day.
pub(super) struct Signer {
    service: &'static str,
    keys: Mutex<Vec<DayKey>>,
}

/// A signing key: it is good for a day, a region and a secret.
struct DayKey {
    credentials: Arc<Credentials>,
    region: String,
    day: String,
    key: Hash,
}

/// How many signing keys are kept: a token is mostly in one region, and midnight passes once a day.
const KEPT: usize = 4;

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.service)
    }
}

impl Signer {
    /// A signer for this service, as scopes call it: `kms`.
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            keys: Mutex::default(),
        }
    }

    /// The header fields that make this POST somebody's at this time: Authorization, X-Amz-Date and, for credentials that
    /// have one, X-Amz-Security-Token.
    ///
    /// # Errors
    /// What keeps the crypto library from computing.
    pub(super) fn sign(
        &self,
        credentials: &Arc<Credentials>,
        region: &str,
        now: SystemTime,
        request: &Signed<'_>,
    ) -> Result<Headers> {
        let stamp = time::stamp(now);
        let day = stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{region}/{}/aws4_request", self.service);
        let (canonical, names) = canonical(request, &stamp, credentials.session_token())?;
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            hex(&hash(Digest::Sha256, canonical.as_bytes())?)
        );
        let key = self.key(credentials, region, day)?;
        let signature = hex(&hmac(Digest::Sha256, &key, to_sign.as_bytes())?);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            credentials.access_key_id()
        );
        let mut headers = vec![
            ("X-Amz-Date", Zeroizing::new(stamp)),
            ("Authorization", Zeroizing::new(authorization)),
        ];
        if let Some(token) = credentials.session_token() {
            headers.push(("X-Amz-Security-Token", Zeroizing::new(token.to_owned())));
        }
        Ok(headers)
    }

    fn key(&self, credentials: &Arc<Credentials>, region: &str, day: &str) -> Result<Hash> {
        let mut keys = self.keys.lock();
        let kept = keys.iter().find(|kept| {
            Arc::ptr_eq(&kept.credentials, credentials) && kept.region == region && kept.day == day
        });
        if let Some(kept) = kept {
            return Ok(kept.key.clone());
        }
        let secret = credentials.secret_access_key();
        // Never grows: what a string leaves behind is not zeroized.
        let mut first = Zeroizing::new(String::with_capacity(4 + secret.len()));
        first.push_str("AWS4");
        first.push_str(secret);
        let mut key = hmac(Digest::Sha256, first.as_bytes(), day.as_bytes())?;
        for part in [region, self.service, "aws4_request"] {
            key = hmac(Digest::Sha256, &key, part.as_bytes())?;
        }
        if keys.len() >= KEPT {
            keys.remove(0);
        }
        keys.push(DayKey {
            credentials: credentials.clone(),
            region: region.to_owned(),
            day: day.to_owned(),
            key: key.clone(),
        });
        Ok(key)
    }
}

/// The canonical request and the names of what is signed in it. It has the session token in it.
fn canonical(
    request: &Signed<'_>,
    stamp: &str,
    session_token: Option<&str>,
) -> Result<(Zeroizing<String>, String)> {
    let mut fields = vec![("host", request.host), ("x-amz-date", stamp)];
    fields.extend(session_token.map(|token| ("x-amz-security-token", token)));
    fields.extend_from_slice(request.headers);
    fields.sort_unstable();
    let room: usize = fields
        .iter()
        .map(|(name, value)| 2 * name.len() + value.len() + 3)
        .sum();
    let mut text = Zeroizing::new(String::with_capacity(room + 80));
    text.push_str("POST\n/\n\n");
    for (name, value) in &fields {
        text.push_str(name);
        text.push(':');
        // Runs of spaces count as one, and none at the ends.
        for (at, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
            if at > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text.push('\n');
    }
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    text.push('\n');
    text.push_str(&names);
    text.push('\n');
    text.push_str(&hex(&hash(Digest::Sha256, request.body)?));
    Ok((text, names))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The credentials and the time of the published test suite: 2015-08-30T12:36:00Z.
    fn example(token: Option<&str>) -> Arc<Credentials> {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Arc::new(Credentials::new("AKIDEXAMPLE", secret, token, None, "a test").unwrap())
    }

    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn authorization(
        service: &'static str,
        token: Option<&str>,
        request: &Signed<'_>,
    ) -> Zeroizing<String> {
        let signer = Signer::new(service);
        let signed = signer.sign(&example(token), "us-east-1", noon(), request);
        let mut headers = signed.unwrap().into_iter();
        headers
            .find(|(name, _)| *name == "Authorization")
            .unwrap()
            .1
    }

    /// `post-vanilla` of aws-sig-v4-test-suite.
    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let request = Signed {
            host: "example.amazonaws.com",
            headers: &[],
            body: b"",
        };
        let (canonical, _) = canonical(&request, "20150830T123600Z", None).unwrap();
        assert_eq!(
            hex(&hash(Digest::Sha256, canonical.as_bytes()).unwrap()),
            "553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87"
        );
        assert_eq!(
            *authorization("service", None, &request),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    /// The example of "Deriving the signing key" in AWS' documentation.
    #[test]
    fn a_signing_key_is_that_of_the_documentation() {
        let key = Signer::new("iam").key(&example(None), "us-east-1", "20150830");
        assert_eq!(
            hex(&key.unwrap()),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
    }

    /// Computed with botocore of the same request.
    #[test]
    fn signatures_are_those_of_botocore() {
        let request = Signed {
            host: "kms.us-east-1.amazonaws.com",
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "TrentService.ListKeys"),
            ],
            body: b"{}",
        };
        let plain = authorization("kms", None, &request);
        assert!(
            plain.ends_with(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
                 Signature=07499af8ab2ef3d35030bf049520b6c0de4a040bfc6c24cd89fc4dab8a531f56"
            ),
            "{}",
            *plain
        );
        let with_token = authorization("kms", Some("TOKENEXAMPLE"), &request);
        assert!(
            with_token.ends_with(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
                 Signature=56e1f664fd52924a465aa0133dc232018365f164f1e1f465f6a6593c8e1f6199"
            ),
            "{}",
            *with_token
        );
    }

    #[test]
    fn spaces_count_as_one() {
        let request = Signed {
            host: "h",
            headers: &[("a", "  b   c ")],
            body: b"",
        };
        let (canonical, names) = canonical(&request, "d", None).unwrap();
        assert!(
            canonical.starts_with("POST\n/\n\na:b c\nhost:h\nx-amz-date:d\n\na;host;x-amz-date\n")
        );
        assert_eq!(names, "a;host;x-amz-date");
    }

    #[test]
    fn signing_keys_are_kept_for_their_day_region_and_credentials() {
        let signer = Signer::new("kms");
        let (first, second) = (example(None), example(None));
        let kept = |signer: &Signer| signer.keys.lock().len();
        signer.key(&first, "us-east-1", "20150830").unwrap();
        signer.key(&first, "us-east-1", "20150830").unwrap();
        assert_eq!(kept(&signer), 1);
        signer.key(&second, "us-east-1", "20150830").unwrap();
        signer.key(&first, "eu-west-1", "20150830").unwrap();
        signer.key(&first, "us-east-1", "20150831").unwrap();
        assert_eq!(kept(&signer), 4);
        signer.key(&first, "us-east-1", "20150901").unwrap();
        assert_eq!(kept(&signer), KEPT);
        let debug = format!("{signer:?}");
        assert_eq!(debug, "Signer(kms)");
    }
}
