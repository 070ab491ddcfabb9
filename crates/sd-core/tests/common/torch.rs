//! Files as PyTorch and ggml write them, right or wrong, byte by byte.

use sd_core::weights::StoredDtype;

use super::Tensors;

/// A zip archive of entries stored as they are.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let start = file.len() as u32;
        let mut common = vec![0; 26];
        common[14..18].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        common[18..22].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        common[22..24].copy_from_slice(&(name.len() as u16).to_le_bytes());
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*bytes);
        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(entries.len() as u16).to_le_bytes(); 2].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A pickle's text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A whole number.
pub fn int(n: i64) -> Vec<u8> {
    [&[0x8a, 8], &n.to_le_bytes()[..]].concat()
}

/// A tuple.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

/// A name from Python.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// A call.
pub fn call(callable: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [callable, tuple(arguments), b"R".to_vec()].concat()
}

/// A dictionary.
pub fn dict(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members = members
        .iter()
        .map(|(key, value)| [text(key), value.clone()].concat());
    [
        b"}(".to_vec(),
        members.collect::<Vec<_>>().concat(),
        b"u".to_vec(),
    ]
    .concat()
}

/// A whole pickle.
pub fn pickle(root: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02".to_vec(), root, b".".to_vec()].concat()
}

/// A storage of so many elements.
pub fn storage(class: &str, key: &str, count: i64) -> Vec<u8> {
    let class = global("torch", class);
    let id = tuple(&[text("storage"), class, text(key), text("cpu"), int(count)]);
    [id, b"Q".to_vec()].concat()
}

/// A view of a storage.
pub fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let sizes = |sizes: &[i64]| tuple(&sizes.iter().map(|&n| int(n)).collect::<Vec<_>>());
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [
        storage,
        int(offset),
        sizes(shape),
        sizes(strides),
        b"\x89".to_vec(),
        hooks,
    ];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A checkpoint as `torch.save` writes it, with a member `state_dict` and something beside it.
pub fn checkpoint(tensors: &Tensors) -> Vec<u8> {
    let mut members = Vec::new();
    let mut entries = Vec::new();
    for (i, (name, (dtype, shape, bytes))) in tensors.iter().enumerate() {
        let class = match dtype {
            StoredDtype::F32 => "FloatStorage",
            StoredDtype::F16 => "HalfStorage",
            StoredDtype::BF16 => "BFloat16Storage",
            StoredDtype::I64 => "LongStorage",
            StoredDtype::I32 => "IntStorage",
            other => panic!("{other:?}"),
        };
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let strides: Vec<i64> = (0..shape.len())
            .map(|i| shape[i + 1..].iter().product())
            .collect();
        let storage = storage(class, &i.to_string(), shape.iter().product());
        members.push((name.as_str(), tensor(storage, 0, &shape, &strides)));
        entries.push((format!("x/data/{i}"), bytes.as_slice()));
    }
    let root = dict(&[("global_step", int(7)), ("state_dict", dict(&members))]);
    let pickle = pickle(root);
    let mut all: Vec<(&str, &[u8])> = vec![("x/data.pkl", &pickle), ("x/byteorder", b"little")];
    all.extend(entries.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
    zip(&all)
}

/// The parts of a GGUF file.
pub struct Gguf {
    pub version: u32,
    /// Key, type, value.
    pub metadata: Vec<(String, u32, Vec<u8>)>,
    /// Name, sizes from the innermost on, type, offset.
    pub tensors: Vec<(String, Vec<u64>, u32, u64)>,
    pub data: Vec<u8>,
}

impl Gguf {
    /// The whole file.
    pub fn file(&self) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut file = [b"GGUF", &self.version.to_le_bytes()[..]].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.metadata {
            file.extend([text(key), kind.to_le_bytes().to_vec(), value.clone()].concat());
        }
        for (name, sizes, kind, offset) in &self.tensors {
            file.extend(text(name));
            file.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|n| file.extend(n.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(&self.data);
        file
    }

    /// Tensors under their names, as they are.
    pub fn of(tensors: &Tensors) -> Self {
        let mut gguf = Self {
            version: 3,
            metadata: vec![],
            tensors: vec![],
            data: vec![],
        };
        for (name, (dtype, shape, bytes)) in tensors {
            let kind = match dtype {
                StoredDtype::F32 => 0,
                StoredDtype::F16 => 1,
                StoredDtype::BF16 => 30,
                StoredDtype::I64 => 27,
                StoredDtype::I32 => 26,
                other => panic!("{other:?}"),
            };
            let sizes = shape.iter().rev().map(|&n| n as u64).collect();
            gguf.tensors
                .push((name.clone(), sizes, kind, gguf.data.len() as u64));
            gguf.data.extend(bytes);
            gguf.data.resize(gguf.data.len().next_multiple_of(32), 0);
        }
        gguf
    }
}
