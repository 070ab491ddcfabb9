use std::{path::PathBuf, sync::Arc};

use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyDict};
use sdrs::{BlockWeights, Dtype, LogLevel, Lora, Prediction, Quantization, WeightDtype};

use crate::{
    array::{ReturnedArray, axes, doubles, give, take},
    error::{argument, detached, raised, sched, unknown},
    image::Image,
    json,
    run::{self, Callbacks, Request, Run},
    settings::{dtype_of, previews, settings, settings_over, word},
};

/// A loaded checkpoint.
#[pyclass(frozen, module = "sdrs._sdrs")]
pub(crate) struct Pipeline {
    pub(crate) inner: Arc<sdrs::Pipeline>,
}

/// A LoRA's settings: its file, weights on U-Net and text encoder, factors of blocks, whether modules without a place are passed over, its
/// schedule, its number of ranks, its name.
type LoraFile = (
    PathBuf,
    f64,
    f64,
    Option<Blocks>,
    bool,
    Option<String>,
    Option<usize>,
    Option<String>,
);

/// Factors for blocks: a list by the number of its entries, or patterns of names.
#[derive(FromPyObject)]
enum Blocks {
    Numbers(Vec<f64>),
    Patterns(Vec<(String, f64)>),
}

const LATENTS: &str = "[batch, latent_channels, h, w]";

/// An array as it comes in: bytes of float32 and a shape.
type ArrayArgument = (PyBackedBytes, Vec<usize>);

#[pymethods]
impl Pipeline {
    /// `checkpoint` None is the demo model.
    #[new]
    #[pyo3(signature = (
        checkpoint, *, config, vae, taesd, tokenizer, text_encoder, text_encoder_2, unet, refiner, loras, lora_dirs, embeddings, upscalers,
        device, dtype, prediction, predictions, allow_unexpected, threads, log, memory_limit, quantization,
        weight_dtype, keep_text_encoders
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn new(
        py: Python<'_>,
        checkpoint: Option<PathBuf>,
        config: Option<PathBuf>,
        vae: Option<PathBuf>,
        taesd: Option<PathBuf>,
        tokenizer: Option<PathBuf>,
        text_encoder: Option<PathBuf>,
        text_encoder_2: Option<PathBuf>,
        unet: Option<PathBuf>,
        refiner: Option<PathBuf>,
        loras: Vec<LoraFile>,
        lora_dirs: Vec<PathBuf>,
        embeddings: Vec<PathBuf>,
        upscalers: Vec<PathBuf>,
        device: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        prediction: &Bound<'_, PyAny>,
        predictions: Option<PathBuf>,
        allow_unexpected: bool,
        threads: &Bound<'_, PyAny>,
        log: Option<Py<PyAny>>,
        memory_limit: &Bound<'_, PyAny>,
        quantization: &Bound<'_, PyAny>,
        weight_dtype: &Bound<'_, PyAny>,
        keep_text_encoders: bool,
    ) -> PyResult<Self> {
        let mut builder = sdrs::Pipeline::builder().device(argument::<String>("device", device)?);
        builder = match checkpoint {
            Some(path) => builder.checkpoint(path),
            None => demo(builder)?,
        };
        if let Some(folder) = config {
            builder = builder.config(folder);
        }
        if let Some(path) = vae {
            builder = builder.vae(path);
        }
        if let Some(path) = taesd {
            builder = builder.taesd(path);
        }
        if let Some(path) = tokenizer {
            builder = builder.tokenizer(path);
        }
        if let Some(path) = text_encoder {
            builder = builder.text_encoder(path);
        }
        if let Some(path) = text_encoder_2 {
            builder = builder.text_encoder_2(path);
        }
        if let Some(path) = unet {
            builder = builder.unet(path);
        }
        if let Some(path) = refiner {
            builder = builder.refiner(path);
        }
        builder = builder.allow_unexpected(allow_unexpected);
        builder = builder.loras(listed(loras)?);
        for folder in lora_dirs {
            builder = builder.lora_dir(folder);
        }
        if let Some(log) = log {
            builder = builder.on_log(move |level, message| report(&log, level, message));
        }
        if let Some(threads) = argument("threads", threads)? {
            builder = builder.threads(threads);
        }
        if let Some(bytes) = argument("memory_limit", memory_limit)? {
            builder = builder.memory_limit(bytes);
        }
        for path in upscalers {
            builder = builder.upscaler(path);
        }
        for path in embeddings {
            builder = builder.embedding(path);
        }
        if let Some(dtype) = auto_or_dtype(dtype)? {
            builder = builder.dtype(dtype);
        }
        let weight_dtype: String = argument("weight_dtype", weight_dtype)?;
        let weights = WeightDtype::from_name(&weight_dtype)
            .ok_or_else(|| unknown("weight_dtype", &weight_dtype, "auto, f32, bf16, f16, f8"))?;
        builder = builder
            .weight_dtype(weights)
            .keep_text_encoders(keep_text_encoders);
        let quantization: String = argument("quantization", quantization)?;
        let found = Quantization::from_name(&quantization)
            .ok_or_else(|| unknown("quantization", &quantization, "none, int8, auto"))?;
        builder = builder.quantization(found);
        if let Some(name) = argument::<Option<String>>("prediction", prediction)? {
            builder = builder.prediction(name.parse::<Prediction>().map_err(sched)?);
        }
        if let Some(table) = predictions {
            builder = builder.predictions(table);
        }
        let inner = Arc::new(detached(py, || builder.build())?);
        Ok(Self { inner })
    }

    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn refiner_name(&self) -> Option<&str> {
        self.inner.refiner_name()
    }

