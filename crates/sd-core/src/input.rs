//! Reading of whole files. Only regular ones are opened: a pipe would wait for its other end, and a device may have none.

use std::{
    fs::{File, Metadata},
    io::Read,
    path::Path,
};

use crate::{Error, Result};

/// What is known of a regular file without opening it. `wanted` says what it should be, in errors: "a picture".
///
/// # Errors
/// [`Error::Io`] if there is nothing, [`Error::Malformed`] if it is a folder, a pipe or a device.
pub(crate) fn metadata(path: &Path, wanted: &str) -> Result<Metadata> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    let reason = match meta.is_file() {
        true => return Ok(meta),
        false if meta.is_dir() => format!("is a folder; {wanted} is wanted here"),
        false => format!(
            "is {}, not a regular file; {wanted} is read from such alone",
            kind(&meta)
        ),
    };
    Err(Error::malformed(path.display().to_string(), reason))
}

/// Opens a regular file, and tells its length in bytes.
///
/// # Errors
/// [`Error::Io`] if it can't be opened, [`Error::Malformed`] if it is a folder, a pipe or a device.
pub fn open(path: &Path, wanted: &str) -> Result<(File, u64)> {
    let length = metadata(path, wanted)?.len();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    Ok((file, length))
}

/// Reads a regular file of no more than `most` bytes.
///
/// # Errors
/// [`Error::Io`] if it can't be read, [`Error::Malformed`] if it is longer, a folder, a pipe or a device.
pub fn read(path: &Path, wanted: &str, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open(path, wanted)?;
    let mut bytes = Vec::new();
    if length <= most {
        // It may grow meanwhile, and some systems' own files don't tell their length.
        let read = file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|e| Error::io(path, e))?;
    }
    match length.max(bytes.len() as u64) {
        length if length > most => {
            let reason = format!("{length} bytes are too many for {wanted}");
            Err(Error::malformed(path.display().to_string(), reason))
        }
        _ => Ok(bytes),
    }
}

/// The kind of what is neither a file nor a folder.
fn kind(meta: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = meta.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    let _ = meta;
    "something else"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, "a text", 5).unwrap(), b"12345");
        let said = |path: &Path, most| read(path, "a text", most).unwrap_err().to_string();
        assert!(said(&path, 4).ends_with("a.txt: 5 bytes are too many for a text"));
        assert!(said(folder.path(), 5).ends_with(": is a folder; a text is wanted here"));
        assert!(said(&folder.path().join("b.txt"), 5).starts_with("cannot read "));
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let socket = folder.path().join("socket");
        let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (pipe.as_path(), "a pipe"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let said = read(path, "a text", 1 << 40).unwrap_err().to_string();
            let wanted = format!(
                "{}: is {kind}, not a regular file; a text is read from such alone",
                path.display()
            );
            assert_eq!(said, wanted);
        }
    }
}
