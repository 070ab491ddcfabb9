//! Stored bytes to the compute dtype.

use std::ops::Range;

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;
use sd_kernels::{f8_e4m3, f8_e5m2};

use super::{StoredDtype, TensorInfo};

/// A compute type: how to get there from `f32` and from bytes that are already of this type.
pub(crate) trait Element: burn_tensor::Element + bytemuck::Pod + Send {
    const STORED: StoredDtype;
    fn from_f32(wide: &[f32], out: &mut [Self]);
}

impl Element for f32 {
    const STORED: StoredDtype = StoredDtype::F32;
    fn from_f32(wide: &[f32], out: &mut [Self]) {
        out.copy_from_slice(wide);
    }
}

impl Element for f16 {
    const STORED: StoredDtype = StoredDtype::F16;
    fn from_f32(wide: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(wide);
    }
}

impl Element for bf16 {
    const STORED: StoredDtype = StoredDtype::BF16;
    fn from_f32(wide: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(wide);
    }
}

/// Values that are converted at once: they stay in the cache, and are whole blocks of every [`BlockType`].
const BLOCK: usize = 4096;

/// Values that one thread converts before it looks for more: a megabyte or so.
const SHARE: usize = 64 * BLOCK;

/// Little-endian elements, rounded to nearest even where `E` is narrower; `None` if their type is no number's. They may start at any
/// address. Other types than `E` go through `f32`.
pub(crate) fn cast<E: Element>(bytes: &[u8], info: &TensorInfo) -> Option<Vec<E>> {
    let (unit_bytes, unit_values) = unit(info)?;
    let mut out = vec![E::zeroed(); bytes.len() / unit_bytes * unit_values];
    cast_into(bytes, info, &mut out)?;
    Some(out)
}

/// The same into memory for as many values as there are.
pub(crate) fn cast_into<E: Element>(bytes: &[u8], info: &TensorInfo, out: &mut [E]) -> Option<()> {
    let (unit_bytes, unit_values) = unit(info)?;
    let share_bytes = SHARE / unit_values * unit_bytes;
    if out.len() <= SHARE {
        return cast_share(bytes, info, out);
    }
    let shares = bytes.par_chunks(share_bytes).zip(out.par_chunks_mut(SHARE));
    shares.try_for_each(|(bytes, out)| cast_share(bytes, info, out))
}

/// The bytes of these values; `None` where they begin or end within a block.
pub(super) fn bytes(info: &TensorInfo, values: Range<usize>) -> Option<Range<usize>> {
    let (unit_bytes, unit_values) = unit(info)?;
    let whole = values.start.is_multiple_of(unit_values) && values.end.is_multiple_of(unit_values);
    whole.then(|| values.start / unit_values * unit_bytes..values.end / unit_values * unit_bytes)
}

/// Values of as many others, rounded to nearest even where they are narrower.
pub(super) fn narrow_into<E: Element>(wide: &[f32], out: &mut [E]) {
    let shares = wide.par_chunks(SHARE).zip(out.par_chunks_mut(SHARE));
    shares.for_each(|(wide, out)| E::from_f32(wide, out));
}

/// Bytes and values of the smallest unit, an element or a block; `None` where an element is no whole byte.
fn unit(info: &TensorInfo) -> Option<(usize, usize)> {
    let unit = match info.blocks {
        Some(blocks) => (blocks.bytes(), blocks.values()),
        None => (info.dtype.bitsize() / 8, 1),
    };
    (unit.0 > 0).then_some(unit)
}

fn cast_share<E: Element>(bytes: &[u8], info: &TensorInfo, out: &mut [E]) -> Option<()> {
    if info.blocks.is_none() && info.dtype == E::STORED && info.scale == 1.0 {
        bytemuck::cast_slice_mut::<E, u8>(out).copy_from_slice(bytes);
        return Some(());
    }
    let (unit_bytes, unit_values) = unit(info)?;
    let mut wide = [0f32; BLOCK];
    let mut narrow = [0u16; BLOCK];
    let block_bytes = BLOCK / unit_values * unit_bytes;
    for (block, out) in bytes.chunks(block_bytes).zip(out.chunks_mut(BLOCK)) {
        let wide = &mut wide[..out.len()];
        match info.blocks {
            Some(blocks) => blocks.decode(block, wide),
            None => widen(block, info.dtype, &mut narrow[..out.len()], wide)?,
        }
        if info.scale != 1.0 {
            wide.iter_mut().for_each(|x| *x *= info.scale);
        }
        E::from_f32(wide, out);
    }
    Some(())
}

