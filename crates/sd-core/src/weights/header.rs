//! The header of a file of tensors, read without trusting a word of it.
//!
//! The first bytes tell the container. The header of a safetensors file is read here: eight bytes of length, then JSON:
//! a type, a shape and a range of bytes for each tensor. The JSON is read as a stream, straight into what is kept, so that memory stays
//! within a few times the header's own length.

use std::{collections::HashMap, fmt};

use safetensors::tensor::Dtype;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

use super::{
    gguf, pickle, scaled,
    tensor::{Header, TensorInfo},
};
use crate::{FileKind, error::shown};

/// No real header comes near this many bytes: SDXL's has 300 thousand.
const MAX_BYTES: u64 = 100_000_000;
/// Nor has any real tensor more axes.
const MAX_AXES: usize = 32;

/// Reads and checks a whole file's header, whatever its container: every tensor lies inside the file, and shapes agree with byte counts.
///
/// # Errors
/// A sentence with the fault, the tensor, and a remedy.
pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
    let mut header = match container(bytes) {
        Container::Gguf => gguf::read(bytes),
        Container::Torch => pickle::read(bytes),
        Container::Safetensors => safetensors(bytes),
    }?;
    scaled::fold(&mut header, bytes)?;
    Ok(header)
}

enum Container {
    Gguf,
    Torch,
    Safetensors,
}

fn container(bytes: &[u8]) -> Container {
    match FileKind::of(bytes) {
        Some(FileKind::Gguf) => Container::Gguf,
        Some(FileKind::Zip | FileKind::Pickle) => Container::Torch,
        _ => Container::Safetensors,
    }
}

/// The bytes of a file whose header has been read, less that header where it is safetensors.
pub(super) fn without_header(bytes: &[u8]) -> &[u8] {
    match (container(bytes), bytes.split_first_chunk::<8>()) {
        (Container::Safetensors, Some((length, rest))) => &rest[u64::from_le_bytes(*length) as usize..],
        _ => bytes,
    }
}

/// A safetensors file's header: beside the rest, its tensors cover the file without gap or overlap.
fn safetensors(bytes: &[u8]) -> Result<Header, String> {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(match bytes.len() {
            0 => "the file is empty; download or save it again".into(),
            n => format!("only {n} bytes long: not a safetensors file, or cut off"),
        });
    };
    let length = u64::from_le_bytes(*first);
    if length > MAX_BYTES || !rest.starts_with(b"{") {
        return Err(foreign(bytes, length));
    }
    if length > rest.len() as u64 {
        return Err(format!(
            "its header says it is {length} bytes long, but the file has {} bytes: cut off; download or save it again",
            bytes.len()
        ));
    }
    let (json, data) = rest.split_at(length as usize);
    let again = |reason: String| format!("not a valid safetensors file: {reason}; download or save it again");
    let json = std::str::from_utf8(json).map_err(|e| again(format!("its header is not text: {e}")))?;
    let mut header: Header =
        serde_json::from_str(json).map_err(|e| again(format!("its header can't be used: {e}")))?;
    check_ranges(&header.tensors, data.len()).map_err(again)?;
    let start = bytes.len() - data.len();
    for info in header.tensors.values_mut() {
        info.bytes = info.bytes.start + start..info.bytes.end + start;
    }
    Ok(header)
}

/// The error for a file that begins like none of tensors.
fn foreign(bytes: &[u8], length: u64) -> String {
    const READ: &str = "safetensors, PyTorch's files and GGUF can be read";
    match FileKind::of(bytes) {
        Some(FileKind::Safetensors) => {
            format!("its header of {length} bytes is over the limit of {MAX_BYTES}")
        }
        Some(kind @ FileKind::Json) => kind.instead_of(
            "weights",
            "if it is a configuration, give the folder that it belongs to",
        ),
        Some(kind @ FileKind::Text) => {
            let line = String::from_utf8_lossy(&bytes[..bytes.len().min(FileKind::HEAD)]);
            let line = line
                .trim_start_matches('\u{feff}')
                .trim()
                .lines()
                .next()
                .unwrap_or_default();
            let advice = format!(
                "it begins '{}', and {READ}",
                shown(line.trim_end_matches('\u{fffd}'))
            );
            kind.instead_of("weights", &advice)
        }
        Some(kind) => kind.instead_of("weights", READ),
        None if bytes.iter().take(FileKind::HEAD).all(|byte| *byte == 0) => {
            "begins with zeros, as a download that was not finished; download it again".into()
        }
        None => format!("no weights of a known kind; {READ}"),
    }
}

