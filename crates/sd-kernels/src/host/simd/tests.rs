//! Functions of one number against their definitions, in `f64`.

use half::bf16;

use super::{COLUMNS, Isa, Number, Simd, affine, math};

#[test]
fn functions_of_one_number() {
    // erf by its series, in f64.
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    };
    for i in -5000..=5000 {
        let x = i as f32 / 1000.0;
        let wide = f64::from(x);
        let close = |got: f32, expected: f64, what: &str| {
            let allowed = 4e-7 * expected.abs().max(1.0);
            assert!(
                (f64::from(got) - expected).abs() < allowed,
                "{what}({x}): {got}, {expected}"
            );
        };
        close(math::exp(x) / wide.exp() as f32, 1.0, "exp");
        close(math::silu(x), wide / (1.0 + (-wide).exp()), "silu");
        close(
            math::quick_gelu(x),
            wide / (1.0 + (-1.702 * wide).exp()),
            "quick_gelu",
        );
        close(
            math::gelu(x),
            0.5 * wide * (1.0 + erf(wide / 2f64.sqrt())),
            "gelu",
        );
    }
    for isa in Isa::available() {
        let numbers = (-130_000..130_000).map(|n| n as f32 / 1000.0);
        let odd = [f32::NAN, f32::INFINITY, 1e30, -1e30, f32::MIN_POSITIVE];
        for x in numbers.chain(odd) {
            let (mut got, mut expected) = ([[0f32; COLUMNS]], [0f32]);
            f32::affine(
                isa,
                &[[x; COLUMNS]],
                &[[1.0; COLUMNS]],
                &[[0.0; COLUMNS]],
                true,
                &mut got,
            );
            affine(&[x], &[1.0], &[0.0], true, &mut expected);
            let ([got, ..], expected) = (got[0], expected[0]);
            let near = got == expected || (got - expected).abs() <= 3e-7 * x.abs().clamp(1.0, 100.0);
            assert!(
                near || got.is_nan() && x.is_nan(),
                "{isa:?} {x}: {got}, not {expected}"
            );
        }
    }
    assert!(math::exp(f32::NAN).is_nan() && math::silu(f32::NAN).is_nan());
    assert!(math::exp(-1e9) < 2e-38 && math::exp(1e9) > 1e38);
    for value in [
        1.0f32,
        -3.25,
        1e-40,
        65_280.5,
        f32::INFINITY,
        f32::NAN,
        0.0,
        -0.0,
        3.39e38,
    ] {
        let (ours, theirs) = (<bf16 as Number>::from_f32(value), bf16::from_f32(value));
        assert!(
            ours.to_bits() == theirs.to_bits() || (value.is_nan() && ours.is_nan()),
            "{value}"
        );
    }
}

/// The loop of AVX-VNNI, by AVX-512's form of its instruction where that is here, against the plain one.
#[cfg(target_arch = "x86_64")]
#[test]
fn dot_products_of_bytes_in_narrow_vectors() {
    use super::{PANEL, Tile};
    if !Isa::available().contains(&Isa::Avx512Vnni) {
        return;
    }
    let (k, taps) = (128, [0, 7]);
    let bytes = |len: usize, by: usize| (0..len).map(|i| (i * by % 251) as u8).collect::<Vec<_>>();
    const ROWS: usize = super::avx2::ROWS;
    let a = bytes(ROWS * (k + 7), 89);
    let b = bytes(COLUMNS * k * taps.len(), 113);
    let run = |accumulate: bool, rows: usize, tile: unsafe fn(&Tile<u8>)| {
        let mut sums = [[0f32; COLUMNS]; ROWS];
        for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
            *sum = f32::from_bits(i as u32);
        }
        for row in (0..ROWS).step_by(rows) {
            let t = Tile {
                a: a[row * k..].as_ptr(),
                stride: k,
                taps: &taps,
                k,
                b: b.as_ptr(),
                panel: k * taps.len() * PANEL,
                c: sums[row..].as_mut_ptr().cast(),
                accumulate,
            };
            // SAFETY: the instructions are here, and all that is read and written lies in the slices.
            unsafe { tile(&t) };
        }
        sums.map(|row| row.map(f32::to_bits))
    };
    for accumulate in [false, true] {
        assert_eq!(
            run(accumulate, ROWS, super::avx2::tile_u8_vl),
            run(accumulate, super::portable::ROWS, super::portable::tile_u8)
        );
    }
}

#[test]
fn instruction_sets_have_names() {
    let best = *Isa::available().last().unwrap();
    assert_eq!(Isa::named(best.name()), Ok(best));
    let error = Isa::named("avx3").unwrap_err();
    assert!(
        error.contains("'avx3'") && error.contains("portable, neon, neon-dot, neon-bf16, avx2, avx-vnni"),
        "{error}"
    );
    let other = if best == Isa::Amx { Isa::NeonBf16 } else { Isa::Amx };
    let error = Isa::named(other.name()).unwrap_err();
    assert!(
        error.contains(&format!("this processor has no {}", other.name())) && error.contains(best.name()),
        "{error}"
    );
}
