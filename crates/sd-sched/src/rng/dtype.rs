//! The types that noise is drawn in.

/// The type that noise is drawn in; values are given as `f32` all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// float32.
    #[default]
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// The nearest value of this type, ties to even.
    pub(super) fn round(self, v: f32) -> f32 {
        match self {
            Self::F32 => v,
            Self::F16 => round_f16(v),
            Self::Bf16 => round_bf16(v),
        }
    }
}

/// The nearest float16, ties to even.
pub(crate) fn round_f16(v: f32) -> f32 {
    let a = v.abs();
    if a < 6.103_515_6e-5 {
        // Subnormal: multiples of 2^-24.
        return (v * 16_777_216.0).round_ties_even() / 16_777_216.0;
    }
    let bits = v.to_bits();
    let r = f32::from_bits((bits + 0xfff + ((bits >> 13) & 1)) & !0x1fff);
    if r.abs() > 65_504.0 {
        f32::INFINITY.copysign(v)
    } else {
        r
    }
}

/// The nearest bfloat16, ties to even.
fn round_bf16(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & !0xffff)
}
