//! Which threads are in the middle of a use of a key store, so that none uses one from inside another use.
//!
//! A token in a service looks up host names and runs commands, and what it calls there may be a library of the
//! program that comes back to this module: the same thread would wait for a lock that it has itself.

use std::{cell::Cell, marker::PhantomData};

use ctk_token::TokenError;

thread_local! {
    static WORKING: Cell<bool> = const { Cell::new(false) };
}

/// This thread's use of a key store; over when dropped.
pub(crate) struct Working(PhantomData<*const ()>);

impl Working {
    /// # Errors
    /// [`TokenError::Denied`] if this thread is in the middle of one.
    pub(crate) fn begin() -> ctk_token::Result<Self> {
        if WORKING.replace(true) {
            log::warn!(
                "a key store is used by a thread from inside its use of a key store, which is refused"
            );
            return Err(TokenError::Denied);
        }
        Ok(Self(PhantomData))
    }

    /// Whether this thread is in the middle of one.
    pub(crate) fn is_here() -> bool {
        WORKING.get()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_use_of_a_thread_at_a_time() {
        let first = Working::begin().unwrap();
        assert!(Working::is_here());
        assert_eq!(Working::begin().err(), Some(TokenError::Denied));
        // The one that was refused has ended nothing.
        assert!(Working::is_here());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| Working::begin().is_ok());
            assert!(other.join().unwrap());
        });
        drop(first);
        assert!(Working::begin().is_ok());
    }
}
