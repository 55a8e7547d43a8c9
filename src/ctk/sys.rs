//! Loading a shared object, to see whether programs can. The only file of this crate with `unsafe` in it.
#![allow(unsafe_code)]

use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Loads the module and looks for the function with which programs begin. Nothing of it is called.
///
/// # Errors
/// What the loader says.
pub(crate) fn check_module(path: &Path) -> Result<(), String> {
    // SAFETY: loading runs the object's initialisers; it is our own module, which has none that ask anything of their
    // caller.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| error.to_string())?;
    // SAFETY: the symbol is only looked up, so its type does not matter.
    let found = unsafe { library.get::<*const ()>(b"C_GetFunctionList\0") }.is_ok();
    // Unloading is the loader's and the module's affair, and not what is asked here.
    std::mem::forget(library);
    match found {
        true => Ok(()),
        false => Err("it has no C_GetFunctionList, so it is not a PKCS#11 module".to_owned()),
    }
}
