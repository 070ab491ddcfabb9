//! Pictures in horizontal bands: a chain of convolutions and normalisations needs little more memory than the input and the output of
//! one of them, and values between a normalisation and its convolution stay near.

use std::{collections::VecDeque, ops::Range};

use burn_tensor::Tensor;

use crate::{
    layers::{ChannelScales, Conv2d, GroupNorm, contiguous, window},
    options::{Axes, ConvExtras, Padding},
};

/// The operation on a picture before it is convolved.
#[derive(Clone, Copy)]
pub enum Prologue<'a> {
    /// Nothing.
    Nothing,
    /// It is normalised, with SiLU.
    NormSilu(&'a GroupNorm),
    /// Each pixel is repeated twice in both directions.
    Upsample,
}

/// A picture in horizontal bands, each in memory of its own, so that they can be let go one by one. A clone shares them.
///
/// Results equal those of the whole picture: convolutions see the rows around a band, and normalisations take their statistics over all
/// of them.
#[derive(Clone)]
pub struct Bands {
    /// Each `[1, rows, w, c]`, with its first row, from the top.
    bands: VecDeque<(usize, Tensor<4>)>,
    /// Rows of the whole picture.
    height: usize,
    /// About so many are in a band.
    pixels: usize,
    /// The axes along which the picture goes on at its opposite edge.
    wrap: Axes,
}

impl Bands {
    /// The picture `[1, h, w, c]` in one band. Pictures that are made of it have about so many pixels in a band, and at least eight rows.
    pub fn new(x: Tensor<4>, pixels: usize) -> Self {
        let [batch, height, ..] = x.dims();
        assert_eq!(batch, 1, "bands are of one picture");
        let bands = [(0, contiguous(x))].into();
        Self {
            bands,
            height,
            pixels,
            wrap: Axes::default(),
        }
    }

    /// The same picture, which goes on at its opposite edge along some axes, as [`ConvExtras::wrap`] has it.
    pub fn wrapped(self, wrap: Axes) -> Self {
        Self { wrap, ..self }
    }

    /// The whole picture, `[1, h, w, c]`.
    pub fn join(mut self) -> Tensor<4> {
        let height = self.height;
        self.take(0..height)
    }

    /// A convolution of the picture, plus `residual`, of the result's shape. Bands of both are let go as soon as they are done with.
    pub fn conv(mut self, conv: &Conv2d, prologue: Prologue, mut residual: Option<Bands>) -> Self {
        let scales = match prologue {
            Prologue::NormSilu(norm) => {
                let bands: Vec<&Tensor<4>> = self.bands.iter().map(|(_, band)| band).collect();
                Some(norm.scales(&bands))
            }
            Prologue::Nothing | Prologue::Upsample => None,
        };
        let upsample = matches!(prologue, Prologue::Upsample);
        let times = 1 + usize::from(upsample);
        let ([kernel, kernel_width], shape) = conv.geometry();
        let (before, after) = shape.padding.pixels();
        let output = |side: usize, kernel: usize| (times * side + before + after - kernel) / shape.stride + 1;
        let height = output(self.height, kernel);
        let width = output(self.bands[0].1.dims()[2], kernel_width);
        // Whole eights, at which kernels that work in squares begin one wherever a band does.
        let step = (self.pixels / width / 8 * 8).max(8);
        // Of a wrapped picture the last window sees the first rows.
        let wrap = match shape.padding {
            Padding::Even(1..) => self.wrap,
            _ => Axes::default(),
        };
        let first = (wrap.rows).then(|| self.window(0..after as isize, scales.as_ref(), upsample));
        let mut made = VecDeque::with_capacity(height.div_ceil(step));
        for top in (0..height).step_by(step) {
            let bottom = (top + step).min(height);
            let above = |row: usize| (row * shape.stride) as isize - before as isize;
            let seen = above(top)..above(bottom - 1) + kernel as isize;
            let x = match &first {
                Some(first) => self.wrapped_window(seen, times, first, scales.as_ref(), upsample),
                None => self.window(seen, scales.as_ref(), upsample),
            };
            let extras = ConvExtras {
                residual: residual.as_mut().map(|residual| residual.take(top..bottom)),
                bordered: Axes {
                    rows: true,
                    columns: false,
                },
                wrap,
                ..ConvExtras::default()
            };
            made.push_back((top, conv.forward(x, extras)));
            self.let_go(usize::try_from(above(bottom)).unwrap_or(0) / times);
        }
        Self {
            bands: made,
            height,
            ..self
        }
    }

    /// The same as [`window`](Self::window), of a picture that goes on with its `first` rows below, and above with its last ones.
    fn wrapped_window(
        &self,
        rows: Range<isize>,
        times: usize,
        first: &Tensor<4>,
        scales: Option<&ChannelScales>,
        upsample: bool,
    ) -> Tensor<4> {
        let height = (times * self.height) as isize;
        let (above, below) = ((-rows.start).max(0), (rows.end - height).max(0));
        let mut parts = Vec::with_capacity(3);
        if above > 0 {
            parts.push(self.window(height - above..height, scales, upsample));
        }
        parts.push(self.window(rows.start.max(0)..rows.end.min(height), scales, upsample));
        if below > 0 {
            parts.push(first.clone().narrow(1, 0, below as usize));
        }
        Tensor::cat(parts, 1)
    }

    /// Rows of the picture; bands that end above or in them are let go.
    fn take(&mut self, rows: Range<usize>) -> Tensor<4> {
        let taken = self.window(rows.start as isize..rows.end as isize, None, false);
        self.let_go(rows.end);
        taken
    }

    /// Lets go of the bands that are above a row.
    fn let_go(&mut self, row: usize) {
        let above = |(first, band): &(usize, Tensor<4>)| first + band.dims()[1] <= row;
        while self.bands.front().is_some_and(above) {
            self.bands.pop_front();
        }
    }

    /// Rows of the picture, or of the picture with its pixels repeated, normalised if wanted. Beyond it there are zeros.
    fn window(&self, rows: Range<isize>, scales: Option<&ChannelScales>, upsample: bool) -> Tensor<4> {
        let whole = |&&(first, ref band): &&(usize, Tensor<4>)| {
            first as isize == rows.start && (first + band.dims()[1]) as isize == rows.end
        };
        if let (Some((_, band)), None, false) = (self.bands.iter().find(whole), scales, upsample) {
            return band.clone();
        }
        let bands: Vec<_> = self.bands.iter().map(|(first, band)| (*first, band)).collect();
        window(&bands, self.height, rows, scales, upsample)
    }
}
