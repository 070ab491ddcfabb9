//! The memory that a run takes, and the limit that it must keep.

use std::sync::Arc;

use sd_core::{
    Dtype, Quantization, WeightDtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{TinyVae, decoder_bytes, deep_feature_bytes, encoder_bytes, first_block_bytes, unet_bytes},
    weights::{Target, WeightPatch},
};
use sd_kernels::Workspace;

use super::Patches;
use crate::{Error, GenerateParams, Result, params::Tiles};

/// The memory of a process besides weights and computations: the program, vocabularies, pages of files that are being read.
const OTHER: u64 = 128 << 20;

/// The most of the CPU's memory that a run needs, in bytes: an estimate from the model's files and configuration. Not counted are other
/// pipelines ([`Pipeline::memory_of_loras`](crate::Pipeline::memory_of_loras) tells what one that shares its weights takes besides),
/// networks that enlarge pictures, and the pictures themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The weights of all networks, with the LoRAs that the pipeline was given.
    pub weights: u64,
    /// The part of these that is text encoders'.
    pub text_encoders: u64,
    /// The part of these that is the U-Net's, and the refiner's.
    pub unet: u64,
    /// The part of these that is the autoencoder's.
    pub vae: u64,
    /// The layers that the LoRAs of the run's prompts change, which lie beside the pipeline's own, and those that follow a schedule once more.
    pub loras: u64,
    /// The part of these that is text encoders'.
    pub lora_text_encoders: u64,
    /// The memory that encoding a picture has in use at once; 0 where the run encodes none.
    pub encoding: u64,
    /// The memory that a call of the U-Net has in use at once, both halves of guidance together.
    pub denoising: u64,
    /// The memory that decoding a picture has in use at once.
    pub decoding: u64,
    /// The program itself, vocabularies, and pages of files that are being read.
    pub other: u64,
    /// The number of such runs at once on one pipeline: 1, unless [`parallel`](Self::parallel) was asked. Weights are there once; the
    /// other figures are a single run's.
    pub runs: u64,
}

/// The models that draw a picture, as their files have them.
pub(crate) struct Models<'a> {
    pub base: &'a Checkpoint,
    /// What LoRAs change in it.
    pub patches: Patches,
    /// The one that takes over from it, with the base's autoencoder.
    pub refiner: Option<&'a Checkpoint>,
    /// The autoencoder in place of the base's.
    pub tiny_vae: Option<&'a TinyVae>,
}

/// What a run does, as far as memory goes. Sizes are width and height in pixels.
pub(crate) struct Work<'a> {
    pub params: &'a GenerateParams,
    /// The sizes of its passes, one at least.
    pub passes: Vec<[u32; 2]>,
    /// The sizes of pictures that it encodes.
    pub encoded: Vec<[u32; 2]>,
    /// All patches of each model that it draws with beside the pipeline's own.
    pub siblings: Vec<Patches>,
    /// Where a pass's LoRAs follow a schedule: its patches, and those of the LoRAs that don't.
    pub scheduled: Vec<[Patches; 2]>,
}

impl<'a> Work<'a> {
    /// A picture of this size and nothing else.
    pub fn picture(size: [u32; 2], params: &'a GenerateParams) -> Self {
        Self {
            params,
            passes: vec![size],
            encoded: Vec::new(),
            siblings: Vec::new(),
            scheduled: Vec::new(),
        }
    }

    /// The size of the largest pass.
    fn largest(&self) -> [u32; 2] {
        let area = |size: &&[u32; 2]| u64::from(size[0]) * u64::from(size[1]);
        self.passes.iter().max_by_key(area).copied().unwrap_or_default()
    }
}

