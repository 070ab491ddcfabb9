//! The innermost operation: a block of a matrix product whose sums stay in registers.

/// Columns of a panel, the unit in which right-hand sides are packed.
pub(crate) const PANEL: usize = 16;

/// Columns of a tile: two panels.
pub(crate) const COLUMNS: usize = 2 * PANEL;

/// The most rows that any kernel's tile has.
pub(crate) const MAX_ROWS: usize = 32;

/// One tile of `C = A B`, or of `C += A B`.
///
/// `A`'s row `r` is the concatenation over `taps` of the `k` elements from `a + r * stride + tap` on: one tap for a matrix, nine for a
/// 3x3 convolution. `B` is two packed panels; `C` is rows of `COLUMNS`.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, T> {
    pub a: *const T,
    pub stride: usize,
    pub taps: &'a [usize],
    /// Elements of a row of `A` for each tap; a multiple of [`Operand::K`](super::Operand::K).
    pub k: usize,
    pub b: *const T,
    /// Elements from one panel to the next.
    pub panel: usize,
    pub c: *mut f32,
    pub accumulate: bool,
}
