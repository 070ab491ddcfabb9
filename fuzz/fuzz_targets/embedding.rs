//! Textual inversion files of every kind: finite vectors of one width each, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::embedding::Embedding;

fuzz_target!(|bytes: &[u8]| {
    let Ok(embedding) = Embedding::from_bytes("fuzz", "fuzz", bytes) else {
        return;
    };
    for part in &embedding.parts {
        assert_eq!(part.values.len(), embedding.vectors() * part.width);
        assert!(part.values.iter().all(|x| x.is_finite()));
    }
});
