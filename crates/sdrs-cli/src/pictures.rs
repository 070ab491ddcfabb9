//! Pictures that are read.

use std::path::{Path, PathBuf};

use sdrs::{ErrorCode, Picture, infotext::Infotext};

use crate::{Failure, out::note};

/// Reads a picture, and says what it did to it.
pub fn read(path: &Path) -> Result<Picture, Failure> {
    let picture = Picture::open(path)?;
    for remark in picture.notes() {
        note(format_args!("{}: {remark}", path.display()));
    }
    Ok(picture)
}

/// The infotext of a picture, or of a text file. The error for what can't be used in it names the file.
pub fn infotext(path: &Path) -> Result<Infotext, Failure> {
    let text = sdrs::infotext::of_file(path)?;
    sdrs::infotext::parse(&text).map_err(|error| match error.code() {
        ErrorCode::InvalidParameter | ErrorCode::UnknownName => {
            Failure::Usage(format!("{}: {error}", path.display()))
        }
        _ => error.into(),
    })
}

/// Endings of the pictures that can be read.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// The pictures of a folder, by name; there must be one.
pub fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fail = |e| Failure::Write(format!("{}: {e}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let known = ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
        if known && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "{}: no picture is in this folder ({})",
            folder.display(),
            ENDINGS.join(", ")
        )));
    }
    found.sort();
    Ok(found)
}
