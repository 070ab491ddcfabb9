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
