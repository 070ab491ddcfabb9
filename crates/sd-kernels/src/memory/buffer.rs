//! Memory of operations and their results, which the workspace in use lends.

// Burn takes memory of ours through an unsafe trait; every block says why it holds.
#![allow(unsafe_code)]

use std::{marker::PhantomData, mem::MaybeUninit};

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};

use super::{region::Line, workspace::Loan};

/// Values in memory that begins on a cache line. It comes from the workspace that is in use, and goes back there.
pub(crate) struct Buffer<T> {
    loan: Loan,
    len: usize,
    of: PhantomData<T>,
}

impl<T: bytemuck::Pod> Buffer<T> {
    /// Any values: for callers that write all of them.
    pub fn dirty(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        Self {
            loan: Loan::new(lines),
            len,
            of: PhantomData,
        }
    }

    /// For Burn. Exactly the values' bytes, although the loan may be larger: Burn copies what is longer than its tensor.
    pub fn into_bytes(self) -> Bytes {
        let len = self.len * size_of::<T>();
        // SAFETY: all bytes of the loan are initialised, `len` are not more than it has, and a `Loan` may go to any thread, as `Bytes`
        // expects.
        unsafe { Bytes::from_controller(Box::new(self.loan), len) }
    }
}

impl<T: bytemuck::Pod> std::ops::Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(self.loan.lines())[..self.len]
    }
}

impl<T: bytemuck::Pod> std::ops::DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(self.loan.lines_mut())[..self.len]
    }
}

/// Memory that Burn holds for us: its own is aligned to no more than sixteen bytes.
impl AllocationController for Loan {
    /// The most that Burn's own allocations have, since it makes copies.
    fn alloc_align(&self) -> usize {
        align_of::<u128>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(self.lines_mut());
        // SAFETY: the same memory; the caller promises to write nothing uninitialised.
        Ok(unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) })
    }

    fn memory(&self, _policy: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(self.lines());
        // SAFETY: the same memory, and what is initialised may be taken for what may not be.
        Ok(unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) })
    }
}
