//! The innermost operation: a block of a matrix product whose sums stay in registers.

use half::bf16;

use super::{
    attention::{self, QUERIES},
    isa::Isa,
    norm,
};

/// Columns of a panel, the unit in which right-hand sides are packed.
pub(crate) const PANEL: usize = 16;

/// Columns of a tile: two panels.
pub(crate) const COLUMNS: usize = 2 * PANEL;

/// The most rows that any kernel's tile has.
pub(crate) const MAX_ROWS: usize = 32;

/// One tile of `C = A B`, or of `C += A B`.
///
/// `A`'s row `r` is the concatenation over `taps` of the `k` elements from `a + r * stride + tap` on: one tap for a matrix, nine for a
/// 3x3 convolution. `B` is two packed panels; `C`'s rows are `COLUMNS` wide and `c_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, T> {
    pub a: *const T,
    pub stride: usize,
    pub taps: &'a [usize],
    /// Elements of a row of `A` for each tap; a multiple of [`Element::K`].
    pub k: usize,
    pub b: *const T,
    /// Elements from one panel to the next.
    pub panel: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    pub accumulate: bool,
}

/// A type that products are computed in; sums are `f32`, or for whole numbers `i32` in the same memory.
///
/// A panel of `f32` is `[k][PANEL]`, a panel of `bf16` is `[k / 2][PANEL][2]`, of bytes `[k / 4][PANEL][4]`: as dot-product
/// instructions take them.
pub(crate) trait Factor: Copy + Send + Sync + Default + PartialEq + bytemuck::Pod + 'static {
    /// `k` is padded to multiples of this.
    const K: usize;
    /// Values of `k` that lie together in a panel.
    const GROUP: usize;

    /// Rows of a tile.
    fn rows(isa: Isa) -> usize;

    /// Computes a tile.
    ///
    /// # Safety
    /// `isa` works here and [`begin`] was called on this thread with it; `rows(isa)` rows of `A` and of `C` as described and both
    /// panels lie in memory that may be read, and for `C` written by nobody else.
    unsafe fn tile(isa: Isa, tile: &Tile<Self>);
}

/// A type that values have between operations.
pub(crate) trait Element: Factor {
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;

    /// Whether products in this type take so long that fewer of them, in `f32`, are better.
    fn slow(isa: Isa) -> bool;

    /// Value `g` of each column of a group of a panel.
    ///
    /// # Safety
    /// A whole group may be read.
    unsafe fn lanes(group: *const Self, g: usize) -> [f32; PANEL];

    /// Values of a whole row of a tile in this type.
    #[inline(always)]
    fn narrow(isa: Isa, values: &[f32; COLUMNS], out: &mut [Self; COLUMNS]) {
        let _ = isa;
        out.iter_mut()
            .zip(values)
            .for_each(|(out, value)| *out = Self::from_f32(*value));
    }

    /// [`norm::affine`] by the best means there are; all slices are of one length.
    fn affine(
        isa: Isa,
        x: &[[Self; COLUMNS]],
        factors: &[[f32; COLUMNS]],
        terms: &[[f32; COLUMNS]],
        silu: bool,
        out: &mut [[Self; COLUMNS]],
    );

    /// [`attention::maximum`] by the best means there are.
    #[inline(always)]
    fn maximum(isa: Isa, scores: &[f32]) -> [f32; QUERIES] {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::maximum(scores) };
        }
        let _ = isa;
        attention::maximum(scores)
    }

    /// [`attention::weigh`] by the best means there are.
    fn weigh(
        isa: Isa,
        scores: &[f32],
        scale: f32,
        base: &[f32; QUERIES],
        weights: &mut [Self],
        panel: usize,
    ) -> [f32; QUERIES];
}

impl Factor for f32 {
    const K: usize = 1;
    const GROUP: usize = 1;

    fn rows(isa: Isa) -> usize {
        match isa {
            Isa::Portable | Isa::Avx2 => super::portable::ROWS,
            _ => super::avx512::ROWS,
        }
    }

