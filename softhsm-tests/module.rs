//! The module as a program loads it: by path, with dlopen and dlsym.

use std::{
    ffi::{CString, c_void},
    path::{Path, PathBuf},
    ptr,
};

use cryptoki_sys::*;
use libloading::Library;

/// The built libctk_pkcs11.so: `CTK_MODULE`, else the newest of this workspace's release and debug builds.
pub fn module_path() -> PathBuf {
    built(
        "CTK_MODULE",
        "libctk_pkcs11.so",
        "cargo build --release -p ctk-pkcs11",
    )
}

/// OpenSC's module, where Debian has it.
pub fn opensc_module() -> PathBuf {
    let machine = std::env::consts::ARCH;
    PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/opensc-pkcs11.so"))
}

/// The built command: `CTK_COMMAND`, else as for the module.
pub fn command_path() -> PathBuf {
    built("CTK_COMMAND", "ctk", "cargo build --release -p ctk")
}

fn built(variable: &str, name: &str, how: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable}={}: there is no such file",
            path.display()
        );
        return path;
    }
    // …/target/debug/deps/sweep-0123456789abcdef
    let test = std::env::current_exe().expect("this program");
    let target = test.ancestors().nth(3).expect("a target folder");
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join(name))
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok())
        .unwrap_or_else(|| panic!("{name} is not built: {how}, or set {variable}"))
}

/// A loaded module. Never unloaded: programs that unload are tested in hosts/.
#[derive(Debug)]
pub struct Module {
    library: &'static Library,
}

/// Any function of the module, called with more arguments than it takes.
///
/// In the C calling conventions of Linux the caller passes and removes arguments, so that those a function does not
/// know do no harm; and each argument of a C_ function fits a register.
type Any = unsafe extern "C" fn(
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> CK_RV;

impl Module {
    /// Loads the module under test.
    pub fn load() -> Self {
        Self::load_from(&module_path())
    }

    /// Loads this file.
    pub fn load_from(path: &Path) -> Self {
        // SAFETY: loading the module under test runs no code that the test does not want to run.
        let library =
            unsafe { Library::new(path) }.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self {
            library: Box::leak(Box::new(library)),
        }
    }

    /// The address of an exported function.
    pub fn symbol(&self, name: &str) -> Option<*const c_void> {
        let name = CString::new(name).expect("a C name");
        // SAFETY: only its address is taken.
        let symbol = unsafe { self.library.get::<*const c_void>(name.as_bytes_with_nul()) };
        symbol
            .ok()
            .map(|symbol| *symbol)
            .filter(|address| !address.is_null())
    }

    /// Calls an exported function with these arguments; what is left of ten is 0.
    pub fn call(&self, name: &str, arguments: &[usize]) -> CK_RV {
        let address = self
            .symbol(name)
            .unwrap_or_else(|| panic!("{name} is not exported"));
        call_address(address, arguments)
    }

    /// The list that C_GetFunctionList gives.
    pub fn list_2_40(&self) -> &'static CK_FUNCTION_LIST {
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        let rv = self.call("C_GetFunctionList", &[&raw mut list as usize]);
        assert_eq!(rv, CKR_OK, "C_GetFunctionList");
        // SAFETY: the module gives a table that lives as long as it is loaded, which is for ever.
        unsafe { list.as_ref() }.expect("a list")
    }

    /// C_GetInterface as a program calls it. The name has to end with NUL.
    pub fn interface(
        &self,
        name: Option<&[u8]>,
        version: Option<CK_VERSION>,
        flags: CK_FLAGS,
    ) -> Result<&'static CK_INTERFACE, CK_RV> {
        let mut version = version;
        let mut interface: *mut CK_INTERFACE = ptr::null_mut();
        let version = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let name = name.map_or(ptr::null(), <[u8]>::as_ptr);
        let flags = usize::try_from(flags).expect("flags");
        let rv = self.call(
            "C_GetInterface",
            &[
                name as usize,
                version as usize,
                &raw mut interface as usize,
                flags,
            ],
        );
        if rv != CKR_OK {
            return Err(rv);
        }
        // SAFETY: as for the list.
        Ok(unsafe { interface.as_ref() }.expect("an interface"))
    }
}

/// Calls the function at this address with these arguments; what is left of ten is 0.
fn call_address(address: *const c_void, arguments: &[usize]) -> CK_RV {
    let mut all = [0; 10];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f, g, h, i, j] = all;
    // SAFETY: the address is a C_ function of the module; arguments are what the test wants it to withstand.
    unsafe {
        let function: Any = std::mem::transmute(address);
        function(a, b, c, d, e, f, g, h, i, j)
    }
}

/// The functions of an interface, in the order of its list, which has `count` of them.
pub fn functions_of(interface: &CK_INTERFACE, count: usize) -> Vec<*const c_void> {
    let list = interface.pFunctionList.cast::<*const c_void>();
    // SAFETY: the caller says how many pointers the interface's version has; the list's first word is the version.
    unsafe { std::slice::from_raw_parts(list.add(1), count) }.to_vec()
}

/// The version that the list of an interface says it has.
pub fn version_of(interface: &CK_INTERFACE) -> CK_VERSION {
    // SAFETY: a list starts with its version.
    unsafe { *interface.pFunctionList.cast::<CK_VERSION>() }
}

/// A blank-padded text of the module.
pub fn text(padded: &[u8]) -> String {
    String::from_utf8(padded.to_vec())
        .expect("UTF-8")
        .trim_end()
        .to_owned()
}
