//! One file of tensors, mapped or in memory.

use std::{collections::HashMap, ops::Range, path::Path, sync::Arc};

use safetensors::tensor::SafeTensors;

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
    bytes: Range<usize>,
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
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, e))?;
        let origin = path.display().to_string();
        if !meta.is_file() {
            return Err(Error::malformed(origin, "is not a file"));
        }
        if meta.len() == 0 {
            return Err(Error::malformed(origin, "the file is empty"));
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
        check_header_length(&bytes).map_err(|reason| Error::malformed(&origin, reason))?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| {
            Error::malformed(
                &origin,
                format!("not a valid safetensors file ({e}); download or save it again"),
            )
        })?;
        // The header's length is followed by the header, then by the data that the offsets count from.
        let data = header + 8;
        let index = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let bytes = info.data_offsets.0 + data..info.data_offsets.1 + data;
                (
                    name,
                    TensorInfo {
                        dtype: info.dtype,
                        shape: info.shape.clone(),
                        bytes,
                    },
                )
            })
            .collect();
        let metadata = metadata.metadata().clone().unwrap_or_default();
        Ok(Self {
            origin,
            bytes,
            index,
            metadata,
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
}

/// Says what is wrong with the first eight bytes in words, where the parser could only say "invalid header".
fn check_header_length(bytes: &[u8]) -> std::result::Result<(), String> {
    let Some(first) = bytes.first_chunk::<8>() else {
        return Err(format!(
            "only {} bytes long: not a safetensors file, or cut off",
            bytes.len()
        ));
    };
    let length = u64::from_le_bytes(*first);
    if length > bytes.len() as u64 - 8 {
        if first.starts_with(b"PK\x03\x04") || (first[0] == 0x80 && first[1] <= 5) {
            return Err("a PyTorch pickle, not safetensors; convert it to .safetensors first".into());
        }
        if first.starts_with(b"GGUF") {
            return Err("a GGUF file, not safetensors; convert it to .safetensors first".into());
        }
        if first.starts_with(b"version ") {
            return Err("a Git LFS pointer, not the file itself; fetch it with `git lfs pull`".into());
        }
        if first.starts_with(b"<") {
            return Err("looks like a web page, not safetensors; the download probably failed".into());
        }
        return Err(format!(
            "its header says it is {length} bytes long, but the file has {} bytes: cut off, or not a safetensors file",
            bytes.len()
        ));
    }
    Ok(())
}
