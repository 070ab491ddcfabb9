//! Files and folders before they are in their place.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::place::{Place, ending_name, existing, folder_of, followed, metadata, place, refuse};
use crate::{Error, Result};

/// A file or folder under a temporary name, beside the place where it belongs; gone again unless it is put there.
pub(crate) struct Partial {
    pub path: PathBuf,
    /// Those that a new file or folder gets here, or those of the one that it replaces.
    permissions: Permissions,
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
            // Nobody can be given an error here, and there may be nothing to remove.
            let _ = match self.path.is_dir() {
                true => fs::remove_dir_all(&self.path),
                false => fs::remove_file(&self.path),
            };
        }
    }
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

/// Gives it the owner of the file that it replaces, where that is allowed.
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
        // Windows puts only files on the disk that are open for writing.
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
