//! How much work a file may ask for before anybody knows whether its password is right.

use crate::failure::{Failure, Result};

/// Iterations of password hashing, times blocks of output, over the whole file: a few seconds.
/// Tools write 2 000 to 600 000 iterations per key; the crypto library is never started on more
/// than is left.
const MAX_WORK: u64 = 20_000_000;

/// How much memory scrypt may use, in bytes: N = 2^15 with r = 8 and a little more. openssl writes
/// half of that.
pub(crate) const MAX_SCRYPT_MEMORY: u64 = 36 << 20;

/// The longest file that is read, in bytes. Real ones have a few thousand; with scrypt's share and
/// the copies that are made on the way from the file to the keys this keeps everything below 64
/// MiB.
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// More private keys than any file has.
pub(crate) const MAX_KEYS: usize = 256;

/// More certificates than any file has.
pub(crate) const MAX_CERTIFICATES: usize = 4096;

/// What is left of [`MAX_WORK`].
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Budget {
    /// The whole allowance of one attempt to open one file.
    pub(crate) fn new() -> Self {
        Self(MAX_WORK)
    }

    /// Takes the work of `iterations` that make `out_len` bytes by hashes of `hash_len` bytes, and
    /// returns the iterations as the crypto library wants them.
    pub(crate) fn spend(
        &mut self,
        iterations: u64,
        out_len: usize,
        hash_len: usize,
    ) -> Result<u32> {
        let blocks = out_len.div_ceil(hash_len.max(1)).max(1) as u64;
        self.take(iterations, iterations.saturating_mul(blocks))?;
        u32::try_from(iterations).map_err(|_| too_much(iterations))
    }

    /// Takes the work of one scrypt, whose unit costs about as much as one iteration.
    pub(crate) fn spend_scrypt(&mut self, n: u64, r: u64, p: u64) -> Result<()> {
        let memory = n.saturating_mul(r).saturating_mul(128);
        if memory > MAX_SCRYPT_MEMORY {
            return Err(Failure::Excessive(format!(
                "it asks for {} MiB of memory for its password (at most {} are allowed)",
                memory >> 20,
                MAX_SCRYPT_MEMORY >> 20
            )));
        }
        let work = n.saturating_mul(r).saturating_mul(p);
        self.take(work, work)
    }

    fn take(&mut self, shown: u64, work: u64) -> Result<()> {
        if work == 0 {
            return Err(Failure::Damaged("its password is hashed zero times"));
        }
        self.0 = self.0.checked_sub(work).ok_or_else(|| too_much(shown))?;
        Ok(())
    }
}

fn too_much(iterations: u64) -> Failure {
    Failure::Excessive(format!(
        "it asks for {iterations} rounds of password hashing or more \
                 (at most {MAX_WORK} are allowed for the whole file)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_over_the_whole_file() {
        let mut budget = Budget::new();
        assert_eq!(budget.spend(600_000, 32, 20), Ok(600_000));
        assert!(budget.spend(MAX_WORK - 1_200_000, 20, 20).is_ok());
        assert!(matches!(budget.spend(1, 1, 20), Err(Failure::Excessive(_))));
    }

    #[test]
    fn absurd_work_is_refused() {
        let mut budget = Budget::new();
        for iterations in [MAX_WORK + 1, 1 << 32, u64::MAX] {
            assert!(matches!(
                budget.spend(iterations, 64, 20),
                Err(Failure::Excessive(_))
            ));
        }
        assert!(matches!(budget.spend(0, 20, 20), Err(Failure::Damaged(_))));
        assert!(matches!(
            budget.spend_scrypt(1 << 16, 8, 1),
            Err(Failure::Excessive(_))
        ));
        assert!(matches!(
            budget.spend_scrypt(u64::MAX, u64::MAX, 1),
            Err(Failure::Excessive(_))
        ));
        assert!(matches!(
            budget.spend_scrypt(16, 8, u64::MAX),
            Err(Failure::Excessive(_))
        ));
        assert!(matches!(
            budget.spend_scrypt(0, 8, 1),
            Err(Failure::Damaged(_))
        ));
        assert_eq!(budget.spend_scrypt(1 << 14, 8, 1), Ok(()));
    }
}
