//! A diffusers folder, on disk or in memory.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::TensorFile;
use crate::{Error, FileKind, Result, config::not_json, error::shown, input};

/// A folder of model files: on disk, or the same files as bytes under the same relative names ("unet/config.json").
#[derive(Clone)]
pub enum Folder {
    /// A folder on disk.
    Disk(PathBuf),
    /// Files compiled into the program, with a name for errors.
    Static(&'static str, HashMap<&'static str, &'static [u8]>),
    /// Files in memory, with a name for errors.
    Memory(String, HashMap<String, Arc<[u8]>>),
}

/// Precisions that a folder may hold beside, or instead of, the plain files.
const VARIANTS: [&str; 3] = ["", "fp16", "bf16"];

impl Folder {
    /// The name of a file of this folder in errors.
    pub fn origin(&self, name: &str) -> String {
        match self {
            Self::Disk(path) => path.join(name).display().to_string(),
            Self::Static(origin, _) => format!("{origin}/{name}"),
            Self::Memory(origin, _) => format!("{origin}/{name}"),
        }
    }

    /// Whether the folder has something of this name. What is no file, or a link to nothing, is an error where it is read: passed over, it
    /// would be as if it said nothing.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Disk(path) => path.join(name).symlink_metadata().is_ok(),
            Self::Static(_, files) => files.contains_key(name),
            Self::Memory(_, files) => files.contains_key(name),
        }
    }

    /// A text file's contents.
    ///
    /// # Errors
    /// [`Error::Io`] if it is missing, [`Error::Malformed`] if it is not UTF-8 or too large for a configuration.
    pub fn text(&self, name: &str) -> Result<String> {
        // The longest real ones, vocabularies, have two million bytes.
        const MAX: u64 = 16 << 20;
        let bytes = match self {
            Self::Disk(folder) => input::read(&folder.join(name), "a text file", MAX)?,
            Self::Static(_, files) => files.get(name).ok_or_else(|| self.missing(name))?.to_vec(),
            Self::Memory(_, files) => files.get(name).ok_or_else(|| self.missing(name))?.to_vec(),
        };
        let other = |kind: FileKind| kind.instead_of("a text in UTF-8", "give the file that belongs here");
        let reason = match (FileKind::of(&bytes), String::from_utf8(bytes)) {
            (Some(kind @ (FileKind::LfsPointer | FileKind::WebPage)), _) => other(kind),
            (_, Ok(text)) => return Ok(text),
            (Some(kind), Err(_)) if kind != FileKind::Text => other(kind),
            (_, Err(e)) => e.to_string(),
        };
        Err(Error::malformed(self.origin(name), reason))
    }

    /// Opens one file of tensors.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`].
    pub fn tensors(&self, name: &str) -> Result<TensorFile> {
        match self {
            Self::Disk(path) => TensorFile::open(&path.join(name)),
            Self::Static(_, files) => TensorFile::from_static(
                self.origin(name),
                files.get(name).ok_or_else(|| self.missing(name))?,
            ),
            Self::Memory(_, files) => {
                let bytes = files.get(name).ok_or_else(|| self.missing(name))?;
                TensorFile::from_bytes(self.origin(name), bytes.clone())
            }
        }
    }

    /// Opens the weights of a part: one file, or the shards that an index lists; safetensors before PyTorch's own files, and full
    /// precision if there is a choice.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there are none, naming the files that were looked for; the errors of [`TensorFile::open`].
    pub fn part_tensors(&self, part: &str, stem: &str) -> Result<Vec<Arc<TensorFile>>> {
        // transformers calls its pickles otherwise.
        let pickle = match stem {
            "model" => "pytorch_model",
            stem => stem,
        };
        let mut looked_for = Vec::new();
        for name in [
            format!("{stem}.safetensors"),
            format!("{pickle}.bin"),
            format!("{stem}.bin"),
        ] {
            if looked_for.contains(&name) {
                continue;
            }
            for variant in VARIANTS {
                let (single, indices) = names(part, &name, variant);
                if self.has(&single) {
                    return Ok(vec![Arc::new(self.tensors(&single)?)]);
                }
                if let Some(index) = indices.iter().find(|name| self.has(name)) {
                    return self.shards(part, index);
                }
            }
            looked_for.push(name);
        }
        let reason = format!(
            "no weights: looked for {}, their .fp16 and .bf16 variants and their indices",
            looked_for.join(", ")
        );
        Err(Error::malformed(self.origin(part), reason))
    }

    fn shards(&self, part: &str, index: &str) -> Result<Vec<Arc<TensorFile>>> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: HashMap<String, String>,
        }
        let origin = self.origin(index);
        let index: Index = serde_json::from_str(&self.text(index)?).map_err(|e| not_json(&origin, &e))?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(Error::malformed(origin, "weight_map lists no files"));
        }
        // An index must not be able to name files elsewhere.
        if let Some(name) = names
            .iter()
            .find(|name| Path::new(name).file_name() != Some(std::ffi::OsStr::new(name)))
        {
            return Err(Error::malformed(
                origin,
                format!("'{}' is not the name of a file in this folder", shown(name)),
            ));
        }
        names
            .into_iter()
            .map(|name| Ok(Arc::new(self.tensors(&in_part(part, name))?)))
            .collect()
    }

    fn missing(&self, name: &str) -> Error {
        Error::io(self.origin(name), std::io::ErrorKind::NotFound.into())
    }
}

