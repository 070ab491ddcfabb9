//! GGUF files, versions 2 and 3: values of metadata, then a name, shape, type and place for each tensor, then the tensors.
//!
//! Source: the format's description in ggml (`docs/gguf.md`). stable-diffusion.cpp keeps a checkpoint's names; ComfyUI-GGUF writes a
//! U-Net alone, and its tensors' own shapes where ggml needed others (`comfy.gguf.orig_shape.NAME`).

use std::collections::HashMap;

use super::{
    BlockType,
    tensor::{Header, StoredDtype, TensorInfo},
};
use crate::error::shown;

const MAX_AXES: usize = 8;
const MAX_NAME: usize = 4096;
/// Longer texts and lists are no metadata that we know a use for.
const MAX_TEXT: usize = 64 << 10;
const MAX_LIST: usize = 64;

/// Reads and checks a file's descriptions of its tensors: every tensor lies inside the file, and none overlap.
///
/// # Errors
/// A sentence with the fault, the tensor, and a remedy.
pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
    parse(bytes).map_err(|reason| format!("not a usable GGUF file: {reason}"))
}

/// A value of the metadata, as far as it is kept.
enum Value {
    Text(String),
    List(Vec<usize>),
    Other,
}

fn parse(bytes: &[u8]) -> Result<Header, String> {
    let mut reader = Reader { bytes, at: 4 };
    let version = u32::from_le_bytes(reader.array()?);
    if !matches!(version, 2 | 3) {
        return Err(match version.swap_bytes() {
            2 | 3 => "its numbers are not little-endian".into(),
            _ => format!("version {version} is unknown; 2 and 3 are known"),
        });
    }
    let (tensors, pairs) = (reader.length()?, reader.length()?);
    let mut header = Header::default();
    let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
    // No count is believed: a loop ends where the bytes do.
    for _ in 0..pairs {
        let key = reader.name()?;
        let value = reader
            .value()
            .map_err(|e| format!("metadata '{}': {e}", shown(key)))?;
        match value {
            Value::Text(text) => drop(header.metadata.insert(key.to_owned(), text)),
            Value::List(list) => {
                if let Some(name) = key.strip_prefix("comfy.gguf.orig_shape.") {
                    shapes.insert(name.to_owned(), list);
                }
            }
            Value::Other => {}
        }
    }
    let alignment = match header.metadata.get("general.alignment") {
        None => 32,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n: &usize| n.is_power_of_two() && *n <= 1 << 20)
            .ok_or_else(|| format!("an alignment of '{}'", shown(text)))?,
    };
    for _ in 0..tensors {
        let name = reader.name()?;
        let fault = |reason: String| format!("tensor '{}': {reason}", shown(name));
        let info = reader.tensor(alignment, shapes.get(name)).map_err(fault)?;
        if header.tensors.insert(name.to_owned(), info).is_some() {
            return Err(fault("is there twice".into()));
        }
    }
    let start = reader.at.next_multiple_of(alignment);
    place(&mut header, start, bytes.len())?;
    Ok(header)
}

