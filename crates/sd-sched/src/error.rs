//! The crate's one error type.

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong. All parameter errors are found before any work is done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sampler, schedule, prediction type or dialect that nobody knows.
    #[error("unknown {kind} \"{name}\"; {}", near_or_known(suggestion.as_deref(), known))]
    UnknownName {
        /// The kind of the name: "sampler", "schedule", ...
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The nearest known name, if any is near.
        suggestion: Option<String>,
        /// All names of this kind, as the WebUI has them.
        known: Vec<&'static str>,
    },
    /// A parameter outside its range.
    #[error("{name} {reason}")]
    InvalidParameter {
        /// The parameter's name, as in [`PlanOptions`](super::PlanOptions).
        name: &'static str,
        /// The fault, and a value that would be right.
        reason: String,
    },
    /// The stepper was given something else than it had asked for.
    #[error("the stepper asked for {expected} but was given {got}")]
    OutOfTurn {
        /// The request, as [`Stepper::request`](super::Stepper::request) gives it.
        expected: &'static str,
        /// The caller's answer.
        got: &'static str,
    },
    /// A latent, denoised latent or noise whose size is not that of the first latent.
    #[error("{what} has a different shape than the latent being sampled")]
    ShapeMismatch {
        /// "denoised", "uncond denoised", "noise".
        what: &'static str,
    },
    /// A saved state that doesn't belong to the plan, or bytes that are no state.
    #[error("this saved state can't be resumed: {reason}")]
    BadState {
        /// Why.
        reason: String,
    },
    /// An adaptive solver's error estimate stopped being a number, or it took more steps than allowed.
    #[error("the adaptive solver gave up: {reason}")]
    Diverged {
        /// Why.
        reason: String,
    },
}

impl Error {
    pub(crate) fn param(name: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidParameter {
            name,
            reason: reason.into(),
        }
    }
}

fn near_or_known(near: Option<&str>, known: &[&str]) -> String {
    match near {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("known are {}", known.join(", ")),
    }
}
