//! Memory for what is large.

use memmap2::MmapMut;

/// Memory of its own for this many bytes, all zeros, on a page's beginning; `None` if they are too few, or the system has no map for
/// them.
///
/// An allocator keeps what it gets back, and between live weights it can't even reuse all of it: a pipeline that is dropped would leave
/// most of its memory behind.
pub fn own_map(bytes: usize) -> Option<MmapMut> {
    const LEAST: usize = 256 << 10;
    (bytes >= LEAST).then(|| MmapMut::map_anon(bytes).ok()).flatten()
}
