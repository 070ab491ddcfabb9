//! Writing checkpoints, tensor by tensor from the mapped base.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    path::Path,
};

use half::{bf16, f16};
use safetensors::{SafeTensorError, View as Written, tensor::serialize_to_file};
use serde_json::{Map, Value, json};

use super::{Checkpoint, RECOMMENDED, metadata, tokenizer_folder};
use crate::{
    Dtype, Error, Result,
    config::{Part, PredictionType, WITH_PROJECTION},
    output::Partial,
    tokenizer::SavedTokenizer,
    weights::{
        Element, PartWeights, StoredDtype,
        names::{Diffusers, Names, View},
        transpose_into,
    },
};

/// A tensor to be written: its values are made when it is their turn.
struct Tensor<'a> {
    weights: &'a PartWeights,
    planned: &'a Planned,
    dtype: Dtype,
    faults: &'a RefCell<Faults>,
}

/// Faults of tensors that were made.
#[derive(Default)]
struct Faults {
    /// Parameters with values beyond the type's range.
    overflown: Vec<String>,
    /// The error of a patch that could not change its parameter.
    unpatched: Option<Error>,
}

impl Written for Tensor<'_> {
    fn dtype(&self) -> StoredDtype {
        match self.dtype {
            Dtype::F32 => StoredDtype::F32,
            Dtype::F16 => StoredDtype::F16,
            Dtype::Bf16 => StoredDtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.planned.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.dtype {
            Dtype::F32 => self.bytes::<f32>(|_| true),
            Dtype::F16 => self.bytes::<f16>(|x| x.is_finite()),
            Dtype::Bf16 => self.bytes::<bf16>(|x| x.is_finite()),
        }
    }

    fn data_len(&self) -> usize {
        self.shape().iter().product::<usize>() * self.dtype().bitsize() / 8
    }
}

impl Tensor<'_> {
    fn bytes<E: Element>(&self, finite: impl Fn(&E) -> bool) -> Cow<'_, [u8]> {
        let values = self.values::<E>();
        if !values.iter().all(&finite) {
            let wide = self.values::<f32>();
            if values
                .iter()
                .zip(&wide)
                .any(|(x, wide)| !finite(x) && wide.is_finite())
            {
                let canonical = self.planned.parameters[0].canonical.clone();
                self.faults.borrow_mut().overflown.push(canonical);
            }
        }
        Cow::Owned(bytemuck::cast_slice(&values).to_vec())
    }

    fn values<E: Element>(&self) -> Vec<E> {
        let mut values = vec![E::zeroed(); self.shape().iter().product()];
        let faults = &mut *self.faults.borrow_mut();
        for parameter in &self.planned.parameters {
            // The writer can't be stopped, but nothing will come of this: the rest is not read.
            if faults.unpatched.is_none()
                && let Err(reason) = parameter.values_into(self.weights, &mut values)
            {
                faults.unpatched = Some(self.weights.unpatched(vec![reason]));
            }
        }
        values
    }
}

/// A tensor of a file, by the parameters that it holds.
struct Planned {
    /// As it is stored.
    shape: Vec<usize>,
    parameters: Vec<Parameter>,
}

struct Parameter {
    canonical: String,
    shape: Vec<usize>,
    view: View,
}

impl Parameter {
    /// Writes the values to their place in the tensor.
    fn values_into<E: Element>(
        &self,
        weights: &PartWeights,
        tensor: &mut [E],
    ) -> std::result::Result<(), String> {
        let len: usize = self.shape.iter().product();
        match (self.view, &self.shape[..]) {
            (View::Slice { index, .. }, _) => {
                let slice = &mut tensor[index * len..][..len];
                weights.values_into(&self.canonical, &self.shape, slice)
            }
            (View::Transposed, &[rows, columns]) => {
                let mut values = vec![E::zeroed(); len];
                weights.values_into(&self.canonical, &self.shape, &mut values)?;
                transpose_into(&values, [rows, columns], tensor);
                Ok(())
            }
            _ => weights.values_into(&self.canonical, &self.shape, tensor),
        }
    }
}

/// A part's tensors in files of a layout, by name.
struct Plan<'a> {
    weights: &'a PartWeights,
    tensors: BTreeMap<String, Planned>,
}