impl Models<'_> {
    /// Bytes of the weights of text encoders, U-Nets and autoencoder.
    fn weight_bytes(&self, target: &Target) -> [u64; 3] {
        let mut bytes = [0; 3];
        let mut add = |checkpoint: &Checkpoint, part: Part, patches: &Patches| {
            let kind = match part {
                Part::Unet => 1,
                Part::Vae => 2,
                Part::TextEncoder | Part::TextEncoder2 => 0,
            };
            bytes[kind] += checkpoint.part_bytes(part, patches, target) as u64;
        };
        let own = |part: &Part| *part != Part::Vae || self.tiny_vae.is_none();
        for part in self.base.configs().parts().into_iter().filter(own) {
            add(self.base, part, &self.patches);
        }
        if let Some(refiner) = self.refiner {
            let parts = refiner.configs().parts();
            for part in parts.into_iter().filter(|part| *part != Part::Vae) {
                add(refiner, part, &Patches::new());
            }
        }
        if let Some(vae) = self.tiny_vae {
            bytes[2] += vae.weight_bytes() as u64;
        }
        bytes
    }

    /// Bytes that decoding a latent of this height and width has in use at once.
    fn decoder_bytes(&self, dtype: Dtype, latent: [usize; 2]) -> usize {
        match self.tiny_vae {
            Some(vae) => vae.decoder_bytes(latent),
            None => decoder_bytes(&self.base.configs().vae, dtype, latent),
        }
    }

    /// The same of encoding one.
    fn encoder_bytes(&self, dtype: Dtype, latent: [usize; 2]) -> usize {
        match self.tiny_vae {
            Some(vae) => vae.encoder_bytes(latent),
            None => encoder_bytes(&self.base.configs().vae, dtype, latent),
        }
    }

    /// Bytes of what a sibling with these patches doesn't share with the base: in all, and of text encoders.
    pub fn sibling_bytes(&self, patches: &[Arc<dyn WeightPatch>], target: &Target) -> [u64; 2] {
        let bytes = |part| {
            let bytes = self.base.unshared_bytes(part, [&self.patches, patches], target);
            (part, bytes as u64)
        };
        let parts = self.base.configs().parts().into_iter().map(bytes);
        parts.fold([0, 0], |[all, text], (part, bytes)| {
            [all + bytes, text + if part.is_text_encoder() { bytes } else { 0 }]
        })
    }

    /// The same of all that a run needs of the kind.
    fn lora_bytes(&self, work: &Work<'_>, target: &Target) -> [u64; 2] {
        let siblings = work
            .siblings
            .iter()
            .map(|patches| self.sibling_bytes(patches, target));
        let scheduled = work.scheduled.iter().map(|[all, steady]| {
            let bytes = self.base.unshared_bytes(Part::Unet, [steady, all], target);
            [bytes as u64, 0]
        });
        let both = siblings.chain(scheduled);
        both.fold([0, 0], |[all, text], more| [all + more[0], text + more[1]])
    }
}

impl MemoryPlan {
    /// Of a run that does this work.
    pub(crate) fn new(models: &Models<'_>, target: &Target, work: &Work<'_>) -> Self {
        let [text_encoders, unet, vae] = models.weight_bytes(target);
        let [loras, lora_text_encoders] = models.lora_bytes(work, target);
        let none = Self {
            weights: text_encoders + unet + vae,
            text_encoders,
            unet,
            vae,
            loras,
            lora_text_encoders,
            encoding: 0,
            denoising: 0,
            decoding: 0,
            other: OTHER,
            runs: 1,
        };
        none.sized(models, target, [&work.passes, &work.encoded], work.params)
    }

    /// The same for pictures of other sizes: those that are drawn, and those that are encoded.
    fn sized(
        self,
        models: &Models<'_>,
        target: &Target,
        [passes, encoded]: [&[[u32; 2]]; 2],
        params: &GenerateParams,
    ) -> Self {
        let (dtype, f) = (target.dtype, models.base.configs().vae.downscale());
        let latent = |[width, height]: [u32; 2]| [height, width].map(|side| side as usize / f);
        let most = |sizes: &[[u32; 2]], bytes: &dyn Fn([usize; 2]) -> usize| {
            let bytes = sizes.iter().map(|size| bytes(latent(*size)) as u64);
            bytes.max().unwrap_or(0)
        };
        let denoising = |latent| {
            let all = [Some(models.base), models.refiner].into_iter().flatten();
            let bytes = all.map(|it| denoising_bytes(it, target, latent, params));
            bytes.max().unwrap_or(0)
        };
        Self {
            encoding: most(encoded, &|latent| models.encoder_bytes(dtype, latent)),
            denoising: most(passes, &denoising),
            decoding: most(passes, &|latent| models.decoder_bytes(dtype, latent)),
            ..self
        }
    }

    /// The same for so many runs at once on one pipeline, 1 at least: each has memory in use, and layers of LoRAs, since its prompt may name
    /// others.
    #[must_use]
    pub fn parallel(self, runs: usize) -> Self {
        Self {
            runs: runs.max(1) as u64,
            ..self
        }
    }

    /// The least that the runs get by with: for one it is the smallest `memory_limit` that allows it. Text encoders are let go for it.
    pub fn least(&self) -> u64 {
        let text_encoders = self.text_encoders + self.lora_text_encoders;
        let each = self.loras - self.lora_text_encoders + self.in_use().max(text_encoders);
        let weights = self.weights - self.text_encoders;
        (self.other + weights).saturating_add(each.saturating_mul(self.runs))
    }

