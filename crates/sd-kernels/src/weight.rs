//! Weights on their way into layers, in the numbers that a layer keeps them in.

use burn_tensor::{DType, Tensor};

use crate::memory::staging::Staging;

/// Values of a block, which share a scale.
pub(crate) const BLOCK: usize = 32;

/// The numbers that a layer's weights are kept in. Products are computed in `f32` or `bf16`: narrower weights are widened for them where
/// they are used, so that a result is, to the bit, that of weights widened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)] // The names of blocks are ggml's.
pub enum WeightType {
    /// IEEE single precision.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// 8-bit floats of 4 exponent bits, without infinities, times a scale (Micikevicius et al. 2022, arXiv:2209.05433).
    F8E4M3,
    /// 8-bit floats of 5 exponent bits, times a scale.
    F8E5M2,
    /// ggml's blocks of 32 whole numbers of 8 bits with a scale in half precision.
    Q8_0,
    /// ggml's blocks of 32 whole numbers of 4 bits with a scale in half precision.
    Q4_0,
}

impl WeightType {
    /// Bytes of so many values; blocks must be whole.
    pub fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => 4 * values,
            Self::Bf16 | Self::F16 => 2 * values,
            Self::F8E4M3 | Self::F8E5M2 => values,
            Self::Q8_0 => values / BLOCK * 34,
            Self::Q4_0 => values / BLOCK * 18,
        }
    }

    /// Whether it takes fewer bits than `f32`.
    pub fn is_narrow(self) -> bool {
        self != Self::F32
    }

    /// The short name: "f32", "bf16", "f16", "f8_e4m3", "f8_e5m2", "q8_0", "q4_0".
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }
}

/// A layer's weights: a tensor of the type that products are computed in, or narrower values, for kernels of our own on the CPU.
pub struct Weight<const D: usize> {
    shape: [usize; D],
    pub(crate) values: Values<D>,
}

pub(crate) enum Values<const D: usize> {
    /// Boxed, since a GPU's tensor is large.
    Tensor(Box<Tensor<D>>),
    Narrow(Narrow),
}

/// Values in narrower numbers than products are computed in.
pub(crate) struct Narrow {
    pub kind: WeightType,
    /// As files hold them: little-endian, row by row.
    pub bytes: Staging<u8>,
    /// A factor of 8-bit floats.
    pub scale: f32,
    /// The type that products are computed in.
    pub products: DType,
}

impl<const D: usize> Weight<D> {
    /// Values of this kind, little-endian and row by row, for products in `products`, `f32` or `bf16`. 8-bit floats are times `scale`.
    ///
    /// # Panics
    /// If these are another number of bytes than the shape has, or rows are no whole blocks where there are blocks, which run along the
    /// second axis; axes beyond that must be of length 1 then.
    pub fn narrow(
        kind: WeightType,
        bytes: Staging<u8>,
        scale: f32,
        shape: [usize; D],
        products: DType,
    ) -> Self {
        let row: usize = shape[1..].iter().product();
        if matches!(kind, WeightType::Q8_0 | WeightType::Q4_0) {
            let pixelwise = shape[1..].iter().skip(1).all(|&n| n == 1);
            assert!(pixelwise && row.is_multiple_of(BLOCK), "rows of whole blocks");
        }
        assert_eq!(bytes.len(), kind.bytes(shape[0] * row), "as many bytes as values");
        assert!(
            matches!(products, DType::F32 | DType::BF16),
            "products of the CPU"
        );
        Self {
            shape,
            values: Values::Narrow(Narrow {
                kind,
                bytes,
                scale,
                products,
            }),
        }
    }

    /// The shape.
    pub fn dims(&self) -> [usize; D] {
        self.shape
    }

    /// The same values with other axes.
    ///
    /// # Panics
    /// If the number of values is another.
    pub fn reshape<const E: usize>(self, shape: [usize; E]) -> Weight<E> {
        assert_eq!(
            shape.iter().product::<usize>(),
            self.shape.iter().product::<usize>()
        );
        let values = match self.values {
            Values::Tensor(tensor) => Values::Tensor(Box::new(tensor.reshape(shape))),
            Values::Narrow(narrow) => Values::Narrow(narrow),
        };
        Weight { shape, values }
    }

    /// The tensor, for devices.
    ///
    /// # Panics
    /// If it is in narrower numbers, which only kernels of our own know.
    pub(crate) fn tensor(self) -> Tensor<D> {
        match self.values {
            Values::Tensor(tensor) => *tensor,
            Values::Narrow(_) => panic!("narrow weights are for the CPU alone"),
        }
    }
}

