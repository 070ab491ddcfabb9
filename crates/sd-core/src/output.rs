//! Writing so that a file or folder is there in whole or not at all, and nothing but files and empty folders is ever replaced.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

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

/// A file or folder under a temporary name, beside the place where it belongs; gone again unless it is put there.
pub(crate) struct Partial {
    pub path: PathBuf,
    /// What a new file or folder gets here, or those of the one that it replaces.
    pub permissions: Permissions,
    /// Links followed.
    target: PathBuf,
    /// As it was given.
    named: PathBuf,
    before: Option<Metadata>,
    put: bool,
}

impl Partial {
    /// Room for a file.
    ///
    /// # Errors
    /// [`Error::Write`] if nothing can be written there, or there is something else than a file.
    pub fn file(named: &Path) -> Result<Self> {
        let room = || match place(named)? {
            Place::File(target) => {
                let before = existing(&target)?;
                if before.is_some() {
                    // Whoever took away the right to write it meant it.
                    OpenOptions::new().write(true).open(&target)?;
                }
                Self::beside(named, target, before, |path, before| {
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true);
                    as_private_as(&mut options, before);
                    options.open(path).map(drop)
                })
            }
            Place::Stream(_) => {
                refuse("it is no regular file, and weights can't be written into such; name a file")
            }
        };
        room().map_err(|e| Error::write(named, e))
    }

    /// Room for a folder.
    ///
    /// # Errors
    /// [`Error::Write`] if nothing can be written there, or there is something already, but for an empty folder.
    pub fn folder(named: &Path) -> Result<Self> {
        let room = || {
            ending_name(named)?;
            if let Some(meta) = metadata(named)? {
                if !meta.is_dir() {
                    return refuse("it is there already, and no folder; name another");
                }
                if fs::read_dir(named)?.next().is_some() {
                    return refuse("the folder is there already and not empty; name another, or remove it");
                }
            }
            let Some(target) = followed(named)? else {
                return refuse("it is no place for a folder; name another");
            };
            let before = existing(&target)?;
            Self::beside(named, target, before, |path, _| fs::create_dir(path))
        };
        room().map_err(|e| Error::write(named, e))
    }

    fn beside(
        named: &Path,
        target: PathBuf,
        before: Option<Metadata>,
        create: impl Fn(&Path, Option<&Metadata>) -> io::Result<()>,
    ) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        ending_name(&target)?;
        if !folder_of(&target).exists() {
            return refuse(format!(
                "there is no folder {}; make it first",
                folder_of(&target).display()
            ));
        }
        // Cut, so that a long name still leaves room for the rest.
        let name: String = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .chars()
            .take(40)
            .collect();
        let path = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}-{count}.partial", std::process::id()));
            match create(&path, before.as_ref()) {
                Ok(()) => break path,
                // Another process's of the same number, that died.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        };
        let mut partial = Self {
            permissions: fs::metadata(&path)?.permissions(),
            path,
            target,
            named: named.to_owned(),
            before: None,
            put: false,
        };
        if let Some(before) = before {
            partial.permissions = before.permissions();
            partial.before = Some(before);
        }
        Ok(partial)
    }

    /// Puts it in its place once it is on the disk.
    pub fn put(mut self) -> Result<()> {
        let put = || {
            if let Some(before) = &self.before {
                same_owner(&self.path, before);
            }
            fs::set_permissions(&self.path, self.permissions.clone())?;
            sync(&self.path)?;
            fs::rename(&self.path, &self.target)
        };
        put().map_err(|e| Error::write(&self.named, e))?;
        self.put = true;
        // It is there. Folders that may not be read, and some file systems, don't let their names be put on the disk.
        let _ = sync_folder(folder_of(&self.target));
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.put {
            // Nobody can be told of an error here, and there may be nothing to remove.
            let _ = match self.path.is_dir() {
                true => fs::remove_dir_all(&self.path),
                false => fs::remove_file(&self.path),
            };
        }
    }
}

/// What a path leads to.
enum Place {
    /// A file, or where one can be made; no link.
    File(PathBuf),
    /// A pipe, a device that takes bytes, or an open file that only has a number.
    Stream(PathBuf),
}

fn place(path: &Path) -> io::Result<Place> {
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
fn followed(path: &Path) -> io::Result<Option<PathBuf>> {
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

/// What is there, links followed, if anything is.
fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    if_found(fs::metadata(path))
}

/// What is there itself.
fn existing(path: &Path) -> io::Result<Option<Metadata>> {
    if_found(fs::symlink_metadata(path))
}

fn if_found(found: io::Result<Metadata>) -> io::Result<Option<Metadata>> {
    match found {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn ending_name(path: &Path) -> io::Result<()> {
    match path.file_name() {
        Some(_) => Ok(()),
        None => refuse("the path has no name at its end"),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn refuse<T>(reason: impl Into<String>) -> io::Result<T> {
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

/// No one may look into a new file who might not look into the old one.
#[cfg(unix)]
fn as_private_as(options: &mut OpenOptions, before: Option<&Metadata>) {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    if let Some(before) = before {
        options.mode(before.permissions().mode() & 0o777 | 0o200);
    }
}

#[cfg(not(unix))]
fn as_private_as(_: &mut OpenOptions, _: Option<&Metadata>) {}

/// Gives it the owner of what it replaces, where that is allowed.
#[cfg(unix)]
fn same_owner(path: &Path, before: &Metadata) {
    use std::os::unix::fs::{MetadataExt, chown};
    let (owner, group) = (before.uid(), before.gid());
    if fs::metadata(path).is_ok_and(|meta| (meta.uid(), meta.gid()) != (owner, group)) {
        // Most users may not give files away: then it is theirs, as any new file.
        let _ = chown(path, Some(owner), Some(group));
    }
}

#[cfg(not(unix))]
fn same_owner(_: &Path, _: &Metadata) {}

/// A file, or all that is in a folder.
fn sync(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        // Windows wants to be able to write what it is to put on the disk.
        return File::options().write(true).open(path)?.sync_all();
    }
    for entry in fs::read_dir(path)? {
        sync(&entry?.path())?;
    }
    sync_folder(path)
}

/// The names in a folder, where the system lets folders be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
