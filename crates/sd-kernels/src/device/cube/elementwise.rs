//! Operations that look at each value once: SiLU where it stands alone, scales of normalisations, windows, channels side by side.
//!
//! Arithmetic is in `f32`, and a value is rounded once, when it is written.

#[cfg(all(test, feature = "flex"))]
mod tests;

use std::ops::Range;

use burn_cubecl::{
    cubecl::{self, calculate_cube_count_elemwise, prelude::*},
    tensor::CubeTensor,
};
use burn_tensor::{DType, Tensor};

use super::{
    math,
    tensor::{address, elem_of, empty, enter, lanes, leave},
};

/// Units of a cube.
const UNITS: u32 = 256;

/// As many cubes as so many units need.
fn cubes(out: &CubeTensor, units: usize) -> (CubeCount, CubeDim) {
    let cube = CubeDim::new_1d(UNITS);
    (calculate_cube_count_elemwise(&out.client, units, cube), cube)
}

/// SiLU of each value.
pub(crate) fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dims = x.dims();
    let x = enter(x);
    let n: usize = dims.iter().product();
    let lanes = lanes(&x.client, n);
    let out = empty(&x, dims, x.dtype);
    let (count, cube) = cubes(&out, n / lanes);
    let (address, elem) = (address(&[&x]), elem_of(&x));
    // SAFETY: a unit that has no vector ends.
    unsafe {
        silu_kernel::launch_unchecked(
            &out.client,
            count,
            cube,
            address,
            lanes,
            x.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n / lanes,
            elem,
        );
    }
    leave(out)
}

/// `[batch, h, w, a]` and `[batch, h, w, b]` to `[batch, h, w, a + b]`.
pub(crate) fn concatenate(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let (ca, [batch, h, w, cb]) = (a.dims()[3], b.dims());
    let (a, b) = (enter(a), enter(b));
    let lanes = lanes(&a.client, ca).min(lanes(&a.client, cb));
    let out = empty(&a, [batch, h, w, ca + cb], a.dtype);
    let n = batch * h * w * (ca + cb) / lanes;
    let (count, cube) = cubes(&out, n);
    let (address, elem) = (address(&[&out]), elem_of(&a));
    // SAFETY: a unit that has no vector ends.
    unsafe {
        concatenate_kernel::launch_unchecked(
            &out.client,
            count,
            cube,
            address,
            lanes,
            a.into_buffer_arg(),
            b.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            n,
            ca / lanes,
            cb / lanes,
            elem,
        );
    }
    leave(out)
}

/// Each channel of each picture times its factor, plus its term, and then perhaps SiLU. `scales` are `[batch, c]` in `f32`.
pub(crate) fn apply(x: Tensor<4>, scales: &[Tensor<2>; 2], silu: bool) -> Tensor<4> {
    let [_, h, w, _] = x.dims();
    let view = View {
        rows: 0..h as isize,
        width: w,
        times: 1,
        silu,
    };
    view.of(x, Some(scales.each_ref().map(|t| enter(t.clone()))))
}

/// Rows of the picture `[1, h, w, c]`, as [`crate::layers::window`] has them: scaled with SiLU, upsampled, zeros beyond.
pub(crate) fn window(
    x: Tensor<4>,
    rows: Range<isize>,
    scales: Option<&[Tensor<1>; 2]>,
    upsample: bool,
) -> Tensor<4> {
    let times = 1 + usize::from(upsample);
    let view = View {
        rows,
        width: times * x.dims()[2],
        times,
        silu: true,
    };
    view.of(
        x,
        scales.map(|scales| scales.each_ref().map(|t| enter(t.clone()))),
    )
}

/// What is seen of a picture.
struct View {
    /// Rows of the picture whose pixels are repeated; they may reach beyond it.
    rows: Range<isize>,
    /// Pixels of a row.
    width: usize,
    /// How often a pixel is repeated in both directions.
    times: usize,
    /// SiLU where there are scales.
    silu: bool,
}

impl View {
    fn of(&self, x: Tensor<4>, scales: Option<[CubeTensor; 2]>) -> Tensor<4> {
        let [batch, h, w, c] = x.dims();
        let x = enter(x);
        let lanes = lanes(&x.client, c);
        let height = self.rows.len();
        let out = empty(&x, [batch, height, self.width, c], x.dtype);
        let n = batch * height * self.width * c / lanes;
        let (count, cube) = cubes(&out, n);
        let (address, elem) = (address(&[&x, &out]), elem_of(&x));
        let scaled = scales.is_some();
        // Where there are no scales nothing reads them.
        let [factors, terms] = scales.unwrap_or_else(|| [0; 2].map(|_| empty(&x, [1, lanes], DType::F32)));
        // SAFETY: a unit that has no vector ends, and only rows within the picture are read.
        unsafe {
            view_kernel::launch_unchecked(
                &out.client,
                count,
                cube,
                address,
                lanes,
                x.into_buffer_arg(),
                factors.into_buffer_arg(),
                terms.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                n,
                self.rows.start as i32,
                height,
                h,
                self.width,
                w,
                c / lanes,
                self.times,
                scaled,
                self.silu,
                elem,
            );
        }
        leave(out)
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn silu_kernel<E: Float, N: Size>(
    x: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    count: usize,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let y = math::silu::<N>(Vector::cast_from(x[ABSOLUTE_POS]));
    out[ABSOLUTE_POS] = Vector::cast_from(y);
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn concatenate_kernel<E: Float, N: Size>(
    a: &[Vector<E, N>],
    b: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    count: usize,
    #[comptime] of_a: usize,
    #[comptime] of_b: usize,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let width = comptime!(of_a + of_b);
    let (pixel, column) = (ABSOLUTE_POS / width, ABSOLUTE_POS % width);
    if column < of_a {
        out[ABSOLUTE_POS] = a[pixel * of_a + column];
    } else {
        out[ABSOLUTE_POS] = b[pixel * of_b + column - of_a];
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
fn view_kernel<E: Float, N: Size>(
    x: &[Vector<E, N>],
    factors: &[Vector<f32, N>],
    terms: &[Vector<f32, N>],
    out: &mut [Vector<E, N>],
    count: usize,
    top: i32,
    out_height: usize,
    height: usize,
    out_width: usize,
    width: usize,
    #[comptime] vectors: usize,
    #[comptime] times: usize,
    #[comptime] scaled: bool,
    #[comptime] with_silu: bool,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= count {
        terminate!();
    }
    let column = ABSOLUTE_POS % vectors;
    let pixel = ABSOLUTE_POS / vectors;
    let (line, across) = (pixel / out_width, pixel % out_width);
    let (picture, row) = (
        line / out_height,
        top + i32::cast_from((line % out_height) as u32),
    );
    let mut y = Vector::<E, N>::new(E::new(0.0f32));
    if row >= 0 && row < i32::cast_from((height * times) as u32) {
        let from = (picture * height + usize::cast_from(row) / times) * width + across / times;
        y = x[from * vectors + column];
        if comptime!(scaled) {
            let at = picture * vectors + column;
            let mut scaled = fma(Vector::cast_from(y), factors[at], terms[at]);
            if comptime!(with_silu) {
                scaled = math::silu::<N>(scaled);
            }
            y = Vector::cast_from(scaled);
        }
    }
    out[ABSOLUTE_POS] = y;
}
