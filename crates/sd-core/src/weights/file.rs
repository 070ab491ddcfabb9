//! One file of tensors, mapped or in memory.

use std::{borrow::Cow, collections::HashMap, ops::Range, path::Path, sync::Arc};

use rayon::prelude::*;

use super::{TensorInfo, cast, header, pickle};
use crate::{Error, Result, input};

/// The bytes behind a file: mapped from disk, or the caller's.
enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Arc<[u8]>),
    Static(&'static [u8]),
}

impl Bytes {
    /// Lets the system take back the memory of a part of the map that was read, which it would otherwise count as this process's until
    /// it runs short. Reading it again costs a look into the system's cache.
    #[cfg(unix)]
    fn forget(&self, range: Range<usize>) {
        /// Smaller ones aren't worth the call.
        const LEAST: usize = 1 << 20;
        if let (Self::Mapped(map), true) = (self, range.len() >= LEAST) {
            // SAFETY: the map is private and never written to, so bytes that are read again are the file's, as before.
            #[allow(unsafe_code)]
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }

    #[cfg(not(unix))]
    fn forget(&self, _: Range<usize>) {}
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

/// A file of tensors whose header has been checked and whose tensors are read one at a time: safetensors, what PyTorch saves (`.ckpt`,
/// `.pt`, `.pth`, `.bin`) or GGUF. Its first bytes say which of these it is, not its name.
///
/// The header is validated in full when the file is opened: every tensor lies inside the file, none overlap (those that PyTorch
/// saves may share memory), and shapes agree with byte counts, so reading a tensor later cannot fail. Nothing proportional to a shape is
/// allocated before that, and nothing that a pickle asks for is run.
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
    /// [`Error::Io`] if it can't be opened, [`Error::Malformed`] if it is not a whole and valid file of tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, _) = input::open(path, "a file of tensors")?;
        let origin = path.display().to_string();
        if file.metadata().map_err(|e| Error::io(path, e))?.len() == 0 {
            // Some systems refuse to map nothing.
            return Self::parse(origin, Bytes::Static(&[]));
        }
        // SAFETY: the map is read-only and private to this struct; the caveat about truncation is documented above.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Self::parse(origin, Bytes::Mapped(map))
    }

    /// The path that it was opened at; `None` for bytes in memory.
    pub fn path(&self) -> Option<&Path> {
        match self.bytes {
            Bytes::Mapped(_) => Some(Path::new(&self.origin)),
            _ => None,
        }
    }

    /// Reads from bytes in memory; `origin` names them in errors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not a whole and valid file of tensors.
    pub fn from_bytes(origin: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::parse(origin.into(), Bytes::Owned(bytes.into()))
    }

    /// Like [`TensorFile::from_bytes`] for data compiled into the program, which is not copied.
    ///
    /// # Errors
    /// [`Error::Malformed`] if they are not a whole and valid file of tensors.
    pub fn from_static(origin: impl Into<String>, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(origin.into(), Bytes::Static(bytes))
    }

    /// Tensors whose ranges lie in these bytes, and may overlap.
    pub(super) fn of_tensors(
        origin: &str,
        bytes: impl Into<Arc<[u8]>>,
        index: HashMap<String, TensorInfo>,
    ) -> Self {
        Self {
            origin: origin.to_owned(),
            bytes: Bytes::Owned(bytes.into()),
            index,
            metadata: HashMap::new(),
        }
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

    /// The stored bytes of a tensor, little-endian, row-major; packed in blocks where [`TensorInfo::blocks`] says so. Copied only where
    /// the file has its elements in another order.
    pub fn tensor_bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.index.get(name).map(|info| self.bytes_of(info))
    }

    /// All bytes, less the header where it is safetensors.
    pub(super) fn hashed_bytes(&self) -> &[u8] {
        header::without_header(&self.bytes)
    }

    /// A tensor's bytes in the order in which the file has them.
    pub(super) fn stored_bytes(&self, info: &TensorInfo) -> &[u8] {
        &self.bytes[info.bytes.clone()]
    }

    fn bytes_of(&self, info: &TensorInfo) -> Cow<'_, [u8]> {
        let bytes = self.stored_bytes(info);
        match &info.strides {
            None => Cow::Borrowed(bytes),
            Some(strides) => Cow::Owned(pickle::gather(bytes, info.dtype, &info.shape, strides)),
        }
    }

    /// A tensor's values, also of whole numbers; `None` if it is not there or its type is no number's.
    pub fn values_f32(&self, name: &str) -> Option<Vec<f32>> {
        self.values(name)
    }

    /// Lets go of pages that were read so far and are still counted as this process's memory: small tensors, and the surroundings of large
    /// ones.
    pub(super) fn let_go(&self) {
        self.bytes.forget(0..self.bytes.len());
    }

    /// A tensor's values in a compute type.
    pub(crate) fn values<E: cast::Element>(&self, name: &str) -> Option<Vec<E>> {
        let info = self.index.get(name)?;
        let values = cast::cast(&self.bytes_of(info), info);
        self.bytes.forget(info.bytes.clone());
        values
    }

    /// The stored bytes of `count` values from the value `first` on, into memory for as many; packed ones must begin and end with a block.
    pub(super) fn stored_into(&self, name: &str, [first, count]: [usize; 2], out: &mut [u8]) -> Option<()> {
        /// Bytes that a thread copies at a time: most of the time goes into pages that are new.
        const SHARE: usize = 1 << 20;
        let info = self.index.get(name)?;
        let bytes = self.bytes_of(info);
        let bytes = bytes.get(cast::bytes(info, first..first + count)?)?;
        if bytes.len() != out.len() {
            return None;
        }
        let shares = out.par_chunks_mut(SHARE).zip(bytes.par_chunks(SHARE));
        shares.for_each(|(out, bytes)| out.copy_from_slice(bytes));
        self.bytes.forget(info.bytes.clone());
        Some(())
    }

    /// The same into memory, as many as that holds, from the value `first` on; packed ones must begin and end with a block.
    pub(crate) fn values_into<E: cast::Element>(
        &self,
        name: &str,
        first: usize,
        out: &mut [E],
    ) -> Option<()> {
        let info = self.index.get(name)?;
        let bytes = self.bytes_of(info);
        let range = cast::bytes(info, first..first + out.len())?;
        let done = cast::cast_into(bytes.get(range)?, info, out);
        self.bytes.forget(info.bytes.clone());
        done
    }
}
