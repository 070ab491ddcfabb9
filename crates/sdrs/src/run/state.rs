//! Saved steps: everything that the rest of a run depends on, as a file.
//!
//! Such a file is safetensors. Its metadata has settings and places as JSON under [`KEY`]; its tensors are the sampler's registers, what guidance and caches hand on from call to call, and the pictures that the run was given.

use std::{collections::HashMap, path::Path, sync::Arc};

use safetensors::{Dtype, tensor::TensorView};
use sd_core::{
    config::Part,
    output,
    weights::{StoredDtype, TensorFile},
};
use sd_sched::{MAX_STEPS, StepperState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Components, cache::SavedFeatures, call_state::CallState, guide::GuidanceState, pass::PassState,
    predict::Received, start::Inputs,
};
use crate::{
    Array, Error, GenerateParams, Given, Picture, Result, Setting, SettingKind, SettingValue, VERSION,
    model::{Autoencoder, Model},
    settings,
};

/// The form of these files. One that a library doesn't know is refused.
const FORMAT: u64 = 1;

/// The key of the metadata that tells what is in a file.
const KEY: &str = "sdrs.run_state";

/// Draws of noise that no run makes.
const MOST_DRAWS: usize = 10 * MAX_STEPS;

/// A picture under way, after one of its steps: [`Request::resume`](crate::Request::resume) goes on from there, to the bit, or with other
/// settings. [`Request::on_state`](crate::Request::on_state) hands them out.
///
/// It belongs to one picture: of a batch each has its own, and goes on as a single one.
#[derive(Debug, Clone)]
pub struct RunState {
    /// Its file, for errors.
    pub(super) origin: String,
    /// Settled, with the seeds and the size of this picture alone.
    pub(super) params: GenerateParams,
    pub(super) negative_given: bool,
    pub(super) drawn_with: DrawnWith,
    pub(super) inputs: Inputs,
    pub(super) infotext: String,
    pub(super) place: Place,
    pub(super) pass: PassState,
}

/// The place of a state in its run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The picture's index in the batch that it was drawn in.
    pub image: usize,
    /// The index of the pass.
    pub pass: usize,
    /// Steps that are done in all passes.
    pub step: usize,
    /// Steps of all passes; 0 where they are not known.
    pub steps: usize,
}

/// The models and what changes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DrawnWith {
    model: String,
    /// Fingerprints of weights in their files.
    unet: String,
    vae: String,
    /// Fingerprint of the refiner's U-Net.
    refiner: Option<String>,
    loras: Vec<String>,
    dtype: String,
}

impl DrawnWith {
    /// `components` are the pass's.
    pub fn new(own: &Components, components: &Components) -> Self {
        let fingerprint = |model: &Model, part| model.checkpoint.weights(part).fingerprint();
        let loras = components.loras.iter().map(|lora| {
            let (unet, text) = (lora.unet_weight(), lora.text_encoder_weight());
            let blocks = &lora.strengths().blocks;
            format!(
                "{} {unet} {text} {blocks:?} {:?}",
                lora.name(),
                lora.lora_schedule()
            )
        });
        let hashes = components.loras.hashes().into_iter();
        Self {
            model: own.model.name.to_string(),
            unet: fingerprint(&own.model, Part::Unet),
            vae: match &own.model.vae {
                Autoencoder::Kl(_) => fingerprint(&own.model, Part::Vae),
                Autoencoder::Tiny(_, vae) => format!("TAESD {}", vae.origin()),
            },
            refiner: own
                .refiner
                .as_ref()
                .map(|refiner| fingerprint(&refiner.model, Part::Unet)),
            loras: loras
                .chain(hashes.map(|(name, hash)| format!("{name}: {hash}")))
                .collect(),
            dtype: own.model.target.dtype.to_string(),
        }
    }
}

