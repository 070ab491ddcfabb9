//! One generator of either kind.

use super::{Card, Dtype, PhiloxRng, TorchCpuRng};

/// The generator of random numbers.
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
            (Self::Philox(g), _) => g.normal_f32(n).into_iter().map(|v| dtype.round(v)).collect(),
        }
    }
}
