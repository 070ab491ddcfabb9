//! Values at some places, equally far apart, whose bounds are checked once for all of them.

use std::marker::PhantomData;

use super::super::shared::Shared;

/// `N` values at each place, to read.
pub(super) struct Reader<'a, V, const N: usize> {
    first: *const V,
    count: usize,
    apart: usize,
    of: PhantomData<&'a V>,
}

impl<'a, V: Copy, const N: usize> Reader<'a, V, N> {
    /// The first place's are the first of `values`.
    #[inline(always)]
    pub fn new(values: &'a [V], count: usize, apart: usize) -> Self {
        assert!((count - 1) * apart + N <= values.len());
        Self {
            first: values.as_ptr(),
            count,
            apart,
            of: PhantomData,
        }
    }

    #[inline(always)]
    pub fn get(&self, place: usize) -> [V; N] {
        assert!(place < self.count);
        // SAFETY: all places are within what was checked.
        unsafe { self.first.add(place * self.apart).cast::<[V; N]>().read() }
    }
}

/// `N` values at each place, to write.
pub(super) struct Writer<'a, V, const N: usize> {
    first: *mut V,
    count: usize,
    apart: usize,
    of: PhantomData<&'a mut V>,
}

impl<'a, V: Copy, const N: usize> Writer<'a, V, N> {
    /// The first place's are the first of `values`.
    #[inline(always)]
    pub fn new(values: &'a mut [V], count: usize, apart: usize) -> Self {
        assert!((count - 1) * apart + N <= values.len());
        Self {
            first: values.as_mut_ptr(),
            count,
            apart,
            of: PhantomData,
        }
    }

    /// The same of `values` from `start` on.
    ///
    /// # Safety
    /// Nobody else uses these values of these places while the result lives.
    #[inline(always)]
    pub unsafe fn shared(values: &'a Shared<V>, start: usize, count: usize, apart: usize) -> Self {
        Self {
            first: values.pointer(start, (count - 1) * apart + N),
            count,
            apart,
            of: PhantomData,
        }
    }

    #[inline(always)]
    pub fn put(&mut self, place: usize, values: &[V; N]) {
        assert!(place < self.count);
        // SAFETY: all places are within what was checked, and only this call's.
        unsafe { self.first.add(place * self.apart).cast::<[V; N]>().write(*values) };
    }
}
