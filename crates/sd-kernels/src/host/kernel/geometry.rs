//! Pictures, and convolutions' geometry.

/// The kernel, steps and borders of a convolution, and the picture that it goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    pub stride: usize,
    /// Zeros above and below.
    pub rows: (usize, usize),
    /// Zeros to the left and to the right.
    pub columns: (usize, usize),
    /// Height and width of the convolved picture: the input, or the input with each pixel repeated.
    pub source: [usize; 2],
    /// Repeats each pixel of the input twice in both directions, as far as `source` goes.
    pub upsample: bool,
}

impl Geometry {
    /// A 3x3 convolution of stride 1 whose output has the input's size.
    pub fn same(source: [usize; 2]) -> Self {
        Self {
            kernel: [3, 3],
            stride: 1,
            rows: (1, 1),
            columns: (1, 1),
            source,
            upsample: false,
        }
    }

    /// The output's height and width.
    pub fn output(&self) -> [usize; 2] {
        let padding = [self.rows, self.columns].map(|(before, after)| before + after);
        [0, 1].map(|i| (self.source[i] + padding[i] - self.kernel[i]) / self.stride + 1)
    }
}

/// Pictures `[batch, h, w, c]`.
#[derive(Clone, Copy)]
pub(crate) struct Pictures<'a, T> {
    pub data: &'a [T],
    pub shape: [usize; 4],
}
