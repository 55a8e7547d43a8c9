//! Memory for secrets: pages that are locked and left out of core dumps.

use std::ptr::NonNull;

use zeroize::Zeroize;

/// Whole pages of this process's own, locked in memory and left out of core dumps as far as the system allows.
pub(crate) struct LockedPages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to this value alone, like a Box<[u8]>.
unsafe impl Send for LockedPages {}
// SAFETY: shared access only reads.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// Zeroed pages for `len` bytes; `None` if `len` is 0 or the system has no more memory to map.
    ///
    /// A mapping per buffer, because locks do not nest: unlocking one buffer would unlock its neighbour on the page.
    pub(crate) fn new(len: usize) -> Option<Self> {
        if len == 0 {
            return None;
        }
        // SAFETY: an anonymous private mapping at an address of the system's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        // Best effort: RLIMIT_MEMLOCK is often a few pages, and a small limit must not keep anybody from signing.
        // SAFETY: the range was just mapped and is ours; neither call changes its contents.
        unsafe {
            libc::mlock(start, len);
            libc::madvise(start, len, libc::MADV_DONTDUMP);
        }
        Some(Self {
            start: NonNull::new(start.cast())?,
            len,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` maps `len` readable, initialised bytes until drop.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, writable, and borrowed mutably through self.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // SAFETY: the mapping is ours, this long, and no reference to it outlives self. Unmapping also unlocks.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags that the kernel shows for the mapping around `address` (proc(5), smaps' VmFlags).
    fn flags(address: usize) -> String {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in smaps.lines() {
            let range = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'))
                .and_then(|(start, end)| {
                    let number = |text| usize::from_str_radix(text, 16).ok();
                    Some(number(start)?..number(end)?)
                });
            if let Some(range) = range {
                inside = range.contains(&address);
            } else if inside && line.starts_with("VmFlags:") {
                return format!("{line} ");
            }
        }
        panic!("no mapping holds {address:x}");
    }

    #[test]
    fn pages_are_kept_out_of_core_dumps() {
        let pages = LockedPages::new(100).unwrap();
        let flags = flags(pages.bytes().as_ptr() as usize);
        assert!(flags.contains(" dd "), "{flags}");
    }

    #[test]
    fn pages_are_locked_when_the_limit_allows() {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: getrlimit only writes to the struct it is given.
        let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
        assert_eq!(status, 0);
        let pages = LockedPages::new(100).unwrap();
        let flags = flags(pages.bytes().as_ptr() as usize);
        // 16 pages: other tests lock a few at the same time.
        if limit.rlim_cur >= 65536 {
            assert!(flags.contains(" lo "), "{flags}");
        } else {
            let line = format!("locked pages: RLIMIT_MEMLOCK is {} bytes\n", limit.rlim_cur);
            eprint!("skipped: {line}");
            // Where whoever counts the tests looks.
            if let Some(file) = std::env::var_os("CTK_TEST_SKIPS") {
                let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
                std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn pages_start_zeroed_and_an_impossible_length_is_refused() {
        let mut pages = LockedPages::new(5000).unwrap();
        assert!(pages.bytes().iter().all(|byte| *byte == 0));
        pages.bytes_mut().fill(1);
        assert_eq!(pages.bytes().len(), 5000);
        assert!(LockedPages::new(0).is_none());
        assert!(LockedPages::new(usize::MAX / 2).is_none());
    }
}
