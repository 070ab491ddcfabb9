//! Saved steps: everything that the rest of a run depends on, as a file.
//!
//! Such a file is safetensors. Its metadata has settings and places as JSON under [`KEY`]; its tensors are the sampler's registers, what guidance and caches hand on from call to call, and the pictures that the run was given.

mod file;
mod instead;

use std::{path::Path, sync::Arc};

use sd_core::{config::Part, output, weights::TensorFile};
use serde::{Deserialize, Serialize};

use super::{Components, cache::SavedCache, pass::PassState, start::Inputs};
use crate::{
    Error, GenerateParams, Given, Result, Setting, SettingValue,
    model::{Autoencoder, Model},
    settings,
};

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

impl RunState {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Core`] if it can't be read, [`Error::InvalidFile`] if it is no such file, of another version, or damaged. Whether it is of the
    /// pipeline's model shows when it is resumed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        file::read(&TensorFile::open(path).map_err(|error| instead::at(path, error))?)
    }

    /// The same from a file's bytes; `name` stands for it in errors.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let file = TensorFile::from_bytes(name, Arc::clone(&bytes));
        file::read(&file.map_err(|error| instead::of_bytes(error, &bytes))?)
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
        file::bytes(self)
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
            self.forget();
        }
        Ok(())
    }

    /// Lets go of what belongs to other weights than those of the pass that goes on.
    pub(super) fn forget_others(&mut self, now: &DrawnWith) {
        if *now != self.drawn_with {
            self.forget();
        }
    }

    /// Lets go of the cache, and lets guidance find out anew whether it is over.
    fn forget(&mut self) {
        for state in [Some(&mut self.pass.own), self.pass.refiner.as_mut()]
            .into_iter()
            .flatten()
        {
            state.cache = SavedCache::default();
            state.guidance.unguided_from = None;
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
                second
                    && !matches!(
                        name,
                        "hires_cfg_scale" | "hires_token_merging" | "hires_prompt" | "hires_negative_prompt"
                    )
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
