//! Hostile input may not make a reader take more memory than a few times its own length.
//!
//! This is a test binary of one test, since it counts what the whole process allocates.

#![allow(unsafe_code)] // A global allocator can't be had without.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use common::raw;
use sd_core::{
    ClipTokenizer, TokenizerFiles,
    config::{ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig},
    weights::{Folder, TensorFile},
};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a reader, which may take `times` its input's length, and a little to stand on.
fn bounded(what: &str, length: usize, times: usize, read: impl FnOnce()) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    read();
    let taken = PEAK.load(Relaxed) - before;
    println!("{what}: {length} bytes took {taken}");
    let limit = times * length + (64 << 10);
    assert!(
        taken <= limit,
        "{what}: {length} bytes took {taken}, more than {limit}"
    );
}

#[test]
fn memory_is_bounded() {
    let million = |text: &str| text.repeat((1 << 20) / text.len());
    let tensor = |i: usize| format!(r#""{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    let tensors: Vec<String> = (0..20_000).map(tensor).collect();
    let pairs: Vec<String> = (0..90_000).map(|i| format!(r#""{i}":"""#)).collect();
    let shape = |shape: &str| format!(r#"{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":[0,1]}}}}"#);
    let mut lying = raw("{}", 1000);
    for length in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 40, 1 << 30, 1000] {
        lying[..8].copy_from_slice(&length.to_le_bytes());
        bounded("a lying length", lying.len(), 1, || {
            assert!(TensorFile::from_static("x", lying.clone().leak()).is_err());
        });
    }
    for (what, header, times) in [
        ("many axes", shape(&format!("[1{}]", million(",1"))), 1),
        ("a huge shape", shape("[281474976710656]"), 1),
        (
            "a list in a tensor",
            shape(&format!("[0],\"x\":[0{}]", million(",0"))),
            1,
        ),
        ("nesting", shape(&million("[")), 1),
        ("a long name", format!(r#"{{"{}":0}}"#, million("a")), 4),
        ("many tensors", format!("{{{}}}", tensors.join(",")), 8),
        (
            "many pairs of metadata",
            format!(r#"{{"__metadata__":{{{}}}}}"#, pairs.join(",")),
            16,
        ),
    ] {
        let file: &'static [u8] = raw(&header, 0).leak();
        bounded(what, file.len(), times, || {
            drop(TensorFile::from_static("x", file))
        });
    }
    // A byte of a pickle may make an object of 32, in a list that grows by doubling; their number is bounded.
    use common::torch::{dict, pickle, zip};
    let list = [b"]".to_vec(), b"N".repeat(1 << 20)].concat();
    for (what, root) in [
        ("objects", list),
        ("a memo", [b"N".to_vec(), vec![0x94; 1 << 20]].concat()),
        ("a stack", [b"N".to_vec(), vec![b'2'; 1 << 20]].concat()),
        ("marks", vec![b'('; 1 << 20]),
        ("a huge text", b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        (
            "a deep dictionary",
            (0..1000).fold(b"}".to_vec(), |inner, _| dict(&[("a", inner)])),
        ),
    ] {
        let file: &'static [u8] = zip(&[("data.pkl", &pickle(root))]).leak();
        bounded(what, file.len(), 64, || drop(TensorFile::from_static("x", file)));
    }
    let gguf = |tensors: u64, pairs: u64| {
        let head = [
            b"GGUF".to_vec(),
            3u32.to_le_bytes().to_vec(),
            tensors.to_le_bytes().to_vec(),
        ];
        [head.concat(), pairs.to_le_bytes().to_vec(), vec![0; 64]].concat()
    };
    for (tensors, pairs) in [(u64::MAX, 0), (0, u64::MAX), (1 << 40, 1 << 40)] {
        let file: &'static [u8] = gguf(tensors, pairs).leak();
        bounded("counts", file.len(), 4, || {
            drop(TensorFile::from_static("x", file))
        });
    }
    for (what, json) in [
        (
            "a long list",
            format!(r#"{{"attention_head_dim":[0{}]}}"#, &million(",0")[100..]),
        ),
        (
            "nested lists",
            format!(r#"{{"class_embed_type":{}"#, &million("[")[100..]),
        ),
        (
            "a long text",
            format!(r#"{{"act_fn":"{}"}}"#, &million("x")[100..]),
        ),
        ("more than a configuration", million("{").repeat(4)),
    ] {
        // An untagged number or list is held as serde's own tree first: many times the text, which is why the text is bounded.
        bounded(what, json.len(), 80, || {
            let _ = UnetConfig::from_json(&json, "x");
            let _ = VaeConfig::from_json(&json, "x");
            let _ = ClipTextConfig::from_json(&json, "x");
            let _ = SchedulerConfig::from_json(&json, "x");
        });
    }
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, pairs.join(","));
    let files = [(
        "unet/diffusion_pytorch_model.safetensors.index.json",
        index.clone().leak().as_bytes(),
    )];
    let folder = Folder::Static("x", files.into());
    bounded("an index", index.len(), 16, || {
        drop(folder.part_tensors("unet", "diffusion_pytorch_model"));
    });
    let merges = million("a b\n");
    bounded("merges", merges.len(), 40, || {
        let files = TokenizerFiles {
            vocab: Some("{}".into()),
            merges: Some(merges.clone()),
            ..TokenizerFiles::default()
        };
        drop(ClipTokenizer::from_files("x", &files));
    });
}
