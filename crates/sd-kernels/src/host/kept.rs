//! Memory for packed weights.

use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use memmap2::MmapMut;

use super::memory::Buffer;
use crate::own_map;

/// A block of memory that begins on a cache line and is given back to the system when it goes, if it is large.
pub(crate) enum Kept<T> {
    Map(MmapMut, PhantomData<T>),
    Heap(Buffer<T>),
}

impl<T: bytemuck::Pod> Kept<T> {
    pub fn zeroed(len: usize) -> Self {
        match own_map(len * size_of::<T>()) {
            Some(map) => Self::Map(map, PhantomData),
            None => Self::Heap(Buffer::zeroed(len)),
        }
    }
}

impl<T: bytemuck::Pod> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Map(map, _) => bytemuck::cast_slice(map),
            Self::Heap(buffer) => buffer,
        }
    }
}

impl<T: bytemuck::Pod> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Map(map, _) => bytemuck::cast_slice_mut(map),
            Self::Heap(buffer) => buffer,
        }
    }
}
