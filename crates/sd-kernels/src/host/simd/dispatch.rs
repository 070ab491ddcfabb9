//! Dispatch: which kernel an instruction set has for each number type.

use half::bf16;

#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use super::{
    isa::Isa,
    number::{Number, Operand},
    portable,
    tile::{COLUMNS, Tile},
    widen::Widen,
};

/// Matrix products, a tile at a time.
pub(crate) trait Product: Widen {
    /// Rows of a tile.
    fn rows(isa: Isa) -> usize;

    /// What `k` must be a multiple of. [`Operand::K`] is a multiple for every instruction set, as packed weights have it.
    fn step(isa: Isa) -> usize {
        match isa {
            Isa::Amx => Self::K,
            _ => Self::GROUP,
        }
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// `isa` works here and [`begin`] was called on this thread with it; `rows(isa)` rows of `A` and of `C` as described and both
    /// panels lie in memory that may be read, and for `C` written by nobody else.
    unsafe fn tile(isa: Isa, tile: &Tile<Self>);
}

/// Loops over numbers that compilers do badly.
pub(crate) trait Simd: Number + Product {
    /// True if a quarter of the products in `f32`, of what must be transformed first, is better than all of them in this type.
    fn transforms(isa: Isa) -> bool;

    /// Values of a whole row of a tile in this type.
    fn narrow(isa: Isa, values: &[f32; COLUMNS], out: &mut [Self; COLUMNS]);

    /// [`portable::affine`] by the best means there are; all slices are of one length.
    fn affine(
        isa: Isa,
        x: &[[Self; COLUMNS]],
        factors: &[[f32; COLUMNS]],
        terms: &[[f32; COLUMNS]],
        silu: bool,
        out: &mut [[Self; COLUMNS]],
    );

    /// [`portable::maximum`] by the best means there are.
    #[inline(always)]
    fn maximum(isa: Isa, scores: &[f32]) -> [f32; COLUMNS] {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { avx512::maximum(scores) };
        }
        let _ = isa;
        portable::maximum(scores)
    }

    /// [`portable::exponentials`] by the best means there are.
    fn exponentials(
        isa: Isa,
        scores: &[f32],
        scale: f32,
        base: &[f32; COLUMNS],
        weights: &mut [Self],
        panel: usize,
    ) -> [f32; COLUMNS];
}

/// The tiles of a type, with their rows: in plain Rust, and through other instruction sets.
macro_rules! product {
    ($type:ty, $portable:path, $($arch:literal: $($isa:ident)|+ => $rows:expr, $tile:path;)+) => {
        impl Product for $type {
            fn rows(isa: Isa) -> usize {
                match isa {
                    $(#[cfg(target_arch = $arch)]
                    $(Isa::$isa)|+ => $rows,)+
                    _ => portable::ROWS,
                }
            }

            #[inline(always)]
            unsafe fn tile(isa: Isa, tile: &Tile<Self>) {
                // SAFETY: the caller's promise.
                unsafe {
                    match isa {
                        $(#[cfg(target_arch = $arch)]
                        $(Isa::$isa)|+ => $tile(tile),)+
                        _ => $portable(tile),
                    }
                }
            }
        }
    };
}

product! { f32, portable::tile,
    "aarch64": Neon | NeonDot | NeonBf16 => neon::ROWS, neon::tile_f32;
    "x86_64": Avx2 | AvxVnni => avx2::ROWS, avx2::tile_f32;
    "x86_64": Avx512 | Avx512Vnni | Avx512Bf16 | Amx => avx512::ROWS, avx512::tile_f32;
}
product! { bf16, portable::tile,
    "aarch64": Neon | NeonDot => neon::ROWS, neon::tile_bf16;
    "aarch64": NeonBf16 => neon::ROWS, neon::tile_bf16_dot;
    "x86_64": Avx2 | AvxVnni | Avx512 | Avx512Vnni => avx2::ROWS, avx2::tile_bf16;
    "x86_64": Avx512Bf16 => avx512::ROWS, avx512::tile_bf16;
    "x86_64": Amx => amx::ROWS, amx::tile_bf16;
}
product! { u8, portable::tile_u8,
    "aarch64": NeonDot => neon::ROWS, neon::tile_u8;
    "aarch64": NeonBf16 => neon::ROWS, neon::tile_u8_mixed;
    "x86_64": AvxVnni => avx2::ROWS, avx2::tile_u8;
    "x86_64": Avx512Vnni | Avx512Bf16 => avx512::ROWS, avx512::tile_u8;
    "x86_64": Amx => amx::ROWS, amx::tile_u8;
}
product! { i16, portable::tile_i16,
    "aarch64": Neon | NeonDot | NeonBf16 => neon::ROWS, neon::tile_i16;
    "x86_64": Avx2 | AvxVnni => avx2::ROWS, avx2::tile_i16;
    "x86_64": Avx512 | Avx512Vnni | Avx512Bf16 | Amx => avx512::ROWS, avx512::tile_i16;
}

