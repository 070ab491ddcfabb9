use std::path::{Path, PathBuf};

/// Everything that can go wrong in `sd-core`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The reason: the operating system's answer, or ours.
        source: std::io::Error,
    },
    /// A file is not what its name or place says, or is damaged.
    #[error("{origin}: {reason}")]
    Malformed {
        /// The file, or the name given with the caller's bytes.
        origin: String,
        /// The reason and, where it can be known, what to do.
        reason: String,
    },
    /// A configuration asks for something that these models don't have.
    #[error("{origin}: {field}: {reason}")]
    Config {
        /// The configuration's file.
        origin: String,
        /// The field.
        field: String,
        /// The reason why its value can't be used.
        reason: String,
    },
    /// The weights don't fit the model.
    #[error("{}", .0)]
    Weights(Box<WeightsError>),
    /// The weights lack something that is asked for only now.
    #[error("{origin}: {reason}")]
    Incomplete {
        /// The part, and its file.
        origin: String,
        /// The part of the build that is missing, and what to do.
        reason: String,
    },
    /// A device name is unknown, or its support was not compiled in.
    #[error("device '{name}': {reason}")]
    Device {
        /// The name as given.
        name: String,
        /// The reason, and what could be used instead.
        reason: String,
    },
    /// The tokenizer's files can't be used, or it failed on a text.
    #[error("tokenizer {origin}: {reason}")]
    Tokenizer {
        /// The folder, or "embedded".
        origin: String,
        /// The reason.
        reason: String,
    },
    /// A tensor that the caller gave has the wrong shape.
    #[error("{name}: expected shape {expected}, got {got:?}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// The expected shape.
        expected: String,
        /// The given shape.
        got: Vec<usize>,
    },
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        let path = path.into();
        let source = match elsewhere(&path) {
            Some(reason) if source.kind() == std::io::ErrorKind::NotFound => {
                std::io::Error::new(source.kind(), format!("{source}; {reason}"))
            }
            _ => source,
        };
        Self::Io { path, source }
    }

    pub(crate) fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Write {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn malformed(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed {
            origin: origin.into(),
            reason: shortened(reason.into()),
        }
    }

    pub(crate) fn config(
        origin: impl Into<String>,
        field: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Config {
            origin: origin.into(),
            field: shortened(field.into()),
            reason: shortened(reason.into()),
        }
    }
}

/// Advice for a path that isn't there, if it looks like something on the internet.
fn elsewhere(path: &Path) -> Option<&'static str> {
    let text = path.to_str()?;
    if text.is_empty() {
        return Some("the path is empty");
    }
    if text.contains("://") {
        return Some("nothing is downloaded: fetch the file yourself and give its path");
    }
    let name = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(char::is_alphanumeric)
            && chars.all(|c| c.is_alphanumeric() || "-_.".contains(c))
    };
    let (owner, repository) = text.split_once('/')?;
    (name(owner) && name(repository)).then_some(
        "nothing is downloaded: if this names a model on the internet, fetch its folder or file and give the path of that",
    )
}

/// A message that quotes a hostile file must not grow as large as that file.
fn shortened(mut reason: String) -> String {
    const MAX: usize = 2000;
    if reason.len() > MAX {
        reason.truncate(reason.floor_char_boundary(MAX));
        reason.push_str("...");
    }
    reason
}

/// A name from a file as it can be shown on a terminal: without control characters, and not endless.
pub fn shown(name: &str) -> String {
    const MAX: usize = 200;
    match name.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}...", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

/// One tensor whose shape in the file is not the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshapen {
    /// Canonical (diffusers) name.
    pub name: String,
    /// The shape that the model's configuration asks for.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub got: Vec<usize>,
}

/// All tensors of one model part that don't fit, listed at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightsError {
    /// The part, and its file.
    pub origin: String,
    /// Canonical names that the file lacks.
    pub missing: Vec<String>,
    /// Names in the file that the model has no place for.
    pub unexpected: Vec<String>,
    /// Tensors of the wrong shape.
    pub misshapen: Vec<Misshapen>,
    /// Tensors whose element type can't be used, with that type.
    pub unreadable: Vec<(String, String)>,
    /// Changes of adapters that don't fit this model, in words.
    pub patches: Vec<String>,
}

impl WeightsError {
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unexpected.is_empty()
            && self.misshapen.is_empty()
            && self.unreadable.is_empty()
            && self.patches.is_empty()
    }
}

impl std::fmt::Display for WeightsError {
    /// A line per kind of fault, each with its first few names: the full lists are in the fields.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "{}: the weights don't fit this model", self.origin)?;
        let mut list = |title: &str, items: Vec<String>| -> std::fmt::Result {
            if items.is_empty() {
                return Ok(());
            }
            write!(
                f,
                "; {} {title}: {}",
                items.len(),
                items[..items.len().min(SHOWN)].join(", ")
            )?;
            if items.len() > SHOWN {
                write!(f, " and {} more", items.len() - SHOWN)?;
            }
            Ok(())
        };
        list("missing", self.missing.clone())?;
        list(
            "unexpected",
            self.unexpected.iter().map(|name| shown(name)).collect(),
        )?;
        let shapes = self.misshapen.iter();
        list(
            "misshapen",
            shapes
                .map(|m| format!("{} (is {:?}, should be {:?})", m.name, m.got, m.expected))
                .collect(),
        )?;
        let types = self.unreadable.iter();
        list(
            "of an unsupported type",
            types.map(|(name, dtype)| format!("{name} ({dtype})")).collect(),
        )?;
        list("that an adapter can't change", self.patches.clone())?;
        let only = Self {
            unexpected: Vec::new(),
            ..self.clone()
        };
        match only.is_empty() {
            true => f.write_str("; allow_unexpected (--allow-unexpected) passes over what is unexpected"),
            false => Ok(()),
        }
    }
}