impl Plan<'_> {
    fn tensors<'a>(&'a self, dtype: Dtype, faults: &'a RefCell<Faults>) -> Vec<(&'a str, Tensor<'a>)> {
        let tensor = |(name, planned): (&'a String, &'a Planned)| {
            let tensor = Tensor {
                weights: self.weights,
                planned,
                dtype,
                faults,
            };
            (name.as_str(), tensor)
        };
        self.tensors.iter().map(tensor).collect()
    }
}

impl Checkpoint {
    /// Writes a diffusers folder: every part's weights, changed as their patches say and cast to `dtype`, configurations, tokenizer and
    /// scheduler. One tensor at a time is in memory. The folder appears in whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if it can't be written, is there already, or values go beyond the type's range; [`Error::Weights`] if the
    /// checkpoint's own weights don't fit its configurations, or a patch can't be applied.
    pub fn save_folder(&self, path: &Path, dtype: Dtype) -> Result<()> {
        // First of all, so that a place that can't be written to costs no work.
        let partial = Partial::folder(path)?;
        let plans = self.plans(|part| Box::new(Diffusers { part }))?;
        let tokenizers = self.saved_tokenizers()?;
        let write = |name: &str, text: String| {
            let place = partial.path.join(name);
            let folder = place.parent().unwrap_or(&partial.path);
            std::fs::create_dir_all(folder).map_err(|e| Error::write(path, e))?;
            let written = std::fs::write(&place, text).and_then(|()| std::fs::metadata(&place));
            Ok::<_, Error>(written.map_err(|e| Error::write(path, e))?.permissions())
        };
        for plan in &plans {
            let part = plan.weights.part;
            let usual = write(
                &format!("{}/config.json", part.name()),
                pretty(self.config_json(part, dtype)),
            )?;
            let file = format!("{}/{}.safetensors", part.name(), part.stem());
            write_tensors(
                &partial.path.join(&file),
                path,
                dtype,
                std::slice::from_ref(plan),
                HashMap::new(),
            )?;
            let place = partial.path.join(file);
            std::fs::set_permissions(place, usual).map_err(|e| Error::write(path, e))?;
        }
        let scheduler = self.scheduler_json();
        let class = scheduler.get("_class_name").cloned().unwrap_or_default();
        write("scheduler/scheduler_config.json", pretty(scheduler))?;
        if let Some((_, json)) = self.recommended() {
            write(RECOMMENDED, json.to_owned())?;
        }
        let mut index = json!({
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [null, null],
            "image_encoder": [null, null],
            "scheduler": ["diffusers", class],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        });
        for (part, tokenizer) in tokenizers {
            let folder = tokenizer_folder(part);
            for (name, text) in tokenizer.files() {
                write(&format!("{folder}/{name}"), text)?;
            }
            index[folder] = json!(["transformers", tokenizer.class()]);
        }
        let encoders = &self.configs.text_encoders;
        if encoders.contains_key(&Part::TextEncoder2) {
            index[Part::TextEncoder2.name()] = json!(["transformers", WITH_PROJECTION]);
            let refines = !encoders.contains_key(&Part::TextEncoder);
            index["force_zeros_for_empty_prompt"] = json!(!refines);
            index["_class_name"] = json!(match refines {
                true => "StableDiffusionXLImg2ImgPipeline",
                false => "StableDiffusionXLPipeline",
            });
            if refines {
                index["requires_aesthetics_score"] = json!(true);
                for name in [Part::TextEncoder.name(), tokenizer_folder(Part::TextEncoder)] {
                    index[name] = json!([null, null]);
                }
            }
        } else {
            index["requires_safety_checker"] = json!(false);
            index["safety_checker"] = json!([null, null]);
        }
        write("model_index.json", format!("{index:#}\n"))?;
        partial.put()
    }

