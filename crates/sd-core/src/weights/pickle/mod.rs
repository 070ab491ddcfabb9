//! Files of `torch.save` (`.ckpt`, `.pt`, `.pth`, `.bin`): a pickle that describes tensors, and storages with their bytes.
//!
//! Two containers exist: a zip archive (PyTorch 1.6 and later, TorchScript), and a row of pickles followed by the storages (before that). Nothing of
//! a pickle is ever run: see [`machine`]. Existing crates either call unknown names harmless or read tensors through files of their own;
//! here they stay in the memory map, and every name that is not on the list is an error.

mod calls;
mod heap;
mod machine;
mod objects;
mod zip;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use self::{
    heap::Heap,
    machine::read as unpickle,
    objects::{Object, Ref, Storage, Tensor},
    zip::Archive,
};
use super::tensor::{Header, StoredDtype, TensorInfo};
use crate::error::shown;

/// A pickle holds names and shapes: a real one has a few megabytes at most.
const MAX_PICKLE: usize = 64 << 20;
/// Dictionaries in dictionaries.
const MAX_DEPTH: usize = 8;
/// Visits to members of dictionaries, which may be reached on more ways than there are members.
const MAX_MEMBERS: usize = 1 << 19;
/// Longer texts are no metadata.
const MAX_TEXT: usize = 4096;

/// The places of the storages, by key.
type Storages<'a> = HashMap<&'a str, Range<usize>>;

/// Reads and checks a file's descriptions of its tensors. Names are the dictionary's keys, those of inner dictionaries joined by dots; a
/// member `state_dict` stands for the whole. A script's modules are dictionaries of their members. Numbers and texts beside the tensors are the metadata.
///
/// # Errors
/// A sentence with the fault, the tensor, and a remedy.
pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
    let found = match bytes {
        [b'P', ..] => archive(bytes),
        _ => row(bytes),
    };
    found.map_err(|reason| format!("not a usable PyTorch file: {reason}"))
}

fn archive(bytes: &[u8]) -> Result<Header, String> {
    let archive = Archive::read(bytes)?;
    let mut pickles = archive.names().filter(|name| {
        let folder = name.strip_suffix("data.pkl");
        folder.is_some_and(|f| f.is_empty() || f.find('/') == Some(f.len() - 1))
    });
    let pickle = pickles
        .next()
        .ok_or("a zip archive without data.pkl; if weights are packed in it, unpack them")?;
    if pickles.next().is_some() {
        return Err("more than one data.pkl in the archive".into());
    }
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
    let little = archive.bytes(&format!("{folder}byteorder"))?;
    if little.is_some_and(|order| order != b"little") {
        return Err("its numbers are not little-endian; save it again on a usual computer".into());
    }
    let text = archive.bytes(pickle)?.unwrap_or_default();
    if text.len() > MAX_PICKLE {
        return Err(format!("its data.pkl of {} bytes is over the limit", text.len()));
    }
    let mut heap = Heap::default();
    let root = unpickle(&mut heap, text, &mut 0)?;
    let place = |storage: &Storage| archive.find(&format!("{folder}data/{}", storage.key));
    tensors(&heap, root, &place)
}

/// PyTorch's number for its files, as a pickle holds it: 0x1950a86a20f9469cfc6c.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Magic number, version, facts of the writer's computer, the object, the keys of its storages, then each storage's count and bytes.
fn row(bytes: &[u8]) -> Result<Header, String> {
    let mut heap = Heap::default();
    let (text, mut at) = (&bytes[..bytes.len().min(MAX_PICKLE)], 0);
    let first = unpickle(&mut heap, text, &mut at)?;
    if !matches!(heap.get(first), Object::Bytes(magic) if **magic == MAGIC) {
        return Err("a pickle, but not one of PyTorch's".into());
    }
    let version = unpickle(&mut heap, text, &mut at)?;
    if !matches!(heap.get(version), Object::Int(1001)) {
        return Err("a version of PyTorch's old files that is unknown".into());
    }
    let system = unpickle(&mut heap, text, &mut at)?;
    let little = heap.member(system, "little_endian").map(|at| heap.get(at));
    if !matches!(little, Some(Object::Bool(true))) {
        return Err("its numbers are not little-endian; save it again on a usual computer".into());
    }
    let root = unpickle(&mut heap, text, &mut at)?;
    let keys = unpickle(&mut heap, text, &mut at)?;
    let Object::List(keys) = heap.get(keys) else {
        return Err("the list of its storages is missing".into());
    };
    let widths = widths(&heap)?;
    let mut places = Storages::new();
    for &key in keys {
        let key = heap.text(key).ok_or("a storage's key is not text")?;
        let width = widths
            .get(key)
            .ok_or_else(|| storage_fault(key, "belongs to no tensor"))?;
        let cut = || storage_fault(key, "is cut off; download or save the file again");
        let count = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(cut)?;
        let size = usize::try_from(i64::from_le_bytes(*count)).ok();
        let size = size.and_then(|n| n.checked_mul(*width)).ok_or_else(cut)?;
        let end = (at + 8).checked_add(size).filter(|&end| end <= bytes.len());
        let end = end.ok_or_else(cut)?;
        if places.insert(key, at + 8..end).is_some() {
            return Err(storage_fault(key, "is there twice"));
        }
        at = end;
    }
    tensors(&heap, root, &|storage: &Storage| {
        Ok(places.get(storage.key).cloned())
    })
}

