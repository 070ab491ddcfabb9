//! The C interface of `sdrs`. `include/sdrs.h` is made from this crate by cbindgen: what stands here in doc comments is the
//! documentation that C programmers read.
//!
//! Every exported function has the same form: `error::guard` around it, so that neither an error nor a panic leaves it in another
//! way than as a status; the functions of `pointer` to check what the caller gave; then a call of `sdrs`. Names are those of the
//! header, letter by letter.

// This crate is the border to C. Each block says why it holds.
#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
// The header's names.
#![allow(non_camel_case_types)]
// The rules for pointers are the same everywhere, and stand at the head of the header.
#![allow(clippy::missing_safety_doc)]

mod builder;
mod callbacks;
mod enums;
mod error;
mod image;
mod inputs;
mod inspect;
mod interrogate;
mod loras;
mod low_level;
mod memory;
mod names;
mod noise;
mod params;
mod pipeline;
mod pointer;
mod prompts;
mod run;
mod sched;
mod siblings;
mod sized;
mod states;
mod texts;
mod upscale;

use std::ffi::c_char;

/// The version of the binary interface that this header describes; `sdrs_abi_version` returns the library's. Programs built against one
/// run with any library of the same number.
pub const SDRS_ABI_VERSION: u32 = 0;

/// For a text's length: the text ends at its first zero byte. (`tests/header.rs` writes it to the header: cbindgen can't.)
pub const SDRS_NUL_TERMINATED: usize = usize::MAX;

/// In a run's parameters, for numbers that a model may recommend: take what it recommends, else the WebUI's default.
pub const SDRS_NOT_SET: u32 = 0xffff_ffff;

/// The library's version, such as "0.1.0". Never NULL, valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The library's `SDRS_ABI_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn sdrs_abi_version() -> u32 {
    SDRS_ABI_VERSION
}
