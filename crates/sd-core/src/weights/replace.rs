//! Writing so that a file or folder is there in whole or not at all.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Error, Result};

/// A file or folder under a temporary name, beside the place where it belongs; gone again unless it is put there.
pub(super) struct Partial {
    pub path: PathBuf,
    target: PathBuf,
    put: bool,
}

impl Partial {
    /// Room for a file.
    pub fn file(target: &Path) -> Result<Self> {
        Self::new(target, |path| File::create_new(path).map(drop))
    }

    /// Room for a folder.
    ///
    /// # Errors
    /// [`Error::Write`] if there is one already with anything in it.
    pub fn folder(target: &Path) -> Result<Self> {
        if let Ok(mut entries) = fs::read_dir(target)
            && entries.next().is_some()
        {
            let reason = "the folder is there already and not empty; name another, or remove it";
            return Err(Error::write(target, io::Error::other(reason)));
        }
        Self::new(target, |path| fs::create_dir(path))
    }

    fn new(target: &Path, create: impl Fn(&Path) -> io::Result<()>) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = target.file_name() else {
            let reason = "the path has no name at its end";
            return Err(Error::write(target, io::Error::other(reason)));
        };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let hidden = format!(
            ".{}.{}-{count}.partial",
            name.to_string_lossy(),
            std::process::id()
        );
        let path = target.with_file_name(hidden);
        create(&path).map_err(|e| Error::write(target, e))?;
        Ok(Self {
            path,
            target: target.to_owned(),
            put: false,
        })
    }

    /// Puts it in its place once it is on the disk.
    pub fn put(mut self) -> Result<()> {
        let put = || {
            sync(&self.path)?;
            fs::rename(&self.path, &self.target)?;
            let parent = self
                .target
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            sync_folder(parent.unwrap_or(Path::new(".")))
        };
        put().map_err(|e| Error::write(&self.target, e))?;
        self.put = true;
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
