//! Tiles and kernels at the points, and back.

use std::{
    mem::MaybeUninit,
    ops::{Add, Mul, Sub},
};

use crate::host::simd::{Number, PANEL};

/// Pixels of a tile's side: of the output, and of the input that it sees.
pub(super) const OUT: usize = 4;
pub(super) const IN: usize = 6;

/// The points. Their product is 1, which leaves some factors out.
const P: f32 = 2.0 / 3.0;
const Q: f32 = 3.0 / 2.0;

/// A linear map along one axis.
pub(super) trait Axis<V, const A: usize, const B: usize> {
    fn along(values: [V; A]) -> [V; B];
}

/// Values of a square, by row and column, through a map along both axes. A map is a trait's method, since a function that is handed over
/// is called, and then not compiled for the vectors of its caller.
#[inline(always)]
pub(super) fn both_axes<X: Axis<V, A, B>, V: Copy, const A: usize, const B: usize>(
    _: X,
    value: impl Fn(usize, usize) -> V,
    mut put: impl FnMut(usize, usize, V),
) {
    let mut rows = MaybeUninit::<[[V; A]; B]>::uninit();
    let first = rows.as_mut_ptr().cast::<V>();
    for j in 0..A {
        let mut column = MaybeUninit::<[V; A]>::uninit();
        for i in 0..A {
            // SAFETY: there are `A` places.
            unsafe { column.as_mut_ptr().cast::<V>().add(i).write(value(i, j)) };
        }
        // SAFETY: all of them were written.
        let column = X::along(unsafe { column.assume_init() });
        for (i, value) in column.iter().enumerate() {
            // SAFETY: there are `B` rows of `A` places.
            unsafe { first.add(i * A + j).write(*value) };
        }
    }
    // SAFETY: a column at a time, all of it was written.
    let rows = unsafe { rows.assume_init_ref() };
    for (i, row) in rows.iter().enumerate() {
        for (j, value) in X::along(*row).iter().enumerate() {
            put(i, j, *value);
        }
    }
}

/// Channels next to each other.
#[derive(Clone, Copy)]
pub(super) struct Lanes(pub [f32; PANEL]);

impl Lanes {
    #[inline(always)]
    pub fn new<T: Number>(values: [T; PANEL]) -> Self {
        let mut lanes = [0.0; PANEL];
        lanes
            .iter_mut()
            .zip(values)
            .for_each(|(to, from)| *to = from.to_f32());
        Self(lanes)
    }
}

macro_rules! lanewise {
    ($trait:ident, $name:ident, $op:tt) => {
        impl $trait for Lanes {
            type Output = Self;

            #[inline(always)]
            fn $name(mut self, other: Self) -> Self {
                self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a $op b);
                self
            }
        }
    };
}
lanewise!(Add, add, +=);
lanewise!(Sub, sub, -=);

impl Mul<f32> for Lanes {
    type Output = Self;

    #[inline(always)]
    fn mul(mut self, factor: f32) -> Self {
        self.0.iter_mut().for_each(|a| *a *= factor);
        self
    }
}

/// Tiles of the input to the points: `B^T d`, where row `i` of `B^T` holds the coefficients of the product of all `(x - p_j)` but the `i`-th.
pub(super) struct Input;

impl Axis<Lanes, IN, IN> for Input {
    #[inline(always)]
    fn along(d: [Lanes; IN]) -> [Lanes; IN] {
        const SQUARES: f32 = P * P + Q * Q;
        let (even, odd) = (d[4] - d[2] * (Q * Q), (d[3] - d[1] * (Q * Q)) * P);
        let (even_q, odd_q) = (d[4] - d[2] * (P * P), (d[3] - d[1] * (P * P)) * Q);
        [
            d[0] - d[2] * SQUARES + d[4],
            even + odd,
            even - odd,
            even_q + odd_q,
            even_q - odd_q,
            d[1] - d[3] * SQUARES + d[5],
        ]
    }
}

/// Kernels to the points: `G g`, their values there over the products of the points' differences.
pub(super) struct Kernel;

impl Axis<Lanes, 3, IN> for Kernel {
    #[inline(always)]
    fn along(g: [Lanes; 3]) -> [Lanes; IN] {
        const AT_P: f32 = 1.0 / (2.0 * P * P * (P * P - Q * Q));
        const AT_Q: f32 = 1.0 / (2.0 * Q * Q * (Q * Q - P * P));
        let (even, odd) = ((g[0] + g[2] * (P * P)) * AT_P, g[1] * (P * AT_P));
        let (even_q, odd_q) = ((g[0] + g[2] * (Q * Q)) * AT_Q, g[1] * (Q * AT_Q));
        [g[0], even + odd, even - odd, even_q + odd_q, even_q - odd_q, g[2]]
    }
}

/// Sums back from the points: `A^T m`.
pub(super) struct Output;

impl Axis<Lanes, IN, OUT> for Output {
    #[inline(always)]
    fn along(m: [Lanes; IN]) -> [Lanes; OUT] {
        let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
        let (sum_q, difference_q) = (m[3] + m[4], m[3] - m[4]);
        [
            m[0] + sum + sum_q,
            difference * P + difference_q * Q,
            sum * (P * P) + sum_q * (Q * Q),
            difference * (P * P * P) + difference_q * (Q * Q * Q) + m[5],
        ]
    }
}
