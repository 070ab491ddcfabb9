//! One generator of either kind.

use super::{Card, PhiloxRng, TorchCpuRng};

/// Whose random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Source {
    /// PyTorch's CPU generator (the WebUI's "CPU"; always ComfyUI's).
    #[default]
    TorchCpu,
    /// PyTorch's CUDA generator on a card without end (the WebUI's "NV").
    Philox,
    /// PyTorch's CUDA generator on a real card (the WebUI's "GPU").
    PhiloxOn(Card),
}

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

/// A generator with a seed, under way.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Generator {
    /// The Mersenne Twister (boxed: its state is large).
    TorchCpu(Box<TorchCpuRng>),
    /// Philox.
    Philox(PhiloxRng),
}

impl Generator {
    /// A generator of the given kind.
    pub fn new(source: Source, seed: u64) -> Self {
        match source {
            Source::TorchCpu => Self::TorchCpu(Box::new(TorchCpuRng::new(seed))),
            Source::Philox => Self::Philox(PhiloxRng::new(seed)),
            Source::PhiloxOn(card) => Self::Philox(PhiloxRng::on_card(seed, card)),
        }
    }

    /// `n` values of standard normal noise.
    pub fn normal(&mut self, n: usize, dtype: Dtype) -> Vec<f32> {
        match (self, dtype) {
            (Self::TorchCpu(g), Dtype::F32) => g.normal_f32(n),
            (Self::TorchCpu(g), Dtype::F16) => g.normal_f16(n),
            (Self::TorchCpu(g), Dtype::Bf16) => g.normal_bf16(n),
            (Self::Philox(g), _) => {
                let round = |v: f32| match dtype {
                    Dtype::F32 => v,
                    Dtype::F16 => round_f16(v),
                    Dtype::Bf16 => round_bf16(v),
                };
                g.normal_f32(n).into_iter().map(round).collect()
            }
        }
    }
}

/// The nearest float16, ties to even.
pub(super) fn round_f16(v: f32) -> f32 {
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
pub(super) fn round_bf16(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & !0xffff)
}