/// Each tensor's bytes begin where another's end, and are as many as its type and shape ask for.
fn check_ranges(tensors: &HashMap<String, TensorInfo>, data: usize) -> Result<(), String> {
    let mut sorted: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|(name, info)| (info.bytes.start, info.bytes.end, *name));
    let mut covered = 0;
    for (name, info) in sorted {
        let (start, end) = (info.bytes.start, info.bytes.end);
        let fault = |reason: String| Err(format!("tensor '{}': {reason}", shown(name)));
        if end < start {
            return fault(format!("its bytes {start} to {end} end before they start"));
        }
        if start < covered {
            return fault(format!("its bytes {start} to {end} overlap another tensor's"));
        }
        if start > covered {
            return fault(format!("nothing covers the bytes {covered} to {start} before it"));
        }
        if end > data {
            return fault(format!(
                "its bytes {start} to {end} are beyond the file's {data} bytes of data"
            ));
        }
        let count = info
            .shape
            .iter()
            .try_fold(1usize, |product, &n| product.checked_mul(n));
        let Some(bits) = count.and_then(|count| count.checked_mul(info.dtype.bitsize())) else {
            return fault(format!("shape {:?} is too large", info.shape));
        };
        if bits % 8 != 0 || end - start != bits / 8 {
            return fault(format!(
                "{:?} of shape {:?} takes {} bytes, but {} are given",
                info.dtype,
                info.shape,
                bits.div_ceil(8),
                end - start
            ));
        }
        covered = end;
    }
    match covered == data {
        true => Ok(()),
        false => Err(format!(
            "its tensors take {covered} bytes, but {data} bytes of data follow the header"
        )),
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with a member for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                let metadata = map.next_value::<Option<HashMap<String, String>>>();
                let metadata = metadata.map_err(|e| de::Error::custom(format_args!("__metadata__: {e}")))?;
                header.metadata.extend(metadata.unwrap_or_default());
                continue;
            }
            let info = map.next_value_seed(Info);
            let info = info.map_err(|e| de::Error::custom(format_args!("tensor '{}': {e}", shown(&name))))?;
            if header.tensors.contains_key(&name) {
                return Err(de::Error::custom(format_args!(
                    "tensor '{}' is there twice",
                    shown(&name)
                )));
            }
            header.tensors.insert(name, info);
        }
        Ok(header)
    }
}

/// One tensor's member.
struct Info;

impl<'de> DeserializeSeed<'de> for Info {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<TensorInfo, D::Error> {
        #[derive(serde::Deserialize)]
        struct Raw {
            dtype: StoredType,
            shape: Shape,
            data_offsets: (usize, usize),
        }
        let raw = Raw::deserialize(from)?;
        Ok(TensorInfo {
            dtype: raw.dtype.0,
            shape: raw.shape.0,
            blocks: None,
            bytes: raw.data_offsets.0..raw.data_offsets.1,
            strides: None,
            scale: 1.0,
        })
    }
}

/// A type's name, with a short error in place of the list of all that there are.
struct StoredType(Dtype);

impl<'de> Deserialize<'de> for StoredType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known: Result<Dtype, de::value::Error> = Dtype::deserialize(name.as_str().into_deserializer());
        let known = known.map_err(|_| de::Error::custom(format_args!("unknown dtype '{}'", shown(&name))))?;
        Ok(Self(known))
    }
}

/// A shape: few numbers, and no more is read than that.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ShapeVisitor).map(Self)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a shape, a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<usize>, A::Error> {
        let mut shape = Vec::with_capacity(4);
        while let Some(size) = list.next_element()? {
            if shape.len() == MAX_AXES {
                return Err(de::Error::custom(format_args!(
                    "a shape of more than {MAX_AXES} axes"
                )));
            }
            shape.push(size);
        }
        Ok(shape)
    }
}