/// A file of a part, which may be the folder itself ("").
pub(crate) fn in_part(part: &str, name: &str) -> String {
    match part {
        "" => name.to_owned(),
        part => format!("{part}/{name}"),
    }
}

/// The names of a part's weights in a variant: one file, or the indices of several. The variant stands in one of three places:
/// before ".json" (diffusers), before ".index.json" (diffusers once, and it still reads that), before the ending (transformers).
fn names(part: &str, name: &str, variant: &str) -> (String, Vec<String>) {
    if variant.is_empty() {
        return (
            in_part(part, name),
            vec![in_part(part, &format!("{name}.index.json"))],
        );
    }
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let single = in_part(part, &format!("{stem}.{variant}.{ending}"));
    let indices = vec![
        in_part(part, &format!("{name}.index.{variant}.json")),
        in_part(part, &format!("{name}.{variant}.index.json")),
        format!("{single}.index.json"),
    ];
    (single, indices)
}

/// All files in a folder and below it that aren't empty, sorted by path, and what of it can't be read. A folder that links lead to more
/// than once is looked at once.
///
/// # Errors
/// [`Error::Io`] if the folder itself can't be read.
pub fn files_below(folder: &Path) -> Result<(Vec<PathBuf>, Vec<Error>)> {
    std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut folders = vec![folder.to_owned()];
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    // Links may lead in circles, and by several ways to one place.
    let mut seen = HashSet::new();
    while let Some(folder) = folders.pop() {
        let entries = folder.canonicalize().and_then(|place| match seen.insert(place) {
            true => std::fs::read_dir(&folder).map(Some),
            false => Ok(None),
        });
        let entries = match entries {
            Ok(entries) => entries.into_iter().flatten().flatten(),
            Err(e) => {
                unreadable.push(Error::io(folder, e));
                continue;
            }
        };
        for entry in entries {
            let path = entry.path();
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => folders.push(path),
                Ok(meta) if meta.is_file() && meta.len() > 0 => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    Ok((files, unreadable))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_in_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("inner")).unwrap();
        std::fs::write(root.join("inner/a"), "a").unwrap();
        std::fs::write(root.join("empty"), "").unwrap();
        // Two ways at each step: without a memory, 2 to the depth in all.
        for name in ["x", "y"] {
            std::os::unix::fs::symlink(root, root.join("inner").join(name)).unwrap();
        }
        let (files, unreadable) = files_below(root).unwrap();
        assert_eq!((files, unreadable.len()), (vec![root.join("inner/a")], 0));
        assert!(files_below(&root.join("absent")).is_err());
    }
}
