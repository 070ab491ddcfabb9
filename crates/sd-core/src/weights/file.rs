//! One file of tensors, mapped or in memory.

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use super::{cast, header};
use crate::{Error, Result};

/// The element type of a stored tensor.
pub use safetensors::tensor::Dtype as StoredDtype;

/// What a file says of one of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type as stored.
    pub dtype: StoredDtype,
    /// Shape as stored, row-major.
    pub shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub(super) bytes: Range<usize>,
}

impl TensorInfo {
    /// Whether its type is one that weights can be read from: F32, F16 or BF16.
    pub fn is_readable(&self) -> bool {
        cast::readable(self.dtype)
    }
}

/// The bytes behind a file: mapped from disk, or the caller's.
enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Arc<[u8]>),
    Static(&'static [u8]),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

/// A safetensors file whose header has been checked and whose tensors are read one at a time.
///
/// The header is validated in full when the file is opened: every tensor lies inside the file, none overlap, and shapes agree
/// with byte counts, so reading a tensor later cannot fail. Nothing proportional to a shape is allocated before that.
pub struct TensorFile {
    origin: String,
    bytes: Bytes,
    index: HashMap<String, TensorInfo>,
    metadata: HashMap<String, String>,
}

impl std::fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorFile({}, {} tensors)", self.origin, self.index.len())
    }
}

impl TensorFile {
    /// Maps a file. Another process that truncates it while it is in use can crash this one, as with any memory map;
    /// replace files by renaming instead.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be opened, [`Error::Malformed`] if it is not a whole and valid safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        // Asked before opening: opening a pipe would wait for its other end.
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        let origin = path.display().to_string();
        if meta.is_dir() {
            return Err(Error::malformed(
                origin,
                "is a folder; a safetensors file is wanted here",
            ));
        }
        if !meta.is_file() {
            return Err(Error::malformed(origin, "is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        if file.metadata().map_err(|e| Error::io(path, e))?.len() == 0 {
            // Some systems refuse to map nothing.
            return Self::parse(origin, Bytes::Static(&[]));
        }
        // SAFETY: the map is read-only and private to this struct; the caveat about truncation is documented above.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Self::parse(origin, Bytes::Mapped(map))
    }

    /// Reads from bytes in memory; `origin` names them in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not a whole and valid safetensors file.
    pub fn from_bytes(origin: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::parse(origin.into(), Bytes::Owned(bytes.into()))
    }

    /// Like [`TensorFile::from_bytes`] for data compiled into the program, which is not copied.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not a whole and valid safetensors file.
    pub fn from_static(origin: impl Into<String>, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(origin.into(), Bytes::Static(bytes))
    }

    fn parse(origin: String, bytes: Bytes) -> Result<Self> {
        let header = header::read(&bytes).map_err(|reason| Error::malformed(&origin, reason))?;
        Ok(Self {
            origin,
            bytes,
            index: header.tensors,
            metadata: header.metadata,
        })
    }

    /// The path, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The names of all tensors, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Type and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name)
    }

    /// The free-form strings of the header (`__metadata__`).
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// The stored bytes of a tensor, little-endian, row-major.
    pub fn tensor_bytes(&self, name: &str) -> Option<&[u8]> {
        self.index.get(name).map(|info| &self.bytes[info.bytes.clone()])
    }

    /// A tensor's values; `None` if it is not there or not [readable](TensorInfo::is_readable).
    pub fn values_f32(&self, name: &str) -> Option<Vec<f32>> {
        let info = self.index.get(name).filter(|info| info.is_readable())?;
        Some(cast::cast(self.tensor_bytes(name)?, info.dtype))
    }
}
