//! Memory from the system: aligned to cache lines, since a tile's row that straddles two costs twice.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use memmap2::MmapMut;

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Line([u8; 64]);

/// What a panic carries where the system gives no memory for work on the CPU; nothing is told on stderr. Whoever asked for the work catches it.
#[derive(Debug, Clone, Copy)]
pub struct NoMemory {
    /// Bytes that were asked for.
    pub bytes: usize,
}

/// So many lines of zeros.
pub(crate) fn lines(count: usize) -> Vec<Line> {
    bytemuck::try_zeroed_vec(count).unwrap_or_else(|()| {
        let bytes = count.saturating_mul(size_of::<Line>());
        std::panic::resume_unwind(Box::new(NoMemory { bytes }))
    })
}

/// Bytes from which on a region has a map of its own: an allocator keeps what it gets back, and between live weights it can't even reuse
/// all of it, so a pipeline that is dropped would leave most of its memory behind.
const LARGE: usize = 32 << 10;

/// A region of memory that begins on a cache line. A large one is a map of its own, which goes back to the system when it is dropped.
pub(crate) enum Region<T> {
    Map(MmapMut, PhantomData<T>),
    /// And how many values are in it.
    Heap(Vec<Line>, usize),
}

impl<T: bytemuck::Pod> Region<T> {
    /// # Panics
    /// With [`NoMemory`] where the system gives none.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len * size_of::<T>();
        // A system may have no map for it.
        match (bytes >= LARGE).then(|| MmapMut::map_anon(bytes).ok()).flatten() {
            Some(map) => Self::Map(map, PhantomData),
            None => Self::Heap(lines(bytes.div_ceil(size_of::<Line>())), len),
        }
    }
}

impl<T> Region<T> {
    /// The same memory as bytes.
    pub fn into_bytes(self) -> Region<u8> {
        match self {
            Self::Map(map, _) => Region::Map(map, PhantomData),
            Self::Heap(lines, len) => Region::Heap(lines, len * size_of::<T>()),
        }
    }
}

impl<T: bytemuck::Pod> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Map(map, _) => bytemuck::cast_slice(map),
            Self::Heap(lines, len) => &bytemuck::cast_slice(lines)[..*len],
        }
    }
}

impl<T: bytemuck::Pod> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Map(map, _) => bytemuck::cast_slice_mut(map),
            Self::Heap(lines, len) => &mut bytemuck::cast_slice_mut(lines)[..*len],
        }
    }
}
