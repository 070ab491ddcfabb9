//! The numbers that weights are kept in: those of their files, of the arithmetic, or others.

use std::collections::{BTreeMap, BTreeSet};

use burn_tensor::Tensor;
use half::{bf16, f16};
use rayon::prelude::*;
use sd_kernels::{Staging, Weight, WeightType, to_f8_e4m3};

use super::{BlockType, PartWeights, Stored, StoredDtype, Target, WeightDtype, cast, names::View};
use crate::Dtype;

/// The numbers that a part's matrices and kernels are kept in.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Bytes by type; none of what is quantized.
    pub bytes: BTreeMap<WeightType, usize>,
    /// The types of packed tensors that are rounded to 16 bits.
    pub rounded: BTreeSet<String>,
    /// Tensors that hold values beyond the range of `f16`, and are kept in the arithmetic's type instead.
    pub too_large: usize,
}

impl Target {
    /// Whether layers are computed by kernels of our own, which widen what is narrow.
    pub(super) fn widens(&self) -> bool {
        self.device.name() == "cpu" && self.dtype != Dtype::F16
    }

    /// The arithmetic's own type.
    pub(super) fn full(&self) -> WeightType {
        match self.dtype {
            Dtype::F32 => WeightType::F32,
            Dtype::Bf16 => WeightType::Bf16,
            Dtype::F16 => WeightType::F16,
        }
    }

    /// The numbers that a weight of this shape is kept in, by its place in the files, if it has one there. `sensitive` weights lose too
    /// much in 8 bits, and `patched` ones are no longer what the file has.
    pub(super) fn kept(
        &self,
        stored: Option<&Stored>,
        shape: &[usize],
        sensitive: bool,
        patched: bool,
    ) -> WeightType {
        let full = self.full();
        if !self.widens() {
            return full;
        }
        let half = match full {
            WeightType::F32 => WeightType::F16,
            other => other,
        };
        let by_file = stored.map_or(full, |stored| match own_type(stored, shape) {
            Some(WeightType::Bf16) => WeightType::Bf16,
            Some(WeightType::F16) => half,
            // A patch's small changes would be lost.
            Some(_) if patched => half,
            Some(own) => own,
            None if stored.info.blocks.is_some() || is_f8(stored) => half,
            None => full,
        });
        let narrow = !matches!(by_file, WeightType::F32 | WeightType::Bf16 | WeightType::F16);
        match self.weights {
            WeightDtype::F32 => full,
            WeightDtype::Auto => by_file,
            _ if narrow => by_file,
            WeightDtype::Bf16 => WeightType::Bf16,
            WeightDtype::F8 if !sensitive => WeightType::F8E4M3,
            WeightDtype::F16 | WeightDtype::F8 => half,
        }
    }
}

fn is_f8(stored: &Stored) -> bool {
    matches!(stored.info.dtype, StoredDtype::F8_E4M3 | StoredDtype::F8_E5M2)
}

/// The type of a stored weight of this shape, if it is one that layers may keep as it lies in the file.
fn own_type(stored: &Stored, shape: &[usize]) -> Option<WeightType> {
    let in_order = stored.info.strides.is_none() && stored.spelling.view != View::Transposed;
    let row: usize = shape.iter().skip(1).product();
    let pixelwise = shape.iter().skip(2).all(|&n| n == 1);
    match (stored.info.blocks, stored.info.dtype) {
        (None, StoredDtype::F16) => Some(WeightType::F16),
        (None, StoredDtype::BF16) => Some(WeightType::Bf16),
        (None, StoredDtype::F8_E4M3) if in_order => Some(WeightType::F8E4M3),
        (None, StoredDtype::F8_E5M2) if in_order => Some(WeightType::F8E5M2),
        (Some(blocks), _) if in_order && pixelwise && row.is_multiple_of(blocks.values()) => match blocks {
            BlockType::Q8_0 => Some(WeightType::Q8_0),
            BlockType::Q4_0 => Some(WeightType::Q4_0),
            _ => None,
        },
        _ => None,
    }
}

