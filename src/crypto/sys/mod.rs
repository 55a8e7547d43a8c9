//! What the safe bindings lack: unsafe calls and the differences between the two libraries, behind safe functions.

use ctk_token::{Reason, Result, TokenError};
use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::md::MdRef;
use openssl::md_ctx::MdCtx;

mod kem;
mod pages;
mod symmetric;

pub(crate) use kem::{decapsulate, encapsulate};
pub(crate) use library::{X448, legacy_ciphers, ready, takes_rsa};
pub(crate) use pages::{LockedPages, Place, SharedPage, lock_limit};
pub(crate) use symmetric::{CipherContext, CmacContext, Direction, rc2_40_cbc, rc2_cbc};

/// A failure inside the library that no caller can have caused: no memory, no entropy.
#[allow(clippy::needless_pass_by_value)] // what map_err hands over
pub(crate) fn failed(errors: ErrorStack) -> TokenError {
    let reason = errors.errors().first().and_then(|error| error.reason());
    TokenError::Unreachable(Reason::new(format!(
        "the crypto library failed: {}",
        reason.unwrap_or("no reason given")
    )))
}

/// One form of the library's name of a hash for another.
pub(crate) fn md(digest: MessageDigest) -> &'static MdRef {
    // SAFETY: the library's descriptions of hashes are statics, and MdRef gives shared access only.
    unsafe { MdRef::from_ptr(digest.as_ptr().cast_mut()) }
}

#[cfg(feature = "aws-lc")]
mod library {
    use std::ffi::c_int;

    use ctk_token::Result;
    use openssl::pkey::Id;
    use openssl_sys::EVP_PKEY_CTX;

    /// AWS-LC has no curve448.
    pub(crate) const X448: Option<Id> = None;

    /// AWS-LC's contexts encapsulate at once.
    ///
    /// # Safety
    /// None is needed: nothing is touched.
    pub(crate) unsafe fn begin_encapsulate(_context: *mut EVP_PKEY_CTX) -> c_int {
        1
    }

    /// As above.
    ///
    /// # Safety
    /// As above.
    pub(crate) unsafe fn begin_decapsulate(_context: *mut EVP_PKEY_CTX) -> c_int {
        1
    }

    /// Whether public operations are done with a modulus and an exponent of so many bits.
    pub(crate) fn takes_rsa(modulus_bits: i32, exponent_bits: i32) -> bool {
        modulus_bits <= 16 * 1024 && exponent_bits <= 33
    }

    /// AWS-LC reads no configuration and initialises itself.
    pub(crate) fn ready() {}

    /// AWS-LC has RC2 and RC4 always.
    pub(crate) fn legacy_ciphers() -> Result<()> {
        Ok(())
    }
}

#[cfg(not(feature = "aws-lc"))]
mod library {
    use std::ffi::{c_int, c_void};
    use std::mem::ManuallyDrop;
    use std::sync::atomic::{AtomicBool, Ordering};

    use ctk_token::Result;
    use openssl::hash::MessageDigest;
    use openssl::pkey::Id;
    use openssl::provider::Provider;
    use openssl_sys::EVP_PKEY_CTX;

    use crate::fork;

    pub(crate) const X448: Option<Id> = Some(Id::X448);

    const NO_LOAD_CONFIG: u64 = 0x80;
    const NO_ATEXIT: u64 = 0x0008_0000;

    unsafe extern "C" {
        fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
    }

    /// Prepares for encapsulation with the context's key.
    ///
    /// # Safety
    /// The context must be alive and have a key.
    pub(crate) unsafe fn begin_encapsulate(context: *mut EVP_PKEY_CTX) -> c_int {
        // SAFETY: the caller's; a null pointer stands for no parameters.
        unsafe { openssl_sys::EVP_PKEY_encapsulate_init(context, std::ptr::null()) }
    }

    /// Prepares for decapsulation with the context's key.
    ///
    /// # Safety
    /// As above.
    pub(crate) unsafe fn begin_decapsulate(context: *mut EVP_PKEY_CTX) -> c_int {
        // SAFETY: as above.
        unsafe { openssl_sys::EVP_PKEY_decapsulate_init(context, std::ptr::null()) }
    }

    /// Whether public operations are done with a modulus and an exponent of so many bits.
    pub(crate) fn takes_rsa(modulus_bits: i32, exponent_bits: i32) -> bool {
        modulus_bits <= 16 * 1024 && (modulus_bits <= 3072 || exponent_bits <= 64)
    }

