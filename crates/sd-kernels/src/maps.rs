//! Memory for what is large.

use memmap2::MmapMut;

/// Memory of its own for this many bytes, all zeros, on a page's beginning; `None` if they are too few, or the system has no map for
/// them.
///
/// An allocator keeps what it gets back, and between live weights it can't even reuse all of it: a pipeline that is dropped would leave
/// most of its memory behind.
pub fn own_map(bytes: usize) -> Option<MmapMut> {
    const LEAST: usize = 256 << 10;
    let map = (bytes >= LEAST)
        .then(|| MmapMut::map_anon(bytes).ok())
        .flatten()?;
    // Fewer and larger pages: the first use of each takes time, and so does finding them. No more than a wish.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}