    #[getter]
    fn device(&self) -> &str {
        self.inner.device()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        self.inner.dtype().name()
    }

    #[getter]
    fn weight_dtype(&self) -> &'static str {
        self.inner.weight_dtype().name()
    }

    #[getter]
    fn prediction(&self) -> String {
        self.inner.prediction().to_string()
    }

    /// The settings that the checkpoint recommends, as JSON.
    #[getter]
    fn recommended(&self) -> PyResult<String> {
        let recommended = self.inner.recommended().iter();
        let words: serde_json::Map<_, _> = recommended
            .map(|(name, value)| (name.to_owned(), word(value)))
            .collect();
        json(&words)
    }

    #[getter]
    fn embeddings(&self) -> Vec<&str> {
        self.inner.embeddings().collect()
    }

    #[getter]
    fn skipped_embeddings(&self) -> Vec<String> {
        self.inner.skipped_embeddings().to_vec()
    }

    /// The sizes of the model's arrays, in the order of the package's `Sizes`.
    fn sizes(&self) -> [usize; 12] {
        let s = self.inner.sizes();
        [
            s.latent_channels,
            s.downscale,
            s.default_side,
            s.context_length,
            s.context_width,
            s.text_layers,
            s.vocabulary,
            s.text_width,
            s.text_width_2,
            s.pooled_width,
            s.added_width,
            s.unet_channels,
        ]
    }

    /// The plan of the prompts, as JSON.
    fn plan(&self, py: Python<'_>, given: &Bound<'_, PyDict>) -> PyResult<String> {
        let (mut params, given) = settings(given)?;
        self.inner.recommended().settle(&given, &mut params);
        detached(py, || self.inner.plan_prompts(&params)).and_then(|plan| json(&plan))
    }

    /// The memory of a run, and so many at once, in the order of the package's `MemoryPlan`.
    fn memory_plan(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyDict>,
        parallel: &Bound<'_, PyAny>,
    ) -> PyResult<[u64; 13]> {
        let runs: usize = argument("parallel", parallel)?;
        let inputs = run::Inputs::take(py, given)?;
        let (params, given) = settings(given)?;
        let request = Request {
            params,
            given,
            previews: None,
            inputs,
            kept: run::Kept::default(),
        };
        let token = sdrs::CancelToken::new();
        let plan = detached(py, || request.run(&self.inner, &token).memory_plan())?;
        let plan = plan.parallel(runs);
        Ok([
            plan.weights,
            plan.text_encoders,
            plan.unet,
            plan.vae,
            plan.loras,
            plan.lora_text_encoders,
            plan.encoding,
            plan.denoising,
            plan.decoding,
            plan.other,
            plan.runs,
            plan.least(),
            plan.most(),
        ])
    }

    fn memory_of_loras(&self, py: Python<'_>, loras: Vec<LoraFile>) -> PyResult<u64> {
        let loras = listed(loras)?;
        detached(py, || self.inner.memory_of_loras(loras))
    }

    fn memory_of_vae(&self, py: Python<'_>, vae: PathBuf) -> PyResult<u64> {
        detached(py, || self.inner.memory_of_vae(vae))
    }

    #[expect(clippy::too_many_arguments, reason = "as the package gives them")]
    fn txt2img(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyDict>,
        preview: &Bound<'_, PyAny>,
        preview_every: &Bound<'_, PyAny>,
        callback: Option<Py<PyAny>>,
        on_image: Option<Py<PyAny>>,
        cancel: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<Image>> {
        let request = request(py, given, preview, preview_every)?;
        let callbacks = Callbacks {
            step: callback,
            image: on_image,
        };
        let output = run::watched(py, &self.inner, request, callbacks, cancel, |run| run.run())?;
        Ok(Image::list(output.images))
    }

    /// Latents, seeds and infotexts.
    fn latents(
        &self,
        py: Python<'_>,
        given: &Bound<'_, PyDict>,
        preview: &Bound<'_, PyAny>,
        preview_every: &Bound<'_, PyAny>,
        callback: Option<Py<PyAny>>,
        cancel: &Bound<'_, PyAny>,
    ) -> PyResult<(ReturnedArray, Vec<u64>, Vec<String>)> {
        let request = request(py, given, preview, preview_every)?;
        let callbacks = Callbacks {
            step: callback,
            image: None,
        };
        let made = run::watched(py, &self.inner, request, callbacks, cancel, |run| run.latents())?;
        Ok((give(py, &made.latents), made.seeds, made.infotexts))
    }

    fn start(
        &self,
        given: &Bound<'_, PyDict>,
        preview: &Bound<'_, PyAny>,
        preview_every: &Bound<'_, PyAny>,
        cancel: &Bound<'_, PyAny>,
    ) -> PyResult<Run> {
        let request = request(given.py(), given, preview, preview_every)?;
        run::start(Arc::clone(&self.inner), request, cancel)
    }

    fn with_loras(&self, py: Python<'_>, loras: Vec<LoraFile>) -> PyResult<Self> {
        let loras = listed(loras)?;
        let inner = detached(py, || self.inner.with_loras(loras))?.into();
        Ok(Self { inner })
    }

    fn with_vae(&self, py: Python<'_>, vae: PathBuf) -> PyResult<Self> {
        let inner = detached(py, || self.inner.with_vae(vae))?.into();
        Ok(Self { inner })
    }

    fn save_file(&self, py: Python<'_>, path: PathBuf, dtype: &Bound<'_, PyAny>) -> PyResult<()> {
        let dtype = dtype_of(dtype)?;
        detached(py, || self.inner.save_file(path, dtype))
    }

    fn save_folder(&self, py: Python<'_>, path: PathBuf, dtype: &Bound<'_, PyAny>) -> PyResult<()> {
        let dtype = dtype_of(dtype)?;
        detached(py, || self.inner.save_folder(path, dtype))
    }

    #[getter]
    fn scaling_factor(&self) -> f64 {
        self.inner.scaling_factor()
    }

    #[getter]
    fn loras(&self) -> Vec<(String, f64, f64)> {
        let all = self.inner.loras();
        all.map(|l| (l.origin(), l.unet_weight(), l.text_encoder_weight()))
            .collect()
    }

    fn tokenize(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let text: String = argument("text", text)?;
        detached(py, || self.inner.tokenize(&text))
    }

    fn encode_prompt(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        clip_skip: &Bound<'_, PyAny>,
    ) -> PyResult<ReturnedArray> {
        let (prompt, clip_skip): (String, usize) =
            (argument("prompt", prompt)?, argument("clip_skip", clip_skip)?);
        let context = detached(py, || self.inner.encode_prompt(&prompt, clip_skip))?;
        Ok(give(py, &context))
    }

    /// `encoder` None is all of them.
    fn encode_text(
        &self,
        py: Python<'_>,
        text: &Bound<'_, PyAny>,
        clip_skip: &Bound<'_, PyAny>,
        encoder: &Bound<'_, PyAny>,
    ) -> PyResult<ReturnedArray> {
        let (text, clip_skip): (String, usize) = (argument("text", text)?, argument("clip_skip", clip_skip)?);
        let encoder: Option<usize> = argument("encoder", encoder)?;
        let context = detached(py, || match encoder {
            None => self.inner.encode_text(&text, clip_skip),
            Some(encoder) => self.inner.encode_text_with(&text, clip_skip, encoder),
        })?;
        Ok(give(py, &context))
    }

    fn pooled_prompt(&self, py: Python<'_>, prompt: &Bound<'_, PyAny>) -> PyResult<ReturnedArray> {
        let prompt: String = argument("prompt", prompt)?;
        Ok(give(py, &detached(py, || self.inner.pooled_prompt(&prompt))?))
    }

    fn pooled_text(&self, py: Python<'_>, text: &Bound<'_, PyAny>) -> PyResult<ReturnedArray> {
        let text: String = argument("text", text)?;
        Ok(give(py, &detached(py, || self.inner.pooled_text(&text))?))
    }

    fn encode_ids(
        &self,
        py: Python<'_>,
        ids: Vec<u32>,
        clip_skip: &Bound<'_, PyAny>,
        encoder: &Bound<'_, PyAny>,
    ) -> PyResult<ReturnedArray> {
        let (clip_skip, encoder) = (argument("clip_skip", clip_skip)?, argument("encoder", encoder)?);
        let context = detached(py, || self.inner.encode_ids(&ids, clip_skip, encoder))?;
        Ok(give(py, &context))
    }

    fn text_hidden_states(
        &self,
        py: Python<'_>,
        ids: Vec<u32>,
        encoder: &Bound<'_, PyAny>,
    ) -> PyResult<ReturnedArray> {
        let encoder = argument("encoder", encoder)?;
        let states = detached(py, || self.inner.text_hidden_states(&ids, encoder))?;
        Ok(give(py, &states))
    }

    fn size_vector(&self, py: Python<'_>, sizes: Vec<f64>) -> PyResult<ReturnedArray> {
        Ok(give(py, &detached(py, || self.inner.size_vector(&sizes))?))
    }

    fn unet(
        &self,
        py: Python<'_>,
        latents: ArrayArgument,
        timesteps: Vec<f64>,
        context: ArrayArgument,
        added: Option<ArrayArgument>,
        cfg_scale: Option<f64>,
    ) -> PyResult<ReturnedArray> {
        let shape = axes("latents", "[batch, unet_channels, h, w]", &latents.1)?;
        let context_shape = axes("context", "[batch, tokens, context_width]", &context.1)?;
        let (latents, context) = (take(&latents.0), take(&context.0));
        let added = added.map(|(bytes, shape)| {
            let shape = axes("added", "[batch, added_width]", &shape)?;
            Ok::<_, PyErr>((take(&bytes), shape))
        });
        let added = added.transpose()?;
        let output = detached(py, || {
            let added = added.as_ref().map(|(values, shape)| (&values[..], *shape));
            let (latents, context) = ((&latents[..], shape), (&context[..], context_shape));
            match cfg_scale {
                None => self.inner.unet(latents, &timesteps, context, added),
                Some(scale) => self.inner.unet_guided(latents, &timesteps, context, added, scale),
            }
        })?;
        Ok(give(py, &output))
    }

    /// Mean and standard deviation.
    fn vae_encode(&self, py: Python<'_>, images: ArrayArgument) -> PyResult<(ReturnedArray, ReturnedArray)> {
        let (shape, images) = (
            axes("images", "[batch, 3, height, width]", &images.1)?,
            take(&images.0),
        );
        let encoded = detached(py, || self.inner.vae_encode(&images, shape))?;
        Ok((give(py, &encoded.mean), give(py, &encoded.std)))
    }

    fn vae_decode(&self, py: Python<'_>, latents: ArrayArgument) -> PyResult<ReturnedArray> {
        let (shape, latents) = (axes("latents", LATENTS, &latents.1)?, take(&latents.0));
        let images = detached(py, || self.inner.vae_decode(&latents, shape))?;
        Ok(give(py, &images))
    }

    /// The model's own noise levels, as bytes of float64, by timestep.
    fn train_sigmas(&self, py: Python<'_>) -> Py<pyo3::types::PyByteArray> {
        doubles(py, self.inner.sampling().sigmas())
    }
}

