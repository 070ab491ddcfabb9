//! GGUF files, behind their magic number: any bytes give tensors that can all be unpacked, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::weights::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = TensorFile::from_bytes("fuzz", [b"GGUF", bytes].concat()) {
        for name in file.names() {
            let count: usize = file.info(name).unwrap().shape.iter().product();
            if let Some(values) = file.values_f32(name) {
                assert_eq!(values.len(), count);
            }
        }
    }
});