    #[inline(always)]
    unsafe fn tile(isa: Isa, tile: &Tile<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                Isa::Portable => super::portable::tile(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => super::portable::tile_avx2(tile),
                #[cfg(target_arch = "x86_64")]
                _ => super::avx512::tile_f32(tile),
                #[cfg(not(target_arch = "x86_64"))]
                _ => super::portable::tile(tile),
            }
        }
    }
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn lanes(group: *const Self, _: usize) -> [f32; PANEL] {
        // SAFETY: a group is a value for each column.
        unsafe { group.cast::<[f32; PANEL]>().read_unaligned() }
    }

    fn slow(_: Isa) -> bool {
        true
    }

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
        if isa >= Isa::Avx512 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::affine_f32(x, factors, terms, silu, out) };
        }
        let _ = isa;
        norm::affine(
            x.as_flattened(),
            factors.as_flattened(),
            terms.as_flattened(),
            silu,
            out.as_flattened_mut(),
        );
    }

    #[inline(always)]
    fn weigh(
        isa: Isa,
        scores: &[f32],
        scale: f32,
        base: &[f32; QUERIES],
        weights: &mut [Self],
        panel: usize,
    ) -> [f32; QUERIES] {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::weigh_f32(scores, scale, base, weights, panel) };
        }
        let _ = isa;
        attention::weigh(scores, scale, base, weights, panel)
    }
}

impl Factor for bf16 {
    const K: usize = 32;
    const GROUP: usize = 2;

    fn rows(isa: Isa) -> usize {
        match isa {
            Isa::Amx => 32,
            Isa::Avx512Bf16 => super::avx512::ROWS,
            _ => super::portable::ROWS,
        }
    }

    #[inline(always)]
    unsafe fn tile(isa: Isa, tile: &Tile<Self>) {
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                Isa::Portable => super::portable::tile(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni => super::portable::tile_avx2(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Bf16 => super::avx512::tile_bf16(tile),
                #[cfg(target_arch = "x86_64")]
                Isa::Amx => super::amx::tile_bf16(tile),
                #[cfg(not(target_arch = "x86_64"))]
                _ => super::portable::tile(tile),
            }
        }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// To the nearest, ties to even; NaN stays NaN. Without branches, so that loops over it become vector code.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        let kept = if value.is_nan() {
            bits | 0x0040_0000
        } else {
            rounded
        };
        bf16::from_bits((kept >> 16) as u16)
    }

    /// A pair as one number: half of it, moved to the upper bits, is the value as `f32`.
    #[inline(always)]
    unsafe fn lanes(group: *const Self, g: usize) -> [f32; PANEL] {
        // SAFETY: a group is a pair of two bytes each for each column.
        let pairs = unsafe { group.cast::<[u32; PANEL]>().read_unaligned() };
        let low = (g == 0) == cfg!(target_endian = "little");
        pairs.map(|pair| f32::from_bits(if low { pair << 16 } else { pair & 0xffff_0000 }))
    }

    fn slow(isa: Isa) -> bool {
        isa < Isa::Amx
    }

    #[inline(always)]
    fn narrow(isa: Isa, values: &[f32; COLUMNS], out: &mut [Self; COLUMNS]) {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512Bf16 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::narrow(values, out) };
        }
        let _ = isa;
        out.iter_mut()
            .zip(values)
            .for_each(|(out, value)| *out = Self::from_f32(*value));
    }

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
        if isa >= Isa::Avx512Bf16 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::affine_bf16(x, factors, terms, silu, out) };
        }
        let _ = isa;
        norm::affine(
            x.as_flattened(),
            factors.as_flattened(),
            terms.as_flattened(),
            silu,
            out.as_flattened_mut(),
        );
    }

    #[inline(always)]
    fn weigh(
        isa: Isa,
        scores: &[f32],
        scale: f32,
        base: &[f32; QUERIES],
        weights: &mut [Self],
        panel: usize,
    ) -> [f32; QUERIES] {
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx512 {
            // SAFETY: an `Isa` is only made where it works.
            return unsafe { super::avx512::weigh_bf16(scores, scale, base, weights, panel) };
        }
        let _ = isa;
        attention::weigh(scores, scale, base, weights, panel)
    }
}

/// Prepares this thread for tiles until dropped.
pub(crate) struct Session(Isa);

pub(crate) fn begin<T: Factor>(isa: Isa) -> Session {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Amx && T::GROUP > 1 {
        // SAFETY: `Isa::Amx` exists only where `amx::available` said so.
        unsafe { super::amx::configure() };
        return Session(isa);
    }
    let _ = isa;
    Session(Isa::Portable)
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.0 == Isa::Amx {
            // SAFETY: as in `begin`.
            unsafe { super::amx::release() };
        }
    }
}
