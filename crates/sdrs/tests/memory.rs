//! Pipelines that come and go leave no memory behind.
//!
//! This is a test binary of one test, since it looks at the whole process.
#![cfg(target_os = "linux")]

mod common;

use common::{builder, lora_file, picture};
use sdrs::{Dtype, Lora, Pipeline};

/// The resident memory of this process, in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[test]
fn memory_returns_to_what_it_was() {
    let demo = goldens::root().join("../models/demo/base");
    let folder = tempfile::tempdir().unwrap();
    let style = folder.path().join("style.safetensors");
    let chalk = goldens::root().join("../models/demo/chalk-lora.safetensors");
    let merged = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(&demo)
        .lora(chalk, 1.0);
    merged.save_file(&style, Dtype::F16).unwrap();
    let outlines = goldens::root().join("../models/demo/outlines.safetensors");
    let build = |path| {
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(path)
            .device("cpu");
        builder.dtype(Dtype::F32).build().unwrap()
    };
    // The first ones warm up what lives as long as the process: threads, caches, tables.
    picture(&builder().lora(lora_file(), 1.0).build().unwrap());
    // Two at a time, as when switching: what small tensors leave in the allocator then is used again.
    let both = (build(&demo), build(&style));
    drop(both);
    let empty = resident();
    let base = build(&demo);
    let one = resident() - empty;
    assert!(
        one > 10_000,
        "a pipeline of {one} kB is too small to tell anything"
    );

    // Switching checkpoints.
    let mut current = base;
    for path in [&style, &demo, &style, &demo, &style, &demo] {
        current = build(path);
    }
    let switched = resident() - empty;
    assert!(
        switched < one + one / 4,
        "{switched} kB after switching, {one} kB before"
    );

    // LoRAs beside it: what they don't change is shared. In place: nothing more at all.
    let sibling = current.with_loras([Lora::file(&outlines)]).unwrap();
    let both = resident() - empty;
    assert!(both < one + one / 2, "{both} kB with a sibling, {one} kB alone");
    drop(sibling);
    for weight in [0.2, 0.4, 0.6, 0.8] {
        current.set_loras([Lora::file(&outlines).weight(weight)]).unwrap();
    }
    let in_place = resident() - empty;
    assert!(
        in_place < one + one / 4,
        "{in_place} kB with LoRAs, {one} kB without"
    );

    drop(current);
    let left = resident().saturating_sub(empty);
    assert!(left < one / 4, "{left} kB of {one} kB are left");
    println!(
        "one {one}, switched {switched}, with a sibling {both}, LoRAs in place {in_place}, left {left} kB"
    );
}
