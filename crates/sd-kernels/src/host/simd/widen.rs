//! Values that are stored in narrower numbers than products take, and how they become those.

use half::{bf16, f16};

use super::{
    isa::Isa,
    number::{Number, Operand},
    tile::PANEL,
};
use crate::weight::{f8_e4m3, f8_e5m2};

/// Values of the smallest whole piece: 32 of `k`, which share a scale where there are blocks, for each column of a panel.
pub(crate) const PIECE: usize = 32 * PANEL;

/// The form in which values are stored. Without blocks they lie as products take them, one by one. A block's scales stand before its
/// values, one for each column, in half precision; of values of four bits the piece's first half lies in the lower bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Bf16,
    F16,
    /// Times a scale.
    E4M3(f32),
    E5M2(f32),
    Q8_0,
    Q4_0,
    /// Whole numbers.
    Int8,
}

impl Form {
    /// Bytes of so many values.
    pub fn bytes(self, values: usize) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2 * values,
            Self::E4M3(_) | Self::E5M2(_) | Self::Int8 => values,
            Self::Q8_0 => values / PIECE * (2 * PANEL + PIECE),
            Self::Q4_0 => values / PIECE * (2 * PANEL + PIECE / 2),
        }
    }
}

/// A type of products whose panels may be stored in another form.
pub(crate) trait Widen: Operand {
    /// Values of panels, from that form.
    fn widen(isa: Isa, form: Form, bytes: &[u8], out: &mut [Self]);
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(isa: Isa, form: Form, bytes: &[u8], out: &mut [Self]) {
        widen_f32(isa, form, bytes, out);
    }
}

impl Widen for bf16 {
    #[inline(always)]
    fn widen(isa: Isa, form: Form, bytes: &[u8], out: &mut [Self]) {
        widen(isa, form, bytes, out);
    }
}

impl Widen for i16 {
    #[inline(always)]
    fn widen(_: Isa, form: Form, bytes: &[u8], out: &mut [Self]) {
        debug_assert_eq!(form, Form::Int8);
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = Self::from(*byte as i8);
        }
    }
}

impl Widen for u8 {
    #[inline(always)]
    fn widen(_: Isa, form: Form, bytes: &[u8], out: &mut [Self]) {
        debug_assert_eq!(form, Form::Int8);
        out.copy_from_slice(bytes);
    }
}

/// Stored values as products take them.
#[inline(always)]
fn widen<T: Number>(isa: Isa, form: Form, bytes: &[u8], out: &mut [T]) {
    // Near enough to be written twice.
    let mut wide = [0f32; PIECE];
    for (bytes, out) in bytes.chunks(form.bytes(PIECE)).zip(out.chunks_mut(PIECE)) {
        let wide = &mut wide[..out.len()];
        piece(isa, form, bytes, T::GROUP, wide);
        for (out, wide) in out.iter_mut().zip(wide) {
            *out = T::from_f32(*wide);
        }
    }
}

/// The same in `f32`.
#[inline(always)]
fn widen_f32(isa: Isa, form: Form, bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.chunks(form.bytes(PIECE)).zip(out.chunks_mut(PIECE)) {
        piece(isa, form, bytes, 1, out);
    }
}

#[inline(always)]
fn piece(isa: Isa, form: Form, bytes: &[u8], group: usize, out: &mut [f32]) {
    match form {
        Form::Bf16 => {
            let values: &[u16] = bytemuck::cast_slice(bytes);
            for (out, bits) in out.iter_mut().zip(values) {
                *out = f32::from_bits(u32::from(*bits) << 16);
            }
        }
        Form::F16 => halves(isa, bytemuck::cast_slice(bytes), out),
        Form::E4M3(scale) => {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = f8_e4m3(*byte) * scale;
            }
        }
        Form::E5M2(scale) => {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = f8_e5m2(*byte) * scale;
            }
        }
        Form::Int8 => {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = f32::from(*byte as i8);
            }
        }
        Form::Q8_0 => {
            let (scales, bytes) = bytes.split_at(2 * PANEL);
            let scales = scales_of(isa, scales, group);
            for (out, bytes) in out.chunks_exact_mut(2 * PANEL).zip(bytes.chunks_exact(2 * PANEL)) {
                for ((out, byte), scale) in out.iter_mut().zip(bytes).zip(&scales) {
                    *out = f32::from(*byte as i8) * scale;
                }
            }
        }
        Form::Q4_0 => {
            let (scales, bytes) = bytes.split_at(2 * PANEL);
            let scales = scales_of(isa, scales, group);
            let (low, high) = out.split_at_mut(PIECE / 2);
            let outs = low
                .chunks_exact_mut(2 * PANEL)
                .zip(high.chunks_exact_mut(2 * PANEL));
            for ((low, high), bytes) in outs.zip(bytes.chunks_exact(2 * PANEL)) {
                for (((low, high), byte), scale) in low.iter_mut().zip(high).zip(bytes).zip(&scales) {
                    *low = (i32::from(byte & 15) - 8) as f32 * scale;
                    *high = (i32::from(byte >> 4) - 8) as f32 * scale;
                }
            }
        }
    }
}

/// The scales of as many columns for two values of `k`, as they lie in a panel.
#[inline(always)]
fn scales_of(isa: Isa, bytes: &[u8], group: usize) -> [f32; 2 * PANEL] {
    let mut scales = [0f32; PANEL];
    halves(isa, bytemuck::cast_slice(bytes), &mut scales);
    let mut all = [0f32; 2 * PANEL];
    match group {
        1 => {
            all[..PANEL].copy_from_slice(&scales);
            all[PANEL..].copy_from_slice(&scales);
        }
        _ => {
            for (all, scale) in all.chunks_exact_mut(2).zip(scales) {
                all.fill(scale);
            }
        }
    }
    all
}

#[inline(always)]
fn halves(isa: Isa, values: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Portable => {}
        // SAFETY: an `Isa` is only made where it works.
        _ if isa >= Isa::Avx512 => return unsafe { halves_avx512(values, out) },
        // SAFETY: as before.
        _ => return unsafe { halves_avx2(values, out) },
    }
    #[cfg(target_arch = "aarch64")]
    if isa >= Isa::Neon {
        // SAFETY: as before.
        return unsafe { super::neon::halves(values, out) };
    }
    let _ = isa;
    for (out, bits) in out.iter_mut().zip(values) {
        *out = f16::from_bits(*bits).to_f32();
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn halves_avx512(values: &[u16], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (values, _) = values.as_chunks::<16>();
    let (out, _) = out.as_chunks_mut::<16>();
    for (values, out) in values.iter().zip(out) {
        // SAFETY: sixteen values of each.
        unsafe {
            let values = _mm256_loadu_si256(values.as_ptr().cast());
            _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtph_ps(values));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx,f16c")]
fn halves_avx2(values: &[u16], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (values, _) = values.as_chunks::<8>();
    let (out, _) = out.as_chunks_mut::<8>();
    for (values, out) in values.iter().zip(out) {
        // SAFETY: eight values of each.
        unsafe {
            let values = _mm_loadu_si128(values.as_ptr().cast());
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(values));
        }
    }
}
