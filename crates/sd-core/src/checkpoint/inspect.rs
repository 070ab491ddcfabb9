//! Inspecting a file or folder.

use std::path::Path;

use super::{Inspection, classify::Classified, contents::FolderContents, inspection::FOLDER};
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
        true => {
            let folder = Folder::Disk(path.to_owned());
            if let Some(name) = folder.foreign() {
                let found = Classified::foreign(name);
                return Ok(Inspection::new(folder.origin(""), FOLDER, &[], &found, None));
            }
            Ok(FolderContents::open(&folder)?.inspection())
        }
        false => Ok(Inspection::of_file(&TensorFile::open(path)?)),
    }
}
