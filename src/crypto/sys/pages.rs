//! Memory for secrets: pages that are locked and left out of core dumps.

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

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
        let pages = Self::unlocked(len)?;
        // Best effort: RLIMIT_MEMLOCK is often a few pages, and a small limit must not keep anybody from signing.
        // SAFETY: the range is ours, and the call does not change its contents.
        unsafe {
            libc::mlock(pages.start.as_ptr().cast(), len);
        }
        Some(pages)
    }

    /// The same, but the pages may be written to swap space.
    fn unlocked(len: usize) -> Option<Self> {
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
        // SAFETY: the range was just mapped and is ours; the call does not change its contents.
        unsafe {
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

/// A page that several secrets share: a program may have thousands, and each mapping and each locked page of its own would be
/// taken from the program.
pub(crate) struct SharedPage {
    pages: LockedPages,
    /// One bit for each unit of [`UNIT`] bytes that is taken.
    taken: AtomicU64,
    /// Where the locked ones of its kind are counted, in bytes, if it is one of them.
    counted: Option<Arc<AtomicUsize>>,
}

/// The smallest piece of a shared page, in bytes.
const UNIT: usize = 64;

/// The length of a shared page, in bytes: that of the system's pages on most processors.
const SHARED: usize = UNIT * 64;

impl SharedPage {
    /// The longest secret that a shared page holds, in bytes: some have to fit.
    pub(crate) const LONGEST: usize = SHARED / 4;

    /// How much locked memory a shared page takes, in bytes.
    fn cost() -> usize {
        // SAFETY: sysconf only reads what the system is like.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(page).unwrap_or(SHARED).max(SHARED)
    }

    /// An empty page, locked if `locked` bytes are not more than `most` with it; `None` if the system has no more memory to
    /// map.
    pub(crate) fn new(locked: &Arc<AtomicUsize>, most: usize) -> Option<Arc<Self>> {
        let with_it = |sum: usize| sum.checked_add(Self::cost()).filter(|sum| *sum <= most);
        let locks = locked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it);
        let (counted, pages) = match locks {
            Ok(_) => (Some(Arc::clone(locked)), LockedPages::new(SHARED)),
            Err(_) => (None, LockedPages::unlocked(SHARED)),
        };
        let Some(pages) = pages else {
            discount(counted.as_ref());
            return None;
        };
        Some(Arc::new(Self {
            pages,
            taken: AtomicU64::new(0),
            counted,
        }))
    }

    /// A zeroed place of `len` bytes on this page; `None` if there is no room for it.
    pub(crate) fn place(self: &Arc<Self>, len: usize) -> Option<Place> {
        let units = u32::try_from(len.div_ceil(UNIT)).ok()?;
        if units == 0 || len > Self::LONGEST {
            return None;
        }
        let width = (1 << units) - 1;
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let first = (0..=u64::BITS - units).find(|first| taken & (width << first) == 0)?;
            let mask = width << first;
            // Acquire: what the last owner of these units wrote there, zeros, happened before.
            match self.taken.compare_exchange_weak(
                taken,
                taken | mask,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(Place {
                        page: Arc::clone(self),
                        offset: usize::try_from(first).ok()? * UNIT,
                        len,
                        mask,
                    });
                }
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        discount(self.counted.as_ref());
    }
}

fn discount(counted: Option<&Arc<AtomicUsize>>) {
    if let Some(locked) = counted {
        locked.fetch_sub(SharedPage::cost(), Ordering::Relaxed);
    }
}

/// Part of a [`SharedPage`], zeroized when dropped. The page lasts as long as any of its places.
pub(crate) struct Place {
    page: Arc<SharedPage>,
    offset: usize,
    len: usize,
    /// Its units' bits, which nobody else has.
    mask: u64,
}

impl Place {
    fn start(&self) -> *mut u8 {
        // SAFETY: `offset` and `len` lie inside the page, which is mapped as long as `page` is held.
        unsafe { self.page.pages.start.as_ptr().add(self.offset) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` readable, initialised bytes in units that are this place's alone, like a Box<[u8]>; of the whole page
        // nobody makes a reference while a place holds it.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, writable, and borrowed mutably through self.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // Release: the zeros are there before anybody else can have the units.
        self.page.taken.fetch_and(!self.mask, Ordering::Release);
    }
}

/// How much memory the process may lock, in bytes (setrlimit(2), RLIMIT_MEMLOCK).
pub(crate) fn lock_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit only writes to the structure that it is given.
    match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } {
        0 => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_page_never_overlap_and_are_zeros_again_afterwards() {
        let page = SharedPage::new(&Arc::default(), usize::MAX).unwrap();
        let mut places = Vec::new();
        for len in [1, 64, 65, 1024, 16, 1000] {
            let mut place = page.place(len).unwrap();
            assert!(place.bytes().iter().all(|byte| *byte == 0));
            let mark = u8::try_from(places.len() + 1).unwrap();
            place.bytes_mut().fill(mark);
            assert_eq!(place.bytes().len(), len);
            places.push((mark, place));
        }
        for (mark, place) in &places {
            assert!(place.bytes().iter().all(|byte| byte == mark));
        }
        // 1 + 1 + 2 + 16 + 1 + 16 units of 64.
        assert_eq!(page.taken.load(Ordering::SeqCst).count_ones(), 37);
        let (_, long) = places.remove(3);
        drop(long);
        let again = page.place(1024).unwrap();
        assert!(again.bytes().iter().all(|byte| *byte == 0));
        assert_eq!(again.offset, 4 * UNIT);
        let rest: Vec<_> = std::iter::from_fn(|| page.place(64)).collect();
        assert_eq!(rest.len(), 64 - 37);
        assert!(page.place(1).is_none());
        drop((places, again, rest));
        assert_eq!(page.taken.load(Ordering::SeqCst), 0);
        assert!(page.place(0).is_none());
        assert!(page.place(SharedPage::LONGEST + 1).is_none());
    }

    #[test]
    fn shared_pages_lock_no_more_than_they_may_and_give_it_back() {
        let (locked, most) = (Arc::new(AtomicUsize::new(0)), 2 * SharedPage::cost());
        let mut pages: Vec<_> = (0..3).map(|_| SharedPage::new(&locked, most)).collect();
        assert_eq!(locked.load(Ordering::SeqCst), most);
        // The unlocked one counts for nothing, and is left out of core dumps like the others.
        let unlocked = pages.pop().flatten().unwrap();
        assert!(unlocked.counted.is_none());
        let flags = flags(unlocked.pages.start.as_ptr() as usize);
        assert!(flags.contains(" dd ") && !flags.contains(" lo "), "{flags}");
        drop(unlocked);
        assert_eq!(locked.load(Ordering::SeqCst), most);
        drop(pages);
        assert_eq!(locked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_share_a_page_and_none_gets_another_s_place() {
        let page = SharedPage::new(&Arc::default(), usize::MAX).unwrap();
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let page = &page;
                scope.spawn(move || {
                    for round in 0..200_usize {
                        let Some(mut place) = page.place(1 + round % 200) else {
                            continue;
                        };
                        assert!(place.bytes().iter().all(|byte| *byte == 0));
                        place.bytes_mut().fill(thread);
                        std::thread::yield_now();
                        assert!(place.bytes().iter().all(|byte| *byte == thread));
                    }
                });
            }
        });
        assert_eq!(page.taken.load(Ordering::SeqCst), 0);
    }

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
        let limit = lock_limit();
        let pages = LockedPages::new(100).unwrap();
        let flags = flags(pages.bytes().as_ptr() as usize);
        // 16 pages: other tests lock a few at the same time.
        if limit >= 65536 {
            assert!(flags.contains(" lo "), "{flags}");
        } else {
            let line = format!("locked pages: RLIMIT_MEMLOCK is {limit} bytes\n");
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
