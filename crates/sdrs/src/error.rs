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
    /// A device has less memory than is needed at once. The pipeline stays usable.
    #[error(
        "{device} is out of memory{}: draw fewer pictures at once (batch_per_call), smaller ones or in tiles, or take a narrower dtype",
        amounts(.needed, .free, .total)
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// Bytes that were asked for at once, if that is known.
        needed: Option<u64>,
        /// Bytes that were free then, if that is known.
        free: Option<u64>,
        /// Bytes that it has in all, if that is known.
        total: Option<u64>,
    },
    /// A device gave up: its driver, or a kernel that it can't run. The pipeline stays usable where the device does.
    #[error("{device} failed: {reason}")]
    Device {
        /// The device.
        device: String,
        /// What its driver or its kernels say.
        reason: String,
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
    /// A device has less memory than is needed.
    OutOfMemory = 9,
}

/// What is known of a device's memory, in words.
fn amounts(needed: &Option<u64>, free: &Option<u64>, total: &Option<u64>) -> String {
    let gigabytes = |bytes: &u64| format!("{:.2} GB", *bytes as f64 / 1e9);
    let needed = needed
        .as_ref()
        .map(|bytes| format!("{} were needed at once", gigabytes(bytes)));
    let there = match (free, total) {
        (Some(free), Some(total)) => Some(format!("{} of {} were free", gigabytes(free), gigabytes(total))),
        (Some(free), None) => Some(format!("{} were free", gigabytes(free))),
        (None, Some(total)) => Some(format!("it has {}", gigabytes(total))),
        (None, None) => None,
    };
    let known: Vec<String> = needed.into_iter().chain(there).collect();
    match known.is_empty() {
        true => String::new(),
        false => format!(" ({})", known.join(", ")),
    }
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
            Self::OutOfMemory { .. } => ErrorCode::OutOfMemory,
            Self::Device { .. } => ErrorCode::Internal,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_says_what_is_known() {
        let told = |needed, free, total| {
            let device = "cuda:0".to_owned();
            let error = Error::OutOfMemory {
                device,
                needed,
                free,
                total,
            };
            assert_eq!(error.code(), ErrorCode::OutOfMemory);
            error.to_string()
        };
        let all = told(Some(2_150_000_000), Some(310_000_000), Some(8_590_000_000));
        let begins =
            "cuda:0 is out of memory (2.15 GB were needed at once, 0.31 GB of 8.59 GB were free): draw fewer";
        assert!(all.starts_with(begins), "{all}");
        let little = told(None, None, Some(8_590_000_000));
        assert!(little.contains("out of memory (it has 8.59 GB): "), "{little}");
        assert!(told(None, None, None).contains("out of memory: "));
    }
}
