//! From pictures to words.

use std::collections::HashMap;

use pyo3::{prelude::*, types::PyByteArray};
use sdrs::{CaptionParams, InterrogateMode, Phrases, Picture};

use crate::{
    array::{ReturnedArray, floats},
    error::{detached, exception},
    pipeline::auto_or_dtype,
    run::token,
};

/// CLIP, BLIP and phrases.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Interrogator {
    inner: sdrs::Interrogator,
}

#[cfg(feature = "demo")]
#[expect(clippy::unnecessary_wraps, reason = "without the model it fails")]
fn demo_models(builder: sdrs::InterrogatorBuilder) -> PyResult<sdrs::InterrogatorBuilder> {
    Ok(builder.demo())
}

#[cfg(not(feature = "demo"))]
fn demo_models(_: sdrs::InterrogatorBuilder) -> PyResult<sdrs::InterrogatorBuilder> {
    Err(crate::pipeline::no_demo("demo"))
}

/// Settings of a caption: its prompt, lengths, beams, length penalty, repetition penalty, early stopping.
type Captions = (
    Option<String>,
    Option<usize>,
    Option<usize>,
    Option<usize>,
    Option<f64>,
    Option<f64>,
    bool,
);

#[pymethods]
impl Interrogator {
    /// Loads the models: `paths` has those of CLIP, its tokenizer, BLIP, its vocabulary, the phrases' folder and the vectors'. With `demo`
    /// the models are the demo's.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn open(
        py: Python<'_>,
        demo: bool,
        paths: HashMap<String, String>,
        clip_activation: Option<&str>,
        phrases: Option<Vec<(String, Vec<String>)>>,
        device: &str,
        dtype: &Bound<'_, PyAny>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let dtype = auto_or_dtype(dtype)?;
        let mut builder = sdrs::Interrogator::builder().device(device);
        if demo {
            builder = demo_models(builder)?;
        }
        let inner = detached(py, || {
            let path = |name: &str| paths.get(name);
            if let Some(path) = path("clip") {
                builder = builder.clip(path);
            }
            if let Some(path) = path("clip_tokenizer") {
                builder = builder.clip_tokenizer(path);
            }
            if let Some(path) = path("blip") {
                builder = builder.blip(path);
            }
            if let Some(path) = path("vocabulary") {
                builder = builder.vocabulary(path);
            }
            if let Some(folder) = path("phrases") {
                builder = builder.phrases(Phrases::open(folder)?);
            }
            if let Some(lists) = phrases {
                builder = builder.phrases(Phrases::of(lists)?);
            }
            if let Some(folder) = path("cache") {
                builder = builder.cache(folder);
            }
            if let Some(name) = clip_activation {
                builder = builder.clip_activation(name);
            }
            if let Some(dtype) = dtype {
                builder = builder.dtype(dtype);
            }
            if let Some(threads) = threads {
                builder = builder.threads(threads);
            }
            builder.build()
        })?;
        Ok(Self { inner })
    }

    /// What a picture says, as JSON. `rgba` are rows of red, green, blue and alpha.
    #[allow(clippy::too_many_arguments)]
    fn interrogate(
        &self,
        py: Python<'_>,
        rgba: Vec<u8>,
        size: (u32, u32),
        mode: &str,
        caption: Option<String>,
        captions: Captions,
        flavors: (Option<usize>, Option<usize>),
        limit: usize,
        ranks: bool,
        skip: Vec<String>,
        original: bool,
        callback: Option<Py<PyAny>>,
        cancel: &Bound<'_, PyAny>,
    ) -> PyResult<String> {
        let token = token(cancel)?;
        let Some(mode) = InterrogateMode::from_name(mode) else {
            let names = InterrogateMode::ALL.map(InterrogateMode::name).join(", ");
            return Err(exception(
                "UnknownNameError",
                &format!("mode: '{mode}' is not one of {names}"),
            ));
        };
        let mut params = CaptionParams::default();
        (
            params.prompt,
            params.min_length,
            params.max_length,
            params.beams,
            params.length_penalty,
            params.repetition_penalty,
            params.early_stopping,
        ) = captions;
        let mut stopped: Option<PyErr> = None;
        let watch = |progress: sdrs::InterrogateProgress| {
            let outcome = Python::attach(|py| {
                py.check_signals()?;
                if let Some(callback) = &callback {
                    callback.call1(py, (progress.stage.name(), progress.done, progress.total))?;
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
            let mut request = self
                .inner
                .interrogate(&picture)
                .mode(mode)
                .caption_params(params)
                .limit(limit)
                .ranks(ranks)
                .skip(skip)
                .original(original)
                .cancel_token(&token);
            if let Some(caption) = caption {
                request = request.caption(caption);
            }
            if let Some(count) = flavors.0 {
                request = request.min_flavors(count);
            }
            if let Some(count) = flavors.1 {
                request = request.max_flavors(count);
            }
            request.on_progress(watch).run()
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        crate::json(&outcome?)
    }

    /// A picture's vector.
    fn embed_image(&self, py: Python<'_>, rgba: Vec<u8>, size: (u32, u32)) -> PyResult<Py<PyByteArray>> {
        let vector = detached(py, || {
            self.inner.embed_image(&Picture::from_rgba(size.0, size.1, rgba)?)
        })?;
        Ok(floats(py, &vector))
    }

    /// Texts' vectors, `[texts, width]`.
    fn embed_texts(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<ReturnedArray> {
        let vectors = detached(py, || self.inner.embed_texts(&texts))?;
        let width = vectors.first().map_or(0, Vec::len);
        Ok((floats(py, &vectors.concat()), vec![vectors.len(), width]))
    }

    /// The cosines of a picture with texts.
    fn rank(
        &self,
        py: Python<'_>,
        rgba: Vec<u8>,
        size: (u32, u32),
        texts: Vec<String>,
    ) -> PyResult<Py<PyByteArray>> {
        let cosines = detached(py, || {
            self.inner
                .rank(&Picture::from_rgba(size.0, size.1, rgba)?, &texts)
        })?;
        Ok(floats(py, &cosines))
    }
}

/// A predictor of ratings.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct AestheticPredictor {
    inner: sdrs::AestheticPredictor,
}

#[pymethods]
impl AestheticPredictor {
    /// Reads a file.
    #[staticmethod]
    fn open(py: Python<'_>, path: std::path::PathBuf) -> PyResult<Self> {
        let inner = detached(py, || sdrs::AestheticPredictor::open(path))?;
        Ok(Self { inner })
    }

    #[getter]
    fn width(&self) -> usize {
        self.inner.width()
    }

    /// The rating of one vector.
    fn rate(&self, py: Python<'_>, vector: Vec<f32>) -> PyResult<f32> {
        detached(py, || self.inner.rate(&vector))
    }
}
