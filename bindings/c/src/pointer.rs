//! The arguments that callers pass: handles, texts, buffers and places for results, each checked before it is used.

use std::{
    ffi::{CStr, c_char},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    SDRS_NUL_TERMINATED,
    error::{Failure, Result},
};

/// The memory behind a handle: the tag says which kind it is. A pointer to something else, or to something freed, is noticed where its
/// memory still allows it: a help in finding mistakes, not a safeguard.
#[repr(C)]
struct Tagged<T> {
    /// First, so that it can be read whatever the pointer is to.
    tag: AtomicU64,
    object: T,
}

const FREED: u64 = 0x7372_6473_ffff_ffff;

/// A kind of object that callers hold by a pointer.
pub(crate) trait Object: Sized {
    /// Distinguishes the kinds.
    const TAG: u64;
}

macro_rules! handle {
    ($type:ty, $number:literal) => {
        impl $crate::pointer::Object for $type {
            // "sdrs" and a number.
            const TAG: u64 = 0x7372_6473_0000_0000 | $number;
        }
    };
}
pub(crate) use handle;

fn null(name: &'static str) -> Failure {
    Failure::argument(name, "is NULL")
}

fn aligned<T>(pointer: *const T, name: &'static str) -> Result {
    match pointer {
        p if p.is_null() => Err(null(name)),
        p if !p.is_aligned() => Err(Failure::argument(name, "is not aligned for its type")),
        _ => Ok(()),
    }
}

/// Checks the tag; the result may be followed.
///
/// # Safety
/// `pointer` is NULL or one that this library gave and that has not been freed.
unsafe fn tagged<T: Object>(pointer: *mut T, name: &'static str) -> Result<*mut Tagged<T>> {
    let tag = pointer.cast_const().cast::<AtomicU64>();
    aligned(tag, name)?;
    // SAFETY: not NULL, aligned, and to an object by the caller's promise: each begins with a tag.
    match unsafe { &*tag }.load(Ordering::Relaxed) {
        tag if tag == T::TAG => Ok(pointer.cast()),
        FREED => Err(Failure::argument(name, "was freed already")),
        _ => Err(Failure::argument(name, "is no such object, or was freed already")),
    }
}

/// The object behind a handle.
///
/// # Safety
/// `pointer` is NULL or one that this library gave and that has not been freed.
pub(crate) unsafe fn object<'a, T: Object>(pointer: *const T, name: &'static str) -> Result<&'a T> {
    // SAFETY: as promised by the caller; the tag shows what it is.
    unsafe { tagged(pointer.cast_mut(), name).map(|tagged| &(*tagged).object) }
}

/// The same, to change it.
///
/// # Safety
/// As [`object`], and nobody else uses it during the call.
pub(crate) unsafe fn object_mut<'a, T: Object>(pointer: *mut T, name: &'static str) -> Result<&'a mut T> {
    // SAFETY: as promised by the caller; the tag shows what it is.
    unsafe { tagged(pointer, name).map(|tagged| &mut (*tagged).object) }
}

/// Frees the object behind a handle; NULL is fine.
///
/// # Safety
/// As [`object`], and nobody uses it any more.
pub(crate) unsafe fn free<T: Object>(pointer: *mut T) {
    // SAFETY: as promised by the caller.
    let Ok(tagged) = (unsafe { tagged(pointer, "object") }) else {
        return;
    };
    // SAFETY: `give` made it of a box, and the tag shows that this is the first time.
    let object = unsafe { Box::from_raw(tagged) };
    object.tag.store(FREED, Ordering::Relaxed);
    // Dropping should not panic; if it does, the caller has nothing to learn from it.
    crate::error::guard(|| {
        drop(object);
        Ok(())
    });
}

/// A place for a result: checked first, written last.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Checks the place.
    ///
    /// # Safety
    /// `pointer` is NULL or can be written to for the length of the call.
    pub unsafe fn new(pointer: *mut T, name: &'static str) -> Result<Self> {
        aligned(pointer, name)?;
        Ok(Self(pointer))
    }

    /// Writes the result.
    pub fn put(self, value: T) {
        // SAFETY: `new` checked the pointer; what was there is the caller's and plain data.
        unsafe { self.0.write(value) }
    }
}

impl<T: Object> Out<*mut T> {
    /// Gives an object to the caller.
    pub fn give(self, object: T) {
        let tag = AtomicU64::new(T::TAG);
        self.put(Box::into_raw(Box::new(Tagged { tag, object })).cast());
    }
}

/// Hands an object to a callback, for its call.
pub(crate) fn lend<T: Object, R>(object: T, to: impl FnOnce(*const T) -> R) -> R {
    let tag = AtomicU64::new(T::TAG);
    let lent = Tagged { tag, object };
    let answer = to((&raw const lent).cast());
    lent.tag.store(FREED, Ordering::Relaxed);
    answer
}

/// A C string that must be there, as UTF-8.
///
/// # Safety
/// `pointer` is NULL or a string that ends in a zero byte and stays as it is during the call.
pub(crate) unsafe fn string<'a>(pointer: *const c_char, name: &'static str) -> Result<&'a str> {
    // SAFETY: as promised by the caller.
    unsafe { text(pointer, SDRS_NUL_TERMINATED, name) }
}