    /// Writes a single `.safetensors` file with LDM's names, as [`Checkpoint::save_folder`] writes a folder. Its metadata carries the
    /// configurations, and the tokenizer unless it is CLIP's own. A file that is there is replaced.
    ///
    /// # Errors
    /// As [`Checkpoint::save_folder`].
    pub fn save_file(&self, path: &Path, dtype: Dtype) -> Result<()> {
        let partial = Partial::file(path)?;
        let configs = self.configs();
        let plans = self.plans(|part| Box::new(configs.of(part).ldm()))?;
        let text = |map| Value::Object(map).to_string();
        let mut carried = HashMap::from([
            ("format".to_owned(), "pt".to_owned()),
            (metadata::SCHEDULER.to_owned(), text(self.scheduler_json())),
        ]);
        for part in configs.parts() {
            carried.insert(metadata::of(part).to_owned(), text(self.config_json(part, dtype)));
        }
        // The words that other programs look for.
        if configs.scheduler.prediction_type == PredictionType::V {
            carried.insert("modelspec.prediction_type".to_owned(), "v".to_owned());
        }
        if let Some((_, json)) = self.recommended() {
            carried.insert(metadata::RECOMMENDED.to_owned(), json.to_owned());
        }
        for (part, tokenizer) in self.saved_tokenizers()? {
            if !self.tokenizers.contains_key(&part) {
                continue;
            }
            let keys = metadata::tokenizer(part);
            carried.insert(keys.special.to_owned(), tokenizer.special_tokens());
            match tokenizer.json {
                Some(json) => drop(carried.insert(keys.json.to_owned(), json)),
                None => {
                    carried.insert(keys.vocab.to_owned(), tokenizer.vocab);
                    carried.insert(keys.merges.to_owned(), tokenizer.merges);
                }
            }
        }
        write_tensors(&partial.path, path, dtype, &plans, carried)?;
        partial.put()
    }

    fn saved_tokenizers(&self) -> Result<Vec<(Part, SavedTokenizer)>> {
        let parts = self.configs.text_parts();
        parts
            .map(|part| Ok((part, self.saved_tokenizer(part)?)))
            .collect()
    }

    fn plans(&self, names: impl Fn(Part) -> Box<dyn Names>) -> Result<Vec<Plan<'_>>> {
        let parts = self.weights.iter();
        parts
            .map(|(part, weights)| self.plan(weights, names(*part).as_ref()))
            .collect()
    }

    fn plan<'a>(&self, weights: &'a PartWeights, names: &dyn Names) -> Result<Plan<'a>> {
        let mut tensors = BTreeMap::new();
        for (canonical, shape) in self.configs.of(weights.part).fit(weights)?.parameters {
            let spelling = names.spellings(&canonical).swap_remove(0);
            let planned = tensors.entry(spelling.name).or_insert_with(|| Planned {
                shape: spelling.view.stored_shape(&shape),
                parameters: Vec::new(),
            });
            planned.parameters.push(Parameter {
                canonical,
                shape,
                view: spelling.view,
            });
        }
        Ok(Plan { weights, tensors })
    }

    /// A part's `config.json`.
    fn config_json(&self, part: Part, dtype: Dtype) -> Map<String, Value> {
        let mut json = self.configs.of(part).to_json(self.json(part));
        if part.is_text_encoder() {
            // transformers casts to what stands here; it is called so by older releases too.
            json.remove("dtype");
            json.insert("torch_dtype".into(), torch_name(dtype).into());
        }
        json
    }
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    }
}

fn pretty(json: Map<String, Value>) -> String {
    format!("{:#}\n", Value::Object(json))
}

/// Writes the tensors of these parts to `place`, which is to become `path`. The writer leaves it readable for nobody but its owner.
fn write_tensors(
    place: &Path,
    path: &Path,
    dtype: Dtype,
    plans: &[Plan<'_>],
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    metadata.entry("format".into()).or_insert_with(|| "pt".into());
    let faults = RefCell::default();
    let tensors = plans.iter().flat_map(|plan| plan.tensors(dtype, &faults));
    let written = serialize_to_file(tensors, Some(metadata), place);
    written.map_err(|e| {
        let e = match e {
            SafeTensorError::IoError(e) => e,
            other => std::io::Error::other(other),
        };
        Error::write(path, e)
    })?;
    let Faults { overflown, unpatched } = faults.into_inner();
    if let Some(error) = unpatched {
        return Err(error);
    }
    if let [first, ..] = overflown.as_slice() {
        let reason = format!(
            "{} tensors hold values beyond the range of {dtype}, such as {first}; save in bf16 or f32",
            overflown.len()
        );
        return Err(Error::write(path, std::io::Error::other(reason)));
    }
    Ok(())
}
