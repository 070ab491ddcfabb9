//! Number types: how wide they are, how they lie in memory, and their conversions.

use half::bf16;

use super::tile::PANEL;

/// A type that products are computed in; sums are `f32`, or for whole numbers `i32` in the same memory.
///
/// A panel of `f32` is `[k][PANEL]`, a panel of `bf16` or words is `[k / 2][PANEL][2]`, of bytes `[k / 4][PANEL][4]`: as dot-product
/// instructions take them.
pub(crate) trait Operand: Copy + Send + Sync + Default + PartialEq + bytemuck::Pod + 'static {
    /// `k` is padded to multiples of this.
    const K: usize;
    /// Values of `k` that lie together in a panel.
    const GROUP: usize;
}

/// A type that values have between operations.
pub(crate) trait Number: Operand {
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;

    /// Value `g` of each column of a group of a panel.
    ///
    /// # Safety
    /// A whole group may be read.
    unsafe fn lanes(group: *const Self, g: usize) -> [f32; PANEL];
}

impl Operand for f32 {
    const K: usize = 1;
    const GROUP: usize = 1;
}

impl Operand for bf16 {
    const K: usize = 32;
    const GROUP: usize = 2;
}

/// Whole numbers of 16 bits, for instruction sets that don't multiply bytes.
impl Operand for i16 {
    const K: usize = 32;
    const GROUP: usize = 2;
}

impl Operand for u8 {
    const K: usize = 64;
    const GROUP: usize = 4;
}

impl Number for f32 {
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
}

impl Number for bf16 {
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
}