/// The part of a file that is JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u64,
    version: String,
    settings: Map<String, Value>,
    negative_given: bool,
    drawn_with: DrawnWith,
    place: Place,
    draws: usize,
    refining: bool,
    infotext: String,
    /// Whose features the tensors `features.N` are: the refiner's or not, part, text, variant, tile, step, branch.
    features: Vec<(bool, [usize; 6])>,
}

/// The version alone, of any format.
#[derive(Deserialize)]
struct Version {
    format: u64,
    version: String,
}

/// Tensors on their way into a file.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn bytes(&mut self, name: impl Into<String>, shape: Vec<usize>, bytes: Vec<u8>) {
        self.0.push((name.into(), Dtype::U8, shape, bytes));
    }

    fn values(&mut self, name: impl Into<String>, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.0.push((name.into(), Dtype::F32, shape, bytes));
    }

    fn guidance(&mut self, prefix: &str, state: &GuidanceState) {
        if !state.momentum.is_empty() {
            self.values(
                format!("{prefix}.momentum"),
                vec![state.momentum.len()],
                &state.momentum,
            );
        }
        if let Some(Received { size, values }) = &state.received {
            self.values(format!("{prefix}.received"), size.to_vec(), values);
        }
    }
}

impl RunState {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read, [`Error::InvalidFile`] if it is no such file, of another version, or damaged. Whether it is of the
    /// pipeline's model shows when it is resumed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(&TensorFile::open(path.as_ref())?)
    }

    /// The same from a file's bytes; `name` stands for it in errors.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::read(&TensorFile::from_bytes(name, bytes)?)
    }

    /// Writes a file. It is there under its name when it is whole.
    ///
    /// # Errors
    /// [`Error::Core`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(output::write_file(path.as_ref(), &self.to_bytes())?)
    }

    /// The name of its file in a folder of states: `picture-1-step-00012.safetensors`.
    pub fn file_name(&self) -> String {
        let Place { image, step, .. } = self.place;
        format!("picture-{}-step-{step:05}.safetensors", image + 1)
    }

    /// The settings, with the seed and the size of this picture.
    pub fn params(&self) -> &GenerateParams {
        &self.params
    }

    /// Steps of the picture that are done, in all passes.
    pub fn step(&self) -> usize {
        self.place.step
    }

    /// Steps of the picture in all passes; 0 if they are known only at the end (DPM adaptive).
    pub fn steps(&self) -> usize {
        self.place.steps
    }

    /// The settings in the WebUI's text form.
    pub fn infotext(&self) -> &str {
        &self.infotext
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut tensors = Tensors::default();
        let stepper = self.pass.stepper.to_bytes(|latents, out| {
            latents.iter().for_each(|v| out.extend(v.to_le_bytes()));
        });
        tensors.bytes("stepper", vec![stepper.len()], stepper);
        let mut features = Vec::new();
        let states = [
            ("guidance", Some(&self.pass.own)),
            ("refiner", self.pass.refiner.as_ref()),
        ];
        for (prefix, state) in states {
            let Some(state) = state else { continue };
            tensors.guidance(prefix, &state.guidance);
            for row in &state.features {
                tensors.values(
                    format!("features.{}", features.len()),
                    row.shape.to_vec(),
                    &row.values,
                );
                features.push((prefix == "refiner", row.place()));
            }
        }
        let Inputs {
            image,
            mask,
            depth,
            latents,
        } = &self.inputs;
        for (name, picture) in [("image", image), ("mask", mask), ("depth", depth)] {
            if let Some(picture) = picture {
                let shape = [picture.height(), picture.width(), 4].map(|side| side as usize);
                tensors.bytes(name, shape.to_vec(), picture.rgba().to_vec());
            }
        }
        if let Some(Array { shape, values }) = latents {
            tensors.values("image_latents", shape.clone(), values);
        }
        let head = Head {
            format: FORMAT,
            version: VERSION.to_owned(),
            settings: settings()
                .iter()
                .map(|setting| (setting.name.to_owned(), to_json(&setting.get(&self.params))))
                .collect(),
            negative_given: self.negative_given,
            drawn_with: self.drawn_with.clone(),
            place: self.place,
            draws: self.pass.draws,
            refining: self.pass.refiner.is_some(),
            infotext: self.infotext.clone(),
            features,
        };
        let head = serde_json::to_string(&head).expect("names and numbers are JSON");
        let metadata = HashMap::from([(KEY.to_owned(), head)]);
        let views = tensors.0.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).expect("shapes are those of the values");
            (name.as_str(), view)
        });
        safetensors::serialize(views, Some(metadata)).expect("all is in memory")
    }

    fn read(file: &TensorFile) -> Result<Self> {
        let fail = |reason: String| Error::InvalidFile {
            path: file.origin().to_owned(),
            reason,
        };
        let none = || fail("no saved state of a run; `--save-states` writes them".into());
        let json = file.metadata().get(KEY).ok_or_else(none)?;
        let bad = |e: serde_json::Error| fail(format!("its metadata {KEY} can't be read: {e}"));
        let Version { format, version } = serde_json::from_str(json).map_err(bad)?;
        if format != FORMAT {
            return Err(fail(format!(
                "was written by sdrs {} in form {format}, and this is {VERSION}, which reads form {FORMAT}: resume it with that version",
                sd_core::shown(&version)
            )));
        }
        let mut head: Head = serde_json::from_str(json).map_err(bad)?;
        let mut params = GenerateParams::default();
        for setting in settings() {
            let value = head.settings.remove(setting.name);
            let value = value.ok_or_else(|| fail(format!("lacks the setting {}", setting.name)))?;
            let value = from_json(setting, &value)
                .ok_or_else(|| fail(format!("{}: {value} is no value of this setting", setting.name)))?;
            setting.set(&mut params, value).map_err(|e| fail(e.to_string()))?;
        }
        if let Some(unknown) = head.settings.keys().next() {
            let unknown = sd_core::shown(unknown);
            return Err(fail(format!(
                "has the setting {unknown}, which is not known here"
            )));
        }
        if head.draws > MOST_DRAWS || head.place.pass > 1 {
            return Err(fail("tells of a run that is none".into()));
        }
        let tensors = Reader { file };
        let stepper = tensors
            .bytes("stepper")?
            .ok_or_else(|| fail("lacks the tensor stepper".into()))?;
        let stepper = StepperState::from_bytes(&stepper.1, |bytes| {
            let (values, []) = bytes.as_chunks() else {
                return None;
            };
            let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
            values.iter().all(|v| v.is_finite()).then_some(values)
        })
        .map_err(|e| fail(e.to_string()))?;
        let mut own = CallState {
            guidance: tensors.guidance("guidance")?,
            ..CallState::default()
        };
        let mut refiner = CallState {
            guidance: tensors.guidance("refiner")?,
            ..CallState::default()
        };
        for (i, (refined, place)) in head.features.iter().enumerate() {
            let name = format!("features.{i}");
            let (shape, values) = tensors
                .values(&name)?
                .ok_or_else(|| fail(format!("lacks the tensor {name}")))?;
            let shape = <[usize; 4]>::try_from(shape)
                .map_err(|shape| fail(format!("{name} has the shape {shape:?}; four axes are expected")))?;
            let state = if *refined { &mut refiner } else { &mut own };
            state.features.push(SavedFeatures::new(*place, shape, values));
        }
        let latents = tensors.values("image_latents")?;
        Ok(Self {
            origin: file.origin().to_owned(),
            params,
            negative_given: head.negative_given,
            drawn_with: head.drawn_with,
            inputs: Inputs {
                image: tensors.picture("image")?,
                mask: tensors.picture("mask")?,
                depth: tensors.picture("depth")?,
                latents: latents.map(|(shape, values)| Array { shape, values }),
            },
            infotext: head.infotext,
            place: head.place,
            pass: PassState {
                stepper,
                draws: head.draws,
                own,
                refiner: head.refining.then_some(refiner),
            },
        })
    }

    /// The settings that count as given in a run that goes on: all, but the negative prompt where it was not.
    pub fn given(&self) -> Given {
        let mut given = Given::default();
        let names = settings().iter().map(|setting| setting.name);
        for name in names.filter(|name| *name != "negative_prompt" || self.negative_given) {
            given.insert(name);
        }
        given
    }

    /// Refuses settings and models that can't be those of what is behind. What is handed on is let go where something else changed.
    pub(super) fn check(&mut self, params: &GenerateParams, own: &Components) -> Result<()> {
        let changed = settings()
            .iter()
            .filter(|it| it.get(params) != it.get(&self.params));
        let changed: Vec<&Setting> = changed.collect();
        if let Some(setting) = changed.iter().find(|setting| self.is_behind(setting)) {
            let (now, then) = (setting.get(params), setting.get(&self.params));
            let told = |value: SettingValue| match value {
                SettingValue::Open => "not given".to_owned(),
                value => value.to_string(),
            };
            let reason = format!(
                "was {} when the state was written, and decides what is behind it: it can't be {} now; leave it as it was",
                told(then),
                told(now)
            );
            return Err(Error::parameter(setting.name, reason));
        }
        let now = DrawnWith::new(own, own);
        let other = |part: &str| {
            let reason = format!(
                "{} was written over another {part}, of {}; this is {}",
                self.origin, self.drawn_with.model, now.model
            );
            Err(Error::parameter("state", reason))
        };
        if now.unet != self.drawn_with.unet {
            return other("U-Net");
        }
        if self.pass.refiner.is_some() && now.refiner != self.drawn_with.refiner {
            return other("refiner");
        }
        if self.inputs.image.is_some() && now.vae != self.drawn_with.vae {
            return other("VAE, which encoded the picture that the run began at");
        }
        if !changed.is_empty() || now.dtype != self.drawn_with.dtype {
            self.forget_features();
        }
        Ok(())
    }

    /// Lets features go that belong to other weights than those of the pass that goes on.
    pub(super) fn forget_features_of_others(&mut self, now: &DrawnWith) {
        if *now != self.drawn_with {
            self.forget_features();
        }
    }

    fn forget_features(&mut self) {
        self.pass.own.features.clear();
        if let Some(refiner) = &mut self.pass.refiner {
            refiner.features.clear();
        }
    }

    /// Whether a setting decides what was done before the state.
    fn is_behind(&self, setting: &Setting) -> bool {
        let (second, from_image) = (self.place.pass > 0, self.inputs.has_start());
        match (setting.group, setting.name) {
            ("size" | "noise", _) => true,
            ("sampling", name) => !name.starts_with("refiner_"),
            // Without a picture they are the second pass's.
            ("image", "strength" | "extra_noise") => second || from_image,
            ("image", "image_cfg_scale" | "color_correction") => false,
            ("image", _) => from_image,
            ("hires", name) => {
                second && !matches!(name, "hires_cfg_scale" | "hires_prompt" | "hires_negative_prompt")
            }
            _ => false,
        }
    }

    /// Checks that the latents have this many values.
    pub(super) fn check_size(&self, values: usize) -> Result<()> {
        let fail = |reason: String| {
            Err(Error::InvalidFile {
                path: self.origin.clone(),
                reason,
            })
        };
        if self.pass.stepper.latents.iter().any(|(_, x)| x.len() != values) {
            return fail(format!("its latents are not of the run's size, {values} values"));
        }
        let states = [Some(&self.pass.own), self.pass.refiner.as_ref()];
        for state in states.into_iter().flatten() {
            let momentum = &state.guidance.momentum;
            if !momentum.is_empty() && momentum.len() != values {
                return fail(format!(
                    "guidance's momentum is not of the run's size, {values} values"
                ));
            }
        }
        Ok(())
    }
}

