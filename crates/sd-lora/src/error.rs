/// Everything that can go wrong with an adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file can't be read.
    #[error(transparent)]
    Core(#[from] sd_core::Error),
    /// The file holds no adapter of a kind that can be read.
    #[error("{origin}: {reason}")]
    Unsupported {
        /// The file.
        origin: String,
        /// What it holds instead, and what could be used.
        reason: String,
    },
    /// Modules of the adapter that the model doesn't have: it belongs to another family.
    #[error("{origin}: {} of {modules} modules have no place in this model: {}", keys.len(), first_few(keys))]
    Unmatched {
        /// The file.
        origin: String,
        /// How many modules the adapter has.
        modules: usize,
        /// The names without a place.
        keys: Vec<String>,
    },
    /// Tensors of one module that don't fit each other or the model.
    #[error("{origin}: {module}: {reason}")]
    Module {
        /// The file.
        origin: String,
        /// The module as the file names it.
        module: String,
        /// What doesn't fit.
        reason: String,
    },
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

fn first_few(keys: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = if keys.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", keys[..keys.len().min(SHOWN)].join(", "))
}
