//! Upscalers.

use pyo3::{prelude::*, types::PyByteArray};
use sdrs::Picture;

use crate::{error::detached, pipeline::auto_or_dtype, run::token};

/// An upscaler: a network or a filter.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Upscaler {
    inner: sdrs::Upscaler,
}

#[pymethods]
impl Upscaler {
    /// A network from a file.
    #[staticmethod]
    fn open(
        py: Python<'_>,
        path: std::path::PathBuf,
        device: &str,
        dtype: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let mut builder = sdrs::Upscaler::builder(path).device(device);
        if let Some(dtype) = auto_or_dtype(dtype)? {
            builder = builder.dtype(dtype);
        }
        if let Some(threads) = threads {
            builder = builder.threads(threads);
        }
        let inner = detached(py, || builder.build())?;
        Ok(Self { inner })
    }

    /// A filter by its name.
    #[staticmethod]
    fn named(py: Python<'_>, name: &str) -> PyResult<Self> {
        let inner = detached(py, || sdrs::Upscaler::from_name(name))?;
        Ok(Self { inner })
    }

    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn factor(&self) -> Option<usize> {
        self.inner.factor()
    }

    #[getter]
    fn description(&self) -> String {
        self.inner.describe()
    }

    /// Rows of red, green, blue and alpha to such rows of another size.
    #[allow(clippy::too_many_arguments)]
    fn upscale(
        &self,
        py: Python<'_>,
        rgba: Vec<u8>,
        size: (u32, u32),
        scale: Option<f64>,
        target: Option<(u32, u32)>,
        tile: usize,
        callback: Option<Py<PyAny>>,
        cancel: &Bound<'_, PyAny>,
    ) -> PyResult<(Py<PyByteArray>, u32, u32)> {
        let token = token(cancel)?;
        let mut stopped: Option<PyErr> = None;
        let watch = |progress: sdrs::UpscaleProgress| {
            // As in a run: signals are looked at between squares.
            let outcome = Python::attach(|py| {
                py.check_signals()?;
                if let Some(callback) = &callback {
                    callback.call1(py, (progress.tile, progress.tiles))?;
                }
                Ok(())
            });
            if let Err(error) = outcome {
                stopped.get_or_insert(error);
                token.cancel();
            }
        };
        let outcome = detached(py, || {
            let picture = Picture::from_rgba(size.0, size.1, rgba)?;
            let mut request = self.inner.upscale(&picture).tile(tile).cancel_token(&token);
            if let Some(scale) = scale {
                request = request.scale(scale);
            }
            if let Some((width, height)) = target {
                request = request.size(width, height);
            }
            request.on_progress(watch).run()
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        let made = outcome?;
        let pixels = PyByteArray::new(py, made.rgba()).unbind();
        Ok((pixels, made.width(), made.height()))
    }
}
