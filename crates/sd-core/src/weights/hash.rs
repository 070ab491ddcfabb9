//! A file's hash, as people name models by it.

use std::{fmt::Write, io::Read, path::Path};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

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

/// Reads a whole file and hashes it: seconds for a checkpoint, so keep the result where it is asked for often.
///
/// # Errors
/// [`Error::Io`] if it can't be read, [`Error::Malformed`] if it is no regular file.
pub fn model_hash(path: &Path) -> Result<ModelHash> {
    let io = |e| Error::io(path, e);
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::malformed(
            path.display().to_string(),
            "is not a regular file",
        ));
    }
    let mut file = std::fs::File::open(path).map_err(io)?;
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut block).map_err(io)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    let mut sha256 = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(ModelHash { sha256 })
}