/// Makes offsets count from the file's first byte, and checks them.
fn place(header: &mut Header, start: usize, end: usize) -> Result<(), String> {
    let mut sorted: Vec<_> = header.tensors.iter_mut().collect();
    sorted.sort_unstable_by_key(|(name, info)| (info.bytes.start, info.bytes.end, (*name).clone()));
    let mut covered = start;
    for (name, info) in sorted {
        let fault = |reason: &str| format!("tensor '{}': {reason}", shown(name));
        let moved = |n: usize| n.checked_add(start).filter(|&n| n <= end);
        let (Some(from), Some(to)) = (moved(info.bytes.start), moved(info.bytes.end)) else {
            return Err(fault("lies outside the file: cut off; download or save it again"));
        };
        if from < covered {
            return Err(fault("overlaps another tensor"));
        }
        info.bytes = from..to;
        covered = to;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT: &str = "its header ends too early: cut off; download or save it again";

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).ok_or(CUT)?;
        let found = self.bytes.get(self.at..end).ok_or(CUT)?;
        self.at = end;
        Ok(found)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (found, _) = self.take(N)?.split_first_chunk().ok_or(CUT)?;
        Ok(*found)
    }

    fn length(&mut self) -> Result<usize, String> {
        let n = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(n).map_err(|_| CUT)?)
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let n = self.length()?;
        Ok(std::str::from_utf8(self.take(n)?).map_err(|_| "a text is not UTF-8")?)
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let name = self.text()?;
        match name.len() <= MAX_NAME {
            true => Ok(name),
            false => Err(format!("a name of {} bytes", name.len())),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        let kind = u32::from_le_bytes(self.array()?);
        if kind != 9 {
            return self.scalar(kind);
        }
        let (kind, count) = (u32::from_le_bytes(self.array()?), self.length()?);
        let mut list = Vec::new();
        if let Some(width) = width(kind) {
            let size = count.checked_mul(width).ok_or(CUT)?;
            let items = self.take(size)?;
            if count <= MAX_LIST && matches!(kind, 4 | 5 | 10 | 11) {
                // Sizes are never negative, so signed ones read the same.
                let whole = items.chunks_exact(width).map(|item| {
                    let mut wide = [0; 8];
                    wide[..width].copy_from_slice(item);
                    usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX)
                });
                list = whole.collect();
            }
        } else if kind == 8 {
            for _ in 0..count {
                self.text()?;
            }
        } else {
            return Err(format!("a list of type {kind}"));
        }
        Ok(Value::List(list))
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, String> {
        let text = match kind {
            0 => self.array::<1>()?[0].to_string(),
            1 => i8::from_le_bytes(self.array()?).to_string(),
            2 => u16::from_le_bytes(self.array()?).to_string(),
            3 => i16::from_le_bytes(self.array()?).to_string(),
            4 => u32::from_le_bytes(self.array()?).to_string(),
            5 => i32::from_le_bytes(self.array()?).to_string(),
            6 => f32::from_le_bytes(self.array()?).to_string(),
            7 => (self.array::<1>()?[0] != 0).to_string(),
            8 => match self.text()? {
                text if text.len() <= MAX_TEXT => text.to_owned(),
                _ => return Ok(Value::Other),
            },
            10 => u64::from_le_bytes(self.array()?).to_string(),
            11 => i64::from_le_bytes(self.array()?).to_string(),
            12 => f64::from_le_bytes(self.array()?).to_string(),
            _ => return Err(format!("a value of type {kind}")),
        };
        Ok(Value::Text(text))
    }

    /// Number of axes, sizes with the innermost first, type, place. `shape` is the tensor's own where ggml's is another.
    fn tensor(&mut self, alignment: usize, shape: Option<&Vec<usize>>) -> Result<TensorInfo, String> {
        let axes = u32::from_le_bytes(self.array()?) as usize;
        if axes > MAX_AXES {
            return Err(format!("{axes} axes"));
        }
        let mut stored = (0..axes).map(|_| self.length()).collect::<Result<Vec<_>, _>>()?;
        let row = stored.first().copied().unwrap_or(1);
        stored.reverse();
        let kind = u32::from_le_bytes(self.array()?);
        let (dtype, blocks) = stored_type(kind)?;
        let offset = self.length()?;
        if offset % alignment != 0 {
            return Err(format!("its place {offset} is no multiple of {alignment}"));
        }
        let count = |shape: &[usize]| {
            shape
                .iter()
                .try_fold(1usize, |product, &n| product.checked_mul(n))
        };
        let large = || format!("shape {stored:?} is too large");
        let values = count(&stored).ok_or_else(large)?;
        let (unit_bytes, unit_values) = blocks.map_or((dtype.bitsize() / 8, 1), |blocks| {
            (blocks.bytes(), blocks.values())
        });
        if row % unit_values != 0 {
            return Err(format!(
                "its rows of {row} values are no whole blocks of {unit_values}"
            ));
        }
        let size = (values / unit_values).checked_mul(unit_bytes);
        let end = size.and_then(|size| offset.checked_add(size)).ok_or_else(large)?;
        let shape = match shape {
            Some(own) if count(own) != Some(values) => {
                return Err(format!("its own shape {own:?} is not that of {stored:?}"));
            }
            Some(own) => own.clone(),
            None => stored,
        };
        Ok(TensorInfo {
            dtype,
            shape,
            blocks,
            bytes: offset..end,
            strides: None,
            scale: 1.0,
        })
    }
}

/// The bytes of a value of metadata, if they are always as many.
fn width(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// ggml's numbers of types.
fn stored_type(kind: u32) -> Result<(StoredDtype, Option<BlockType>), String> {
    use BlockType as B;
    let blocks = match kind {
        2 => B::Q4_0,
        3 => B::Q4_1,
        6 => B::Q5_0,
        7 => B::Q5_1,
        8 => B::Q8_0,
        10 => B::Q2_K,
        11 => B::Q3_K,
        12 => B::Q4_K,
        13 => B::Q5_K,
        14 => B::Q6_K,
        0 => return Ok((StoredDtype::F32, None)),
        1 => return Ok((StoredDtype::F16, None)),
        24 => return Ok((StoredDtype::I8, None)),
        25 => return Ok((StoredDtype::I16, None)),
        26 => return Ok((StoredDtype::I32, None)),
        27 => return Ok((StoredDtype::I64, None)),
        28 => return Ok((StoredDtype::F64, None)),
        30 => return Ok((StoredDtype::BF16, None)),
        _ => {
            return Err(format!(
                "type {kind} of ggml is not supported; F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1 and Q2_K to Q6_K are"
            ));
        }
    };
    Ok((StoredDtype::F32, Some(blocks)))
}
