//! How long to wait before a request is repeated.

use std::time::Duration;

/// The pause before the first repetition.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause that is of our own choice.
const LONGEST: Duration = Duration::from_secs(5);

/// Growing pauses.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Pauses {
    /// The next one: between half and all of twice the last, so that clients that were refused together do not come back
    /// together; and no shorter than the service asks for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = jittered(self.next, random());
        self.next = (self.next * 2).min(LONGEST);
        pause.max(asked.unwrap_or_default())
    }
}

/// Between half of `pause` (0) and all of it (255).
fn jittered(pause: Duration, random: u8) -> Duration {
    pause / 2 + pause / 2 * u32::from(random) / 255
}

fn random() -> u8 {
    let mut byte = [0];
    // Without randomness the pause is the shortest.
    let _ = ctk_crypto::random(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_never_undercut_the_service() {
        let mut pauses = Pauses::default();
        let mut longest = FIRST;
        for _ in 0..12 {
            let pause = pauses.next(None);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?}");
            longest = (longest * 2).min(LONGEST);
        }
        let asked = Duration::from_secs(60);
        assert_eq!(pauses.next(Some(asked)), asked);
        assert!(pauses.next(Some(Duration::ZERO)) >= LONGEST / 2);
        assert_eq!(jittered(FIRST, 0), FIRST / 2);
        assert_eq!(jittered(FIRST, 255), FIRST);
    }
}
