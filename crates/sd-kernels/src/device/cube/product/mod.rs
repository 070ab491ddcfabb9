//! Products with weights: linear layers and convolutions.

mod check;
mod cores;
mod cut;
mod epilogue;
mod kernel;
mod plan;
mod read;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod units;

use burn_cubecl::{
    cubecl::{
        ir::{ElemType, FloatKind},
        prelude::{BufferArg, CubeCount, CubeDim},
    },
    tensor::CubeTensor,
};
use burn_tensor::{DType, Tensor};

use self::{
    check::has_cores,
    cut::Cut,
    kernel::{join_parts, product},
    plan::{Plan, SizesLaunch},
};
pub(super) use self::{epilogue::Epilogue, plan::Rows};
use super::tensor::{address, elem, empty, enter, lanes};

/// Rows of packed weights for a tap are whole multiples of this. Input beyond the channels counts as zeros.
const DEPTH: usize = 32;

/// Columns of packed weights are whole multiples of this.
const COLUMNS: usize = 64;

/// Columns of values before those of their gates.
const PANEL: usize = 32;

/// The type of sums, which parts are kept in.
const SUMS: ElemType = ElemType::Float(FloatKind::F32);

/// Units of a cube that puts parts together.
const JOINED: usize = 64;

/// Weights as kernels read them, and a bias.
#[derive(Clone)]
pub(super) struct Weights {
    /// `[taps * depth, packed]`: for each tap and channel a row, which has a column for each output.
    values: CubeTensor,
    /// `[packed]`, in `f32`.
    bias: CubeTensor,
    pub channels: usize,
    pub columns: usize,
    depth: usize,
    packed: usize,
}

/// What is added to sums besides the bias.
#[derive(Default)]
pub(super) struct Terms {
    /// `[images, columns]`.
    pub image_bias: Option<CubeTensor>,
    /// A tensor of the output's shape.
    pub residual: Option<CubeTensor>,
    /// As [`Weights::packed_vector`] makes them.
    pub slopes: Option<CubeTensor>,
}

/// The picture that windows move over.
#[derive(Clone, Copy, Default)]
pub(super) struct Picture {
    /// Height and width of the input.
    pub source: [usize; 2],
    /// What windows see of it: the same, or twice that.
    pub seen: [usize; 2],
    /// Zeros above it and to its left.
    pub before: [usize; 2],
    pub output: [usize; 2],
}

impl Weights {
    /// `weight` is `[out, in, taps]`, or of a gated layer `[2 out, in, 1]`; `bias` has as many values as the first axis is long.
    pub fn new(weight: Tensor<3>, bias: Option<Tensor<1>>, gated: bool) -> Self {
        let [all, channels, taps] = weight.dims();
        let (device, columns) = (weight.device(), if gated { all / 2 } else { all });
        let bias = bias.unwrap_or_else(|| Tensor::zeros([all], (&device, DType::F32)));
        let bias = bias.cast(DType::F32).reshape([1, 1, all]);
        let arrange = |x: Tensor<3>| match gated {
            true => pad(alternating(x), 2, COLUMNS),
            false => pad(x, 2, COLUMNS),
        };
        let (values, bias) = (arrange(pad(weight.permute([2, 1, 0]), 1, DEPTH)), arrange(bias));
        let [_, depth, packed] = values.dims();
        Self {
            values: enter(values.reshape([taps * depth, packed])),
            bias: enter(bias.reshape([packed])),
            channels,
            columns,
            depth,
            packed,
        }
    }

    /// A number for each output, `[out]`, as kernels read them.
    pub fn packed_vector(&self, x: Tensor<1>) -> CubeTensor {
        let x = x.cast(DType::F32).reshape([1, 1, self.columns]);
        enter(pad(x, 2, COLUMNS).reshape([self.packed]))
    }

    /// The type that values are in.
    pub fn dtype(&self) -> DType {
        self.values.dtype
    }

    /// The product of so many rows, `[rows, columns]`, as a tensor of the shape.
    pub fn multiply<const D: usize>(
        &self,
        x: CubeTensor,
        rows: Rows,
        picture: Picture,
        epilogue: Epilogue,
        terms: Terms,
        shape: [usize; D],
    ) -> CubeTensor {
        let count = shape[..D - 1].iter().product::<usize>();
        let depth = rows.taps() * self.depth;
        let cut = Cut::choose(&x.client, count, self.packed, depth, has_cores(&x));
        self.multiply_as(cut, x, rows, picture, epilogue, terms, shape)
    }

