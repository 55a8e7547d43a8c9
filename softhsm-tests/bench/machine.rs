//! On what a run was measured.

use std::fs;

/// The processor, and the load before the run.
pub fn facts() -> [(String, String); 2] {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let processor = format!("{}, {cores} cores", model(&cpu).unwrap_or_default());
    [
        ("processor".to_owned(), processor),
        ("load before".to_owned(), load()),
    ]
}

/// The load now: of the last 1, 5 and 15 minutes, and what runs.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.trim().to_owned()
}

fn model(cpu: &str) -> Option<&str> {
    let line = cpu.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_processor_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(super::model(text), Some("Some CPU @ 2 GHz"));
    }
}
