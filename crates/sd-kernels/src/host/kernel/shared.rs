//! Outputs of several threads.

use std::marker::PhantomData;

/// An output that several threads write, each its own rows.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` only hands out memory to callers that promise to be the only ones there.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: it stands for a `&mut [T]`.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            of: PhantomData,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The first of `len` elements, which are there. Whoever uses one must be the only one there.
    #[inline(always)]
    pub fn pointer(&self, start: usize, len: usize) -> *mut T {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: inside the slice that `new` was given.
        unsafe { self.start.add(start) }
    }

    /// # Safety
    /// Nobody else uses these elements while the result lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        // SAFETY: inside the slice that `new` was given, and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(start, len), len) }
    }
}