/// A C string that may be NULL for none.
///
/// # Safety
/// As [`string`].
pub(crate) unsafe fn optional<'a>(pointer: *const c_char, name: &'static str) -> Result<Option<&'a str>> {
    match pointer.is_null() {
        true => Ok(None),
        // SAFETY: as promised by the caller.
        false => unsafe { string(pointer, name) }.map(Some),
    }
}

/// A path.
///
/// # Safety
/// As [`string`].
pub(crate) unsafe fn path(pointer: *const c_char, name: &'static str) -> Result<PathBuf> {
    // SAFETY: as promised by the caller.
    Ok(unsafe { string(pointer, name) }?.into())
}

/// A text of a given length, or one that ends in a zero byte, as UTF-8.
///
/// # Safety
/// `pointer` is NULL, or as long as `length` says, and stays as it is during the call.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, length: usize, name: &'static str) -> Result<&'a str> {
    let bytes = if length == SDRS_NUL_TERMINATED {
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: not NULL, and it ends in a zero byte by the caller's promise.
        unsafe { CStr::from_ptr(pointer) }.to_bytes()
    } else {
        // SAFETY: as promised by the caller.
        unsafe { slice(pointer.cast::<u8>(), length, name) }?
    };
    std::str::from_utf8(bytes).map_err(|e| {
        let reason = format!(
            "is not UTF-8: byte {} is not part of a character",
            e.valid_up_to()
        );
        Failure::argument(name, reason)
    })
}

/// A buffer to read; one of length 0 may be NULL.
///
/// # Safety
/// `pointer` is NULL or to `length` values that stay as they are during the call.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, length: usize, name: &'static str) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    aligned(pointer, name)?;
    fits::<T>(length, name)?;
    // SAFETY: not NULL, aligned, not too long for any object, and valid by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A buffer to fill.
///
/// # Safety
/// `pointer` is NULL or to `length` values that nobody else uses during the call.
pub(crate) unsafe fn slice_mut<'a, T>(
    pointer: *mut T,
    length: usize,
    name: &'static str,
) -> Result<&'a mut [T]> {
    if length == 0 {
        return Ok(&mut []);
    }
    aligned(pointer.cast_const(), name)?;
    fits::<T>(length, name)?;
    // SAFETY: as in `slice`, and not shared by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

fn fits<T>(length: usize, name: &'static str) -> Result {
    match length.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(Failure::argument(
            name,
            format!("{length} values are more than any memory holds"),
        )),
    }
}

/// Writes as many values as there is room for, and how many there are.
pub(crate) fn fill<T: Copy>(values: &[T], buffer: &mut [T], count: Out<usize>) {
    let n = values.len().min(buffer.len());
    buffer[..n].copy_from_slice(&values[..n]);
    count.put(values.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(u8);
    handle!(One, 1);
    struct Two(u8);
    handle!(Two, 2);

    fn message<T>(result: Result<T>) -> String {
        result.err().expect("an error").to_string()
    }

    #[test]
    fn pointers_are_checked() {
        let (mut one, mut two) = (std::ptr::null_mut::<One>(), std::ptr::null_mut::<Two>());
        let values = [1u64; 2];
        // SAFETY: every pointer is NULL, badly aligned (and then not followed), or valid.
        unsafe {
            Out::new(&raw mut one, "x").unwrap().give(One(5));
            Out::new(&raw mut two, "x").unwrap().give(Two(6));
            assert_eq!(
                (object(one, "x").unwrap().0, object_mut(two, "x").unwrap().0),
                (5, 6)
            );
            assert_eq!(message(object::<One>(std::ptr::null(), "x")), "x: is NULL");
            assert!(message(object(two.cast::<One>(), "x")).starts_with("x: is no such object"));
            let odd = one.wrapping_byte_add(1);
            assert_eq!(message(object(odd, "x")), "x: is not aligned for its type");
            free(two.cast::<One>());
            assert_eq!(
                object(two, "x").unwrap().0,
                6,
                "another kind's function frees nothing"
            );
            (*one.cast::<Tagged<One>>()).tag.store(FREED, Ordering::Relaxed);
            assert_eq!(message(object(one, "x")), "x: was freed already");
            (*one.cast::<Tagged<One>>())
                .tag
                .store(One::TAG, Ordering::Relaxed);
            free(one);
            free(two);
            free::<One>(std::ptr::null_mut());
            assert_eq!(lend(One(7), |lent| object(lent, "x").unwrap().0), 7);
            assert!(slice::<u32>(std::ptr::null(), 0, "x").is_ok());
            assert_eq!(message(slice::<u32>(std::ptr::null(), 1, "x")), "x: is NULL");
            let huge = slice(values.as_ptr(), usize::MAX / 8, "x");
            assert!(message(huge).contains("more than any memory holds"));
            let bad = b"a\xff\0";
            let bad = bad.as_ptr().cast();
            assert_eq!(
                message(string(bad, "x")),
                "x: is not UTF-8: byte 1 is not part of a character"
            );
            assert_eq!(text(bad, 1, "x").unwrap(), "a");
            assert_eq!(text(std::ptr::null(), 0, "x").unwrap(), "");
            assert_eq!(message(string(std::ptr::null(), "x")), "x: is NULL");
        }
    }
}