/// The tensors of a file, each by its expected type.
struct Reader<'a> {
    file: &'a TensorFile,
}

impl Reader<'_> {
    fn fail<T>(&self, reason: String) -> Result<T> {
        Err(Error::InvalidFile {
            path: self.file.origin().to_owned(),
            reason,
        })
    }

    fn bytes(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<u8>)>> {
        self.tensor(name, StoredDtype::U8)
    }

    fn values(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some((shape, bytes)) = self.tensor(name, StoredDtype::F32)? else {
            return Ok(None);
        };
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|v| f32::from_le_bytes(*v))
            .collect();
        if !values.iter().all(|v| v.is_finite()) {
            return self.fail(format!("{name} has values that are not finite"));
        }
        Ok(Some((shape, values)))
    }

    fn tensor(&self, name: &str, dtype: StoredDtype) -> Result<Option<(Vec<usize>, Vec<u8>)>> {
        let Some(info) = self.file.info(name) else {
            return Ok(None);
        };
        if info.dtype != dtype || info.blocks.is_some() {
            return self.fail(format!(
                "{name} is of the type {}, not {dtype:?}",
                info.type_name()
            ));
        }
        match self.file.tensor_bytes(name) {
            Some(bytes) => Ok(Some((info.shape.clone(), bytes.into_owned()))),
            None => self.fail(format!("{name} can't be read")),
        }
    }

    fn picture(&self, name: &'static str) -> Result<Option<Picture>> {
        let Some((shape, bytes)) = self.bytes(name)? else {
            return Ok(None);
        };
        let sides = match shape[..] {
            [height, width, 4] => [width, height].map(u32::try_from),
            _ => return self.fail(format!("{name} has the shape {shape:?}; [h, w, 4] is expected")),
        };
        let [Ok(width), Ok(height)] = sides else {
            return self.fail(format!("{name} is too large"));
        };
        match Picture::from_rgba(width, height, bytes) {
            Ok(picture) => Ok(Some(picture)),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn guidance(&self, prefix: &str) -> Result<GuidanceState> {
        let momentum = self.values(&format!("{prefix}.momentum"))?;
        let name = format!("{prefix}.received");
        let received = match self.values(&name)? {
            Some((shape, values)) => match shape[..] {
                [height, width] if height * width > 0 => Some(Received {
                    size: [height, width],
                    values,
                }),
                _ => return self.fail(format!("{name} has the shape {shape:?}; [h, w] is expected")),
            },
            None => None,
        };
        Ok(GuidanceState {
            momentum: momentum.map(|(_, values)| values).unwrap_or_default(),
            received,
        })
    }
}

/// Numbers are texts: JSON's readers don't all give back what was written.
fn to_json(value: &SettingValue) -> Value {
    match value {
        SettingValue::Open => Value::Null,
        SettingValue::Flag(flag) => Value::Bool(*flag),
        SettingValue::Text(text) => Value::String(text.clone()),
        SettingValue::Integer(n) => Value::String(n.to_string()),
        SettingValue::Number(x) => Value::String(x.to_string()),
    }
}

fn from_json(setting: &Setting, value: &Value) -> Option<SettingValue> {
    Some(match (value, setting.kind) {
        (Value::Null, _) if setting.optional => SettingValue::Open,
        (Value::Bool(flag), SettingKind::Flag) => SettingValue::Flag(*flag),
        (Value::String(text), SettingKind::Count | SettingKind::Integer) => {
            SettingValue::Integer(text.parse().ok()?)
        }
        (Value::String(text), SettingKind::Number) => SettingValue::Number(text.parse().ok()?),
        (Value::String(text), SettingKind::Choice | SettingKind::Text) => SettingValue::Text(text.clone()),
        _ => return None,
    })
}
