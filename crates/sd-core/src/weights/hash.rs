//! A file's hash, as people name models by it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::Write,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use super::{PartWeights, TensorFile};
use crate::{Error, Result, input};

/// The identity of a file: the same as long as nobody writes to it or puts another in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileId {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, where the system has them.
    inode: Option<(u64, u64)>,
}

impl FileId {
    /// The identity of the file that is at a path now.
    ///
    /// # Errors
    /// [`Error::Io`] if there is none, [`Error::Malformed`] if it is no regular file.
    pub fn of(path: &Path) -> Result<Self> {
        let meta = input::metadata(path, "a file to be hashed")?;
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt;
            Some((meta.dev(), meta.ino()))
        };
        #[cfg(not(unix))]
        let inode = None;
        Ok(Self {
            path: path.to_owned(),
            length: meta.len(),
            modified: meta.modified().ok(),
            inode,
        })
    }
}

/// The SHA-256 of these bytes, one after another, each with its length: 64 hexadecimal digits.
pub fn digest<'a>(parts: impl IntoIterator<Item = Cow<'a, [u8]>>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(&part);
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The SHA-256 of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelHash {
    /// 64 hexadecimal digits, in lower case.
    pub sha256: String,
}

impl ModelHash {
    /// The first ten digits: the WebUI's "model hash".
    pub fn short(&self) -> &str {
        &self.sha256[..10]
    }
}

/// Hashes that were computed in this process, which is all that they depend on; the most that are kept.
static KNOWN: LazyLock<Mutex<HashMap<FileId, ModelHash>>> = LazyLock::new(Mutex::default);
const MOST_KNOWN: usize = 1000;

/// Reads a whole file and hashes it: seconds for a checkpoint. The result is kept for as long as the process runs and the file stays the
/// same (path, length, time of change, inode), so asking again costs nothing.
///
/// # Errors
/// [`Error::Io`] if it can't be read, [`Error::Malformed`] if it is no regular file.
pub fn model_hash(path: &Path) -> Result<ModelHash> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let id = FileId::of(path)?;
    if let Some(hash) = known().get(&id) {
        return Ok(hash.clone());
    }
    let io = |e| Error::io(path, e);
    let (mut file, _) = input::open(path, "a file to be hashed")?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut block).map_err(io)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    let hash = ModelHash {
        sha256: hexadecimal(hasher),
    };
    // Of a file that was written to meanwhile, nothing is known.
    if FileId::of(path)? == id {
        let mut known = known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(id, hash.clone());
    }
    Ok(hash)
}

/// The eight digits that infotexts named a checkpoint by up to the end of 2022: the SHA-256 of its second mebibyte's first 64 KiB. Files that were
/// made of one another may share them.
///
/// # Errors
/// As [`model_hash`].
pub fn old_model_hash(path: &Path) -> Result<String> {
    let io = |e| Error::io(path, e);
    let (mut file, _) = input::open(path, "a file to be hashed")?;
    file.seek(SeekFrom::Start(1 << 20)).map_err(io)?;
    let mut block = Vec::new();
    file.take(1 << 16).read_to_end(&mut block).map_err(io)?;
    let mut digits = hexadecimal(Sha256::new().chain_update(block));
    digits.truncate(8);
    Ok(digits)
}

/// The digits that infotexts name an adapter by: the first twelve of its own `sshs_model_hash`, else of a SHA-256, which for
/// safetensors leaves the header out, since that may be edited (WebUI 1.6 and later).
pub fn adapter_hash(file: &TensorFile) -> String {
    let own = file.metadata().get("sshs_model_hash");
    let own = own.filter(|own| own.len() >= 12 && own.bytes().all(|b| b.is_ascii_hexdigit()));
    let mut hash = match own {
        Some(own) => own.clone(),
        None => hexadecimal(Sha256::new_with_prefix(file.hashed_bytes())),
    };
    hash.truncate(12);
    hash
}

/// The SHA-256 of bytes alone, as other programs compute it: 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

impl PartWeights {
    /// 16 hexadecimal digits that tell weights apart: by the names, shapes and types of tensors, and by bytes at the beginning and in the middle of
    /// each. It takes milliseconds, where hashing a whole file takes seconds; patches are not part of it.
    pub fn fingerprint(&self) -> String {
        const BYTES: usize = 64;
        let mut hasher = Sha256::new();
        for file in &self.files {
            let mut names: Vec<&str> = file.names().collect();
            names.sort_unstable();
            for name in names.into_iter().filter(|name| self.names.claims(name)) {
                let Some(info) = file.info(name) else { continue };
                let about = format!("{name} {} {:?}\n", info.type_name(), info.shape);
                hasher.update(about);
                let bytes = file.stored_bytes(info);
                for from in [0, bytes.len() / 2] {
                    hasher.update(&bytes[from..(from + BYTES).min(bytes.len())]);
                }
            }
            file.let_go();
        }
        let mut digits = hexadecimal(hasher);
        digits.truncate(16);
        digits
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    let mut digits = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}
