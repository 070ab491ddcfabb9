//! The memory that a run takes, and the limit that it must keep.

use sd_core::{
    Dtype, Quantization, WeightDtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{decoder_bytes, deep_feature_bytes, first_block_bytes, unet_bytes},
    weights::Target,
};
use sd_kernels::Workspace;

use super::Patches;
use crate::{Error, GenerateParams, Result, params::Tiles};

/// The memory of a process besides weights and computations: the program, vocabularies, pages of files that are being read.
const OTHER: u64 = 128 << 20;

/// The most of the CPU's memory that a run needs, in bytes: an estimate from the model's files and configuration. Weights that LoRAs
/// change are counted once; a pipeline that shares its weights with others shares their memory too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The weights of all networks.
    pub weights: u64,
    /// The part of these that is text encoders'.
    pub text_encoders: u64,
    /// The memory that a call of the U-Net has in use at once, both halves of guidance together.
    pub denoising: u64,
    /// The memory that decoding a picture has in use at once.
    pub decoding: u64,
    /// The program itself, vocabularies, and pages of files that are being read.
    pub other: u64,
}

/// The models that draw a picture, as their files have them.
pub(crate) struct Models<'a> {
    pub base: &'a Checkpoint,
    /// What LoRAs change in it.
    pub patches: Patches,
    /// The one that takes over from it, with the base's autoencoder.
    pub refiner: Option<&'a Checkpoint>,
}

impl Models<'_> {
    /// Bytes of all weights, and of text encoders.
    fn weight_bytes(&self, target: &Target) -> [u64; 2] {
        let (mut all, mut text) = (0, 0);
        let mut add = |checkpoint: &Checkpoint, part: Part, patches: &Patches| {
            let bytes = checkpoint.part_bytes(part, patches, target) as u64;
            all += bytes;
            if !matches!(part, Part::Unet | Part::Vae) {
                text += bytes;
            }
        };
        for part in self.base.configs().parts() {
            add(self.base, part, &self.patches);
        }
        if let Some(refiner) = self.refiner {
            let parts = refiner.configs().parts();
            for part in parts.into_iter().filter(|part| *part != Part::Vae) {
                add(refiner, part, &Patches::new());
            }
        }
        [all, text]
    }
}

impl MemoryPlan {
    /// For pictures of this width and height that a run with these parameters draws.
    pub(crate) fn new(models: &Models<'_>, target: &Target, size: [u32; 2], params: &GenerateParams) -> Self {
        let [weights, text_encoders] = models.weight_bytes(target);
        let none = Self {
            weights,
            text_encoders,
            denoising: 0,
            decoding: 0,
            other: OTHER,
        };
        none.sized(models, target, size, params)
    }

    /// The same for pictures of another size.
    fn sized(
        self,
        models: &Models<'_>,
        target: &Target,
        [width, height]: [u32; 2],
        params: &GenerateParams,
    ) -> Self {
        let (dtype, configs) = (target.dtype, models.base.configs());
        let f = configs.vae.downscale();
        let latent = [height, width].map(|side| side as usize / f);
        let all = [Some(models.base), models.refiner].into_iter().flatten();
        let tiles = Tiles::new(params, latent);
        let seen = tiles.as_ref().map_or(latent, |tiles| tiles.size);
        let denoising = all.map(|it| {
            let unet = &it.configs().unet;
            // What waits for its tile's next turn.
            let waiting = match params.speed.deep_cache_interval {
                2.. => deep_feature_bytes(unet, dtype, 2, params.speed.deep_cache_branch, seen),
                _ if params.speed.first_block_cache > 0.0 => first_block_bytes(unet, dtype, 2, seen),
                _ => 0,
            };
            let waiting = tiles.as_ref().map_or(0, |tiles| tiles.count() * waiting);
            unet_bytes(unet, dtype, target.quantization, 2, seen) + waiting
        });
        Self {
            denoising: denoising.max().unwrap_or(0) as u64,
            decoding: decoder_bytes(&configs.vae, dtype, latent) as u64,
            ..self
        }
    }

    /// The least that a run gets by with: the smallest `memory_limit` that allows it. Text encoders are let go for it.
    pub fn least(&self) -> u64 {
        self.other + self.weights + self.in_use().saturating_sub(self.text_encoders)
    }

    /// The most that a run takes without a limit: somewhat more is kept for the next operation, which saves time.
    pub fn most(&self) -> u64 {
        self.weights + self.other + Workspace::held_bytes(self.in_use() as usize) as u64
    }

    fn in_use(&self) -> u64 {
        self.denoising.max(self.decoding)
    }
}

/// The most that pipelines of a builder may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimit(pub u64);

impl MemoryLimit {
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
        let plan = MemoryPlan::new(models, target, [side; 2], &GenerateParams::default());
        if plan.least() > self.0 {
            let reason = format!(
                "{} is too little for this model: its weights take {}, {} with the program, computing in {}{}",
                gigabytes(self.0),
                gigabytes(plan.weights),
                gigabytes(plan.weights + plan.other),
                target.dtype,
                narrower(target),
            );
            return Err(Error::parameter("memory_limit", reason));
        }
        let kept = match keeps_text_encoders {
            true => plan.weights,
            false => plan.weights - plan.text_encoders,
        };
        let room = self.0.saturating_sub(kept + plan.other);
        Ok(usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Whether pictures of this size fit with the text encoders kept; an error if they fit in no way.
    pub fn check(
        self,
        models: &Models<'_>,
        target: &Target,
        [width, height]: [u32; 2],
        params: &GenerateParams,
    ) -> Result<bool> {
        let plan = MemoryPlan::new(models, target, [width, height], params);
        if plan.least() <= self.0 {
            return Ok(plan.weights + plan.other + plan.in_use() <= self.0);
        }
        let step = models.base.configs().vae.downscale() as u32;
        let (mut fits, mut not) = (1, width.max(height) / step + 1);
        while fits + 1 < not {
            let half = fits.midpoint(not);
            match plan.sized(models, target, [half * step; 2], params).least() <= self.0 {
                true => fits = half,
                false => not = half,
            }
        }
        let reason = format!(
            "{} is too little for {width}x{height}, which needs {}, {} of it for weights; {side}x{side} would fit{}",
            gigabytes(self.0),
            gigabytes(plan.least()),
            gigabytes(plan.weights),
            narrower(target),
            side = fits * step,
        );
        Err(Error::parameter("memory_limit", reason))
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
