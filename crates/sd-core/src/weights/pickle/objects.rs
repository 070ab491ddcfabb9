//! The objects that a pickle may hold: plain values, containers, tensors, and the few names from Python that stand for these.

use super::super::StoredDtype;
use crate::error::shown;

/// The number of one of the pickle's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ref(pub u32);

/// An object. Containers name their items by number, so cycles and sharing cost nothing and dropping never recurses.
#[derive(Debug)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// Bytes, and whole numbers of more than 64 bits.
    Bytes(&'a [u8]),
    /// A list or a set.
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    Global(Global),
    Storage(Box<Storage<'a>>),
    Tensor(Box<Tensor<'a>>),
    /// A `ParameterDict`, with its attributes.
    Module(Option<Ref>),
    /// A module of TorchScript, with its members: tensors, and modules inside it.
    Script(Option<Ref>),
    /// Something that tensors don't need, such as a callback's class or a number of NumPy's.
    Opaque,
}

/// A stretch of elements of one type, elsewhere in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub key: &'a str,
    /// `None`: bytes, whose type the tensor says.
    pub dtype: Option<StoredDtype>,
    /// Elements, or bytes if it has no type.
    pub count: usize,
    /// A view's first element in the storage of this key.
    pub start: usize,
}

/// A view of a storage; nothing of it has been checked.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'a> {
    pub storage: Storage<'a>,
    pub dtype: StoredDtype,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

/// The names from Python that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `torch.Size`.
    Size,
    /// `_rebuild_tensor`, `_v2` and `_v3`, by the number of arguments that they need.
    Rebuild(usize),
    RebuildParameter,
    ParameterDict,
    /// A class of TorchScript, whose code lies elsewhere in the archive and is never looked at.
    Script,
    /// A class of storages; `None`: without a type.
    Storage(Option<StoredDtype>),
    Dtype(StoredDtype),
    /// A class or function whose results are never looked at.
    Opaque,
}

impl Global {
    /// Finds a name.
    ///
    /// # Errors
    /// The error for any other.
    pub fn find(module: &str, name: &str) -> Result<Self, String> {
        use StoredDtype as T;
        let storage = |dtype| Ok(Self::Storage(Some(dtype)));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch", "Size") => Ok(Self::Size),
            ("torch._utils", "_rebuild_tensor") => Ok(Self::Rebuild(4)),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::Rebuild(6)),
            ("torch._utils", "_rebuild_tensor_v3") => Ok(Self::Rebuild(7)),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Ok(Self::RebuildParameter)
            }
            ("torch.nn.modules.container", "ParameterDict") => Ok(Self::ParameterDict),
            ("torch", "FloatStorage") => storage(T::F32),
            ("torch", "HalfStorage") => storage(T::F16),
            ("torch", "BFloat16Storage") => storage(T::BF16),
            ("torch", "DoubleStorage") => storage(T::F64),
            ("torch", "LongStorage") => storage(T::I64),
            ("torch", "IntStorage") => storage(T::I32),
            ("torch", "ShortStorage") => storage(T::I16),
            ("torch", "CharStorage") => storage(T::I8),
            ("torch", "ByteStorage") => storage(T::U8),
            ("torch", "BoolStorage") => storage(T::BOOL),
            ("torch.storage" | "torch", "UntypedStorage") => Ok(Self::Storage(None)),
            ("torch", name) if dtype(name).is_some() => Ok(dtype(name).map_or(Self::Opaque, Self::Dtype)),
            (module, _) if module == "__torch__" || module.starts_with("__torch__.") => Ok(Self::Script),
            (module, name) if opaque(module, name) => Ok(Self::Opaque),
            _ => Err(format!(
                "its pickle asks for '{}.{}', which no file of tensors needs; nothing was run. The file may be malicious, or hold \
                 a whole Python object: get it as .safetensors",
                shown(module),
                shown(name)
            )),
        }
    }
}

fn dtype(name: &str) -> Option<StoredDtype> {
    use StoredDtype as T;
    Some(match name {
        "float32" => T::F32,
        "float16" => T::F16,
        "bfloat16" => T::BF16,
        "float64" => T::F64,
        "int64" => T::I64,
        "int32" => T::I32,
        "int16" => T::I16,
        "int8" => T::I8,
        "uint8" => T::U8,
        "uint16" => T::U16,
        "uint32" => T::U32,
        "uint64" => T::U64,
        "bool" => T::BOOL,
        "float8_e4m3fn" => T::F8_E4M3,
        "float8_e5m2" => T::F8_E5M2,
        _ => return None,
    })
}

/// Names that checkpoints use beside tensors: the state of training, scores as numbers of NumPy's.
fn opaque(module: &str, name: &str) -> bool {
    let numpy = [
        "numpy",
        "numpy.core.multiarray",
        "numpy._core.multiarray",
        "numpy.dtypes",
    ];
    match module {
        "__builtin__" | "builtins" => matches!(name, "set" | "frozenset"),
        "_codecs" => name == "encode",
        "torch" => name == "device",
        // Lists among a script's members.
        "torch.jit._pickle" => true,
        _ if numpy.contains(&module) => {
            matches!(name, "dtype" | "ndarray" | "scalar" | "_reconstruct") || name.ends_with("DType")
        }
        "pytorch_lightning.callbacks" | "pytorch_lightning.callbacks.model_checkpoint" => {
            name == "ModelCheckpoint"
        }
        "pytorch_lightning.utilities.parsing" => name == "AttributeDict",
        _ => false,
    }
}
