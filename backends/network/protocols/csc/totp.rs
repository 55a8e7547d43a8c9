//! One-time passwords by the time (RFC 6238): HMAC-SHA-1, 30 seconds, 6 digits, as all services of this protocol have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ctk_crypto::hmac;
use ctk_token::{Digest, Reason, Result, TokenError};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::api::Api;

/// How long one password counts, in seconds.
const STEP: u64 = 30;
/// What has to be left of the operation's time when the password is there, for what it is needed for.
const ROOM: Duration = Duration::from_secs(5);

/// The clock that requests go by, and the pauses between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: fn() -> SystemTime,
    pub(super) sleep: fn(Duration),
}

impl Clock {
    /// The system's.
    pub(super) const SYSTEM: Self = Self {
        now: SystemTime::now,
        sleep: std::thread::sleep,
    };
}

/// A generator that gives no password twice, because no service takes it twice (RFC 6238 §5.2).
#[derive(Debug, Default)]
pub(super) struct Generator {
    given: Mutex<Given>,
}

/// What the passwords were that were given.
#[derive(Debug, Default)]
struct Given {
    /// The last step of which one was given; it may have to be waited for.
    last: u64,
    /// The step that it was then.
    present: u64,
}

impl Generator {
    /// The next password. Waits for it if the present one was given already, and the operation has the time.
    ///
    /// # Errors
    /// [`TokenError::Unreachable`] if the seed cannot be read or is none, [`TokenError::Refused`] with what to do if the
    /// next one comes too late.
    pub(super) fn next(&self, api: &Api<'_>) -> Result<Option<Zeroizing<String>>> {
        let Some(source) = &api.options.otp_seed else {
            return Ok(None);
        };
        let seed = seed(&source.read(api.deadline.left()?)?).ok_or_else(|| {
            let why = format!("{} is no seed in base32 or base64", source.source());
            TokenError::Unreachable(Reason::new(why))
        })?;
        let step = self.wait_for_step(api.clock, api.deadline.left()?)?;
        password(&seed, step).map(Some)
    }

    /// The next step that is free, when it has come.
    fn wait_for_step(&self, clock: Clock, left: Duration) -> Result<u64> {
        let (step, wait) = {
            let since = (clock.now)().duration_since(UNIX_EPOCH).unwrap_or_default();
            let present = since.as_secs() / STEP;
            let mut given = self.given.lock();
            if present.saturating_add(1) < given.present {
                // The clock was set back: what was given was never of a time that the service has seen.
                *given = Given::default();
            }
            let step = present.max(given.last.saturating_add(1));
            let wait = Duration::from_secs(step.saturating_mul(STEP)).saturating_sub(since);
            if !wait.is_zero() && wait.saturating_add(ROOM) > left {
                return Err(TokenError::Refused(Reason::new(format!(
                    "one-time passwords come at one in {STEP} seconds, and the next that is free in {} s, too late for this \
                     signature: sign less often, or set total_timeout to {} or more",
                    wait.as_secs() + 1,
                    (wait.saturating_add(ROOM)).as_secs() + 1
                ))));
            }
            *given = Given {
                last: step,
                present,
            };
            (step, wait)
        };
        if !wait.is_zero() {
            log::info!(
                "waiting {} s for the next one-time password",
                wait.as_secs()
            );
            (clock.sleep)(wait);
        }
        Ok(step)
    }
}

/// The password of a step (RFC 4226 §5.3).
fn password(seed: &[u8], step: u64) -> Result<Zeroizing<String>> {
    let mac = hmac(Digest::Sha1, seed, &step.to_be_bytes())?;
    let start = usize::from(mac.last().copied().unwrap_or(0) & 15);
    let bytes = mac.get(start..start + 4).unwrap_or_default();
    let number = bytes
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    Ok(Zeroizing::new(format!(
        "{:06}",
        (number & 0x7fff_ffff) % 1_000_000
    )))
}

