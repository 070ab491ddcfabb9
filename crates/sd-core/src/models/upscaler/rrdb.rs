//! ESRGAN's generator (Wang et al. 2018, arXiv:1809.00219).

use burn_tensor::Tensor;
use sd_kernels::{Conv2d, ConvExtras, concatenate};

use super::{Slopes, UpscalerKind, UpscalerStructure, conv};
use crate::weights::Params;

/// The part of a block's result that is added to what went in.
const RESIDUAL: f64 = 0.2;

/// The slope of all activations, leaky ReLUs.
const SLOPE: f64 = 0.2;

pub(super) struct Rrdb {
    unshuffle: usize,
    conv_first: Conv2d,
    blocks: Vec<[DenseBlock; 3]>,
    conv_body: Conv2d,
    doublings: Vec<Conv2d>,
    conv_hr: Conv2d,
    conv_last: Conv2d,
}

impl Rrdb {
    pub fn new(structure: &UpscalerStructure, p: &Params) -> Self {
        let UpscalerStructure {
            channels: c,
            width,
            kind,
            ..
        } = *structure;
        let UpscalerKind::Rrdb {
            blocks,
            growth,
            doublings,
            unshuffle,
        } = kind
        else {
            unreachable!("the caller has looked");
        };
        let plain = |name: &str, channels| conv(&p.at(name), channels, 1.0, None);
        let active = |name: &str| conv(&p.at(name), [width; 2], 1.0, Some(Slopes::All(SLOPE)));
        let block = |i: usize| {
            [1, 2, 3].map(|j| DenseBlock::new(&p.at(format_args!("body.{i}.rdb{j}")), width, growth))
        };
        Self {
            unshuffle,
            conv_first: plain("conv_first", [c * unshuffle * unshuffle, width]),
            blocks: (0..blocks).map(block).collect(),
            conv_body: plain("conv_body", [width; 2]),
            doublings: (1..=doublings).map(|i| active(&format!("conv_up{i}"))).collect(),
            conv_hr: active("conv_hr"),
            conv_last: plain("conv_last", [width, c]),
        }
    }

    /// `[batch, h, w, c]`, sides multiples of `unshuffle`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let first = self
            .conv_first
            .forward(unshuffled(x, self.unshuffle), ConvExtras::default());
        let mut x = first.clone();
        for block in &self.blocks {
            let y = block.iter().fold(x.clone(), |y, dense| dense.forward(y));
            x = y * RESIDUAL + x;
        }
        let onto = ConvExtras {
            residual: Some(first),
            ..ConvExtras::default()
        };
        let mut x = self.conv_body.forward(x, onto);
        for conv in &self.doublings {
            let [_, h, w, _] = x.dims();
            let doubled = ConvExtras {
                upsample: Some([2 * h, 2 * w]),
                ..ConvExtras::default()
            };
            x = conv.forward(x, doubled);
        }
        let x = self.conv_hr.forward(x, ConvExtras::default());
        self.conv_last.forward(x, ConvExtras::default())
    }
}

/// Five convolutions, each of which sees all before it.
struct DenseBlock([Conv2d; 5]);

impl DenseBlock {
    fn new(p: &Params, width: usize, growth: usize) -> Self {
        let layer = |i: usize| {
            let p = p.at(format_args!("conv{i}"));
            let input = width + (i - 1) * growth;
            match i {
                // Only a part of the last one's result counts: its weights are multiplied instead.
                5 => conv(&p, [input, width], RESIDUAL, None),
                _ => conv(&p, [input, growth], 1.0, Some(Slopes::All(SLOPE))),
            }
        };
        Self([1, 2, 3, 4, 5].map(layer))
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [growing @ .., last] = &self.0;
        let grow = |all: Tensor<4>, conv: &Conv2d| {
            let new = conv.forward(all.clone(), ConvExtras::default());
            concatenate(all, new)
        };
        let all = growing.iter().fold(x.clone(), grow);
        let onto = ConvExtras {
            residual: Some(x),
            ..ConvExtras::default()
        };
        last.forward(all, onto)
    }
}

/// Squares of pixels become channels, as PyTorch's `pixel_unshuffle` orders them: `[batch, h, w, c]` to
/// `[batch, h / side, w / side, c side side]`.
fn unshuffled(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [batch, h, w, c] = x.dims();
    let x = x.reshape([batch, h / side, side, w / side, side, c]);
    let x = x.permute([0, 1, 3, 5, 2, 4]);
    x.reshape([batch, h / side, w / side, c * side * side])
}
