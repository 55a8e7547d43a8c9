//! Where the module is that programs load.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The module's file name.
pub(crate) const FILE: &str = "libctk_pkcs11.so";

/// The module: beside this command or where its installation puts libraries, else where the system has them.
pub(crate) fn find() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    candidates(&program).into_iter().find(|path| path.is_file())
}

/// Where it is looked for, in this order.
pub(crate) fn candidates(program: &Path) -> Vec<PathBuf> {
    let triplet = format!("lib/{}-linux-gnu", env::consts::ARCH);
    let libraries = [triplet.as_str(), "lib64", "lib"];
    let mut folders = Vec::new();
    if let Some(folder) = program.parent() {
        folders.push(folder.to_owned());
        let prefixes = folder
            .parent()
            .into_iter()
            .chain([Path::new("/usr/local"), Path::new("/usr")]);
        for prefix in prefixes {
            for library in libraries {
                folders.push(prefix.join(library).join("pkcs11"));
                folders.push(prefix.join(library));
            }
        }
    }
    folders
        .into_iter()
        .map(|folder| folder.join(FILE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_installation_comes_first() {
        let found = candidates(Path::new("/opt/ctk/bin/ctk"));
        assert_eq!(found[0], Path::new("/opt/ctk/bin/libctk_pkcs11.so"));
        assert!(found[1].starts_with("/opt/ctk/lib"));
        assert!(found.contains(&PathBuf::from("/usr/lib/pkcs11/libctk_pkcs11.so")));
    }
}
