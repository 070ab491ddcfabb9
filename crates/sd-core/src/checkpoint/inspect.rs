//! Inspecting a file or folder.

use std::path::Path;

use super::{Inspection, contents::FolderContents};
use crate::{
    Error, Result,
    weights::{Folder, TensorFile},
};

/// Describes a file or diffusers folder, reading nothing but headers.
///
/// # Errors
/// [`Error::Io`] or [`Error::Malformed`] if it can't be read.
pub fn inspect(path: &Path) -> Result<Inspection> {
    match std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() {
        true => Ok(FolderContents::open(&Folder::Disk(path.to_owned()))?.inspection()),
        false => Ok(Inspection::of_file(&TensorFile::open(path)?)),
    }
}