pub(crate) fn auto_or_dtype(given: &Bound<'_, PyAny>) -> PyResult<Option<Dtype>> {
    let name: String = argument("dtype", given)?;
    match (name.eq_ignore_ascii_case("auto"), Dtype::from_name(&name)) {
        (false, None) => Err(unknown("dtype", &name, "auto, f32, bf16, f16")),
        (_, found) => Ok(found),
    }
}

/// Reports a line of the log. An exception of the callback can't be raised anywhere; without an interpreter nobody listens.
fn report(log: &Py<PyAny>, level: LogLevel, message: &str) {
    let level = match level {
        LogLevel::Info => "info",
        // A level that is yet to come is reported as one that everybody heeds.
        _ => "warning",
    };
    Python::try_attach(|py| {
        if let Err(error) = log.call1(py, (level, message)) {
            error.write_unraisable(py, Some(log.bind(py)));
        }
    });
}

fn listed(loras: Vec<LoraFile>) -> PyResult<Vec<Lora>> {
    let lora = |(path, unet, text_encoder, blocks, allow_unmatched, schedule, ranks, name): LoraFile| {
        let mut lora = Lora::file(path)
            .unet(unet)
            .text_encoder(text_encoder)
            .allow_unmatched(allow_unmatched);
        if let Some(schedule) = schedule {
            lora = lora.schedule(schedule.parse().map_err(|e| raised(&e))?);
        }
        if let Some(ranks) = ranks {
            lora = lora.ranks(ranks);
        }
        if let Some(name) = name {
            lora = lora.named(name);
        }
        let blocks = match blocks {
            None => return Ok(lora),
            Some(Blocks::Numbers(factors)) => BlockWeights::from_numbers(&factors),
            Some(Blocks::Patterns(patterns)) => BlockWeights::from_patterns(patterns),
        };
        Ok(lora.blocks(blocks.map_err(|e| raised(&e.into()))?))
    };
    loras.into_iter().map(lora).collect()
}

