//! Structures that may grow: each begins with its size as the caller's header has it.
//!
//! A caller built against an older header gives a smaller structure: what it lacks has its default. One built against a newer header
//! gives a larger one: that is fine as long as everything this library doesn't know is zero, which newer headers take for "not set".

use std::mem::MaybeUninit;

use crate::error::{Failure, Result};

/// A structure that may grow.
///
/// # Safety
/// It is `repr(C)`, its first field is `struct_size: usize`, and any bytes are a valid value of it.
pub(crate) unsafe trait Grows: Copy {
    /// Its size in the first header that had it.
    const FIRST_SIZE: usize;
    /// The function to call before it is used.
    const INIT: &'static str;
}

/// No structure will ever be as large: what says so was never initialised.
const LARGEST: usize = 4096;

/// `until` names the last field of the first header that had the structure.
macro_rules! grows {
    ($type:ty, until: $field:ident, init: $init:literal) => {
        // SAFETY: `repr(C)`, led by struct_size, and of numbers, raw pointers and nullable functions alone.
        unsafe impl $crate::sized::Grows for $type {
            const FIRST_SIZE: usize =
                std::mem::offset_of!($type, $field) + $crate::sized::size_of_field(|s: &$type| &s.$field);
            const INIT: &'static str = $init;
        }
    };
}
pub(crate) use grows;

/// The size of the field that a function picks.
pub(crate) const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

fn check<T: Grows>(size: usize, name: &'static str) -> Result {
    match size {
        n if (T::FIRST_SIZE..=LARGEST).contains(&n) => Ok(()),
        n => {
            let reason = format!("struct_size can't be {n}: call {} first", T::INIT);
            Err(Failure::argument(name, reason))
        }
    }
}

/// The size that a caller's structure says it has.
///
/// # Safety
/// `pointer` is NULL or to a structure that begins with its size.
unsafe fn size_of_callers<T: Grows>(pointer: *const T, name: &'static str) -> Result<usize> {
    if pointer.is_null() {
        return Err(Failure::argument(name, "is NULL"));
    }
    // SAFETY: not NULL, and the size comes first; read without asking for alignment.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    check::<T>(size, name)?;
    Ok(size)
}

/// Writes the defaults to a caller's structure of `size` bytes.
///
/// # Safety
/// `pointer` is NULL or to `size` bytes that can be written.
pub(crate) unsafe fn init<T: Grows>(pointer: *mut T, size: usize, default: T, name: &'static str) -> Result {
    if pointer.is_null() {
        return Err(Failure::argument(name, "is NULL"));
    }
    check::<T>(size, name)?;
    // SAFETY: as promised by the caller; the size was checked.
    unsafe { put(pointer, size, default) };
    Ok(())
}

/// # Safety
/// `pointer` is to `size` bytes that can be written, and `size` was checked.
unsafe fn put<T: Grows>(pointer: *mut T, size: usize, value: T) {
    let (to, known) = (pointer.cast::<MaybeUninit<u8>>(), size.min(size_of::<T>()));
    // SAFETY: `known` bytes are within both, which are distinct; what this library doesn't know becomes zero; the size comes first.
    unsafe {
        to.copy_from_nonoverlapping((&raw const value).cast(), known);
        to.add(known).write_bytes(0, size - known);
        pointer.cast::<usize>().write_unaligned(size);
    }
}

/// Reads a caller's structure; fields that it lacks are taken from `default`.
///
/// # Safety
/// `pointer` is NULL or to a structure that begins with its size.
pub(crate) unsafe fn get<T: Grows>(pointer: *const T, default: T, name: &'static str) -> Result<T> {
    // SAFETY: as promised by the caller.
    let size = unsafe { size_of_callers(pointer, name) }?;
    let (from, known) = (pointer.cast::<u8>(), size.min(size_of::<T>()));
    for i in known..size {
        // SAFETY: within the structure by its own word, and set by its init function or by the caller.
        if unsafe { from.add(i).read() } != 0 {
            let reason = format!(
                "byte {i} is set, which this older library ({}) doesn't know",
                sdrs::VERSION
            );
            return Err(Failure::argument(name, reason));
        }
    }
    let mut value = default;
    // SAFETY: `known` bytes are within both, and any bytes are a valid `T`.
    unsafe {
        (&raw mut value)
            .cast::<u8>()
            .copy_from_nonoverlapping(from, known)
    };
    Ok(value)
}

/// A place for a structure: checked first, written last.
pub(crate) struct SizedOut<T>(*mut T, usize);

impl<T: Grows> SizedOut<T> {
    /// Checks the place.
    ///
    /// # Safety
    /// `pointer` is NULL or to a structure that begins with its size and can be written to for the length of the call.
    pub unsafe fn new(pointer: *mut T, name: &'static str) -> Result<Self> {
        // SAFETY: as promised by the caller.
        let size = unsafe { size_of_callers(pointer.cast_const(), name) }?;
        Ok(Self(pointer, size))
    }

    /// Writes the result, as much of it as the caller knows.
    pub fn put(self, value: T) {
        // SAFETY: `new` checked pointer and size.
        unsafe { put(self.0, self.1, value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an old header had it.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Old {
        struct_size: usize,
        a: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Now {
        struct_size: usize,
        a: u64,
        b: u64,
    }
    grows!(Now, until: a, init: "now_init");

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Newer {
        struct_size: usize,
        a: u64,
        b: u64,
        c: u64,
    }

    const DEFAULT: Now = Now {
        struct_size: 24,
        a: 1,
        b: 2,
    };

    #[test]
    fn older_and_newer_callers() {
        let mut old = Old { struct_size: 0, a: 0 };
        let mut newer = Newer {
            struct_size: 0,
            a: 0,
            b: 0,
            c: 9,
        };
        // SAFETY: each pointer is to as many bytes as is said.
        unsafe {
            init((&raw mut old).cast(), 16, DEFAULT, "x").unwrap();
            assert_eq!((old.struct_size, old.a), (16, 1));
            old.a = 7;
            let read: Now = get((&raw const old).cast(), DEFAULT, "x").unwrap();
            assert_eq!((read.a, read.b), (7, 2));
            SizedOut::<Now>::new((&raw mut old).cast(), "x")
                .unwrap()
                .put(DEFAULT);
            assert_eq!((old.struct_size, old.a), (16, 1));

            init((&raw mut newer).cast(), 32, DEFAULT, "x").unwrap();
            assert_eq!((newer.struct_size, newer.a, newer.b, newer.c), (32, 1, 2, 0));
            assert!(get::<Now>((&raw const newer).cast(), DEFAULT, "x").is_ok());
            newer.c = 1;
            let error = get::<Now>((&raw const newer).cast(), DEFAULT, "x").unwrap_err();
            assert!(error.to_string().starts_with("x: byte 24 is set"), "{error}");
        }
    }

    #[test]
    fn sizes_that_nobody_has() {
        for size in [0, 1, 15, 4097, usize::MAX] {
            let now = Now {
                struct_size: size,
                ..DEFAULT
            };
            // SAFETY: the size is refused before anything is read.
            let error = unsafe { get(&raw const now, DEFAULT, "x") }.unwrap_err();
            assert!(error.to_string().contains("call now_init first"), "{error}");
        }
        // SAFETY: NULL is refused.
        assert!(unsafe { get(std::ptr::null(), DEFAULT, "x") }.is_err());
    }
}
