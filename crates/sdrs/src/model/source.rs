//! The sources of files: a path, or bytes with a name.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_core::weights::TensorFile;

use crate::Result;

/// A file on disk or in memory.
#[derive(Clone)]
pub(crate) enum Source {
    Path(PathBuf),
    /// The name stands for them in errors and infotexts.
    Bytes(String, Arc<[u8]>),
}

impl Source {
    pub fn open(&self) -> Result<TensorFile> {
        Ok(match self {
            Self::Path(path) => TensorFile::open(path)?,
            Self::Bytes(name, bytes) => TensorFile::from_bytes(name, bytes.clone())?,
        })
    }

    /// The path, or the name.
    pub fn origin(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    /// The file's name without folders and ending.
    pub fn stem(&self) -> String {
        let path = match self {
            Self::Path(path) => path,
            Self::Bytes(name, _) => Path::new(name),
        };
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(a), Self::Path(b)) => a == b,
            (Self::Bytes(a, x), Self::Bytes(b, y)) => a == b && Arc::ptr_eq(x, y),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Bytes(name, bytes) => write!(f, "{name} ({} bytes)", bytes.len()),
        }
    }
}