    /// The most that they take without a limit: somewhat more is kept for the next operation, which saves time.
    pub fn most(&self) -> u64 {
        let in_use = self.in_use().saturating_mul(self.runs);
        let held = usize::try_from(in_use)
            .ok()
            .filter(|bytes| *bytes < usize::MAX / 2);
        let held = held.map_or(u64::MAX, |bytes| Workspace::held_bytes(bytes) as u64);
        let loras = self.loras.saturating_mul(self.runs);
        (self.weights + self.other)
            .saturating_add(loras)
            .saturating_add(held)
    }

    /// What a single run takes with its text encoders kept.
    fn with_text_encoders(&self) -> u64 {
        self.other + self.weights + self.loras + self.in_use()
    }

    fn in_use(&self) -> u64 {
        self.encoding.max(self.denoising).max(self.decoding)
    }
}

/// Bytes that a call of a model's U-Net has in use at once, for latents of this height and width.
fn denoising_bytes(
    model: &Checkpoint,
    target: &Target,
    latent: [usize; 2],
    params: &GenerateParams,
) -> usize {
    let (unet, dtype) = (&model.configs().unet, target.dtype);
    let tiles = Tiles::new(params, latent);
    let seen = tiles.as_ref().map_or(latent, |tiles| tiles.size);
    // Both halves of guidance, for each picture that goes with others.
    let rows = 2 * params
        .speed
        .batch_per_call
        .clamp(1, params.size.batch_size.max(1));
    // What waits for its tile's next turn.
    let waiting = match params.speed.deep_cache_interval {
        2.. => deep_feature_bytes(unet, dtype, rows, params.speed.deep_cache_branch, seen),
        _ if params.speed.first_block_cache > 0.0 => first_block_bytes(unet, dtype, rows, seen),
        _ => 0,
    };
    let waiting = tiles.as_ref().map_or(0, |tiles| tiles.count() * waiting);
    unet_bytes(unet, dtype, target.quantization, rows, seen) + waiting
}

/// The most that pipelines of a builder may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimit {
    pub bytes: u64,
    /// The devices in its list: each has a copy of the networks, and draws.
    pub copies: u64,
}

/// A run that a limit allows.
pub(crate) struct Allowed {
    /// Whether text encoders may stay.
    pub keeps_text_encoders: bool,
    /// The layers of its LoRAs, in bytes.
    pub loras: u64,
}

