//! An adapter's file, opened but not yet fitted to a model.

use std::{collections::HashMap, path::Path, sync::Arc};

use sd_core::weights::TensorFile;

use crate::{Adapter, ModelNames, Result, Strengths};

/// An adapter's file: its header has been read and its values have not, so it is cheap to keep, and may be bound to any number of
/// models, or to one again with other strengths.
#[derive(Debug, Clone)]
pub struct AdapterFile {
    pub(crate) tensors: Arc<TensorFile>,
}

impl AdapterFile {
    /// Maps a file of any container that weights come in: safetensors, PyTorch's or GGUF.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) if it can't be read, [`Error::Unsupported`](crate::Error::Unsupported) if it holds no
    /// adapter.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_tensors(TensorFile::open(path)?)
    }

    /// The same from an opened file.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if it holds no adapter.
    pub fn from_tensors(tensors: TensorFile) -> Result<Self> {
        Ok(Self {
            tensors: Arc::new(tensors),
        })
    }

    /// The path, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        self.tensors.origin()
    }

    /// What its trainer noted in the header.
    pub fn metadata(&self) -> &HashMap<String, String> {
        self.tensors.metadata()
    }

    /// Finds the place of every module in a model, and says how strongly each acts.
    ///
    /// # Errors
    /// [`Error::Unmatched`](crate::Error::Unmatched) if modules have no place in the model,
    /// [`Error::Module`](crate::Error::Module) if a module's own tensors don't fit together.
    pub fn bind(&self, model: &ModelNames, strengths: &Strengths) -> Result<Adapter> {
        Adapter::new(self, model, strengths)
    }
}