fn storage_fault(key: &str, reason: &str) -> String {
    format!("storage '{}' {reason}", shown(key))
}

/// The bytes that the elements of each storage take.
fn widths<'a>(heap: &Heap<'a>) -> Result<HashMap<&'a str, usize>, String> {
    let mut widths = HashMap::new();
    for storage in heap.storages() {
        let width = storage.dtype.map_or(1, |dtype| dtype.bitsize() / 8);
        if *widths.entry(storage.key).or_insert(width) != width {
            return Err(storage_fault(storage.key, "has two types"));
        }
    }
    Ok(widths)
}

/// Finds where a storage's bytes lie.
type Place<'p> = dyn Fn(&Storage) -> Result<Option<Range<usize>>, String> + 'p;

/// The tensors below the root, each checked against its storage.
fn tensors(heap: &Heap, root: Ref, place: &Place) -> Result<Header, String> {
    let inner = heap
        .member(root, "state_dict")
        .filter(|&at| matches!(heap.get(at), Object::Dict(_)));
    let mut walk = Walk {
        heap,
        place,
        header: Header::default(),
        visits: 0,
        visiting: HashSet::new(),
    };
    match heap.get(root) {
        Object::Dict(_) => walk.metadata(root),
        Object::Script(_) => {}
        Object::Tensor(_) => return Err("a tensor without a name; a dictionary of tensors is wanted".into()),
        _ => return Err("no dictionary of tensors".into()),
    }
    walk.dictionary(inner.unwrap_or(root), "", 0)?;
    Ok(walk.header)
}

struct Walk<'w, 'a> {
    heap: &'w Heap<'a>,
    place: &'w Place<'w>,
    header: Header,
    visits: usize,
    /// Dictionaries that are being visited, against cycles.
    visiting: HashSet<Ref>,
}

impl Walk<'_, '_> {
    fn metadata(&mut self, root: Ref) {
        let Object::Dict(items) = self.heap.get(root) else {
            return;
        };
        for (key, value) in items {
            let value = match self.heap.get(*value) {
                Object::Text(text) if text.len() <= MAX_TEXT => (*text).to_owned(),
                Object::Int(n) => n.to_string(),
                Object::Float(x) => x.to_string(),
                Object::Bool(b) => b.to_string(),
                _ => continue,
            };
            if let Some(key) = self.heap.text(*key).filter(|key| key.len() <= MAX_TEXT) {
                self.header.metadata.insert(key.to_owned(), value);
            }
        }
    }