impl MemoryLimit {
    /// What all copies take, if one takes so much.
    fn all(self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.copies)
    }

    /// How often, in words.
    fn times(self) -> String {
        match self.copies {
            1 => String::new(),
            n => format!(" on {n} devices"),
        }
    }

    /// The room that the weights leave for computations, in bytes; an error if it is too little for any picture.
    pub fn room(self, models: &Models<'_>, target: &Target, keeps_text_encoders: bool) -> Result<usize> {
        if !target.device.is_cpu() || target.dtype == Dtype::F16 {
            let reason = format!(
                "is kept on the CPU in f32 and bf16 alone, not on {} in {}; leave it out",
                target.device.name(),
                target.dtype
            );
            return Err(Error::parameter("memory_limit", reason));
        }
        let side = models.base.configs().vae.downscale() as u32;
        let params = GenerateParams::default();
        let plan = MemoryPlan::new(models, target, &Work::picture([side; 2], &params));
        if self.all(plan.least()) > self.bytes {
            let reason = format!(
                "{} is too little for this model{}: its weights take {}, {} with the program, computing in {}{}",
                gigabytes(self.bytes),
                self.times(),
                gigabytes(self.all(plan.weights)),
                gigabytes(self.all(plan.weights + plan.other)),
                target.dtype,
                narrower(target),
            );
            return Err(Error::parameter("memory_limit", reason));
        }
        let kept = match keeps_text_encoders {
            true => plan.weights,
            false => plan.weights - plan.text_encoders,
        };
        let room = (self.bytes / self.copies.max(1)).saturating_sub(kept + plan.other);
        Ok(usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// An error if a run fits in no way.
    pub fn check(self, models: &Models<'_>, target: &Target, work: &Work<'_>) -> Result<Allowed> {
        let plan = MemoryPlan::new(models, target, work);
        match self.all(plan.least()) <= self.bytes {
            true => Ok(Allowed {
                keeps_text_encoders: self.all(plan.with_text_encoders()) <= self.bytes,
                loras: plan.loras,
            }),
            false => Err(Error::parameter(
                "memory_limit",
                self.refusal(&plan, models, target, work),
            )),
        }
    }

    /// The reason why a run doesn't fit, and what would.
    fn refusal(self, plan: &MemoryPlan, models: &Models<'_>, target: &Target, work: &Work<'_>) -> String {
        let [width, height] = work.largest();
        let step = models.base.configs().vae.downscale() as u32;
        let fits = |sides: u32| {
            let (sizes, encoded) = ([[sides * step; 2]], [[sides * step; 2]]);
            let encoded = &encoded[..work.encoded.len().min(1)];
            self.all(plan.sized(models, target, [&sizes, encoded], work.params).least()) <= self.bytes
        };
        let largest = work.passes.iter().chain(&work.encoded).flatten().max();
        let (mut fit, mut not) = (0, largest.map_or(1, |side| side / step + 1));
        while fit + 1 < not {
            let half = fit.midpoint(not);
            match fits(half) {
                true => fit = half,
                false => not = half,
            }
        }
        let encoded = work.encoded.iter().find(|size| {
            let of = |size| plan.sized(models, target, [&[], &[size]], work.params).encoding;
            plan.encoding > plan.denoising.max(plan.decoding) && of(**size) == plan.encoding
        });
        let from = encoded.map_or_else(String::new, |[width, height]| {
            format!(" with a picture of {width}x{height} to encode")
        });
        let loras = match plan.loras {
            0 => String::new(),
            bytes => format!(
                " and {} for the layers that LoRAs change",
                gigabytes(self.all(bytes))
            ),
        };
        let without = MemoryPlan {
            loras: 0,
            lora_text_encoders: 0,
            ..*plan
        };
        let mut would = Vec::new();
        if fit > 0 {
            would.push(format!("{side}x{side} would fit", side = fit * step));
        }
        if plan.loras > 0 && work.scheduled.is_empty() && self.all(without.least()) <= self.bytes {
            would.push("LoRAs that the pipeline itself is given (lora) take no memory of their own".into());
        }
        if would.is_empty() {
            would.push("no size would fit".into());
        }
        format!(
            "{} is too little for {width}x{height}{from}{}, which needs {}, {} of it for weights{loras}; {}{}",
            gigabytes(self.bytes),
            self.times(),
            gigabytes(self.all(plan.least())),
            gigabytes(self.all(plan.weights)),
            would.join("; "),
            narrower(target),
        )
    }
}

/// What would take less.
fn narrower(target: &Target) -> &'static str {
    match (target.dtype, target.weights, target.quantization) {
        (Dtype::F32, WeightDtype::F32, _) => "; weights kept in 16 bits (weight_dtype) take half as much",
        (_, weights, Quantization::None) if weights != WeightDtype::F8 => {
            "; weights kept in f8 (weight_dtype), or quantization to int8, take less"
        }
        _ => "",
    }
}

/// Rounded up, so that a limit of this size is enough.
fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", (bytes as f64 / 1e7).ceil() / 100.0)
}

/// Reads an amount of memory, up to terabytes: "3GB", "2.5 GB", "800MB", "3GiB", "3Gi", "1TB", "1073741824"; case doesn't matter.
///
/// # Errors
/// [`Error::InvalidParameter`] if it is none.
pub fn parse_memory(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        "ti" | "tib" => 1_099_511_627_776.0,
        _ => f64::NAN,
    };
    let bytes = digits.trim().parse::<f64>().unwrap_or(f64::NAN) * unit;
    match bytes.is_finite() && (1.0..1e18).contains(&bytes) {
        true => Ok(bytes as u64),
        false => Err(Error::parameter(
            "memory_limit",
            format!("'{text}' is no amount of memory; write it like 800MB, 2.5GB, 3GiB or 1TB"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        for (text, bytes) in [
            ("3GB", 3_000_000_000),
            (" 2.5 gb ", 2_500_000_000),
            ("800MB", 800_000_000),
            ("1GiB", 1 << 30),
            ("12345", 12345),
            ("1TB", 1_000_000_000_000),
            ("1.5T", 1_500_000_000_000),
            ("2TiB", 2 << 40),
            ("512Mi", 512 << 20),
            ("64k", 64_000),
            ("16 KIB", 16 << 10),
            ("4096 bytes", 4096),
        ] {
            assert_eq!(parse_memory(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "", "GB", "-1GB", "3 apples", "nan", "inf", "1e30", "0", "1XB", "2,5GB", "1TBB", "1 0GB",
        ] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }
}
