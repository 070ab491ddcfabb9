//! Statuses, the last error of each thread, and the border that no panic crosses.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    error::Error as StdError,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use sdrs::ErrorCode;

/// The outcome of a call. The numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_status {
    /// The call succeeded.
    SDRS_OK = 0,
    /// An argument or parameter can't be used: out of its range, NULL, text that is not UTF-8, a wrong `struct_size`, a buffer of the
    /// wrong size. Nothing has been computed.
    SDRS_ERROR_INVALID_PARAMETER = 1,
    /// A name (of a sampler, a schedule, a device) is unknown.
    SDRS_ERROR_UNKNOWN_NAME = 2,
    /// A file can't be opened, read or written.
    SDRS_ERROR_IO = 3,
    /// A file is damaged, or not what it should be.
    SDRS_ERROR_INVALID_FILE = 4,
    /// Weights or configurations don't fit a model.
    SDRS_ERROR_INVALID_WEIGHTS = 5,
    /// The run was cancelled.
    SDRS_ERROR_CANCELLED = 6,
    /// The computation gave something that is not a number.
    SDRS_ERROR_NOT_FINITE = 7,
    /// A fault of the library. The pipeline stays usable.
    SDRS_ERROR_INTERNAL = 8,
    /// A device has less memory than is needed. The pipeline stays usable.
    SDRS_ERROR_OUT_OF_MEMORY = 9,
}

use sdrs_status::*;

/// A failure of a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// An argument of the C function.
    #[error("{name}: {reason}")]
    Argument {
        /// Its name in the header.
        name: &'static str,
        /// The fault, and a value that would be right.
        reason: String,
    },
    /// The caller's weights could not be read.
    #[error("cannot read {name}: its callback failed for {length} bytes at {offset}")]
    Read {
        /// The name that stands for the file.
        name: String,
        /// The offset in bytes.
        offset: u64,
        /// The number of bytes.
        length: usize,
    },
    /// The library's own.
    #[error(transparent)]
    Sdrs(#[from] sdrs::Error),
    /// A panic, with its message.
    #[error("internal error, please report it: {0}")]
    Panic(String),
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl From<sd_sched::Error> for Failure {
    fn from(error: sd_sched::Error) -> Self {
        Self::Sdrs(error.into())
    }
}

impl Failure {
    pub fn argument(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Argument {
            name,
            reason: reason.into(),
        }
    }

    fn status(&self) -> sdrs_status {
        match self {
            Self::Argument { .. } => SDRS_ERROR_INVALID_PARAMETER,
            Self::Read { .. } => SDRS_ERROR_IO,
            Self::Sdrs(error) => status(error.code()),
            Self::Panic(_) => SDRS_ERROR_INTERNAL,
        }
    }

    /// The message with those of its causes that it doesn't quote already.
    fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            if !text.contains(&message) {
                text += ": ";
                text += &message;
            }
            cause = error.source();
        }
        text
    }
}

/// The one place where Rust's codes become C's.
fn status(code: ErrorCode) -> sdrs_status {
    match code {
        ErrorCode::InvalidParameter => SDRS_ERROR_INVALID_PARAMETER,
        ErrorCode::UnknownName => SDRS_ERROR_UNKNOWN_NAME,
        ErrorCode::Io => SDRS_ERROR_IO,
        ErrorCode::InvalidFile => SDRS_ERROR_INVALID_FILE,
        ErrorCode::InvalidWeights => SDRS_ERROR_INVALID_WEIGHTS,
        ErrorCode::Cancelled => SDRS_ERROR_CANCELLED,
        ErrorCode::NotFinite => SDRS_ERROR_NOT_FINITE,
        ErrorCode::Internal => SDRS_ERROR_INTERNAL,
        ErrorCode::OutOfMemory => SDRS_ERROR_OUT_OF_MEMORY,
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
    /// The place of the last panic of this thread.
    static PANICKED_AT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs a call's body: errors and panics become a status, and the message is kept for this thread.
pub(crate) fn guard(body: impl FnOnce() -> Result) -> sdrs_status {
    // Panics are reported through the status, not on the terminal. The hook is that of this library's own copy of Rust's runtime.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            // A thread that is ending has no place for it any more.
            let _ = PANICKED_AT.try_with(|cell| cell.set(at));
            if cfg!(test) {
                before(info);
            }
        }));
    });
    // A pipeline holds nothing that a run changes, and the other objects are left as they were before the step that panicked.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    match outcome.unwrap_or_else(|payload| Err(Failure::Panic(panic_message(&*payload)))) {
        Ok(()) => SDRS_OK,
        Err(failure) => {
            let text = failure.chain().replace('\0', "\u{fffd}");
            let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(text).unwrap_or_default());
            failure.status()
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "unknown".to_owned(),
    };
    match PANICKED_AT.try_with(Cell::take) {
        Ok(Some(at)) => format!("{message} ({at})"),
        _ => message,
    }
}

/// The message of the last call of this thread that failed, with all causes, in English: for people, not for programs. Never NULL; empty if
/// nothing failed yet. Valid until the next failing call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_last_error_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

/// Fails with `SDRS_ERROR_INTERNAL`, as a fault of the library would: for testing how a program takes it.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_debug_panic() -> sdrs_status {
    guard(|| panic!("sdrs_debug_panic was called"))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last() -> String {
        // SAFETY: the pointer is to a C string, valid until the next failure.
        unsafe { CStr::from_ptr(sdrs_last_error_message()) }
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        assert_eq!(sdrs_debug_panic(), SDRS_ERROR_INTERNAL);
        assert!(
            last().contains("sdrs_debug_panic was called (bindings/c/src/error.rs:"),
            "{}",
            last()
        );
        assert_eq!(guard(|| Ok(())), SDRS_OK);
        assert!(
            !last().is_empty(),
            "a call that succeeds leaves the message alone"
        );
    }

    #[test]
    fn causes_are_told_once() {
        let error = sdrs::Pipeline::builder()
            .checkpoint("no/such.safetensors")
            .build();
        let text = Failure::from(error.unwrap_err()).chain();
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        let failure = || Err(Failure::argument("text", "a\0b"));
        assert_eq!(guard(failure), SDRS_ERROR_INVALID_PARAMETER);
        assert_eq!(last(), "text: a\u{fffd}b");
    }
}
