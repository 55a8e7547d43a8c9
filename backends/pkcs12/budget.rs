//! How much work a file may ask for before anybody knows whether its password is right.

use ctk_token::Digest;

use crate::failure::{Failure, Result};

/// What the password hashing of a whole file may cost, in ticks of 0.1 µs: four seconds.
///
/// The costs below were measured with AWS-LC on one x86-64 core that has instructions for SHA-1 and
/// SHA-256. There the worst file of each kind runs for 3.2 s (PKCS#12 derivation with SHA-1) to
/// 3.7 s (scrypt) before it is refused. The dearest real files have eight identities of GnuTLS,
/// sixteen times 600 000 iterations, and take three quarters of the allowance (2.9 s). The crypto
/// library is never started on more than is left.
const MAX_WORK: u64 = 40_000_000;

/// How much memory scrypt may use, in bytes: N = 2^15 with r = 8 and a little more. openssl writes
/// half of that.
pub(crate) const MAX_SCRYPT_MEMORY: u64 = 36 << 20;

/// The longest file that is read, in bytes. Real ones have a few thousand; with scrypt's share and
/// the copies that are made on the way from the file to the keys this keeps everything below 64
/// MiB.
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// How many parts of a file may have another password. Each costs at least one decryption.
pub(crate) const MAX_FAILED: usize = 16;

/// More private keys than any file has.
pub(crate) const MAX_KEYS: usize = 256;

/// More certificates than any file has.
pub(crate) const MAX_CERTIFICATES: usize = 4096;

/// What one iteration of each derivation costs with SHA-1 or SHA-2 of 32 bit words, in ticks.
const FAST_PKCS12: u64 = 2;
const FAST_PBKDF2: u64 = 3;

/// What is left of [`MAX_WORK`].
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    /// What was taken for keys.
    of_keys: u64,
    /// The fewest iterations of any derivation but scrypt.
    least: Option<u32>,
}

/// How often a file's password is hashed for each of its parts and the MAC, in iterations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hashing {
    /// Where it is the fewest: what it costs to guess at the password. `None` if all is scrypt's,
    /// or nothing is hashed.
    pub(crate) least: Option<u32>,
    /// As many as the file may have everywhere when it is written again; more would not open.
    pub(crate) most: u32,
}

impl Budget {
    /// The whole allowance of one attempt to open one file.
    pub(crate) fn new() -> Self {
        Self {
            left: MAX_WORK,
            of_keys: 0,
            least: None,
        }
    }

    /// What was asked for until now, and what may be for the same keys in so many parts of
    /// [`rewrite`](crate::rewrite::rewrite).
    pub(crate) fn hashing(&self, parts: usize) -> Hashing {
        // Keys and the MAC's are of 32 bytes, one block of SHA-256.
        let ticks = FAST_PBKDF2
            .saturating_mul(parts as u64)
            .saturating_add(FAST_PKCS12);
        let most = MAX_WORK.saturating_sub(self.of_keys) / ticks;
        Hashing {
            least: self.least,
            most: u32::try_from(most).unwrap_or(u32::MAX),
        }
    }

    /// Takes the work of one PKCS#12 derivation (RFC 7292 Appendix B), which hashes once in an
    /// iteration, and returns the iterations as the crypto library wants them.
    pub(crate) fn spend_pkcs12(
        &mut self,
        digest: Digest,
        iterations: u64,
        out_len: usize,
    ) -> Result<u32> {
        let ticks = match Speed::of(digest) {
            Speed::Fast => FAST_PKCS12,
            Speed::Slow => 4,
            Speed::Slowest => 6,
        };
        self.spend(digest, iterations, out_len, ticks)
    }

    /// The same for one PBKDF2 (RFC 8018 §5.2), which hashes twice.
    pub(crate) fn spend_pbkdf2(
        &mut self,
        prf: Digest,
        iterations: u64,
        out_len: usize,
    ) -> Result<u32> {
        let ticks = match Speed::of(prf) {
            Speed::Fast => FAST_PBKDF2,
            Speed::Slow => 7,
            Speed::Slowest => 10,
        };
        self.spend(prf, iterations, out_len, ticks)
    }

