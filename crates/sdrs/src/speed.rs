//! The types that this processor computes in, and how fast it is in each.

use std::time::Instant;

use burn_tensor::Tensor;
use sd_core::{
    Device, Dtype, Quantization, WeightDtype,
    config::{Family, Part, sd1_unet, sdxl_unet},
    models::{UNet, UnetInput},
    weights::{Loaded, PartWeights, Target},
};

use crate::{
    CancelToken, Error, Result,
    model::{Runtime, tensor, values},
};

/// Seconds of a call that is made only twice.
const LONG: f64 = 4.0;

/// Tokens of a text.
const TOKENS: usize = 77;

/// How long a step takes in a type on this machine's CPU.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TypeSpeed {
    /// The type of the arithmetic.
    pub dtype: Dtype,
    /// The numbers that the large layers compute in, if not in `dtype`.
    pub quantization: Quantization,
    /// Whether this is what `dtype` "auto" takes.
    pub is_default: bool,
    /// The seconds of a step: a call of the U-Net with both halves of guidance.
    pub seconds: f64,
    /// The bytes of its weights in memory, if their file has them in 16 bits.
    pub weight_bytes: u64,
}

/// Times a step of a U-Net of `family` with made-up weights in each type that the CPU computes in, for pictures with sides of `size`: f32, bf16,
/// and int8 with the default beside it. `threads` is as [`PipelineBuilder::threads`](crate::PipelineBuilder::threads) takes it; `on_type` is told
/// of each as soon as it is known. Takes the memory of one U-Net at a time.
///
/// # Errors
/// [`Error::InvalidParameter`] for a family other than [`Family::Sd1`] and [`Family::Sdxl`], a size that is no multiple of 64 up to 2048, or
/// `threads` out of its range; [`Error::Cancelled`].
pub fn type_speeds(
    family: Family,
    size: u32,
    threads: Option<usize>,
    cancel: &CancelToken,
    mut on_type: impl FnMut(&TypeSpeed),
) -> Result<Vec<TypeSpeed>> {
    let config = match family {
        Family::Sd1 => sd1_unet(4),
        Family::Sdxl => sdxl_unet(),
        other => {
            let reason = format!("made-up weights are there for sd1 and sdxl, not {other:?}");
            return Err(Error::parameter("family", reason));
        }
    };
    if !(64..=2048).contains(&size) || !size.is_multiple_of(64) {
        let reason = format!("must be a multiple of 64, 64 to 2048, not {size}");
        return Err(Error::parameter("size", reason));
    }
    let device = Device::from_name("cpu")?;
    let runtime = Runtime::new(threads, Some(&device), None)?;
    let chosen = Target::chosen(device, None, WeightDtype::Auto);
    let weights = PartWeights::synthetic::<UNet>(&config, Part::Unet)?;
    let latent = size as usize / 8;
    let mut speeds = Vec::new();
    for (dtype, quantization) in [
        (Dtype::F32, Quantization::None),
        (Dtype::Bf16, Quantization::None),
        (chosen.dtype, Quantization::Int8),
    ] {
        let target = Target {
            dtype,
            quantization,
            ..chosen.clone()
        };
        let unet = runtime.compute(|| Ok(Loaded::<UNet>::load(&config, weights.clone(), &target)?))?;
        let call = || {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let began = Instant::now();
            runtime.compute(|| {
                // As a run has them: one row for both texts.
                let latents = noise(&target, [1, 4, latent, latent]);
                let text = noise(&target, [2, TOKENS, config.cross_attention_dim]);
                let input = UnetInput {
                    added: config.added_width.map(|width| noise(&target, [2, width])),
                    ..UnetInput::new(latents, &[500.0], text)
                };
                values(unet.forward(&input)?)
            })?;
            Ok(began.elapsed().as_secs_f64())
        };
        // The first call finds its memory; of the others the fastest is the least disturbed.
        let first = call()?;
        let more = if first > LONG { 1 } else { 2 };
        let seconds = (0..more).map(|_| call()).collect::<Result<Vec<_>>>()?;
        let speed = TypeSpeed {
            dtype,
            quantization,
            is_default: dtype == chosen.dtype && quantization == Quantization::None,
            seconds: seconds.into_iter().fold(first, f64::min),
            weight_bytes: unet.weight_bytes() as u64,
        };
        on_type(&speed);
        speeds.push(speed);
    }
    Ok(speeds)
}

/// Numbers about as large as latents.
fn noise<const D: usize>(target: &Target, shape: [usize; D]) -> Tensor<D> {
    let values = (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0);
    tensor(target, values.collect(), shape)
}
