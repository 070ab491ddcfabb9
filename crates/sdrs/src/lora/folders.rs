//! Folders with LoRAs that prompts may name.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sd_core::weights::{FileId, TensorFile, files_below};

use crate::Result;

/// Endings of files that may hold a LoRA.
const ENDINGS: [&str; 4] = ["safetensors", "pt", "ckpt", "bin"];

/// Folders that tags are looked up in.
#[derive(Default)]
pub(crate) struct LoraFolders {
    folders: Vec<PathBuf>,
    /// The names that files carry inside, for as long as the files stay the same.
    aliases: Mutex<HashMap<FileId, Option<String>>>,
}

impl LoraFolders {
    /// # Errors
    /// [`Error::Core`] if one can't be read.
    pub fn new(folders: Vec<PathBuf>) -> Result<Self> {
        for folder in &folders {
            files_below(folder)?;
        }
        Ok(Self {
            folders,
            aliases: Mutex::default(),
        })
    }

    /// Files by name, as they are now: of two with one name in a folder the later path counts (WebUI), and earlier folders win.
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for folder in &self.folders {
            let (mut found, _) = files_below(folder)?;
            found.reverse();
            for path in found {
                let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
                if ENDINGS.iter().any(|known| ending == *known)
                    && let Some(stem) = path.file_stem()
                {
                    files.push((stem.to_string_lossy().into_owned(), path));
                }
            }
        }
        Ok(files)
    }

    /// The file that a tag means: by its name without the ending, else by the name that training left in its metadata. Both as
    /// they are spelt, as in the WebUI.
    pub fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        let files = self.files()?;
        let by_name = files.iter().find(|(stem, _)| stem == name);
        let by_alias = || {
            files
                .iter()
                .find(|(_, path)| self.alias(path).as_deref() == Some(name))
        };
        Ok(by_name.or_else(by_alias).map(|(_, path)| path.clone()))
    }

    /// A file that can't be read has none: it may be no LoRA at all.
    fn alias(&self, path: &Path) -> Option<String> {
        let id = FileId::of(path).ok()?;
        if let Some(alias) = self.known().get(&id) {
            return alias.clone();
        }
        let file = TensorFile::open(path).ok();
        let alias = file.and_then(|file| file.metadata().get("ss_output_name").cloned());
        self.known().insert(id, alias.clone());
        alias
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FileId, Option<String>>> {
        self.aliases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names most like one that wasn't found.
    pub fn near(&self, name: &str) -> Result<Vec<String>> {
        let distance = |other: &str| strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
        let mut names: Vec<String> = self.files()?.into_iter().map(|(stem, _)| stem).collect();
        names.sort_by_cached_key(|other| (distance(other), other.clone()));
        names.dedup();
        names.truncate(3);
        Ok(names)
    }
}
