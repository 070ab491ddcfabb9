//! Pictures that go on at their opposite edges, for tiles without seams: the border that a convolution sees is copied from there.

use burn_tensor::Tensor;

use crate::options::{Axes, ConvExtras, Padding};

/// The input of a convolution with its wrapped borders, and what is left to be done.
pub(crate) fn bordered(x: Tensor<4>, extras: ConvExtras, padding: Padding) -> (Tensor<4>, ConvExtras) {
    let Padding::Even(pixels @ 1..) = padding else {
        return (x, extras);
    };
    let wrap = Axes {
        rows: extras.wrap.rows && !extras.bordered.rows,
        ..extras.wrap
    };
    let mut x = match extras.upsample {
        Some(size) => repeated(x, size),
        None => x,
    };
    for (axis, wraps) in [(1, wrap.rows), (2, wrap.columns)] {
        if wraps {
            x = wrapped(x, axis, pixels);
        }
    }
    let extras = ConvExtras {
        bordered: Axes {
            rows: wrap.rows || extras.bordered.rows,
            columns: wrap.columns || extras.bordered.columns,
        },
        wrap: Axes::default(),
        upsample: None,
        ..extras
    };
    (x, extras)
}

/// A picture between its last and its first pixels along an axis.
fn wrapped(x: Tensor<4>, axis: usize, pixels: usize) -> Tensor<4> {
    let side = x.dims()[axis];
    let (last, first) = (
        x.clone().narrow(axis, side - pixels, pixels),
        x.clone().narrow(axis, 0, pixels),
    );
    Tensor::cat(vec![last, x, first], axis)
}

/// A picture with each pixel twice in both directions, up to a height and width.
fn repeated(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [batch, h, w, c] = x.dims();
    let x = x.reshape([batch * h * w, 1, c]).repeat_dim(1, 2);
    let x = x.reshape([batch * h, 1, 2 * w * c]).repeat_dim(1, 2);
    let x: Tensor<4> = x.reshape([batch, 2 * h, 2 * w, c]);
    x.narrow(1, 0, height).narrow(2, 0, width)
}
