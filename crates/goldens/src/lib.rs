//! Reads the reference values in `goldens/` for the tests of the other crates. It panics on every fault, as a test should.

pub mod formula;
mod single_file;

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

pub use single_file::tiny_sd1_ldm;

/// The folder `goldens/` of this repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

/// One file of reference tensors.
pub struct Refs {
    name: String,
    bytes: Vec<u8>,
}

impl Refs {
    /// Opens a file by its path below `goldens/`.
    pub fn open(name: &str) -> Self {
        let path = root().join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self {
            name: name.to_owned(),
            bytes,
        }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.file().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// A tensor's shape.
    pub fn shape(&self, tensor: &str) -> Vec<usize> {
        let file = self.file();
        file.tensor(tensor)
            .unwrap_or_else(|e| panic!("{}: {tensor}: {e}", self.name))
            .shape()
            .to_vec()
    }

    /// A tensor of `f32`.
    pub fn f32s(&self, tensor: &str) -> Vec<f32> {
        self.values(tensor, f32::from_le_bytes)
    }

    /// A tensor of 64-bit integers.
    pub fn i64s(&self, tensor: &str) -> Vec<i64> {
        self.values(tensor, i64::from_le_bytes)
    }

    /// A tensor of bytes.
    pub fn u8s(&self, tensor: &str) -> Vec<u8> {
        self.values(tensor, |[byte]: [u8; 1]| byte)
    }

    fn values<T, const N: usize>(&self, tensor: &str, value: fn([u8; N]) -> T) -> Vec<T> {
        let file = self.file();
        let view = file
            .tensor(tensor)
            .unwrap_or_else(|e| panic!("{}: {tensor}: {e}", self.name));
        let (values, rest) = view.data().as_chunks::<N>();
        assert!(
            rest.is_empty() && values.len() == view.shape().iter().product::<usize>(),
            "{tensor}"
        );
        values.iter().map(|bytes| value(*bytes)).collect()
    }

    /// Fails unless `got` is within `tolerance` of a tensor: norm of the difference over norm of the reference.
    pub fn assert_close(&self, tensor: &str, got: &[f32], tolerance: f64) {
        assert_close(
            &format!("{} {tensor}", self.name),
            got,
            &self.f32s(tensor),
            tolerance,
        );
    }
}

/// Norm of the difference over norm of the reference; infinite if the lengths differ or a value is not finite.
pub fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(
        &mut got
            .iter()
            .zip(expected)
            .map(|(&a, &b)| f64::from(a) - f64::from(b)),
    );
    let error = difference / norm(&mut expected.iter().map(|&v| f64::from(v)));
    if got.len() == expected.len() && error.is_finite() {
        error
    } else {
        f64::INFINITY
    }
}

/// Fails, and says by how much, unless the [`relative_error`] is within `tolerance`. Run tests with `--nocapture` to see the errors.
pub fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_error(got, expected);
    println!("{what}: {error:.2e}");
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.3e} is over {tolerance:e}"
    );
}

/// Peak signal-to-noise ratio of two 8-bit pictures in dB.
pub fn psnr(got: &[u8], expected: &[u8]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let squares = got
        .iter()
        .zip(expected)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    10.0 * (255.0 * 255.0 * got.len() as f64 / squares.sum::<f64>()).log10()
}
