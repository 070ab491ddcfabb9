//! The readers of files of tensors, chosen by the first bytes: any bytes give a file whose every tensor can be read, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::{checkpoint::Checkpoint, weights::TensorFile};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TensorFile::from_bytes("fuzz", bytes) else {
        return;
    };
    for name in file.names() {
        let (info, bytes) = (file.info(name).unwrap(), file.tensor_bytes(name).unwrap());
        let bits = info.shape.iter().product::<usize>() * info.dtype.bitsize();
        assert!(info.blocks.is_some() || bits == 8 * bytes.len());
        let _ = file.values_f32(name);
    }
    let _ = Checkpoint::from_file(file).map(drop);
});