    /// The same, cut in this way.
    #[allow(clippy::too_many_arguments)]
    fn multiply_as<const D: usize>(
        &self,
        cut: Cut,
        x: CubeTensor,
        rows: Rows,
        picture: Picture,
        epilogue: Epilogue,
        terms: Terms,
        shape: [usize; D],
    ) -> CubeTensor {
        let client = x.client.clone();
        let count = shape[..D - 1].iter().product::<usize>();
        let output = empty(&x, shape, self.dtype());
        let Some(elem) = elem(self.dtype()).filter(|_| count > 0) else {
            return output;
        };
        let most = client.properties().hardware.max_cube_count.0 as usize;
        let grid = |cubes: usize, parts| {
            CubeCount::Static(cubes.min(most) as u32, cubes.div_ceil(most) as u32, parts as u32)
        };
        let (near, far) = (lanes(&client, self.channels), lanes(&client, self.columns));
        let tile = cut.tile;
        let plan = Plan { tile, rows };
        let units = CubeDim::new_1d(tile.units as u32);
        let sizes = || self.sizes(count, picture);
        let terms = [terms.image_bias, terms.residual, terms.slopes];
        let terms = terms.map(|term| term.map(CubeTensor::into_buffer_arg));
        let bias = || self.bias.clone().into_buffer_arg();
        let parts = (cut.parts > 1).then(|| empty(&x, [cut.parts, count, self.packed], DType::F32));
        let address = address(&[&x, &self.values, &output, parts.as_ref().unwrap_or(&output)]);
        let input = x.into_buffer_arg();
        let values = self.values.clone().into_buffer_arg();
        // SAFETY: kernels read and write rows and columns of these sizes alone, and the buffers have them: `x` has the rows that the
        // callers counted, packed weights and bias were made above, terms are asserted by the callers.
        let multiply = |into: &CubeTensor, lanes, terms: [Option<BufferArg>; 3], epilogue, elems| unsafe {
            let [image_bias, residual, slopes] = terms;
            product::launch_unchecked(
                &client,
                grid(cut.cubes, cut.parts),
                units,
                address,
                near,
                lanes,
                input,
                values,
                bias(),
                image_bias.into(),
                residual.into(),
                slopes.into(),
                into.clone().into_buffer_arg(),
                sizes(),
                plan,
                epilogue,
                elems,
            );
        };
        let Some(parts) = parts else {
            multiply(&output, far, terms, Some(epilogue), [elem, elem]);
            return output;
        };
        multiply(&parts, 4, [None, None, None], None, [elem, SUMS]);
        let pairs = count * self.packed / 8;
        let [image_bias, residual, slopes] = terms;
        // SAFETY: as above; the parts were made for these sizes.
        unsafe {
            join_parts::launch_unchecked(
                &client,
                grid(pairs.div_ceil(JOINED), 1),
                CubeDim::new_1d(JOINED as u32),
                address,
                far,
                parts.into_buffer_arg(),
                bias(),
                image_bias.into(),
                residual.into(),
                slopes.into(),
                output.clone().into_buffer_arg(),
                sizes(),
                cut.parts as u32,
                epilogue,
                elem,
            );
        }
        output
    }

    fn sizes(&self, rows: usize, picture: Picture) -> SizesLaunch {
        let n = |n: usize| n as u32;
        let Picture {
            source,
            seen,
            before,
            output,
        } = picture;
        SizesLaunch::new(
            n(rows),
            n(self.columns),
            n(self.packed),
            n(self.channels),
            n(self.depth),
            n(seen[0]),
            n(seen[1]),
            n(source[0]),
            n(source[1]),
            n(before[0]),
            n(before[1]),
            n(output[0]),
            n(output[1]),
        )
    }
}

/// Zeros after an axis, up to a multiple.
fn pad(x: Tensor<3>, axis: usize, multiple: usize) -> Tensor<3> {
    let mut shape = x.dims();
    let missing = shape[axis].next_multiple_of(multiple) - shape[axis];
    if missing == 0 {
        return x;
    }
    shape[axis] = missing;
    let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
    Tensor::cat(vec![x, zeros], axis)
}

/// Values and gates, `[.., 2 n]`, in turns: a panel of values, then the panel of their gates.
fn alternating(x: Tensor<3>) -> Tensor<3> {
    let [a, b, all] = x.dims();
    let n = all / 2;
    // A layer that is only described is made of single numbers.
    if n == 0 {
        return x;
    }
    let panels = n.div_ceil(PANEL);
    let half = |from| pad(x.clone().narrow(2, from, n), 2, PANEL).reshape([a, b, panels, 1, PANEL]);
    Tensor::cat(vec![half(0), half(n)], 3).reshape([a, b, 2 * panels * PANEL])
}
