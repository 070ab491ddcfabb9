use std::path::PathBuf;

use pyo3::{
    prelude::*,
    types::{PyByteArray, PyBytes},
};

use crate::error::detached;

/// A finished picture with what made it.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Image {
    inner: sdrs::Image,
}

impl From<sdrs::Image> for Image {
    fn from(inner: sdrs::Image) -> Self {
        Self { inner }
    }
}

impl Image {
    pub fn list(images: Vec<sdrs::Image>) -> Vec<Self> {
        images.into_iter().map(Self::from).collect()
    }
}

#[pymethods]
impl Image {
    #[getter]
    fn width(&self) -> u32 {
        self.inner.width
    }

    #[getter]
    fn height(&self) -> u32 {
        self.inner.height
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.inner.seed
    }

    #[getter]
    fn infotext(&self) -> &str {
        &self.inner.infotext
    }

    /// Red, green, blue, a byte each, row by row.
    fn pixels(&self, py: Python<'_>) -> Py<PyByteArray> {
        PyByteArray::new(py, &self.inner.rgb).unbind()
    }

    /// A PNG with the infotext.
    fn png(&self, py: Python<'_>) -> PyResult<Py<PyBytes>> {
        let bytes = detached(py, || self.inner.png())?;
        Ok(PyBytes::new(py, &bytes).unbind())
    }

    /// Writes a file in the format of its ending.
    fn save(&self, py: Python<'_>, path: PathBuf, quality: u8) -> PyResult<()> {
        let options = sdrs::SaveOptions::default().quality(quality);
        detached(py, || self.inner.save_with(path, &options))
    }
}
