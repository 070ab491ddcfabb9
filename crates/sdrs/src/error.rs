/// Everything that can go wrong. Messages name the file, tensor or parameter, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, its weights, a device or a tokenizer.
    #[error(transparent)]
    Core(#[from] sd_core::Error),
    /// An adapter can't be read or doesn't fit the model.
    #[error(transparent)]
    Lora(#[from] sd_lora::Error),
    /// A parameter is out of its range. Nothing has been computed.
    #[error("{name}: {reason}")]
    InvalidParameter {
        /// The parameter's name, as in [`GenerateParams`](crate::GenerateParams).
        name: &'static str,
        /// The fault, and a value that would be right.
        reason: String,
    },
    /// A sampler or schedule name is unknown.
    #[error("{0}")]
    UnknownName(String),
    /// The run was cancelled through its [`CancelToken`](crate::CancelToken).
    #[error("cancelled")]
    Cancelled,
    /// The networks gave something that is not a number.
    #[error("{what} is not finite: {advice}")]
    NotFinite {
        /// The name of the value.
        what: &'static str,
        /// The remedy to try first.
        advice: &'static str,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    InvalidFile {
        /// The file.
        path: String,
        /// The fault.
        reason: String,
    },
    /// A picture could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file, or "PNG data".
        path: String,
        /// Why.
        reason: String,
    },
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of an error: a fixed, exhaustive list with fixed numbers, for callers in other languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// A parameter's value can't be used.
    InvalidParameter = 1,
    /// A name (sampler, schedule, device) is unknown.
    UnknownName = 2,
    /// A file can't be opened, read or written.
    Io = 3,
    /// A file is damaged or not what it should be.
    InvalidFile = 4,
    /// Weights or configurations don't fit a model.
    InvalidWeights = 5,
    /// The run was cancelled.
    Cancelled = 6,
    /// The computation gave no usable result.
    NotFinite = 7,
    /// Anything else.
    Internal = 8,
}

impl Error {
    pub(crate) fn parameter(name: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidParameter {
            name,
            reason: reason.into(),
        }
    }

    /// The kind of error.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidParameter { .. } => ErrorCode::InvalidParameter,
            Self::UnknownName(_) => ErrorCode::UnknownName,
            Self::Cancelled => ErrorCode::Cancelled,
            Self::NotFinite { .. } => ErrorCode::NotFinite,
            Self::InvalidFile { .. } => ErrorCode::InvalidFile,
            Self::Write { .. } => ErrorCode::Io,
            Self::Core(error) | Self::Lora(sd_lora::Error::Core(error)) => core_code(error),
            Self::Lora(sd_lora::Error::Unsupported { .. }) => ErrorCode::InvalidFile,
            Self::Lora(sd_lora::Error::Strength(_)) => ErrorCode::InvalidParameter,
            Self::Lora(_) => ErrorCode::InvalidWeights,
        }
    }
}

fn core_code(error: &sd_core::Error) -> ErrorCode {
    match error {
        sd_core::Error::Io { .. } | sd_core::Error::Write { .. } => ErrorCode::Io,
        sd_core::Error::Malformed { .. } | sd_core::Error::Tokenizer { .. } => ErrorCode::InvalidFile,
        sd_core::Error::Config { .. } | sd_core::Error::Weights(_) | sd_core::Error::Incomplete { .. } => {
            ErrorCode::InvalidWeights
        }
        sd_core::Error::Device { .. } => ErrorCode::UnknownName,
        sd_core::Error::Shape { .. } => ErrorCode::InvalidParameter,
        _ => ErrorCode::Internal,
    }
}

impl From<sd_sched::Error> for Error {
    fn from(error: sd_sched::Error) -> Self {
        match error {
            sd_sched::Error::InvalidParameter { name, reason } => Self::InvalidParameter { name, reason },
            sd_sched::Error::Diverged { .. } => Self::NotFinite {
                what: "the adaptive sampler's error estimate",
                advice: "try another sampler, or a wider dtype",
            },
            sd_sched::Error::OutOfTurn { .. } | sd_sched::Error::ShapeMismatch { .. } => {
                Self::InvalidParameter {
                    name: "stepper",
                    reason: error.to_string(),
                }
            }
            sd_sched::Error::BadState { .. } => Self::InvalidParameter {
                name: "state",
                reason: error.to_string(),
            },
            other => Self::UnknownName(other.to_string()),
        }
    }
}
