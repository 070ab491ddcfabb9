use sd_core::shown;

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
        /// The contents that it has instead, and a remedy.
        reason: String,
    },
    /// Parts of the adapter that the model has no place for: it belongs to another family, or to a later program.
    #[error(
        "{origin}: {} of {modules} modules have no place in this model{hint}: {}",
        keys.len(),
        first_few(keys)
    )]
    Unmatched {
        /// The file.
        origin: String,
        /// The number of the adapter's modules.
        modules: usize,
        /// A hint at the reason, in words; may be empty.
        hint: String,
        /// Those without a place.
        keys: Vec<Unmatched>,
    },
    /// Tensors of one module that don't fit each other.
    #[error("{origin}: {module}: {reason}")]
    Module {
        /// The file.
        origin: String,
        /// The module as the file names it.
        module: String,
        /// The misfit.
        reason: String,
    },
    /// A strength that can't be used.
    #[error("strengths: {0}")]
    Strength(String),
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// A module, or a tensor of no module, that has no place in a model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unmatched {
    /// The name in the file.
    pub name: String,
    /// Why, where it isn't the name: the layer has no bias, or the ending is of no known kind.
    pub reason: Option<String>,
    /// The most similar name that would have a place; only the first few are looked for.
    pub nearest: Option<String>,
}

impl std::fmt::Display for Unmatched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.name))?;
        match (&self.reason, &self.nearest) {
            (None, None) => Ok(()),
            (Some(reason), None) => write!(f, " ({reason})"),
            (None, Some(nearest)) => write!(f, " (nearest: {nearest})"),
            (Some(reason), Some(nearest)) => write!(f, " ({reason}; nearest: {nearest})"),
        }
    }
}

/// The number of faults that a message lists, of many.
pub(crate) const SHOWN: usize = 5;

fn first_few(keys: &[Unmatched]) -> String {
    let shown: Vec<String> = keys.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = if keys.len() > SHOWN { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