    fn spend(
        &mut self,
        digest: Digest,
        iterations: u64,
        out_len: usize,
        ticks: u64,
    ) -> Result<u32> {
        let blocks = out_len.div_ceil(digest.len()).max(1) as u64;
        let work = iterations.saturating_mul(blocks).saturating_mul(ticks);
        self.take(iterations, work)?;
        let iterations = u32::try_from(iterations).map_err(|_| too_much(iterations))?;
        self.least = Some(self.least.map_or(iterations, |least| least.min(iterations)));
        Ok(iterations)
    }

    /// Takes the work of one scrypt (RFC 7914): a tick and its share of the memory for each of 64
    /// bytes that are mixed twice, and PBKDF2 at both ends.
    pub(crate) fn spend_scrypt(&mut self, n: u64, r: u64, p: u64) -> Result<()> {
        let memory = n.saturating_mul(r).saturating_mul(128);
        if memory > MAX_SCRYPT_MEMORY {
            return Err(Failure::Excessive(format!(
                "it asks for {} MiB of memory for its password (at most {} are allowed)",
                memory >> 20,
                MAX_SCRYPT_MEMORY >> 20
            )));
        }
        let blocks = r.saturating_mul(p);
        let mixed = n.saturating_mul(blocks);
        let work = mixed
            .saturating_mul(10)
            .saturating_add(blocks.saturating_mul(16));
        if mixed == 0 {
            return Err(NO_WORK);
        }
        self.take(mixed, work)
    }

    /// Takes the work of checking a private key of so many bytes: about what it takes to sign with it,
    /// which for RSA grows with the third power of its length. RSA-2048 has 1.2 kB and costs a
    /// millisecond, RSA-8192 has 4.7 kB and costs 60.
    pub(crate) fn spend_key(&mut self, pkcs8_len: usize) -> Result<()> {
        let work = (pkcs8_len as u64).saturating_pow(3) / 170_000;
        self.left = self.left.checked_sub(work).ok_or_else(|| {
            Failure::Excessive(format!(
                "its private keys take longer to check than the {} seconds that a file may take",
                MAX_WORK / 10_000_000
            ))
        })?;
        self.of_keys += work;
        Ok(())
    }

    fn take(&mut self, shown: u64, work: u64) -> Result<()> {
        if work == 0 {
            return Err(NO_WORK);
        }
        self.left = self.left.checked_sub(work).ok_or_else(|| too_much(shown))?;
        Ok(())
    }
}

const NO_WORK: Failure = Failure::Damaged("its password is hashed zero times");

/// Hash functions by what processors of today have for them.
enum Speed {
    /// Instructions.
    Fast,
    /// Words of 64 bits, and hardly ever instructions.
    Slow,
    /// SHA-3.
    Slowest,
}

impl Speed {
    fn of(digest: Digest) -> Self {
        match digest {
            Digest::Sha1 | Digest::Sha224 | Digest::Sha256 => Self::Fast,
            Digest::Sha384 | Digest::Sha512 => Self::Slow,
            Digest::Sha3_224 | Digest::Sha3_256 | Digest::Sha3_384 | Digest::Sha3_512 => {
                Self::Slowest
            }
        }
    }
}