fn request(
    py: Python<'_>,
    given: &Bound<'_, PyDict>,
    preview: &Bound<'_, PyAny>,
    every: &Bound<'_, PyAny>,
) -> PyResult<Request> {
    let (inputs, kept) = (run::Inputs::take(py, given)?, run::Kept::take(py, given)?);
    let (params, given) = match &kept.resumed {
        Some(state) => settings_over(given, (state.params().clone(), state.given()))?,
        None => settings(given)?,
    };
    Ok(Request {
        params,
        given,
        inputs,
        kept,
        previews: previews(preview, every)?,
    })
}

#[cfg(feature = "demo")]
#[expect(clippy::unnecessary_wraps, reason = "without the model it fails")]
fn demo(builder: sdrs::PipelineBuilder) -> PyResult<sdrs::PipelineBuilder> {
    Ok(builder.demo())
}

#[cfg(not(feature = "demo"))]
fn demo(_: sdrs::PipelineBuilder) -> PyResult<sdrs::PipelineBuilder> {
    Err(no_demo("checkpoint"))
}

/// Of the parameter that would name other models.
#[cfg(not(feature = "demo"))]
pub(crate) fn no_demo(name: &'static str) -> PyErr {
    crate::error::parameter(name, "the demo model was not compiled into this package")
}
