//! What our own code allocates for a signature: nothing.
//!
//! Counted is what Rust code asks of the global allocator. The crypto library's own memory is not:
//! it calls the C library.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use cryptoki_sys::*;
use ctk_pkcs11::abi::*;
use openssl::nid::Nid;
use support::{Identity, Module, Settings, TestToken, key};

struct Counting;

thread_local! {
    /// How often this thread has asked for memory.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // No thread-local any more at the thread's end: nobody counts there.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, len) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` asks for memory.
fn asked(work: impl FnOnce()) -> usize {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

#[test]
fn what_is_asked_for_is_counted() {
    assert_eq!(asked(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_signature_allocates_nothing() {
    let identities = [
        Identity::rsa(2048, 1),
        Identity::ec(Nid::X9_62_PRIME256V1, 2),
        Identity::ed25519(3),
    ];
    let module = Module::start(&[TestToken::new(&identities, Settings::default())]);
    let session = module.open_and_login();
    let pss = CK_RSA_PKCS_PSS_PARAMS {
        hashAlg: CKM_SHA256,
        mgf: CKG_MGF1_SHA256,
        sLen: 32,
    };
    let (data, mut signature) = ([7; 32], [0; 256]);
    for (identity, mechanism, parameter) in [
        (1, CKM_RSA_PKCS, None),
        (1, CKM_SHA256_RSA_PKCS, None),
        (1, CKM_RSA_PKCS_PSS, Some(&pss)),
        (1, CKM_RSA_X_509, None),
        (2, CKM_ECDSA, None),
        (2, CKM_ECDSA_SHA256, None),
        (3, CKM_EDDSA, None),
    ] {
        let key = key(session, identity);
        let mut sign = || {
            assert_eq!(
                support::sign_init(session, mechanism, parameter, key),
                CKR_OK
            );
            let mut len = 256;
            let start = data.as_ptr().cast_mut();
            let rv = unsafe { C_Sign(session, start, 32, signature.as_mut_ptr(), &raw mut len) };
            assert_eq!(rv, CKR_OK);
        };
        // The first one may set things up.
        sign();
        let asked = asked(|| (0..10).for_each(|_| sign()));
        assert_eq!(asked, 0, "{mechanism:#x}");
    }
}
