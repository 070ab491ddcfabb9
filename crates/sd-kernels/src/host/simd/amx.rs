//! Tiles of `bf16` and of bytes through AMX. Rust has no stable intrinsics for it yet, so each function is a little assembly.

use std::arch::asm;

use half::bf16;

use super::{
    number::Operand,
    tile::{COLUMNS, PANEL, Tile},
};

/// Palette 1: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Makes all eight tiles of this thread 16 rows of 64 bytes.
///
/// # Safety
/// The processor and the system have AMX, as [`Isa`](super::Isa) finds out.
pub(crate) unsafe fn configure() {
    let mut config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    config.row_bytes[..8].fill(64);
    config.rows[..8].fill(16);
    // SAFETY: the instruction exists, by the caller's promise, and reads the 64 bytes of `config`.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
}

/// Gives the tiles back, so that a change of threads needn't save them.
///
/// # Safety
/// The processor and the system have AMX, as [`Isa`](super::Isa) finds out.
pub(crate) unsafe fn release() {
    // SAFETY: the instruction exists, by the caller's promise; nobody relies on tiles between sessions.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Rows of a tile, which is four of AMX's.
pub(crate) const ROWS: usize = 32;

/// 32 rows by 32 columns: four tiles of sums, two of `A`, two of `B`.
macro_rules! tile {
    ($name:ident, $type:ty, $product:literal) => {
/// # Safety
/// As [`Product::tile`](super::Product::tile).
#[inline(always)]
pub(crate) unsafe fn $name(t: &Tile<$type>) {
    let c_bytes = 4 * COLUMNS;
    let (c_right, c_below) = (t.c.wrapping_add(PANEL), t.c.wrapping_add(16 * COLUMNS));
    let c_corner = c_below.wrapping_add(PANEL);
    // SAFETY: by the caller's promise the addresses are good for 16 rows each, and tiles are configured on this thread. Compilers
    // never use tile registers by themselves, so they keep their values between these blocks.
    unsafe {
        if t.accumulate {
            asm!(
                "tileloadd tmm0, [{c00} + {s}*1]",
                "tileloadd tmm1, [{c01} + {s}*1]",
                "tileloadd tmm2, [{c10} + {s}*1]",
                "tileloadd tmm3, [{c11} + {s}*1]",
                c00 = in(reg) t.c, c01 = in(reg) c_right, c10 = in(reg) c_below, c11 = in(reg) c_corner,
                s = in(reg) c_bytes,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem)
            );
        }
        let mut b = t.b;
        for &tap in t.taps {
            let a = t.a.add(tap);
            asm!(
                "2:",
                "tileloadd tmm6, [{b0} + {sb}*1]",
                "tileloadd tmm4, [{a0} + {sa}*1]",
                concat!($product, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{b1} + {sb}*1]",
                concat!($product, " tmm1, tmm4, tmm7"),
                "tileloadd tmm5, [{a1} + {sa}*1]",
                concat!($product, " tmm2, tmm5, tmm6"),
                concat!($product, " tmm3, tmm5, tmm7"),
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b0}, 1024",
                "add {b1}, 1024",
                "dec {n}",
                "jnz 2b",
                a0 = inout(reg) a => _,
                a1 = inout(reg) a.wrapping_add(16 * t.stride) => _,
                b0 = inout(reg) b => _,
                b1 = inout(reg) b.wrapping_add(t.panel) => _,
                n = inout(reg) t.k / <$type>::K => _,
                sa = in(reg) size_of::<$type>() * t.stride,
                sb = in(reg) 64usize,
                options(nostack, readonly),
            );
            b = b.add(t.k * PANEL);
        }
        asm!(
            "tilestored [{c00} + {s}*1], tmm0",
            "tilestored [{c01} + {s}*1], tmm1",
            "tilestored [{c10} + {s}*1], tmm2",
            "tilestored [{c11} + {s}*1], tmm3",
            c00 = in(reg) t.c, c01 = in(reg) c_right, c10 = in(reg) c_below, c11 = in(reg) c_corner,
            s = in(reg) c_bytes,
            options(nostack),
        );
    }
}
    };
}

tile!(tile_bf16, bf16, "tdpbf16ps");
// `A` is unsigned, `B` is signed.
tile!(tile_u8, u8, "tdpbusd");