    fn dictionary(&mut self, at: Ref, prefix: &str, depth: usize) -> Result<(), String> {
        let items = match self.heap.get(at) {
            Object::Dict(items) => items,
            // The parameters of a ParameterDict stand in one of its attributes.
            Object::Module(Some(attributes)) => match self.heap.member(*attributes, "_parameters") {
                Some(inner) if depth < MAX_DEPTH => return self.dictionary(inner, prefix, depth + 1),
                _ => return Ok(()),
            },
            Object::Script(Some(members)) => match self.heap.get(*members) {
                Object::Dict(items) => items,
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        if depth == MAX_DEPTH || !self.visiting.insert(at) {
            return Err("dictionaries are nested too deeply, or in themselves".into());
        }
        // A key that is set twice has its last value.
        let mut last: BTreeMap<&str, Ref> = BTreeMap::new();
        for (key, value) in items {
            self.visits += 1;
            if self.visits > MAX_MEMBERS {
                return Err("too many dictionaries in dictionaries".into());
            }
            if let Some(key) = self.heap.text(*key) {
                last.insert(key, *value);
            }
        }
        for (key, value) in last {
            match self.heap.get(value) {
                Object::Tensor(tensor) => {
                    let name = format!("{prefix}{key}");
                    let fault = |reason| format!("tensor '{}': {reason}", shown(&name));
                    let info = view(tensor, self.place).map_err(fault)?;
                    if self.header.tensors.contains_key(&name) {
                        return Err(fault("is there twice".into()));
                    }
                    self.header.tensors.insert(name, info);
                }
                Object::Dict(_) | Object::Module(_) | Object::Script(_) => {
                    let name = format!("{prefix}{key}.");
                    if name.len() > MAX_TEXT {
                        return Err("names of dictionaries in dictionaries are too long".into());
                    }
                    self.dictionary(value, &name, depth + 1)?;
                }
                _ => {}
            }
        }
        self.visiting.remove(&at);
        Ok(())
    }
}

/// Checks a tensor against its storage and the file.
fn view(tensor: &Tensor, place: &Place) -> Result<TensorInfo, String> {
    let (dtype, storage) = (tensor.dtype, &tensor.storage);
    let width = dtype.bitsize() / 8;
    let sizes =
        |sizes: &[i64]| -> Option<Vec<usize>> { sizes.iter().map(|&n| usize::try_from(n).ok()).collect() };
    let (Some(shape), Some(strides), Ok(offset)) = (
        sizes(&tensor.shape),
        sizes(&tensor.strides),
        usize::try_from(tensor.offset),
    ) else {
        return Err("its shape, strides or offset is negative".into());
    };
    if shape.len() != strides.len() {
        return Err(format!(
            "its shape {shape:?} and strides {strides:?} differ in length"
        ));
    }
    let large = || format!("shape {shape:?} with strides {strides:?} is too large");
    let count = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n));
    let count = count
        .filter(|n| n.checked_mul(width).is_some())
        .ok_or_else(large)?;
    let info = |bytes, strides| TensorInfo {
        dtype,
        shape: shape.clone(),
        blocks: None,
        bytes,
        strides,
        scale: 1.0,
    };
    if count == 0 {
        return Ok(info(0..0, None));
    }
    let Some(range) = place(storage)? else {
        return Err(format!(
            "its storage '{}' is missing from the file",
            shown(storage.key)
        ));
    };
    // The storage's own view of the bytes comes first, then the tensor's of the storage.
    let unit = storage.dtype.map_or(1, |dtype| dtype.bitsize() / 8);
    let within = storage
        .start
        .checked_add(storage.count)
        .and_then(|end| end.checked_mul(unit))
        .filter(|&end| end <= range.len());
    if within.is_none() {
        return Err(format!(
            "its storage should have {} elements, but the file has {} bytes of it: cut off; download or save it again",
            storage.count,
            range.len()
        ));
    }
    let elements = storage.count * unit / width;
    let last = shape
        .iter()
        .zip(&strides)
        .try_fold(offset, |last, (&n, &stride)| {
            (n - 1)
                .checked_mul(stride)
                .and_then(|step| last.checked_add(step))
        });
    let last = last.filter(|&last| last < elements).ok_or_else(|| {
        format!("shape {shape:?} with strides {strides:?} from {offset} on reaches beyond its storage of {elements} elements")
    })?;
    if count > elements {
        return Err(format!(
            "it repeats its storage's {elements} elements to {count}; save it with `.contiguous()`"
        ));
    }
    let start = range.start + storage.start * unit;
    let bytes = start + offset * width..start + (last + 1) * width;
    let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
    Ok(info(bytes, strides))
}

/// Whether elements lie row by row without gaps.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}

/// The elements of a view, row by row.
pub(super) fn gather(bytes: &[u8], dtype: StoredDtype, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let width = dtype.bitsize() / 8;
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(count * width);
    let (mut index, mut at) = (vec![0; shape.len()], 0);
    for _ in 0..count {
        out.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}
