//! Functions of numbers, in `f32`.

use burn_cubecl::cubecl::{self, prelude::*};

/// `x sigmoid(x)`.
#[cube]
pub(super) fn silu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    x / (one + (-x).exp())
}

/// `x sigmoid(1.702 x)`.
#[cube]
pub(super) fn quick_gelu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    x / (one + (x * Vector::<f32, N>::new(-1.702f32)).exp())
}

/// The exact GELU; erf by formula 7.1.26 of Abramowitz and Stegun, 1.5e-7 at worst.
#[cube]
pub(super) fn gelu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    let z = x.abs() * Vector::<f32, N>::new(std::f32::consts::FRAC_1_SQRT_2);
    let t = one / (one + z * Vector::<f32, N>::new(0.327_591_1f32));
    let p = t * Vector::<f32, N>::new(1.061_405_4f32) - Vector::<f32, N>::new(1.453_152f32);
    let p = p * t + Vector::<f32, N>::new(1.421_413_7f32);
    let p = p * t - Vector::<f32, N>::new(0.284_496_74f32);
    let p = (p * t + Vector::<f32, N>::new(0.254_829_6f32)) * t;
    // Half of erfc(|x| / sqrt 2): what is missing from one on the right, what there is on the left.
    let tail = p * (-z * z).exp() * Vector::<f32, N>::new(0.5f32);
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let tail = tail.extract(i);
        let value = x.extract(i);
        result.insert(i, value * select(value < 0.0f32, tail, 1.0f32 - tail));
    }
    result
}
