//! Values packed in blocks, as GGUF files hold them: a few bits for each value, and scales for the block.
//!
//! Source: the block layouts of ggml (`block_q4_0` and so on), and their reference dequantisation in the `gguf` package, which the
//! tests compare with.

use half::f16;

/// A packing. A block holds 32 values, or 256 in the K types, which have scales within scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)] // The names are ggml's.
#[non_exhaustive]
pub enum BlockType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

impl BlockType {
    /// The number of values in a block.
    pub fn values(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// The number of bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Unpacks whole blocks.
    pub(super) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let block = match self {
            Self::Q4_0 => q4_0,
            Self::Q4_1 => q4_1,
            Self::Q5_0 => q5_0,
            Self::Q5_1 => q5_1,
            Self::Q8_0 => q8_0,
            Self::Q2_K => q2_k,
            Self::Q3_K => q3_k,
            Self::Q4_K => q4_k,
            Self::Q5_K => q5_k,
            Self::Q6_K => q6_k,
        };
        let blocks = bytes.chunks_exact(self.bytes());
        for (bytes, out) in blocks.zip(out.chunks_exact_mut(self.values())) {
            block(bytes, out);
        }
    }
}

/// The half-precision number at a place.
fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// The 16 bytes `nibbles` are 32 values: low halves first, then high halves. `value` gets its index and its four bits.
fn nibbles(nibbles: &[u8], out: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    for (i, &byte) in nibbles.iter().enumerate() {
        out[i] = value(i, byte & 15);
        out[i + 16] = value(i + 16, byte >> 4);
    }
}

fn q4_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    nibbles(&b[2..], out, |_, q| (f32::from(q) - 8.0) * d);
}

fn q4_1(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    nibbles(&b[4..], out, |_, q| f32::from(q) * d + m);
}

/// The fifth bit of value `i`.
fn fifth(b: &[u8], i: usize) -> u8 {
    (b[i / 8] >> (i % 8) & 1) << 4
}

fn q5_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    nibbles(&b[6..], out, |i, q| (f32::from(q | fifth(&b[2..], i)) - 16.0) * d);
}

fn q5_1(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    nibbles(&b[8..], out, |i, q| f32::from(q | fifth(&b[4..], i)) * d + m);
}

fn q8_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    for (x, &q) in out.iter_mut().zip(&b[2..]) {
        *x = f32::from(q.cast_signed()) * d;
    }
}

/// Two bits for each value, four for scale and minimum of every 16.
fn q2_k(b: &[u8], out: &mut [f32]) {
    let (scales, quants) = (&b[..16], &b[16..80]);
    let (d, min) = (half(b, 80), half(b, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let min = min * f32::from(scales[group] >> 4);
        let (q, shift) = two_bits(quants, group);
        for (x, q) in out.iter_mut().zip(q) {
            *x = scale * f32::from(q >> shift & 3) - min;
        }
    }
}

/// The place of the pairs of bits of 16 values: 128 values share 32 bytes, four to a byte.
fn two_bits(quants: &[u8], group: usize) -> (&[u8], usize) {
    let (half, group) = (group / 8, group % 8);
    (&quants[32 * half + 16 * (group % 2)..][..16], 2 * (group / 2))
}

/// A third bit in a mask of its own, and scales of six bits.
fn q3_k(b: &[u8], out: &mut [f32]) {
    let (mask, quants, scales, d) = (&b[..32], &b[32..96], &b[96..108], half(b, 108));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let low = scales[group % 8] >> (4 * (group / 8)) & 15;
        let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let (q, shift) = two_bits(quants, group);
        let mask = &mask[16 * (group % 2)..];
        for ((x, q), mask) in out.iter_mut().zip(q).zip(mask) {
            let sign = if mask >> (group / 2) & 1 == 0 { 4.0 } else { 0.0 };
            *x = scale * (f32::from(q >> shift & 3) - sign);
        }
    }
}

/// Scale and minimum of 32 values, six bits each, of eight such pairs in 12 bytes.
fn scale_and_min(s: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = match group {
        0..4 => (s[group] & 63, s[group + 4] & 63),
        _ => (
            s[group + 4] & 15 | s[group - 4] >> 6 << 4,
            s[group + 4] >> 4 | s[group] >> 6 << 4,
        ),
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(b: &[u8], out: &mut [f32]) {
    let (d, min, scales, quants) = (half(b, 0), half(b, 2), &b[4..16], &b[16..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, m) = scale_and_min(scales, group);
        let (scale, m) = (d * scale, min * m);
        for (x, q) in out.iter_mut().zip(&quants[32 * (group / 2)..]) {
            *x = scale * f32::from(q >> (4 * (group % 2)) & 15) - m;
        }
    }
}

fn q5_k(b: &[u8], out: &mut [f32]) {
    let (d, min, scales, high, quants) = (half(b, 0), half(b, 2), &b[4..16], &b[16..48], &b[48..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, m) = scale_and_min(scales, group);
        let (scale, m) = (d * scale, min * m);
        for ((x, q), high) in out.iter_mut().zip(&quants[32 * (group / 2)..]).zip(high) {
            let q = q >> (4 * (group % 2)) & 15 | (high >> group & 1) << 4;
            *x = scale * f32::from(q) - m;
        }
    }
}

/// Four low bits and two high ones apart, and signed scales of every 16.
fn q6_k(b: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(b, 208));
    for (i, x) in out.iter_mut().enumerate() {
        let (part, i) = (i / 128, i % 128);
        let (quarter, j) = (i / 32, i % 32);
        let low = low[64 * part + 32 * (quarter % 2) + j] >> (4 * (quarter / 2)) & 15;
        let high = high[32 * part + j] >> (2 * quarter) & 3;
        let scale = d * f32::from(scales[8 * part + i / 16].cast_signed());
        *x = scale * (f32::from(low | high << 4) - 32.0);
    }
}
