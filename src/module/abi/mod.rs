//! The C ABI: the only room of this crate, besides `sys.rs`, in which `unsafe` is allowed.
#![allow(unsafe_code)]

#[macro_use]
mod macros;
pub(crate) mod parameter;
pub(crate) mod ptr;
mod table;
mod template;

use std::ffi::c_void;

use cryptoki_sys::{CK_INFO, CK_INTERFACE, CK_RV, CK_UTF8CHAR, CK_VERSION};

use crate::general;
pub use macros::Function;
pub use table::*;

/// The version of the first list. A list's version must be that of its layout, because programs
/// read as many fields as the version promises.
pub const V2_40: CK_VERSION = CK_VERSION {
    major: 2,
    minor: 40,
};
/// The version of the second list.
pub const V3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };
/// The version of the third list.
pub const V3_2: CK_VERSION = CK_VERSION { major: 3, minor: 2 };

/// The name under which C_GetInterface knows all three lists.
const NAME: &[u8] = b"PKCS 11\0";

/// The interfaces, best first.
#[derive(Debug)]
pub struct Interfaces([CK_INTERFACE; 3]);

// SAFETY: the pointers in it go to statics that nobody writes.
unsafe impl Sync for Interfaces {}

/// What C_GetInterfaceList returns. No flags: sessions do not survive a fork, so
/// CKF_INTERFACE_FORK_SAFE is not ours.
pub static INTERFACES: Interfaces = Interfaces([
    interface((&raw const LIST_3_2).cast()),
    interface((&raw const LIST_3_0).cast()),
    interface((&raw const LIST_2_40).cast()),
]);

/// The versions of [`INTERFACES`], in the same order.
pub(crate) const INTERFACE_VERSIONS: [CK_VERSION; 3] = [V3_2, V3_0, V2_40];

impl Interfaces {
    /// The interfaces, best first.
    pub fn all(&self) -> &[CK_INTERFACE] {
        &self.0
    }
}

const fn interface(list: *const c_void) -> CK_INTERFACE {
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast::<CK_UTF8CHAR>().cast_mut(),
        pFunctionList: list.cast_mut(),
        flags: 0,
    }
}

/// C_GetInfo in the list of an older version, which it tells.
unsafe extern "C" fn info_of<const MAJOR: u8, const MINOR: u8>(info: *mut CK_INFO) -> CK_RV {
    let version = CK_VERSION {
        major: MAJOR,
        minor: MINOR,
    };
    macros::enter("C_GetInfo", || {
        let _library = crate::library::current()?;
        // SAFETY: as for C_GetInfo.
        general::info(version, unsafe { ptr::place(info) })
    })
}
