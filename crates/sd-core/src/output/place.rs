//! The places that paths lead to.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
};

/// The place that a path leads to.
pub(super) enum Place {
    /// A file, or where one can be made; no link.
    File(PathBuf),
    /// A pipe, a device that takes bytes, or an open file that only has a number.
    Stream(PathBuf),
}

pub(super) fn place(path: &Path) -> io::Result<Place> {
    ending_name(path)?;
    if path
        .as_os_str()
        .as_encoded_bytes()
        .ends_with(std::path::MAIN_SEPARATOR_STR.as_bytes())
    {
        return refuse("it ends as a folder's name does; name a file");
    }
    match metadata(path)? {
        Some(meta) if meta.is_dir() => refuse("it is a folder; name a file in it"),
        Some(meta) if takes_no_bytes(&meta) => refuse("it is neither a file nor a pipe; name a file"),
        Some(meta) if !meta.is_file() => Ok(Place::Stream(path.to_owned())),
        _ => Ok(match followed(path)? {
            Some(file) => Place::File(file),
            None => Place::Stream(path.to_owned()),
        }),
    }
}

/// The path that links lead to in the end, whether there is anything or not; `None` for an open file, to which they lead by a number.
pub(super) fn followed(path: &Path) -> io::Result<Option<PathBuf>> {
    /// As Linux has it.
    const MOST_LINKS: usize = 40;
    let mut path: PathBuf = path.components().collect();
    for _ in 0..MOST_LINKS {
        match existing(&path)? {
            Some(meta) if meta.is_symlink() => {
                if folder_of(&path).canonicalize()?.starts_with("/proc") {
                    return Ok(None);
                }
                let to = fs::read_link(&path)?;
                path = folder_of(&path).join(to);
            }
            _ => return Ok(Some(path)),
        }
    }
    refuse("its links lead in a circle")
}

/// The metadata of what is there, links followed, if anything is.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    if_found(fs::metadata(path))
}

/// The metadata of what is there itself.
pub(super) fn existing(path: &Path) -> io::Result<Option<Metadata>> {
    if_found(fs::symlink_metadata(path))
}

fn if_found(found: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    match found {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

pub(super) fn ending_name(path: &Path) -> io::Result<()> {
    match path.file_name() {
        Some(_) => Ok(()),
        None => refuse("the path has no name at its end"),
    }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> io::Result<T> {
    Err(io::Error::other(reason.into()))
}

/// A disk, which a picture would damage, or a socket, which can't be opened.
#[cfg(unix)]
fn takes_no_bytes(meta: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_block_device() || meta.file_type().is_socket()
}

#[cfg(not(unix))]
fn takes_no_bytes(_: &Metadata) -> bool {
    false
}
