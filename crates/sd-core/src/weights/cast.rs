//! Stored bytes to the compute dtype.

use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::StoredDtype;

/// Whether [`cast`] can read a stored type.
pub(crate) fn readable(stored: StoredDtype) -> bool {
    matches!(stored, StoredDtype::F32 | StoredDtype::F16 | StoredDtype::BF16)
}

/// A compute type: how to get there from `f32` and from bytes that are already of this type.
pub(crate) trait Element: bytemuck::Pod {
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

/// Little-endian elements of a [`readable`] type, rounded to nearest even where `E` is narrower. They may start at any address.
///
/// Other types go through `f32`, in blocks that stay in the cache.
pub(crate) fn cast<E: Element>(bytes: &[u8], stored: StoredDtype) -> Vec<E> {
    const BLOCK: usize = 4096;
    if stored == E::STORED {
        return bytemuck::pod_collect_to_vec(bytes);
    }
    let from_size = if stored == StoredDtype::F32 { 4 } else { 2 };
    let mut out = vec![E::zeroed(); bytes.len() / from_size];
    let mut wide = [0f32; BLOCK];
    let mut narrow = [0u16; BLOCK];
    for (block, out) in bytes.chunks(BLOCK * from_size).zip(out.chunks_mut(BLOCK)) {
        let wide = &mut wide[..out.len()];
        if from_size == 4 {
            bytemuck::cast_slice_mut::<_, u8>(wide).copy_from_slice(block);
        } else {
            let narrow = &mut narrow[..out.len()];
            bytemuck::cast_slice_mut::<_, u8>(narrow).copy_from_slice(block);
            match stored {
                StoredDtype::F16 => bytemuck::cast_slice::<_, f16>(narrow).convert_to_f32_slice(wide),
                _ => bytemuck::cast_slice::<_, bf16>(narrow).convert_to_f32_slice(wide),
            }
        }
        E::from_f32(wide, out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_agrees_with_half() {
        let values: Vec<f32> = (0..10_001).map(|i| (i as f32 - 5000.0) * 0.37).collect();
        let f16s: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
        let bf16s: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
        let stored: [(StoredDtype, &[u8], Vec<f32>); 3] = [
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
        ];
        for (dtype, bytes, exact) in &stored {
            // Shifted by one byte: a file may put a tensor anywhere.
            let shifted = [&[0u8], *bytes].concat();
            assert_eq!(&cast::<f32>(&shifted[1..], *dtype), exact);
            let want: Vec<f16> = exact.iter().map(|&v| f16::from_f32(v)).collect();
            assert_eq!(cast::<f16>(&shifted[1..], *dtype), want);
            let want: Vec<bf16> = exact.iter().map(|&v| bf16::from_f32(v)).collect();
            assert_eq!(cast::<bf16>(&shifted[1..], *dtype), want);
        }
    }
}