/// A type of whole numbers that products are computed in.
pub(crate) trait Whole: Product {
    /// What is stored for zero on the left.
    const ZERO: Self;

    /// The lowest bits.
    fn of_bits(bits: u32) -> Self;

    /// As a number.
    fn value(self) -> i32;
}

/// Instructions multiply unsigned bytes with signed ones.
impl Whole for u8 {
    const ZERO: Self = 128;

    #[inline(always)]
    fn of_bits(bits: u32) -> Self {
        bits as Self
    }

    #[inline(always)]
    fn value(self) -> i32 {
        self.into()
    }
}

impl Whole for i16 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn of_bits(bits: u32) -> Self {
        bits as Self
    }

    #[inline(always)]
    fn value(self) -> i32 {
        self.into()
    }
}

/// Functions of [`Simd`] for a type: the kernels' names differ, and the AVX-512 that `affine` needs.
macro_rules! loops {
    ($from:expr, $affine:ident, $exponentials:ident $(, $avx2:ident, $neon:ident)?) => {
        #[inline(always)]
        fn affine(
            isa: Isa,
            x: &[[Self; COLUMNS]],
            factors: &[[f32; COLUMNS]],
            terms: &[[f32; COLUMNS]],
            silu: bool,
            out: &mut [[Self; COLUMNS]],
        ) {
            #[cfg(target_arch = "x86_64")]
            if isa >= $from {
                // SAFETY: an `Isa` is only made where it works.
                return unsafe { avx512::$affine(x, factors, terms, silu, out) };
            }
            let _ = isa;
            portable::affine(
                x.as_flattened(),
                factors.as_flattened(),
                terms.as_flattened(),
                silu,
                out.as_flattened_mut(),
            );
        }

        #[inline(always)]
        fn exponentials(
            isa: Isa,
            scores: &[f32],
            scale: f32,
            base: &[f32; COLUMNS],
            weights: &mut [Self],
            panel: usize,
        ) -> [f32; COLUMNS] {
            #[cfg(target_arch = "x86_64")]
            if isa >= Isa::Avx512 {
                // SAFETY: an `Isa` is only made where it works.
                return unsafe { avx512::$exponentials(scores, scale, base, weights, panel) };
            }
            $(#[cfg(target_arch = "x86_64")]
            if isa >= Isa::Avx2 {
                // SAFETY: as before.
                return unsafe { avx2::$avx2(scores, scale, base, weights, panel) };
            }
            #[cfg(target_arch = "aarch64")]
            if isa >= Isa::Neon {
                // SAFETY: as before.
                return unsafe { neon::$neon(scores, scale, base, weights, panel) };
            })?
            let _ = isa;
            portable::exponentials(scores, scale, base, weights, panel)
        }
    };
}

impl Simd for f32 {
    fn transforms(_: Isa) -> bool {
        true
    }

    #[inline(always)]
    fn narrow(_: Isa, values: &[f32; COLUMNS], out: &mut [Self; COLUMNS]) {
        *out = *values;
    }

    loops!(
        Isa::Avx512,
        affine_f32,
        exponentials_f32,
        exponentials_f32,
        exponentials_f32
    );
}

impl Simd for bf16 {
    fn transforms(isa: Isa) -> bool {
        isa != Isa::Amx
    }

    #[inline(always)]
    fn narrow(isa: Isa, values: &[f32; COLUMNS], out: &mut [Self; COLUMNS]) {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512Bf16 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { avx512::narrow(values, out) };
        }
        let _ = isa;
        out.iter_mut()
            .zip(values)
            .for_each(|(out, value)| *out = Self::from_f32(*value));
    }

    loops!(Isa::Avx512Bf16, affine_bf16, exponentials_bf16);
}

/// A thread that is prepared for tiles, until it is dropped.
pub(crate) struct Session {
    #[cfg(target_arch = "x86_64")]
    amx: bool,
}

pub(crate) fn begin<T: Operand>(isa: Isa) -> Session {
    #[cfg(target_arch = "x86_64")]
    {
        let amx = isa == Isa::Amx && T::GROUP > 1;
        if amx {
            // SAFETY: `Isa::Amx` exists only where `amx::available` said so.
            unsafe { amx::configure() };
        }
        Session { amx }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        Session {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.amx {
            // SAFETY: as in `begin`.
            unsafe { amx::release() };
        }
    }
}
