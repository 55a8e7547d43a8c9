//! Bytes that must not leave the process: PINs, decrypted keys, the values of session keys.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, Zeroizing};

use crate::sys::LockedPages;

/// Bytes that are locked in memory, left out of core dumps and zeroized when dropped. Derefs to `[u8]`; Debug prints
/// only the length.
///
/// Each value has memory pages of its own (about five microseconds to make and drop), so it is meant for few secrets
/// that live for some time. Locking is best effort: where the system refuses, the bytes are an ordinary mapping.
pub struct SecretBytes {
    memory: Memory,
    len: usize,
}

enum Memory {
    Locked(LockedPages),
    /// Nothing to hold, or no mapping to be had.
    Heap(Zeroizing<Vec<u8>>),
}

impl SecretBytes {
    /// A zeroed buffer of `len` bytes.
    pub fn zeroed(len: usize) -> Self {
        let memory = match LockedPages::new(len) {
            Some(pages) => Memory::Locked(pages),
            None => Memory::Heap(Zeroizing::new(vec![0; len])),
        };
        Self { memory, len }
    }

    /// A copy; wiping the original stays the caller's duty.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }

    /// Forgets and wipes everything from `len` bytes on. Longer than it is: no change.
    pub fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.get_mut(len..) {
            rest.zeroize();
            self.len = len;
        }
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all = match &self.memory {
            Memory::Locked(pages) => pages.bytes(),
            Memory::Heap(bytes) => bytes,
        };
        all.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let all = match &mut self.memory {
            Memory::Locked(pages) => pages.bytes_mut(),
            Memory::Heap(bytes) => bytes,
        };
        all.get_mut(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given() {
        let secret = SecretBytes::copy_of(b"correct horse");
        assert_eq!(&*secret, b"correct horse");
        assert!(SecretBytes::copy_of(b"").is_empty());
        assert_eq!(&*SecretBytes::zeroed(3), &[0, 0, 0]);
    }

    #[test]
    fn debug_shows_only_the_length() {
        let secret = SecretBytes::copy_of(b"correct horse");
        assert_eq!(format!("{secret:?}"), "SecretBytes(13 bytes)");
    }

    #[test]
    fn truncation_wipes_the_rest() {
        let mut secret = SecretBytes::copy_of(b"correct horse");
        secret.truncate(20);
        assert_eq!(secret.len(), 13);
        secret.truncate(7);
        assert_eq!(&*secret, b"correct");
        let Memory::Locked(pages) = &secret.memory else {
            panic!("a small secret must be on pages of its own");
        };
        assert_eq!(pages.bytes(), b"correct\0\0\0\0\0\0");
    }

    #[test]
    fn many_secrets_outlast_the_lock_limit() {
        let secrets: Vec<_> = (0..500_u32)
            .map(|number| SecretBytes::copy_of(&number.to_be_bytes()))
            .collect();
        for (number, secret) in (0_u32..).zip(&secrets) {
            assert_eq!(**secret, number.to_be_bytes());
        }
    }
}
