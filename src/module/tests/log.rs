//! The log of a program that asks for it. Alone in its file, because the environment is the
//! process's.
#![allow(clippy::undocumented_unsafe_blocks)] // calls of the C functions that are under test
#![allow(clippy::unwrap_used)] // a test's own functions

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    ptr::null_mut,
};

use cryptoki_sys::CKR_OK;
use ctk_pkcs11::abi::{C_Finalize, C_Initialize};

#[test]
fn what_is_wrong_with_the_configuration_is_logged_once_to_the_owner() {
    let folder = std::env::temp_dir().join(format!("ctk-log-once-{}", std::process::id()));
    // Nobody else may write what configures us, whatever the umask of who runs the tests.
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let (configuration, log) = (folder.join("ctk.toml"), folder.join("log"));
    fs::write(
        &configuration,
        "[[token]]\nname = \"broken\"\ndriver = \"pkcs12\"\n",
    )
    .unwrap();
    fs::set_permissions(&configuration, fs::Permissions::from_mode(0o600)).unwrap();
    // No other thread of this test program reads the environment.
    unsafe {
        std::env::set_var("CTK_CONFIG", &configuration);
        std::env::set_var("CTK_LOG", format!("warn:{}", log.display()));
    }
    assert_eq!(unsafe { C_Initialize(null_mut()) }, CKR_OK);
    assert_eq!(unsafe { C_Finalize(null_mut()) }, CKR_OK);
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("\"broken\"").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(
        fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::remove_dir_all(&folder).unwrap();
}
