//! On what addresses servers listen.

use std::{collections::HashSet, fs, net::SocketAddr, path::Path};

/// The addresses on which the processes of a group listen for TCP, as the kernel tells.
pub fn listening_addresses(group: u32) -> Vec<SocketAddr> {
    let sockets: HashSet<_> = processes(group)
        .iter()
        .flat_map(|&id| sockets(id))
        .collect();
    let mut addresses = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(table).unwrap_or_default();
        for line in table.lines().skip(1) {
            const LISTEN: &str = "0A";
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] == LISTEN && sockets.contains(fields[9]) {
                addresses.push(address(fields[1]));
            }
        }
    }
    addresses
}

/// The processes of a group.
fn processes(group: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc");
    let all = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&id| group_of(id) == Some(group)).collect()
}

fn group_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

/// The numbers of its sockets.
fn sockets(process: u32) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return Vec::new();
    };
    let number = |path: &Path| {
        let name = fs::read_link(path).ok()?;
        let number = name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(number.to_owned())
    };
    descriptors
        .flatten()
        .filter_map(|entry| number(&entry.path()))
        .collect()
}

/// An address as the kernel writes it: words of four bytes in the machine's order, and the port.
fn address(text: &str) -> SocketAddr {
    let (address, port) = text.split_once(':').expect("an address and a port");
    let port = u16::from_str_radix(port, 16).expect("a port");
    let bytes: Vec<u8> = (0..address.len())
        .step_by(8)
        .flat_map(|at| {
            let word = u32::from_str_radix(&address[at..at + 8], 16).expect("a word");
            word.to_ne_bytes()
        })
        .collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => (bytes, port).into(),
        Err(_) => {
            let bytes: [u8; 16] = bytes.as_slice().try_into().expect("four or sixteen bytes");
            (bytes, port).into()
        }
    }
}
