//! The roof: the most that the processor could do, which kernels are measured against.

use std::time::{Duration, Instant};

use half::bf16;

use crate::{
    host::{
        kernel::repeat,
        simd::{COLUMNS, Isa, Product},
    },
    memory::buffer::Buffer,
};

/// The time of each measurement.
const TIME: Duration = Duration::from_millis(200);

/// Numbers that products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// `f32`.
    F32,
    /// `bf16` with sums in `f32`.
    Bf16,
    /// Whole numbers, bytes or words, with sums in `i32`.
    Int8,
}

/// Operations a second of one thread when nothing but the innermost operation runs, on numbers that stay near.
pub fn arithmetic(numbers: Numbers) -> f64 {
    match numbers {
        Numbers::F32 => tiles::<f32>(),
        Numbers::Bf16 => tiles::<bf16>(),
        Numbers::Int8 if Isa::detect().multiplies_bytes() => tiles::<u8>(),
        Numbers::Int8 => tiles::<i16>(),
    }
}

fn tiles<T: Product>() -> f64 {
    /// Bytes of a row of the left side for each tap: all of it stays in the first-level cache, the right side in the second.
    const ROW: usize = 256;
    const TAPS: [usize; 16] = [0; 16];
    const TIMES: usize = 200;
    let (isa, k) = (Isa::detect(), ROW / size_of::<T>());
    // Aligned, as the kernels' own memory is: rows that straddle cache lines take several times as long.
    let zeros = |len: usize| {
        let mut values = Buffer::<T>::dirty(len);
        values.fill(T::default());
        values
    };
    let (a, b) = (zeros(T::rows(isa) * k), zeros(COLUMNS * k * TAPS.len()));
    let operations = T::rows(isa) * COLUMNS * k * TAPS.len() * TIMES;
    rate(2.0 * operations as f64, || repeat(isa, &a, &b, &TAPS, TIMES))
}

/// Bytes a second that one thread reads from memory, where no cache holds them.
pub fn memory() -> f64 {
    let values = vec![1u64; 32 << 20];
    rate(size_of_val(values.as_slice()) as f64, || {
        let lanes = values.chunks_exact(8).fold([0u64; 8], |mut sums, values| {
            sums.iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
            sums
        });
        std::hint::black_box(lanes);
    })
}

/// The best rate of several calls.
fn rate(amount: f64, mut work: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed() < TIME {
        let call = Instant::now();
        work();
        best = best.min(call.elapsed().as_secs_f64());
    }
    amount / best
}