/// The bytes of a seed: base32 as RFC 6238's users have it, in any case and with spaces; or base64, as SSL.com gives it. A
/// text in letters of one case is base32: random bytes in base64 have both, and a mistyped seed must not become another.
fn seed(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let has = |kind: fn(&char) -> bool| text.chars().any(|char| kind(&char));
    let is_base64 = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let seed = match is_base64 {
        true => crate::base64::decode(text),
        false => base32(text),
    };
    seed.filter(|seed| !seed.is_empty())
}

/// RFC 4648 §6, without regard to padding, spaces and hyphens.
fn base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut number, mut bits) = (Zeroizing::new(0_u32), 0);
    let symbols = text.trim_end_matches('=').bytes();
    for symbol in symbols.filter(|byte| !matches!(byte, b' ' | b'-')) {
        let value = match symbol.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        *number = *number << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((*number >> bits) as u8);
            *number &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B, of whose eight digits these are the last six.
    #[test]
    fn passwords_are_those_of_the_rfc() {
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let made = password(b"12345678901234567890", seconds / STEP).unwrap();
            assert_eq!(*made, expected);
        }
    }

    #[test]
    fn seeds_come_in_two_alphabets() {
        let expected = b"12345678901234567890";
        for text in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n",
            "GEZD-GNBV-GY3T-QOJQ-GEZD-GNBV-GY3T-QOJQ====",
            "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=",
        ] {
            assert_eq!(
                seed(text.as_bytes()).unwrap().as_slice(),
                expected,
                "{text}"
            );
        }
        // 32 bytes as SSL.com shows them, and the 52 characters that people paste.
        let long = [7_u8; 32];
        assert_eq!(
            seed(crate::base64::encode(&long).as_bytes())
                .unwrap()
                .as_slice(),
            long
        );
        let base32 = "A4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQ";
        assert_eq!(seed(base32.as_bytes()).unwrap().as_slice(), long);
        for text in ["", " ", "0189", "MTIz!", "\u{e4}"] {
            assert!(seed(text.as_bytes()).is_none(), "{text}");
        }
        assert!(seed(b"\xff").is_none());
    }

    #[test]
    fn no_password_is_given_twice_and_none_is_waited_for_in_vain() {
        let clock = Clock {
            now: || UNIX_EPOCH + Duration::from_secs(59),
            sleep: |wait| assert!(wait.as_secs() == 1 || wait.as_secs() == 31, "{wait:?}"),
        };
        let generator = Generator::default();
        let next = |left| generator.wait_for_step(clock, Duration::from_secs(left));
        // The present one costs no time.
        assert_eq!(next(1), Ok(1));
        assert_eq!(next(60), Ok(2));
        // What is refused stays free.
        let Err(TokenError::Refused(why)) = next(30) else {
            panic!("a password that comes too late")
        };
        assert!(why.as_str().contains("set total_timeout to 37"), "{why}");
        assert_eq!(next(60), Ok(3));
        assert!(matches!(next(60), Err(TokenError::Refused(_))));
        // A clock that is set back by an hour does not make everybody wait for an hour.
        let generator = Generator::default();
        let at = |now| {
            let clock = Clock {
                now,
                sleep: |wait| assert!(wait.as_secs() <= 31, "{wait:?}"),
            };
            generator.wait_for_step(clock, Duration::from_secs(60))
        };
        assert_eq!(at(|| UNIX_EPOCH + Duration::from_secs(7200)), Ok(240));
        assert_eq!(at(|| UNIX_EPOCH + Duration::from_secs(3600)), Ok(120));
        // By a second, across the border of two steps, it is no other time.
        assert_eq!(at(|| UNIX_EPOCH + Duration::from_secs(3630)), Ok(121));
        assert_eq!(at(|| UNIX_EPOCH + Duration::from_secs(3629)), Ok(122));
    }
}
