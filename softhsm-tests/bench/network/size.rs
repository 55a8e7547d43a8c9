//! What the backend adds to the module's file.

use std::{fs, path::Path};

use softhsm_bench::report::{MODULE, Row, Unit};

/// The module without the backend, if somebody has built it.
const WITHOUT: &str = "CTK_MODULE_WITHOUT_NETWORK";

/// The module's size, and how much less it is without the backend.
pub(crate) fn of_the_backend(module: &Path) -> Row {
    let mut row = Row::new("size of the .so", Unit::Bytes);
    let bytes = |file: &Path| {
        let file = fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(file.len())
    };
    let with = bytes(module);
    row.value(MODULE, with.clone().map(|bytes| bytes as f64));
    let Some(without) = std::env::var_os(WITHOUT) else {
        row.note("not built a second time without the backend");
        return row;
    };
    match (with, bytes(Path::new(&without))) {
        (Ok(with), Ok(without)) => row.note(added(with, without)),
        (_, Err(reason)) | (Err(reason), _) => row.note(reason),
    }
    row
}

fn added(with: u64, without: u64) -> String {
    let added = with.saturating_sub(without);
    format!(
        "{with} bytes, {without} without the backend: it adds {added} bytes ({:.0} KiB)",
        added as f64 / 1024.0
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_difference_is_told_in_bytes_and_kib() {
        let said = super::added(6_000_000, 5_000_000);
        let expected =
            "6000000 bytes, 5000000 without the backend: it adds 1000000 bytes (977 KiB)";
        assert_eq!(said, expected);
    }
}
