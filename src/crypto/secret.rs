//! Bytes that must not leave the process: PINs, decrypted keys, the values of session keys.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

use zeroize::{Zeroize, Zeroizing};

use crate::sys::{LockedPages, Place, SharedPage, lock_limit};

/// Bytes that are locked in memory, left out of core dumps and zeroized when dropped. Derefs to `[u8]`; Debug prints
/// only the length.
///
/// Each value has memory pages of its own (about five microseconds to make and drop), so it is meant for few secrets
/// that live for some time; a [`SecretStore`] makes those of which there may be many. Locking is best effort: where the
/// system refuses, the bytes are an ordinary mapping.
pub struct SecretBytes {
    memory: Memory,
    len: usize,
}

enum Memory {
    Locked(LockedPages),
    Shared(Place),
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
            Memory::Shared(place) => place.bytes(),
            Memory::Heap(bytes) => bytes,
        };
        all.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        let all = match &mut self.memory {
            Memory::Locked(pages) => pages.bytes_mut(),
            Memory::Shared(place) => place.bytes_mut(),
            Memory::Heap(bytes) => bytes,
        };
        all.get_mut(..self.len).unwrap_or_default()
    }
}

/// Where many secrets are kept: they share pages, so that thousands of them cost a program few of the 65,530 mappings that it
/// can have, and little of the memory that it may lock.
///
/// Pages beyond that share are not locked, but left out of core dumps and zeroized as well: the locked ones are also for PINs
/// and for what the program itself locks.
#[derive(Default)]
pub struct SecretStore {
    /// The page that new secrets go to.
    current: Mutex<Option<Arc<SharedPage>>>,
    /// How much memory its pages have locked, in bytes.
    locked: Arc<AtomicUsize>,
}

/// How much memory a store locks at most, in bytes: 4,096 keys of up to 64 bytes.
const MAX_LOCKED: usize = 256 << 10;

impl SecretStore {
    /// A copy of a secret. One of more than 1024 bytes has pages of its own.
    pub fn keep(&self, secret: &[u8]) -> SecretBytes {
        let Some(mut place) = self.place(secret.len()) else {
            return SecretBytes::copy_of(secret);
        };
        place.bytes_mut().copy_from_slice(secret);
        SecretBytes {
            len: secret.len(),
            memory: Memory::Shared(place),
        }
    }

    fn place(&self, len: usize) -> Option<Place> {
        if len == 0 || len > SharedPage::LONGEST {
            return None;
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = current.as_ref().and_then(|page| page.place(len)) {
            return Some(place);
        }
        // The full page lasts as long as its secrets; what becomes free there is not used again.
        let page = SharedPage::new(&self.locked, MAX_LOCKED.min(lock_limit() / 8))?;
        let place = page.place(len);
        *current = Some(page);
        place
    }
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretStore").finish_non_exhaustive()
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
    fn a_store_keeps_secrets_of_all_lengths_apart() {
        let store = SecretStore::default();
        let secret = |number: usize| vec![u8::try_from(number % 251).unwrap(); number % 1100];
        let mut secrets: Vec<_> = (0..3000)
            .map(|number| store.keep(&secret(number)))
            .collect();
        for (number, kept) in secrets.iter().enumerate() {
            assert_eq!(**kept, secret(number));
        }
        let shared = |secret: &&SecretBytes| matches!(secret.memory, Memory::Shared(_));
        assert!(secrets.iter().filter(shared).count() > 2700);
        let some = &mut secrets[100];
        some.truncate(10);
        assert_eq!(**some, [100; 10]);
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
