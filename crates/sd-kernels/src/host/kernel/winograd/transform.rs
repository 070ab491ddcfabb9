//! Tiles and kernels at the points, and back.

use std::ops::{Add, Mul, Sub};

use crate::host::simd::{Number, PANEL};

/// Pixels of a tile's side: of the output, and of the input that it sees.
pub(super) const OUT: usize = 4;
pub(super) const IN: usize = 6;

/// The points. Their product is 1, which leaves some factors out.
const P: f32 = 2.0 / 3.0;
const Q: f32 = 3.0 / 2.0;

/// Channels next to each other.
#[derive(Clone, Copy)]
pub(super) struct Lanes(pub [f32; PANEL]);

impl Lanes {
    pub const ZERO: Self = Self([0.0; PANEL]);

    /// The first of `values`, and zeros if there are fewer.
    #[inline(always)]
    pub fn load<T: Number>(values: &[T]) -> Self {
        let mut lanes = [0.0; PANEL];
        match values.first_chunk::<PANEL>() {
            Some(values) => lanes
                .iter_mut()
                .zip(values)
                .for_each(|(to, from)| *to = from.to_f32()),
            None => lanes
                .iter_mut()
                .zip(values)
                .for_each(|(to, from)| *to = from.to_f32()),
        }
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

/// `B^T d`: row `i` holds the coefficients of the product of all `(x - p_j)` but the `i`-th.
#[inline(always)]
pub(super) fn input(d: &[Lanes; IN]) -> [Lanes; IN] {
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

/// `G g`: the kernel's values at the points, over the products of the points' differences.
#[inline(always)]
pub(super) fn kernel(g: &[Lanes; 3]) -> [Lanes; IN] {
    const AT_P: f32 = 1.0 / (2.0 * P * P * (P * P - Q * Q));
    const AT_Q: f32 = 1.0 / (2.0 * Q * Q * (Q * Q - P * P));
    let (even, odd) = ((g[0] + g[2] * (P * P)) * AT_P, g[1] * (P * AT_P));
    let (even_q, odd_q) = ((g[0] + g[2] * (Q * Q)) * AT_Q, g[1] * (Q * AT_Q));
    [g[0], even + odd, even - odd, even_q + odd_q, even_q - odd_q, g[2]]
}

/// `A^T m`.
#[inline(always)]
pub(super) fn output(m: &[Lanes; IN]) -> [Lanes; OUT] {
    let (sum, difference) = (m[1] + m[2], m[1] - m[2]);
    let (sum_q, difference_q) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + sum + sum_q,
        difference * P + difference_q * Q,
        sum * (P * P) + sum_q * (Q * Q),
        difference * (P * P * P) + difference_q * (Q * Q * Q) + m[5],
    ]
}
