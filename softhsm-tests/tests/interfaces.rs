//! What a program sees before it calls anything: exported symbols, function lists, interfaces and their versions.

use std::process::Command;

use cryptoki_sys::*;
use softhsm_tests::{
    bed::{Bed, Kind},
    isolated::isolated,
    module::{Module, functions_of, module_path, version_of},
    process::run,
};

const NAME: &[u8] = b"PKCS 11\0";
/// Version, and how many functions its list has.
const VERSIONS: [((u8, u8), usize); 3] = [((3, 2), 104), ((3, 0), 92), ((2, 40), 68)];

fn version((major, minor): (u8, u8)) -> CK_VERSION {
    CK_VERSION { major, minor }
}

fn pair(version: CK_VERSION) -> (u8, u8) {
    (version.major, version.minor)
}

#[test]
fn only_the_functions_of_pkcs11_are_exported() {
    let outcome = run(Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(module_path()))
    .succeeded();
    let text = String::from_utf8(outcome.stdout).expect("text");
    let symbols: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    let foreign: Vec<_> = symbols
        .iter()
        .filter(|name| !name.starts_with("C_"))
        .collect();
    assert!(
        foreign.is_empty(),
        "exported besides the functions of PKCS#11: {foreign:?}"
    );
    assert_eq!(symbols.len(), 104);
}

#[test]
fn the_module_stays_mapped_and_needs_no_crypto_library() {
    let outcome = run(Command::new("readelf").arg("-dW").arg(module_path())).succeeded();
    let text = outcome.text();
    assert!(
        text.contains("NODELETE"),
        "a thread that ends after dlclose would jump into nothing:\n{text}"
    );
    let needed: Vec<_> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .collect();
    for line in &needed {
        // libpcsclite.so is how a program reaches the readers' service, and needs nothing but these itself.
        let allowed = [
            "libc.so",
            "libgcc_s.so",
            "ld-linux",
            "libm.so",
            "libpcsclite.so.1",
        ];
        assert!(allowed.iter().any(|name| line.contains(name)), "{line}");
    }
    // A host that defines these would otherwise become the module's allocator.
    let undefined = run(Command::new("nm")
        .args(["-D", "--undefined-only"])
        .arg(module_path()))
    .succeeded();
    for name in ["OPENSSL_memory_alloc", "OPENSSL_memory_free", "sdallocx"] {
        assert!(
            !undefined.text().contains(name),
            "{name} is taken from the host"
        );
    }
}

#[test]
fn the_old_list_says_2_40() {
    let list = Module::load().list_2_40();
    assert_eq!(pair(list.version), (2, 40));
    assert_eq!(
        size_of::<CK_FUNCTION_LIST>(),
        (VERSIONS[2].1 + 1) * size_of::<usize>()
    );
}

#[test]
fn each_version_is_found_with_and_without_its_name() {
    let module = Module::load();
    for (wanted, count) in VERSIONS {
        for name in [None, Some(NAME)] {
            let interface = module
                .interface(name, Some(version(wanted)), 0)
                .expect("an interface");
            assert_eq!(
                pair(version_of(interface)),
                wanted,
                "the stamp is that of the layout"
            );
            assert_eq!(interface.flags, 0, "sessions do not survive a fork");
            let functions = functions_of(interface, count);
            assert!(
                functions.iter().all(|function| !function.is_null()),
                "{wanted:?} has a hole"
            );
        }
    }
    let default = module.interface(None, None, 0).expect("a default");
    assert_eq!(pair(version_of(default)), (3, 2));
    let again = module.interface(Some(NAME), None, 0).expect("a default");
    assert!(std::ptr::eq(default, again), "interfaces are static");
}

#[test]
fn an_interface_that_is_not_there_is_bad_arguments() {
    let module = Module::load();
    let bad = Err(CKR_ARGUMENTS_BAD);
    let found = |name, wanted: Option<(u8, u8)>, flags| {
        module
            .interface(name, wanted.map(version), flags)
            .map(|_| ())
    };
    assert_eq!(found(Some(b"Vendor FOO\0".as_slice()), None, 0), bad);
    assert_eq!(found(Some(b"PKCS 1\0".as_slice()), None, 0), bad);
    assert_eq!(found(Some(b"\0".as_slice()), None, 0), bad);
    assert_eq!(found(Some(NAME), Some((2, 20)), 0), bad);
    assert_eq!(found(Some(NAME), Some((3, 1)), 0), bad);
    assert_eq!(found(Some(NAME), Some((4, 0)), 0), bad);
    // Flags are what the caller must have.
    assert_eq!(found(Some(NAME), None, CKF_INTERFACE_FORK_SAFE), bad);
    assert_eq!(found(None, None, CKF_INTERFACE_FORK_SAFE), bad);
}

#[test]
fn the_list_of_interfaces_says_how_much_room_it_needs() {
    let module = Module::load();
    let empty = CK_INTERFACE {
        pInterfaceName: std::ptr::null_mut(),
        pFunctionList: std::ptr::null_mut(),
        flags: 0,
    };
    let mut count = 0usize;
    assert_eq!(
        module.call("C_GetInterfaceList", &[0, &raw mut count as usize]),
        CKR_OK
    );
    assert_eq!(count, VERSIONS.len());

    let mut interfaces = [empty; 4];
    let place = interfaces.as_mut_ptr() as usize;
    count = 1;
    let rv = module.call("C_GetInterfaceList", &[place, &raw mut count as usize]);
    assert_eq!((rv, count), (CKR_BUFFER_TOO_SMALL, VERSIONS.len()));
    assert!(
        interfaces[0].pFunctionList.is_null(),
        "too little room, and yet written"
    );

    count = interfaces.len();
    let rv = module.call("C_GetInterfaceList", &[place, &raw mut count as usize]);
    assert_eq!((rv, count), (CKR_OK, VERSIONS.len()));
    let versions: Vec<_> = interfaces[..count]
        .iter()
        .map(|interface| pair(version_of(interface)))
        .collect();
    assert_eq!(
        versions,
        VERSIONS.map(|(version, _)| version),
        "the best comes first"
    );
    assert!(
        interfaces[3].pFunctionList.is_null(),
        "written past the end"
    );
}

#[test]
fn each_list_tells_its_own_version() {
    isolated(
        "each_list_tells_its_own_version",
        || Bed::with(&[Kind::P256]).0,
        || {
            let module = Module::load();
            assert_eq!(module.call("C_Initialize", &[0]), CKR_OK);
            for (wanted, _) in VERSIONS {
                let interface = module
                    .interface(None, Some(version(wanted)), 0)
                    .expect("an interface");
                // C_GetInfo is the third function of every list.
                let get_info = functions_of(interface, 3)[2];
                let mut info = CK_INFO::default();
                // SAFETY: this is C_GetInfo.
                let rv = unsafe {
                    let get_info: unsafe extern "C" fn(*mut CK_INFO) -> CK_RV =
                        std::mem::transmute(get_info);
                    get_info(&raw mut info)
                };
                assert_eq!(rv, CKR_OK);
                assert_eq!(pair(info.cryptokiVersion), wanted);
                assert!(
                    !info.libraryDescription.contains(&0) && !info.manufacturerID.contains(&0),
                    "padded with blanks"
                );
            }
        },
    );
}