impl<const D: usize> From<Tensor<D>> for Weight<D> {
    fn from(tensor: Tensor<D>) -> Self {
        Self {
            shape: tensor.dims(),
            values: Values::Tensor(Box::new(tensor)),
        }
    }
}

/// The value of an 8-bit float of 4 exponent bits: no infinity, and one NaN of each sign.
#[inline(always)]
pub fn f8_e4m3(byte: u8) -> f32 {
    let rest = u32::from(byte & 0x7f);
    let normal = f32::from_bits((rest << 20) + (120 << 23));
    // In units of 2^-9.
    let subnormal = rest as f32 * f32::from_bits(118 << 23);
    let size = if rest < 8 { subnormal } else { normal };
    let size = if rest == 0x7f { f32::NAN } else { size };
    f32::from_bits(size.to_bits() | u32::from(byte & 0x80) << 24)
}

/// The value of an 8-bit float of 5 exponent bits.
#[inline(always)]
pub fn f8_e5m2(byte: u8) -> f32 {
    let rest = u32::from(byte & 0x7f);
    let normal = f32::from_bits((rest << 21) + (112 << 23));
    // In units of 2^-16.
    let subnormal = rest as f32 * f32::from_bits(111 << 23);
    let size = if rest < 4 { subnormal } else { normal };
    // Infinity and NaN have all bits of the exponent.
    let size = if rest < 0x7c {
        size.to_bits()
    } else {
        rest << 21 | 0x7f80_0000
    };
    f32::from_bits(size | u32::from(byte & 0x80) << 24)
}

/// The nearest 8-bit float of 4 exponent bits, ties to even; what is larger than 448 becomes that, NaN stays NaN.
pub fn to_f8_e4m3(value: f32) -> u8 {
    let (sign, size) = ((value.to_bits() >> 24 & 0x80) as u8, value.abs());
    let bits = size.to_bits();
    let code = match size {
        _ if size.is_nan() => 0x7f,
        _ if size >= 448.0 => 0x7e,
        // 2^-6, the least normal number.
        _ if size >= f32::from_bits(121 << 23) => {
            let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
            ((rounded >> 20) - (120 << 3)).min(0x7e) as u8
        }
        _ => (size * 512.0).round_ties_even() as u8,
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code from its definition, and each number to the code that is nearest.
    #[test]
    fn eight_bit_floats() {
        let value = |code: u8, mantissa: i32, bias: i32| {
            let rest = i32::from(code & 0x7f);
            let (exponent, low) = (rest >> mantissa, rest & ((1 << mantissa) - 1));
            let (exponent, hidden) = match exponent {
                0 => (1, 0),
                _ => (exponent, 1 << mantissa),
            };
            let size = f64::from(hidden + low) * 2f64.powi(exponent - bias - mantissa);
            if code < 0x80 { size } else { -size }
        };
        for code in 0..=255u8 {
            let (four, five) = (f8_e4m3(code), f8_e5m2(code));
            match code & 0x7f {
                0x7f => assert!(four.is_nan()),
                _ => assert_eq!(f64::from(four), value(code, 3, 7), "{code:#x}"),
            }
            match code & 0x7f {
                0x7c => assert!(five.is_infinite() && five.is_sign_negative() == (code >= 0x80)),
                0x7d.. => assert!(five.is_nan()),
                _ => assert_eq!(f64::from(five), value(code, 2, 15), "{code:#x}"),
            }
            if !four.is_nan() {
                assert_eq!(to_f8_e4m3(four), code);
            }
        }
        // Between two codes, the middle goes to the even one.
        for code in 0..0x7e_u8 {
            let (low, high) = (f8_e4m3(code), f8_e4m3(code + 1));
            let middle = (low + high) / 2.0;
            assert_eq!(to_f8_e4m3(middle), code + code % 2, "{code:#x}");
            assert_eq!(to_f8_e4m3(middle.next_down()), code);
            assert_eq!(to_f8_e4m3(-middle.next_up()), 0x80 | (code + 1));
        }
        assert_eq!(to_f8_e4m3(f32::INFINITY), 0x7e);
        assert_eq!(to_f8_e4m3(1e-30), 0);
        assert!(f8_e4m3(to_f8_e4m3(f32::NAN)).is_nan());
    }
}