    /// Must run before any other call: without it OpenSSL reads the host's openssl.cnf, which may load this very
    /// module again. Nothing is freed at exit either, since programs finish modules from their own exit handlers.
    ///
    /// No Once, and inside the gate: a fork in the middle would leave either running in the child for ever. Threads that
    /// come at once wait for one another in the library.
    pub(crate) fn ready() {
        static READY: AtomicBool = AtomicBool::new(false);
        if READY.load(Ordering::Acquire) {
            return;
        }
        let _inside = fork::enter_unready();
        // SAFETY: the call takes flags only; a null pointer stands for default settings.
        unsafe { OPENSSL_init_crypto(NO_LOAD_CONFIG | NO_ATEXIT, std::ptr::null()) };
        // The first search for an algorithm starts the provider, under locks as well. Should it fail, the next one says why.
        let _ = openssl::hash::hash(MessageDigest::sha256(), &[]);
        READY.store(true, Ordering::Release);
    }

    /// Loads the legacy provider for RC2 and RC4, and the default one, which is no longer implied once another is
    /// loaded by hand. Neither is ever unloaded; threads that come at once load both, which the library counts. As in
    /// [`ready`], nobody waits outside the gate; the caller is not inside.
    pub(crate) fn legacy_ciphers() -> Result<()> {
        static LOADED: AtomicBool = AtomicBool::new(false);
        if LOADED.load(Ordering::Acquire) {
            return Ok(());
        }
        let _inside = fork::enter();
        for name in ["default", "legacy"] {
            let loaded = Provider::load(None, name).map_err(super::failed)?;
            let _never_unloaded = ManuallyDrop::new(loaded);
        }
        LOADED.store(true, Ordering::Release);
        Ok(())
    }
}

/// Has these called around each fork() of this process: before it, and after it in the parent and in the child. The
/// module that this code is linked into is never unloaded, so they stay where they are.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) {
    // SAFETY: the functions are static, take nothing and use atomics only. The one failure is lack of memory, after which
    // forks are as they would be without.
    unsafe {
        libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    }
}

/// A hash in progress, always begun: the library would follow a null pointer in a context that is not.
pub(crate) struct HashContext(MdCtx);

impl HashContext {
    pub(crate) fn begin(hash: &MdRef) -> Result<Self> {
        let mut context = MdCtx::new().map_err(failed)?;
        context.digest_init(hash).map_err(failed)?;
        Ok(Self(context))
    }

    pub(crate) fn begin_again(&mut self, hash: &MdRef) -> Result<()> {
        self.0.digest_init(hash).map_err(failed)
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        self.0.digest_update(data).map_err(failed)
    }

    /// Fills `out`, for a hash of any length (FIPS 202 §6.2), and ends.
    pub(crate) fn fill(mut self, out: &mut [u8]) -> Result<()> {
        self.0.digest_final_xof(out).map_err(failed)
    }

    /// Writes the hash and keeps the context allocated for the next one, which `MdCtx::digest_final` does not: a key
    /// derivation would free and allocate once per iteration.
    pub(crate) fn finish(&mut self, out: &mut [u8]) -> Result<()> {
        if out.len() < self.0.size() {
            return Err(TokenError::BadParameter);
        }
        // SAFETY: the context is alive, begun and borrowed mutably; `out` has room for its hash, checked above. A null
        // pointer stands for a length that nobody asks for.
        let status = unsafe {
            openssl_sys::EVP_DigestFinal_ex(self.0.as_ptr(), out.as_mut_ptr(), std::ptr::null_mut())
        };
        if status != 1 {
            return Err(failed(ErrorStack::get()));
        }
        Ok(())
    }
}

/// What `test` says in a forked child; `None` if the child does not come back within ten seconds.
#[cfg(test)]
pub(crate) fn run_in_child(test: impl FnOnce() -> bool) -> Option<bool> {
    // SAFETY: the child runs `test` in its only thread and leaves without destructors.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let status = i32::from(!test());
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) };
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut status = 0;
    // SAFETY: `child` is our own and not yet waited for; `status` is a place for its status.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if std::time::Instant::now() > end {
            // SAFETY: as above.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return None;
        }
        std::thread::yield_now();
    }
    Some(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}
