//! PyTorch's CPU generator and its normal distribution.

use std::f64::consts::TAU;

use super::{Dtype, Mt19937};

/// `torch.Generator("cpu")`: what `torch.randn(..., generator=g)` draws.
///
/// PyTorch's vectorised code approximates logarithm, sine and cosine, so its values differ from these by an ulp or two.
#[derive(Debug, Clone, PartialEq)]
pub struct TorchCpuRng {
    engine: Mt19937,
    /// The second value of the last pair of a short draw.
    cached: Option<f64>,
}

impl TorchCpuRng {
    /// `manual_seed(seed)`: the Mersenne Twister takes the low 32 bits.
    pub fn new(seed: u64) -> Self {
        Self {
            engine: Mt19937::new(seed as u32),
            cached: None,
        }
    }

    /// `randn(n)` in float32.
    pub fn normal_f32(&mut self, n: usize) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| self.double_normal() as f32).collect();
        }
        let mut data: Vec<f32> = (0..n).map(|_| self.uniform_f32()).collect();
        data.chunks_exact_mut(16).for_each(box_muller_16);
        self.redo_tail(&mut data);
        data
    }

    /// `randn(n, dtype=float16)`, as `f32`: see [`TorchCpuRng::normal_bf16`].
    pub fn normal_f16(&mut self, n: usize) -> Vec<f32> {
        self.normal_small(n, Dtype::F16)
    }

    /// `randn(n, dtype=bfloat16)`, as `f32`. PyTorch (2.15; early versions drew fewer bits) computes in float32 and rounds,
    /// but draws block by block, so that a length that is no multiple of 16 leaves the generator elsewhere than float32 does.
    pub fn normal_bf16(&mut self, n: usize) -> Vec<f32> {
        self.normal_small(n, Dtype::Bf16)
    }

    fn normal_small(&mut self, n: usize, dtype: Dtype) -> Vec<f32> {
        if n < 16 {
            return (0..n).map(|_| dtype.round(self.double_normal() as f32)).collect();
        }
        let mut data = self.normal_f32(n / 16 * 16);
        data.resize(n, 0.0);
        self.redo_tail(&mut data);
        data.into_iter().map(|v| dtype.round(v)).collect()
    }

    /// Draws the last 16 values anew if there are some over.
    fn redo_tail(&mut self, data: &mut [f32]) {
        if !data.len().is_multiple_of(16) {
            let from = data.len() - 16;
            let tail = &mut data[from..];
            tail.iter_mut().for_each(|v| *v = self.uniform_f32());
            box_muller_16(tail);
        }
    }

    /// 24 random bits in `0..1`.
    fn uniform_f32(&mut self) -> f32 {
        (self.engine.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// 53 random bits in `0..1`.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.engine.next_u32());
        let bits = (high << 32) | u64::from(self.engine.next_u32());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller in pairs: the cosine's value now, the sine's next time.
    fn double_normal(&mut self) -> f64 {
        if let Some(second) = self.cached.take() {
            return second;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let r = (-2.0 * (-u2).ln_1p()).sqrt();
        self.cached = Some(r * (TAU * u1).sin());
        r * (TAU * u1).cos()
    }
}

/// 16 uniforms become 16 normals: value `j` and `j + 8` are a pair.
fn box_muller_16(block: &mut [f32]) {
    for j in 0..8 {
        let u1 = f64::from(1.0 - block[j]);
        let theta = f64::from(std::f32::consts::TAU * block[j + 8]);
        let r = (-2.0 * u1.ln()).sqrt();
        block[j] = (r * theta.cos()) as f32;
        block[j + 8] = (r * theta.sin()) as f32;
    }
}