fn too_much(iterations: u64) -> Failure {
    Failure::Excessive(format!(
        "it asks for {iterations} rounds of password hashing, and with the rest of it for more \
                 than the {} seconds that a file may take",
        MAX_WORK / 10_000_000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_over_the_whole_file() {
        let mut budget = Budget::new();
        let spent = budget.spend_pbkdf2(Digest::Sha1, 600_000, 32);
        assert_eq!(spent, Ok(600_000));
        let rest = MAX_WORK - 2 * 3 * 600_000;
        assert!(budget.spend_pkcs12(Digest::Sha1, rest / 2 - 1, 20).is_ok());
        assert!(budget.spend_pkcs12(Digest::Sha1, 1, 20).is_ok());
        assert!(matches!(
            budget.spend_pkcs12(Digest::Sha1, 1, 20),
            Err(Failure::Excessive(_))
        ));
    }

    #[test]
    fn dear_hashes_are_refused_sooner() {
        let six_million = |digest| Budget::new().spend_pbkdf2(digest, 6_000_000, digest.len());
        assert!(six_million(Digest::Sha256).is_ok());
        assert!(six_million(Digest::Sha512).is_err());
        let fifteen_million = |digest| Budget::new().spend_pkcs12(digest, 15_000_000, digest.len());
        assert!(fifteen_million(Digest::Sha1).is_ok());
        assert!(fifteen_million(Digest::Sha384).is_err());
        assert!(Budget::new().spend_scrypt(1 << 15, 8, 15).is_ok());
        assert!(Budget::new().spend_scrypt(1 << 15, 8, 16).is_err());
    }

    #[test]
    fn eight_identities_of_gnutls_are_not_too_much() {
        let mut budget = Budget::new();
        assert!(budget.spend_pkcs12(Digest::Sha256, 600_000, 32).is_ok());
        for _ in 0..16 {
            assert!(budget.spend_pbkdf2(Digest::Sha256, 600_000, 32).is_ok());
        }
        // Those are of RSA-3072; the file opens with RSA-8192 as well.
        for _ in 0..8 {
            assert!(budget.spend_key(4700).is_ok());
        }
    }

    #[test]
    fn as_many_keys_as_any_file_has_are_checked() {
        let mut budget = Budget::new();
        assert!((0..MAX_KEYS).all(|_| budget.spend_key(1220).is_ok()));
        assert!((0..MAX_KEYS).any(|_| budget.spend_key(4700).is_err()));
        assert!(budget.spend_key(usize::MAX).is_err());
    }

    #[test]
    fn a_file_that_is_written_again_may_use_the_whole_allowance() {
        let spend = |parts, iterations| {
            let mut budget = Budget::new();
            budget.spend_key(4700)?;
            budget.spend_pkcs12(Digest::Sha256, iterations, 32)?;
            for _ in 0..parts {
                budget.spend_pbkdf2(Digest::Sha256, iterations, 32)?;
            }
            Ok::<_, Failure>(budget.hashing(parts))
        };
        for parts in [0, 1, 2, 16, 1000] {
            let most = u64::from(spend(parts, 1).unwrap().most);
            let hashing = spend(parts, most).unwrap();
            assert_eq!(u64::from(hashing.most), most, "{parts}");
            assert!(spend(parts, most + 1).is_err(), "{parts}");
        }
    }

    #[test]
    fn the_least_is_that_of_all_derivations_but_scrypt() {
        let mut budget = Budget::new();
        assert_eq!(budget.spend_scrypt(16, 8, 1), Ok(()));
        assert_eq!(budget.hashing(1).least, None);
        for (iterations, least) in [(3000, 3000), (1000, 1000), (2000, 1000)] {
            assert!(budget.spend_pkcs12(Digest::Sha1, iterations, 20).is_ok());
            assert_eq!(budget.hashing(1).least, Some(least));
        }
        assert!(budget.spend_pbkdf2(Digest::Sha512, 999, 32).is_ok());
        assert_eq!(budget.hashing(1).least, Some(999));
    }

    #[test]
    fn absurd_work_is_refused() {
        let mut budget = Budget::new();
        for iterations in [MAX_WORK + 1, 1 << 32, u64::MAX] {
            assert!(matches!(
                budget.spend_pbkdf2(Digest::Sha1, iterations, 64),
                Err(Failure::Excessive(_))
            ));
        }
        assert!(matches!(
            budget.spend_pkcs12(Digest::Sha1, 0, 20),
            Err(Failure::Damaged(_))
        ));
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
