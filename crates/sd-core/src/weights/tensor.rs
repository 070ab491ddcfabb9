//! The tensors of a file, as its header describes them.

use std::{collections::HashMap, ops::Range};

use super::BlockType;

/// The element type of a stored tensor.
pub use safetensors::tensor::Dtype as StoredDtype;

/// A tensor of a file, as its header describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Element type as stored; `F32` for values packed in blocks.
    pub dtype: StoredDtype,
    /// Shape as stored, row-major.
    pub shape: Vec<usize>,
    /// The kind of the blocks that values are packed in (GGUF), if they are.
    pub blocks: Option<BlockType>,
    /// The place of its bytes in the file, from its first element to its last.
    pub(super) bytes: Range<usize>,
    /// Steps between elements along each axis, where these don't lie row by row.
    pub(super) strides: Option<Vec<usize>>,
    /// A factor of its values: 1, but for scaled 8-bit weights.
    pub(super) scale: f32,
}

impl TensorInfo {
    /// Whether its type is one that weights can be read from: a floating-point type of 8 to 64 bits, or packed blocks.
    pub fn is_readable(&self) -> bool {
        use StoredDtype as T;
        matches!(
            self.dtype,
            T::F64 | T::F32 | T::F16 | T::BF16 | T::F8_E4M3 | T::F8_E5M2
        )
    }

    /// The stored type's usual name: "F16", "F8_E4M3", "Q4_K".
    pub fn type_name(&self) -> String {
        match self.blocks {
            Some(blocks) => format!("{blocks:?}"),
            None => format!("{:?}", self.dtype),
        }
    }
}

/// The header of a file, with ranges counted from the file's first byte.
#[derive(Default)]
pub(super) struct Header {
    pub tensors: HashMap<String, TensorInfo>,
    pub metadata: HashMap<String, String>,
}
