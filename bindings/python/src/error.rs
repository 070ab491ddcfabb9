//! From Rust's errors and panics to the package's exceptions.

use std::{
    any::Any,
    error::Error as StdError,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
};
use sdrs::ErrorCode;

/// The one place where Rust's codes become Python's exceptions, which `sdrs.errors` defines.
fn class(error: &sdrs::Error) -> &'static str {
    match error.code() {
        ErrorCode::InvalidParameter => "InvalidParameterError",
        ErrorCode::UnknownName => "UnknownNameError",
        ErrorCode::Io if is_missing(error) => "MissingFileError",
        ErrorCode::Io => "FileError",
        ErrorCode::InvalidFile => "InvalidFileError",
        ErrorCode::InvalidWeights => "InvalidWeightsError",
        ErrorCode::Cancelled => "CancelledError",
        ErrorCode::NotFinite => "NotFiniteError",
        ErrorCode::Internal => "InternalError",
        ErrorCode::OutOfMemory => "OutOfMemoryError",
    }
}

fn is_missing(error: &sdrs::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::NotFound;
        }
        cause = error.source();
    }
    false
}

/// An exception of the package.
pub(crate) fn exception(class: &str, message: &str) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("sdrs.errors")
            .and_then(|module| module.getattr(class)?.call1((message,)));
        made.map_or_else(|error| error, PyErr::from_value)
    })
}

pub(crate) fn raised(error: &sdrs::Error) -> PyErr {
    // The message with those of its causes that it doesn't quote already.
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text += ": ";
            text += &message;
        }
        cause = error.source();
    }
    exception(class(error), &text)
}

pub(crate) fn parameter(name: &str, reason: impl std::fmt::Display) -> PyErr {
    exception("InvalidParameterError", &format!("{name}: {reason}"))
}

/// A name that is none of those known.
pub(crate) fn unknown(what: &str, name: &str, known: &str) -> PyErr {
    let short: String = name.chars().take(80).collect();
    let text = format!("unknown {what} '{short}'; known are {known}");
    exception("UnknownNameError", &text)
}

pub(crate) fn internal(message: &str) -> PyErr {
    exception(
        "InternalError",
        &format!("internal error, please report it: {message}"),
    )
}

/// Errors of sd-sched, which the functions without a pipeline meet.
pub(crate) fn sched(error: sd_sched::Error) -> PyErr {
    raised(&error.into())
}

/// An argument as a Rust value; an error about it has its name.
pub(crate) fn argument<'py, T>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    value.extract::<T>().map_err(|error| {
        let py = value.py();
        let error: PyErr = error.into();
        if error.is_instance_of::<PyTypeError>(py) {
            return PyTypeError::new_err(format!("{name}: {}", error.value(py)));
        }
        if error.is_instance_of::<PyOverflowError>(py) {
            // Python refuses to write out numbers of thousands of digits.
            let number = value.str().map_or("the number".into(), |text| text.to_string());
            let short: String = number.chars().take(40).collect();
            return parameter(name, format!("{short} is out of range"));
        }
        // Text with lone surrogates.
        match error.is_instance_of::<PyValueError>(py) {
            true => parameter(name, error.value(py)),
            false => error,
        }
    })
}

/// The message of a panic.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "unknown".to_owned(),
    }
}

/// Runs a computation without the interpreter's lock; errors and panics become exceptions.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    computation: impl FnOnce() -> sdrs::Result<T> + Send,
) -> PyResult<T> {
    not_forked()?;
    // A pipeline holds nothing that a run changes.
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(computation)));
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(raised(&error)),
        Err(payload) => Err(internal(&panic_message(&*payload))),
    }
}

/// The threads that compute are the process's, and a fork has none of them: it would wait for ever.
pub(crate) fn not_forked() -> PyResult<()> {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let here = std::process::id();
    if *FIRST.get_or_init(|| here) == here {
        return Ok(());
    }
    Err(exception(
        "ForkedError",
        "this process was forked from one that had used sdrs, whose threads it lacks; start it with \
         multiprocessing.get_context(\"spawn\"), or import and use sdrs after the fork only",
    ))
}
