//! Writing so that a file or folder is there in whole or not at all, and nothing but files and empty folders is ever replaced.

mod partial;
mod place;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

pub(crate) use partial::Partial;
use place::{Place, place};

use crate::{Error, Result};

/// Writes a file. One that is there is replaced only by a whole new one, with its permissions; links stay, and the file that they lead to
/// is replaced. What is no regular file (a pipe, a terminal, another device) is written into.
///
/// # Errors
/// [`Error::Write`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    match place(path).map_err(|e| Error::write(path, e))? {
        Place::Stream(stream) => {
            // An open file that a name such as /dev/fd/3 stands for is neither cut nor written over.
            let write = || OpenOptions::new().append(true).open(&stream)?.write_all(bytes);
            write().map_err(|e| Error::write(path, e))
        }
        Place::File(_) => {
            let partial = Partial::file(path)?;
            fs::write(&partial.path, bytes).map_err(|e| Error::write(path, e))?;
            partial.put()
        }
    }
}

/// Whether [`write_file`] could write there now. Nothing is left behind.
///
/// # Errors
/// [`Error::Write`].
pub fn check_file(path: &Path) -> Result<()> {
    match place(path).map_err(|e| Error::write(path, e))? {
        Place::Stream(_) => Ok(()),
        Place::File(_) => Partial::file(path).map(drop),
    }
}

/// Whether a regular file could be written there now. Nothing is left behind.
///
/// # Errors
/// [`Error::Write`].
pub fn check_regular_file(path: &Path) -> Result<()> {
    Partial::file(path).map(drop)
}

/// Whether a folder could be written there now. Nothing is left behind.
///
/// # Errors
/// [`Error::Write`].
pub fn check_folder(path: &Path) -> Result<()> {
    Partial::folder(path).map(drop)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        fs::{File, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn permissions_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        fs::write(at("inner/secret"), "old").unwrap();
        fs::set_permissions(at("inner/secret"), Permissions::from_mode(0o600)).unwrap();
        symlink("inner/secret", at("first")).unwrap();
        symlink(at("first"), at("second")).unwrap();
        symlink("inner/new", at("dangling")).unwrap();

        write_file(&at("second"), b"new").unwrap();
        assert_eq!(fs::read(at("inner/secret")).unwrap(), b"new");
        assert_eq!(mode(&at("inner/secret")), 0o600);
        for link in ["first", "second"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        write_file(&at("dangling"), b"made").unwrap();
        assert_eq!(fs::read(at("inner/new")).unwrap(), b"made");
        // A new file has what files usually have here.
        fs::write(at("usual"), "").unwrap();
        assert_eq!(mode(&at("inner/new")), mode(&at("usual")));
        assert_eq!(
            fs::read_dir(at("inner")).unwrap().count(),
            2,
            "something was left behind"
        );

        symlink("round", at("round")).unwrap();
        assert!(check_file(&at("round")).is_err());
    }

    #[test]
    fn what_is_no_file_is_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let null = folder.path().join("null");
        symlink("/dev/null", &null).unwrap();
        for path in [Path::new("/dev/null"), &null] {
            check_file(path).unwrap();
            write_file(path, b"gone").unwrap();
        }
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
        let error = Partial::file(&null).err().unwrap().to_string();
        assert!(error.contains("it is no regular file"), "{error}");
        assert!(Partial::folder(&null).is_err());
        let error = write_file(Path::new("/dev/full"), b"lost")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot write /dev/full: "), "{error}");

        // An open file's number: what is in it stays.
        use std::os::fd::AsRawFd;
        let path = folder.path().join("open");
        fs::write(&path, "first ").unwrap();
        let open = File::options().append(true).open(&path).unwrap();
        write_file(Path::new(&format!("/dev/fd/{}", open.as_raw_fd())), b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first second");

        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = check_file(&socket).unwrap_err().to_string();
        assert!(error.contains("neither a file nor a pipe"), "{error}");
    }

    #[test]
    fn checks_say_what_is_wrong_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        check_file(&at("new")).unwrap();
        check_file(&at(&"n".repeat(255))).unwrap();
        drop(Partial::folder(&at("new/")).unwrap());
        for (name, reason) in [
            ("none/new", "there is no folder"),
            (".", "it is a folder"),
            ("new/", "it ends as a folder's name does"),
            ("..", "no name at its end"),
            (&"n".repeat(256), "name too long"),
        ] {
            let error = check_file(&at(name)).unwrap_err().to_string();
            assert!(error.to_lowercase().contains(reason), "{name}: {error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_folder_keeps_its_permissions_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::set_permissions(at("empty"), Permissions::from_mode(0o700)).unwrap();
        symlink("empty", at("link")).unwrap();
        let partial = Partial::folder(&at("link/")).unwrap();
        fs::write(partial.path.join("a"), "a").unwrap();
        partial.put().unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(
            (fs::read(at("empty/a")).unwrap(), mode(&at("empty"))),
            (b"a".to_vec(), 0o700)
        );
    }
}
