//! PyTorch's pickles, in the zip container: any bytes give tensors that can all be read, or an error, and run nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::weights::TensorFile;

/// An archive of stored entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let start = file.len() as u32;
        let mut common = [0; 26];
        common[14..18].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        common[18..22].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        common[22..24].copy_from_slice(&(name.len() as u16).to_le_bytes());
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\0\0", &common[..], &[0; 10]].concat());
        directory.extend([&start.to_le_bytes(), name.as_bytes()].concat());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(
        [
            b"PK\x05\x06\0\0\0\0",
            &[(entries.len() as u16).to_le_bytes(); 2].concat()[..],
        ]
        .concat(),
    );
    file.extend([(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([0; 2]);
    file
}

fuzz_target!(|bytes: &[u8]| {
    let file = zip(&[("x/data.pkl", bytes), ("x/data/0", &[0; 64])]);
    if let Ok(file) = TensorFile::from_bytes("fuzz", file) {
        for name in file.names() {
            assert!(file.tensor_bytes(name).unwrap().len() <= 64);
            let _ = file.values_f32(name);
        }
    }
});