/// Elements to `f32`; `narrow` is room for as many halves.
fn widen(bytes: &[u8], stored: StoredDtype, narrow: &mut [u16], wide: &mut [f32]) -> Option<()> {
    macro_rules! each {
        ($t:ty) => {{
            let (values, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            for (x, bytes) in wide.iter_mut().zip(values) {
                *x = <$t>::from_le_bytes(*bytes) as f32;
            }
        }};
    }
    use StoredDtype as T;
    match stored {
        T::F32 => bytemuck::cast_slice_mut::<_, u8>(wide).copy_from_slice(bytes),
        T::F16 | T::BF16 => {
            bytemuck::cast_slice_mut::<_, u8>(narrow).copy_from_slice(bytes);
            match stored {
                T::F16 => bytemuck::cast_slice::<_, f16>(narrow).convert_to_f32_slice(wide),
                _ => bytemuck::cast_slice::<_, bf16>(narrow).convert_to_f32_slice(wide),
            }
        }
        T::F8_E4M3 => wide
            .iter_mut()
            .zip(bytes)
            .for_each(|(x, &byte)| *x = f8_e4m3(byte)),
        T::F8_E5M2 => wide
            .iter_mut()
            .zip(bytes)
            .for_each(|(x, &byte)| *x = f8_e5m2(byte)),
        T::BOOL => {
            for (x, &byte) in wide.iter_mut().zip(bytes) {
                *x = f32::from(u8::from(byte != 0));
            }
        }
        T::F64 => each!(f64),
        T::U8 => each!(u8),
        T::I8 => each!(i8),
        T::U16 => each!(u16),
        T::I16 => each!(i16),
        T::U32 => each!(u32),
        T::I32 => each!(i32),
        T::U64 => each!(u64),
        T::I64 => each!(i64),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(dtype: StoredDtype) -> TensorInfo {
        TensorInfo {
            dtype,
            shape: vec![],
            blocks: None,
            bytes: 0..0,
            strides: None,
            scale: 1.0,
        }
    }

    #[test]
    fn every_pair_agrees_with_half() {
        let values: Vec<f32> = (0..10_001).map(|i| (i as f32 - 5000.0) * 0.37).collect();
        let f16s: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
        let bf16s: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
        let f64s: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        let ints: Vec<i64> = (0..10_001).map(|i| i - 5000).collect();
        let stored: [(StoredDtype, &[u8], Vec<f32>); 5] = [
            (StoredDtype::F32, bytemuck::cast_slice(&values), values.clone()),
            (
                StoredDtype::F16,
                bytemuck::cast_slice(&f16s),
                f16s.iter().map(|v| v.to_f32()).collect(),
            ),
            (
                StoredDtype::BF16,
                bytemuck::cast_slice(&bf16s),
                bf16s.iter().map(|v| v.to_f32()).collect(),
            ),
            (StoredDtype::F64, bytemuck::cast_slice(&f64s), values.clone()),
            (
                StoredDtype::I64,
                bytemuck::cast_slice(&ints),
                ints.iter().map(|&v| v as f32).collect(),
            ),
        ];
        for (dtype, bytes, exact) in &stored {
            // Shifted by one byte: a file may put a tensor anywhere.
            let shifted = [&[0u8], *bytes].concat();
            let info = info(*dtype);
            assert_eq!(cast::<f32>(&shifted[1..], &info).as_ref(), Some(exact));
            let want = exact.iter().map(|&v| f16::from_f32(v)).collect();
            assert_eq!(cast::<f16>(&shifted[1..], &info), Some(want));
            let want = exact.iter().map(|&v| bf16::from_f32(v)).collect();
            assert_eq!(cast::<bf16>(&shifted[1..], &info), Some(want));
        }
        assert_eq!(cast::<f32>(&[0; 8], &info(StoredDtype::C64)), None);
    }

    /// Several threads' shares fit together.
    #[test]
    fn long_tensors_are_cast_in_whole() {
        let values: Vec<f32> = (0..2 * SHARE + 777).map(|i| (i as f32).sin()).collect();
        let want: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
        let cast = cast::<f16>(bytemuck::cast_slice(&values), &info(StoredDtype::F32));
        assert!(cast.unwrap() == want);
    }
}
