//! How libctk_pkcs11.so is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let options = [
        "-soname,libctk_pkcs11.so",
        // The crypto library leaves thread-exit destructors behind: its code must outlive dlclose.
        "-z,nodelete",
        // Otherwise a program that defines one of its optional hooks takes over our allocator.
        "-z,nodynamic-undefined-weak",
    ];
    for option in options {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{option}");
    }
}
