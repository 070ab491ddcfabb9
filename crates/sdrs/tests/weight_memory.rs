//! The memory that weights in narrow numbers take, on the demo model in 16 bits, in 8-bit floats and in GGUF's blocks.
//!
//! This is a test binary of one test, since it looks at the whole process.

#[path = "common/stored.rs"]
mod stored;

use sdrs::{Dtype, WeightDtype};
use stored::{builder, demo, eight_bits, gguf, picture};

/// Kilobytes of this process in memory.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[cfg(not(target_os = "linux"))]
fn resident() -> u64 {
    0
}

/// Weights as their files have them draw, to the bit, what weights draw that are widened when they are loaded, and take the memory that
/// the plan says.
#[test]
fn narrow_weights_draw_the_same_in_less_memory() {
    let folder = tempfile::tempdir().unwrap();
    let files = [demo(), eight_bits(folder.path()), gguf(folder.path())];
    // What lives as long as the process.
    picture(
        &builder(&files[0], WeightDtype::F32)
            .dtype(Dtype::F32)
            .build()
            .unwrap(),
    );
    for (path, share) in files.iter().zip([0.51, 0.28, 0.43]) {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let build = |weights| {
                let before = resident();
                let pipeline = builder(path, weights).dtype(dtype).build().unwrap();
                let took = resident().saturating_sub(before) * 1024;
                let planned = pipeline.memory_plan(96, 64).unwrap().weights;
                (picture(&pipeline), planned, took, pipeline)
            };
            let (expected, wide, ..) = build(WeightDtype::F32);
            let (got, narrow, took, pipeline) = build(WeightDtype::Auto);
            let what = format!("{} in {dtype}", path.display());
            println!("{what}: {narrow} bytes planned, {took} taken, {wide} widened");
            assert!(got == expected, "{what}");
            assert_eq!(
                (pipeline.dtype(), pipeline.weight_dtype()),
                (dtype, WeightDtype::Auto)
            );
            if dtype == Dtype::F32 {
                assert!(
                    (narrow as f64) < wide as f64 * share,
                    "{what}: {narrow} of {wide}"
                );
            }
            assert!(narrow <= wide);
            // Panels have room for columns that layers of few channels lack, and each layer ends with a page.
            if cfg!(target_os = "linux") {
                assert!(took < narrow + narrow / 2 + (4 << 20), "{what}: {took} bytes");
            }
        }
    }
}
