//! The callbacks of a builder, for weights that are held elsewhere and for a log; and its threads.

use std::{
    ffi::{CString, c_char, c_void},
    sync::Arc,
};

use sdrs::LogLevel;

use crate::{
    builder::{Log, Source, sdrs_builder},
    enums::{enumeration, number},
    error::{Failure, Result, guard, sdrs_status},
    pointer::{object_mut, string},
};

/// The importance of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_log_level {
    /// A step that was done, and the time it took.
    SDRS_LOG_LEVEL_INFO = 0,
    /// Something was passed over, or is not as whoever asked for it may expect, such as slower.
    SDRS_LOG_LEVEL_WARNING = 1,
}

/// `sdrs_log_level` as callers get it.
pub type sdrs_log_level_value = i32;

const LEVELS: &[(sdrs_log_level, LogLevel)] = &[
    (sdrs_log_level::SDRS_LOG_LEVEL_INFO, LogLevel::Info),
    (sdrs_log_level::SDRS_LOG_LEVEL_WARNING, LogLevel::Warning),
];

enumeration! {
    sdrs_log_level, LogLevel, "log_level", LEVELS;
}

/// Told each line of a pipeline's log. `message` is UTF-8, ends in a zero byte and is valid during the call. It is called in the thread that
/// builds or runs: in several at once, if these are. The callback must return: no exception and no `longjmp` may leave it.
pub type sdrs_log_fn =
    Option<unsafe extern "C" fn(level: sdrs_log_level_value, message: *const c_char, user_data: *mut c_void)>;

/// Reads `length` bytes from `offset` on to `buffer`: all of them, or it fails by returning something else than 0. The callback must
/// return: no exception and no `longjmp` may leave it.
pub type sdrs_read_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, offset: u64, buffer: *mut u8, length: usize) -> i32>;

/// A caller's function, with its user data.
struct Logger {
    callback: unsafe extern "C" fn(sdrs_log_level_value, *const c_char, *mut c_void),
    user_data: *mut c_void,
}

// SAFETY: the header tells callers that any thread may call it.
unsafe impl Send for Logger {}
// SAFETY: as above, several at once.
unsafe impl Sync for Logger {}

impl Logger {
    fn log(&self, level: LogLevel, message: &str) {
        let text = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        // A level that this header doesn't know is reported as one that everybody heeds.
        let level = number::<sdrs_log_level>(level).unwrap_or(sdrs_log_level::SDRS_LOG_LEVEL_WARNING as i32);
        // SAFETY: the caller gave this function for this purpose, with this user data.
        unsafe { (self.callback)(level, text.as_ptr(), self.user_data) }
    }
}

/// The log of pipelines that are built from now on: what was opened and loaded, what was passed over, how long parts of a run took. NULL
/// for none. `user_data` is given to the callback as it is, and must be valid as long as such a pipeline, or one that
/// was made of it. Where several devices draw, each calls it in a thread of its own. Nothing is ever printed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_on_log(
    builder: *mut sdrs_builder,
    on_log: sdrs_log_fn,
    user_data: *mut c_void,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.log = on_log.map(|callback| -> Log {
            let logger = Logger { callback, user_data };
            Arc::new(move |level, message| logger.log(level, message))
        });
        Ok(())
    })
}

/// Sets the number of threads that the CPU computes with, 1 to 1024, for each pipeline alone; 0 (the default) is one for each core, shared
/// by all. Pictures don't depend on it. Callbacks are called in the thread of the run in any case.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_threads(builder: *mut sdrs_builder, threads: u32) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.threads = (threads != 0).then_some(threads as usize);
        Ok(())
    })
}

/// Sets the tiny autoencoder (TAESD) that makes previews of `SDRS_PREVIEW_TAESD`: diffusers' `AutoencoderTiny` as a single file, or the
/// original's decoder, as `.safetensors` or `.pth`. It takes no part in pictures.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_taesd(builder: *mut sdrs_builder, path: *const c_char) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (builder, path) = unsafe {
            (
                object_mut(builder, "builder")?,
                crate::pointer::path(path, "path")?,
            )
        };
        builder.taesd = Some(path);
        Ok(())
    })
}

/// The most bytes that are asked for at once.
const PIECE: usize = 16 << 20;

/// The checkpoint as a single file of `size` bytes that the caller holds: `read` is called for one piece after the other, in this call
/// alone, and the library keeps what it read. `name` stands for the file in errors and infotexts.
///
/// Fails with `SDRS_ERROR_IO` if `read` does, `SDRS_ERROR_INVALID_PARAMETER` if there is no memory for so much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_builder_checkpoint_read(
    builder: *mut sdrs_builder,
    name: *const c_char,
    size: u64,
    read: sdrs_read_fn,
    user_data: *mut c_void,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let name = unsafe { object_mut(builder, "builder").and_then(|_| string(name, "name")) }?;
        let Some(read) = read else {
            return Err(Failure::argument("read", "is NULL"));
        };
        // SAFETY: the caller gave this function for this purpose, with this user data; the buffer is as long as is said.
        let piece = |offset, buffer: &mut [u8]| unsafe {
            read(user_data, offset, buffer.as_mut_ptr(), buffer.len()) == 0
        };
        let bytes = read_all(name, size, piece)?;
        // Only now, since the callback may have used the builder.
        // SAFETY: as above.
        let builder = unsafe { object_mut(builder, "builder") }?;
        builder.source = Some(Source::Bytes(name.to_owned(), bytes));
        Ok(())
    })
}

/// All bytes, piece by piece, in the memory that they stay in: the system gives it as they come.
fn read_all(name: &str, size: u64, mut read: impl FnMut(u64, &mut [u8]) -> bool) -> Result<Arc<[u8]>> {
    // Asked of a vector, which can say no.
    let there = |length: &usize| Vec::<u8>::new().try_reserve_exact(*length).is_ok();
    let Some(length) = usize::try_from(size).ok().filter(there) else {
        let reason = format!("there is no memory for {size} bytes");
        return Err(Failure::argument("size", reason));
    };
    // SAFETY: zeros are valid bytes.
    let mut bytes = unsafe { Arc::<[u8]>::new_zeroed_slice(length).assume_init() };
    let mut offset = 0;
    for piece in Arc::get_mut(&mut bytes).unwrap_or_default().chunks_mut(PIECE) {
        if !read(offset, piece) {
            return Err(Failure::Read {
                name: name.to_owned(),
                offset,
                length: piece.len(),
            });
        }
        offset += piece.len() as u64;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_piece_by_piece() {
        let size = PIECE as u64 + 5;
        let mut asked = Vec::new();
        let bytes = read_all("x", size, |offset, buffer| {
            asked.push((offset, buffer.len()));
            buffer.fill(asked.len() as u8);
            true
        });
        let bytes = bytes.unwrap();
        assert_eq!(asked, [(0, PIECE), (PIECE as u64, 5)]);
        assert_eq!((bytes.len() as u64, bytes[0], bytes[PIECE]), (size, 1, 2));
        assert!(read_all("x", 0, |_, _| unreachable!()).unwrap().is_empty());
        let failed = read_all("x", 2 * PIECE as u64, |offset, _| offset == 0).unwrap_err();
        assert_eq!(
            failed.to_string(),
            format!("cannot read x: its callback failed for {PIECE} bytes at {PIECE}")
        );
        let endless = read_all("x", u64::MAX, |_, _| unreachable!()).unwrap_err();
        assert!(
            endless.to_string().contains("there is no memory for"),
            "{endless}"
        );
    }
}
