//! General purpose functions (PKCS#11 §5.4): coming, going, and which versions are spoken.

use cryptoki_sys::*;

use crate::{
    abi::{
        INTERFACE_VERSIONS, INTERFACES, LIST_2_40,
        ptr::{List, Place},
    },
    error::{Error, Result},
    library,
    slots::{self, SlotSource, padded},
};

/// C_Initialize (PKCS#11 §5.4.1). Reads configuration files; opens no key store, card or network.
pub(crate) fn initialize(arguments: Option<CK_C_INITIALIZE_ARGS>) -> Result<()> {
    check(arguments)?;
    library::start(|| Ok(slots::configured()))
}

/// C_Initialize over slots of one's own instead of the configured ones: for tests and fuzz targets
/// that link the rlib.
///
/// # Errors
/// CKR_CRYPTOKI_ALREADY_INITIALIZED.
pub fn initialize_with(source: Box<dyn SlotSource>) -> Result<()> {
    library::start(|| Ok(source))
}

/// What callers may pass. We lock with the operating system's means and start no threads, so that
/// only a program that insists on its own mutexes is refused.
fn check(arguments: Option<CK_C_INITIALIZE_ARGS>) -> Result<()> {
    let Some(arguments) = arguments else {
        return Ok(());
    };
    // A string for us and somebody's garbage look the same, so it is never followed: we are
    // configured by files.
    if !arguments.pReserved.is_null() {
        return Err(Error::ArgumentsBad);
    }
    let callbacks = [
        arguments.CreateMutex.is_some(),
        arguments.DestroyMutex.is_some(),
        arguments.LockMutex.is_some(),
        arguments.UnlockMutex.is_some(),
    ];
    if callbacks.contains(&true) && callbacks.contains(&false) {
        return Err(Error::ArgumentsBad);
    }
    if callbacks.contains(&true) && arguments.flags & CKF_OS_LOCKING_OK == 0 {
        return Err(Error::CantLock);
    }
    Ok(())
}

/// C_Finalize (PKCS#11 §5.4.2). May run after our host's static destructors.
pub(crate) fn finalize(reserved_is_null: bool) -> Result<()> {
    library::current()?;
    if !reserved_is_null {
        return Err(Error::ArgumentsBad);
    }
    library::end()
}

/// C_GetInfo (PKCS#11 §5.4.3), with the version of the list that it was found in.
pub(crate) fn info(version: CK_VERSION, out: Result<Place<'_, CK_INFO>>) -> Result<()> {
    out?.set(CK_INFO {
        cryptokiVersion: version,
        manufacturerID: padded("ctk-pkcs11"),
        flags: 0,
        libraryDescription: padded("PKCS#11 over token backends"),
        libraryVersion: CK_VERSION {
            major: number(env!("CARGO_PKG_VERSION_MAJOR")),
            minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        },
    });
    Ok(())
}

const fn number(digits: &str) -> u8 {
    match u8::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => u8::MAX,
    }
}

/// C_GetFunctionList (PKCS#11 §5.4.4). Works before C_Initialize.
pub(crate) fn function_list(out: Result<Place<'_, *mut CK_FUNCTION_LIST>>) -> Result<()> {
    out?.set((&raw const LIST_2_40).cast_mut());
    Ok(())
}

/// C_GetInterfaceList (PKCS#11 §5.4.5). Works before C_Initialize.
pub(crate) fn interface_list(out: Result<List<'_, CK_INTERFACE>>) -> Result<()> {
    out?.fill(INTERFACES.all())
}

/// C_GetInterface (PKCS#11 §5.4.6). Works before C_Initialize. The flags that are asked for must
/// all be there.
pub(crate) fn interface(
    name: Option<Vec<u8>>,
    version: Option<CK_VERSION>,
    out: Result<Place<'_, *mut CK_INTERFACE>>,
    flags: CK_FLAGS,
) -> Result<()> {
    let out = out?;
    let named = name.is_none_or(|name| name == b"PKCS 11");
    let versioned = |ours: &CK_VERSION| {
        version.is_none_or(|asked| (asked.major, asked.minor) == (ours.major, ours.minor))
    };
    let (interface, _) = INTERFACES
        .all()
        .iter()
        .zip(INTERFACE_VERSIONS)
        .find(|(interface, ours)| named && versioned(ours) && flags & !interface.flags == 0)
        .ok_or(Error::ArgumentsBad)?;
    out.set(std::ptr::from_ref(interface).cast_mut());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(callbacks: u8, flags: CK_FLAGS) -> Option<CK_C_INITIALIZE_ARGS> {
        extern "C" fn create(_: *mut *mut std::ffi::c_void) -> CK_RV {
            CKR_GENERAL_ERROR
        }
        extern "C" fn other(_: *mut std::ffi::c_void) -> CK_RV {
            CKR_GENERAL_ERROR
        }
        Some(CK_C_INITIALIZE_ARGS {
            CreateMutex: (callbacks & 1 != 0).then_some(create as _),
            DestroyMutex: (callbacks & 2 != 0).then_some(other as _),
            LockMutex: (callbacks & 4 != 0).then_some(other as _),
            UnlockMutex: (callbacks & 8 != 0).then_some(other as _),
            flags,
            pReserved: std::ptr::null_mut(),
        })
    }

    #[test]
    fn arguments_are_accepted_by_the_rules_of_the_specification() {
        let os = CKF_OS_LOCKING_OK;
        assert_eq!(check(None), Ok(()));
        assert_eq!(check(arguments(0, 0)), Ok(()));
        assert_eq!(check(arguments(0, os)), Ok(()));
        assert_eq!(
            check(arguments(15, os | CKF_LIBRARY_CANT_CREATE_OS_THREADS)),
            Ok(())
        );
        assert_eq!(check(arguments(15, 0)), Err(Error::CantLock));
        for some in 1..15 {
            assert_eq!(check(arguments(some, os)), Err(Error::ArgumentsBad));
        }
        let mut reserved = arguments(0, os).unwrap();
        reserved.pReserved = std::ptr::dangling_mut::<std::ffi::c_void>();
        assert_eq!(check(Some(reserved)), Err(Error::ArgumentsBad));
    }
}