/// A weight that is kept in other numbers than the arithmetic's; `None` if its values don't fit them.
pub(super) fn narrow<const D: usize>(
    weights: &PartWeights,
    canonical: &str,
    shape: [usize; D],
    kind: WeightType,
    target: &Target,
) -> Result<Option<Weight<D>>, String> {
    let count = shape.iter().product();
    let mut bytes = Staging::<u8>::new(kind.bytes(count));
    let stored = weights.find(canonical);
    let own = stored.as_ref().and_then(|stored| own_type(stored, &shape));
    let as_stored = own == Some(kind) && weights.patches(canonical).is_empty();
    let mut scale = 1.0;
    match kind {
        WeightType::F16 => {
            let values: &mut [f16] = bytemuck::cast_slice_mut(&mut bytes);
            weights.values_into(canonical, &shape, values)?;
            if !as_stored && values.par_iter().any(|value| value.is_infinite()) {
                return Ok(None);
            }
        }
        WeightType::Bf16 => {
            let values: &mut [bf16] = bytemuck::cast_slice_mut(&mut bytes);
            weights.values_into(canonical, &shape, values)?;
        }
        _ if as_stored => {
            let stored = stored.ok_or("was checked before")?;
            stored.bytes_into(count, &mut bytes).ok_or("is no whole blocks")?;
            scale = stored.info.scale;
        }
        _ => {
            let mut values = Staging::<f32>::new(count);
            weights.values_into(canonical, &shape, &mut values)?;
            scale = to_eight_bits(&values, &mut bytes);
        }
    }
    let products = target.dtype.burn();
    Ok(Some(Weight::narrow(kind, bytes, scale, shape, products)))
}

/// Values as 8-bit floats times a power of two, which is returned: the least by which the largest fits.
fn to_eight_bits(values: &[f32], out: &mut [u8]) -> f32 {
    /// Values that a thread takes at a time.
    const SHARE: usize = 1 << 16;
    let size = |value: &f32| if value.is_finite() { value.abs() } else { 0.0 };
    let shares = values.par_chunks(SHARE);
    let largest = shares.map(|share| share.iter().map(size).fold(0.0, f32::max));
    let largest = largest.reduce(|| 0.0, f32::max);
    let exponent = (largest / 448.0).log2().ceil().clamp(-100.0, 120.0);
    let scale = if largest > 0.0 { exponent.exp2() } else { 1.0 };
    let shares = values.par_chunks(SHARE).zip(out.par_chunks_mut(SHARE));
    shares.for_each(|(values, out)| {
        for (out, value) in out.iter_mut().zip(values) {
            *out = to_f8_e4m3(value / scale);
        }
    });
    scale
}

/// A table's values in a type that Burn has.
pub(super) fn tensor<E: cast::Element, const D: usize>(
    weights: &PartWeights,
    canonical: &str,
    shape: [usize; D],
    device: &burn_tensor::Device,
) -> Result<Tensor<D>, String> {
    let mut values = Staging::<E>::new(shape.iter().product());
    weights.values_into(canonical, &shape, &mut values)?;
    Ok(values.into_tensor(shape, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_have_a_scale() {
        let values: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 1e-4).collect();
        let mut codes = vec![0u8; values.len()];
        let scale = to_eight_bits(&values, &mut codes);
        // 0.05 is 204.8 * 2^-12.
        assert_eq!(scale, 2f32.powi(-13));
        for (value, code) in values.iter().zip(&codes) {
            let got = sd_kernels::f8_e4m3(*code) * scale;
            assert!((got - value).abs() <= value.abs() / 16.0 + 1e-6, "{value}: {got}");
        }
        let mut code = [0];
        assert_eq!(to_eight_bits(&[0.0], &mut code), 1.0);
        to_eight_bits(&[f32::NAN], &mut code);
        assert!(sd_kernels::f8_e4m3(code[0]).is_nan());
        assert_eq!(to_eight_bits(&[f32::INFINITY], &mut code), 1.0);
    }

    #[test]
    fn names() {
        for dtype in WeightDtype::ALL {
            assert_eq!(WeightDtype::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(WeightDtype::from_name("FP8"), Some(WeightDtype::F8));
        assert_eq!(WeightDtype::from_name("int8"), None);
    }
}
