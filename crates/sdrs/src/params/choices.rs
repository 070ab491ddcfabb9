use sd_sched::rng::Source;

/// The rule by which layers of the text encoder are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClipSkipRule {
    /// 1 is the last layer, 2 the one before it.
    #[default]
    WebUi,
    /// 0 is the last layer, 1 the one before it.
    Diffusers,
}

/// The rule by which `strength` makes steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StrengthRule {
    /// `int(strength * steps) + 1` of the schedule's last steps.
    #[default]
    WebUi,
    /// Exactly the steps asked for, the last of a longer schedule.
    Exact,
    /// `int(strength * steps)` of the schedule's last steps.
    Diffusers,
}

/// The way in which a picture of another size is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ResizeMode {
    /// Stretched or squeezed.
    #[default]
    Stretch,
    /// Enlarged until it covers everything; what juts out is cut off.
    Crop,
    /// Made to fit in; its edges are repeated around it.
    Fill,
    /// Encoded as it is; its latents are stretched or squeezed.
    Latent,
}

/// The way in which tiles of latents become one at a call of the U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TiledDiffusion {
    /// There are none: the U-Net sees the whole.
    #[default]
    None,
    /// Their mean.
    MultiDiffusion,
    /// Their mean with Gaussian weights.
    MixtureOfDiffusers,
}

/// The start of the masked part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MaskedContent {
    /// Colours from around it.
    Fill,
    /// The picture as it is.
    #[default]
    Original,
    /// Latents of noise.
    LatentNoise,
    /// Latents of zeros.
    LatentNothing,
}

/// The meaning of an empty negative prompt to SDXL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EmptyNegativeRule {
    /// Zeros in place of context and pooled text.
    #[default]
    WebUi,
    /// Zeros where none is given, an encoded text where an empty one is; the refiner always has the text.
    Diffusers,
    /// An encoded text.
    Comfy,
}

/// The source of random numbers, the same on every device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Rng {
    /// PyTorch's CPU generator: the WebUI's "CPU", ComfyUI's noise.
    #[default]
    Cpu,
    /// PyTorch's CUDA generator: the WebUI's "NV", and "GPU" for pictures that are not very large.
    Nv,
}

impl Rng {
    /// The WebUI's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Nv => "NV",
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Cpu => Source::TorchCpu,
            Self::Nv => Source::Philox,
        }
    }
}
