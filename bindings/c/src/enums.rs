//! The header's enumerations, and how they map to `sdrs`'.
//!
//! A caller may pass any number where the header says an enumeration, so parameters are `i32` here (`*_value`, which cbindgen spells
//! as the enumeration), looked up in tables.

use sdrs::{Dtype, Prediction, Quantization, Rng, Sampler, Schedule, WeightDtype};

use crate::error::{Failure, Result};

/// A sampler: the algorithm that takes a latent from noise to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_sampler {
    /// In a run's parameters: what the model recommends, else `SDRS_SAMPLER_DPMPP_2M`. No sampler elsewhere.
    SDRS_SAMPLER_NOT_SET = -1,
    /// "DPM++ 2M": DPM-Solver++(2M) (Lu et al. 2022).
    SDRS_SAMPLER_DPMPP_2M = 0,
    /// "DPM++ SDE": DPM-Solver++ for the SDE, single step of order 2.
    SDRS_SAMPLER_DPMPP_SDE = 1,
    /// "DPM++ 2M SDE": DPM-Solver++(2M) for the SDE, midpoint form.
    SDRS_SAMPLER_DPMPP_2M_SDE = 2,
    /// "DPM++ 2M SDE Heun": DPM-Solver++(2M) for the SDE, Heun form.
    SDRS_SAMPLER_DPMPP_2M_SDE_HEUN = 3,
    /// "DPM++ 2S a": DPM-Solver++(2S) with ancestral noise.
    SDRS_SAMPLER_DPMPP_2S_ANCESTRAL = 4,
    /// "DPM++ 3M SDE": DPM-Solver++(3M) for the SDE.
    SDRS_SAMPLER_DPMPP_3M_SDE = 5,
    /// "Euler a": Euler steps to below the next sigma, then fresh noise up to it.
    SDRS_SAMPLER_EULER_ANCESTRAL = 6,
    /// "Euler": Euler's method on the probability flow (Karras et al. 2022), with optional churn.
    SDRS_SAMPLER_EULER = 7,
    /// "LMS": Linear multistep of order 4 in sigma.
    SDRS_SAMPLER_LMS = 8,
    /// "Heun": Heun's method (Karras et al. 2022), with optional churn.
    SDRS_SAMPLER_HEUN = 9,
    /// "DPM2": DPM-Solver-2 in sigma, with optional churn.
    SDRS_SAMPLER_DPM_2 = 10,
    /// "DPM2 a": DPM-Solver-2 with ancestral noise.
    SDRS_SAMPLER_DPM_2_ANCESTRAL = 11,
    /// "DPM fast": DPM-Solver-fast: a fixed number of calls in steps of order 3.
    SDRS_SAMPLER_DPM_FAST = 12,
    /// "DPM adaptive": DPM-Solver with adaptive steps: the number of calls is known only at the end.
    SDRS_SAMPLER_DPM_ADAPTIVE = 13,
    /// "Restart": Heun with a stretch run again from fresh noise (Xu et al. 2023).
    SDRS_SAMPLER_RESTART = 14,
    /// "LCM": Latent consistency sampling (Luo et al. 2023).
    SDRS_SAMPLER_LCM = 15,
    /// "DDIM": Denoising diffusion implicit models (Song et al. 2020).
    SDRS_SAMPLER_DDIM = 16,
    /// "DDIM CFG++": DDIM that renoises with the unconditional prediction (Chung et al. 2024).
    SDRS_SAMPLER_DDIM_CFG_PP = 17,
    /// "PLMS": Pseudo linear multistep (Liu et al. 2022).
    SDRS_SAMPLER_PLMS = 18,
    /// "UniPC": UniPC with B(h) = h (Zhao et al. 2023).
    SDRS_SAMPLER_UNI_PC = 19,
    /// "UniPC bh2": UniPC with B(h) = e^h - 1.
    SDRS_SAMPLER_UNI_PC_BH2 = 20,
    /// "HeunPP2": Heun++: slopes of three sigmas.
    SDRS_SAMPLER_HEUNPP2 = 21,
    /// "IPNDM": Improved pseudo numerical methods, coefficients of even steps (Zhang & Chen 2022).
    SDRS_SAMPLER_IPNDM = 22,
    /// "IPNDM_V": The same with coefficients of uneven steps.
    SDRS_SAMPLER_IPNDM_V = 23,
    /// "DEIS": Diffusion exponential integrator (Zhang & Chen 2022).
    SDRS_SAMPLER_DEIS = 24,
    /// "DDPM": The diffusion's own posterior (Ho et al. 2020).
    SDRS_SAMPLER_DDPM = 25,
    /// "TCD": Trajectory consistency sampling (Zheng et al. 2024).
    SDRS_SAMPLER_TCD = 26,
    /// "Euler CFG++": Euler with CFG++.
    SDRS_SAMPLER_EULER_CFG_PP = 27,
    /// "Euler a CFG++": Euler a with CFG++.
    SDRS_SAMPLER_EULER_ANCESTRAL_CFG_PP = 28,
    /// "Res Multistep": Refined exponential solver, second-order multistep (Zhang et al. 2023).
    SDRS_SAMPLER_RES_MULTISTEP = 29,
    /// "SA-Solver": Stochastic Adams (Xue et al. 2023).
    SDRS_SAMPLER_SA_SOLVER = 30,
    /// "DPM++ 2M CFG++": DPM++ 2M with CFG++.
    SDRS_SAMPLER_DPMPP_2M_CFG_PP = 31,
    /// "Res Multistep CFG++": Res Multistep with CFG++.
    SDRS_SAMPLER_RES_MULTISTEP_CFG_PP = 32,
}

/// A noise schedule: the rule that makes falling noise levels (sigmas) from a number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_schedule {
    /// In a run's parameters: what the model recommends with its sampler, else `SDRS_SCHEDULE_AUTOMATIC`. No schedule elsewhere.
    SDRS_SCHEDULE_NOT_SET = -1,
    /// "Automatic": what suits the sampler.
    SDRS_SCHEDULE_AUTOMATIC = 0,
    /// "Uniform": Evenly spaced timesteps from the last to the first, then 0 (k-diffusion's `get_sigmas`; ComfyUI's "normal").
    SDRS_SCHEDULE_UNIFORM = 1,
    /// "Karras": Evenly spaced in `sigma^(1/rho)`, rho 7, then 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5).
    SDRS_SCHEDULE_KARRAS = 2,
    /// "Exponential": Evenly spaced in `ln(sigma)`, then 0.
    SDRS_SCHEDULE_EXPONENTIAL = 3,
    /// "Polyexponential": A power `rho` of the way in `ln(sigma)`, then 0 (k-diffusion).
    SDRS_SCHEDULE_POLYEXPONENTIAL = 4,
    /// "SGM Uniform": Evenly spaced timesteps without the last one, then 0 (Stability's generative-models).
    SDRS_SCHEDULE_SGM_UNIFORM = 5,
    /// "Simple": Evenly picked from the table of sigmas, from its end, then 0.
    SDRS_SCHEDULE_SIMPLE = 6,
    /// "Normal": The WebUI's "Normal": as Uniform, but between the chosen smallest and largest sigma.
    SDRS_SCHEDULE_NORMAL = 7,
    /// "DDIM": Every `1000/n`-th sigma from the second on, then 0: not always `n` steps.
    SDRS_SCHEDULE_DDIM = 8,
    /// "KL Optimal": Evenly spaced in `atan(sigma)` (Sabour et al. 2024): the WebUI ends above 0, ComfyUI at 0.
    SDRS_SCHEDULE_KL_OPTIMAL = 9,
    /// "Align Your Steps": Align Your Steps (Sabour et al. 2024): a table of 11, interpolated; the WebUI adds a 0, ComfyUI replaces the last by it.
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS = 10,
    /// "Align Your Steps 32": Align Your Steps, a table of 32, interpolated, then 0 (Forge).
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS_32 = 11,
    /// "Align Your Steps GITS": Geometry-inspired time scheduling: a table of 11, interpolated, then 0 (Forge).
    SDRS_SCHEDULE_ALIGN_YOUR_STEPS_GITS = 12,
    /// "Beta": Quantiles of a beta distribution (Lee et al. 2024): over sigma in the WebUI, over timesteps in ComfyUI (where duplicates are dropped, so that there may be fewer than `n` steps).
    SDRS_SCHEDULE_BETA = 13,
    /// "Turbo": Whole timesteps down from the last, for distilled models (Forge); ComfyUI's takes the first of ten.
    SDRS_SCHEDULE_TURBO = 14,
    /// "Linear Quadratic": Half linear, half quadratic (Genmo; ComfyUI).
    SDRS_SCHEDULE_LINEAR_QUADRATIC = 15,
    /// "Leading": diffusers' "leading" spacing: every `train/n`-th timestep plus 1, from the end, then 0.
    SDRS_SCHEDULE_LEADING = 16,
    /// "Trailing": diffusers' "trailing" spacing: every `train/n`-th timestep down from the very last, then 0.
    SDRS_SCHEDULE_TRAILING = 17,
}
/// A type to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_dtype {
    /// On a CPU bfloat16 if it multiplies that (AMX, AVX512-BF16, ARM's bf16), else float32; float16 on a GPU.
    SDRS_DTYPE_AUTO = 0,
    /// IEEE single precision.
    SDRS_DTYPE_F32 = 1,
    /// bfloat16: single precision's range, 8 bits of mantissa.
    SDRS_DTYPE_BF16 = 2,
    /// IEEE half precision; on a CPU float32 with weights kept in float16.
    SDRS_DTYPE_F16 = 3,
}

/// The type that a pipeline keeps its weights in on a CPU, where they may be narrower than the arithmetic: they are widened while they
/// are used. What a file has in fewer bits than asked for stays so, but for F32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_weight_dtype {
    /// As the file has them, in 16 bits, in 8, or in GGUF's blocks Q8_0 and Q4_0; other blocks are rounded to 16 bits.
    SDRS_WEIGHT_DTYPE_AUTO = 0,
    /// The arithmetic's own type.
    SDRS_WEIGHT_DTYPE_F32 = 1,
    /// bfloat16.
    SDRS_WEIGHT_DTYPE_BF16 = 2,
    /// IEEE half precision.
    SDRS_WEIGHT_DTYPE_F16 = 3,
    /// 8-bit floats of 4 exponent bits with a scale for each tensor, in U-Net and text encoders. Pictures change.
    SDRS_WEIGHT_DTYPE_F8 = 4,
}

/// The numbers that the U-Net's large layers compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_quantization {
    /// In the type of everything else.
    SDRS_QUANTIZATION_NONE = 0,
    /// In whole numbers of eight bits, with a scale for each output and for each row or picture of inputs.
    SDRS_QUANTIZATION_INT8 = 1,
    /// In whole numbers where that is faster, else in the type of everything else.
    SDRS_QUANTIZATION_AUTO = 2,
}

/// The prediction type of a U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_prediction {
    /// The checkpoint's prediction type.
    SDRS_PREDICTION_AUTO = 0,
    /// The noise.
    SDRS_PREDICTION_EPSILON = 1,
    /// The velocity `alpha * noise - sigma * x0`.
    SDRS_PREDICTION_V = 2,
    /// The clean latent.
    SDRS_PREDICTION_SAMPLE = 3,
    /// The preconditioned output of Karras et al. 2022, as Playground v2.5 has it.
    SDRS_PREDICTION_EDM_V = 4,
}

/// The source of random numbers, the same on every device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_rng {
    /// PyTorch's CPU generator: the WebUI's "CPU", ComfyUI's noise.
    SDRS_RNG_CPU = 0,
    /// PyTorch's CUDA generator: the WebUI's "NV".
    SDRS_RNG_NV = 1,
}

/// `sdrs_sampler` as callers give it: any number.
pub type sdrs_sampler_value = i32;
/// `sdrs_schedule` as callers give it.
pub type sdrs_schedule_value = i32;
/// `sdrs_dtype` as callers give it.
pub type sdrs_dtype_value = i32;
/// `sdrs_weight_dtype` as callers give it.
pub type sdrs_weight_dtype_value = i32;
/// `sdrs_quantization` as callers give it.
pub type sdrs_quantization_value = i32;
/// `sdrs_prediction` as callers give it.
pub type sdrs_prediction_value = i32;
/// `sdrs_rng` as callers give it.
pub type sdrs_rng_value = i32;

#[rustfmt::skip]
const SAMPLERS: &[(sdrs_sampler, Sampler)] = &[
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_2M, Sampler::DpmPp2m),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_SDE, Sampler::DpmPpSde),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_2M_SDE, Sampler::DpmPp2mSde),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_2M_SDE_HEUN, Sampler::DpmPp2mSdeHeun),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_2S_ANCESTRAL, Sampler::DpmPp2sAncestral),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_3M_SDE, Sampler::DpmPp3mSde),
    (sdrs_sampler::SDRS_SAMPLER_EULER_ANCESTRAL, Sampler::EulerAncestral),
    (sdrs_sampler::SDRS_SAMPLER_EULER, Sampler::Euler),
    (sdrs_sampler::SDRS_SAMPLER_LMS, Sampler::Lms),
    (sdrs_sampler::SDRS_SAMPLER_HEUN, Sampler::Heun),
    (sdrs_sampler::SDRS_SAMPLER_DPM_2, Sampler::Dpm2),
    (sdrs_sampler::SDRS_SAMPLER_DPM_2_ANCESTRAL, Sampler::Dpm2Ancestral),
    (sdrs_sampler::SDRS_SAMPLER_DPM_FAST, Sampler::DpmFast),
    (sdrs_sampler::SDRS_SAMPLER_DPM_ADAPTIVE, Sampler::DpmAdaptive),
    (sdrs_sampler::SDRS_SAMPLER_RESTART, Sampler::Restart),
    (sdrs_sampler::SDRS_SAMPLER_LCM, Sampler::Lcm),
    (sdrs_sampler::SDRS_SAMPLER_DDIM, Sampler::Ddim),
    (sdrs_sampler::SDRS_SAMPLER_DDIM_CFG_PP, Sampler::DdimCfgPp),
    (sdrs_sampler::SDRS_SAMPLER_PLMS, Sampler::Plms),
    (sdrs_sampler::SDRS_SAMPLER_UNI_PC, Sampler::UniPc),
    (sdrs_sampler::SDRS_SAMPLER_UNI_PC_BH2, Sampler::UniPcBh2),
    (sdrs_sampler::SDRS_SAMPLER_HEUNPP2, Sampler::HeunPp2),
    (sdrs_sampler::SDRS_SAMPLER_IPNDM, Sampler::Ipndm),
    (sdrs_sampler::SDRS_SAMPLER_IPNDM_V, Sampler::IpndmV),
    (sdrs_sampler::SDRS_SAMPLER_DEIS, Sampler::Deis),
    (sdrs_sampler::SDRS_SAMPLER_DDPM, Sampler::Ddpm),
    (sdrs_sampler::SDRS_SAMPLER_TCD, Sampler::Tcd),
    (sdrs_sampler::SDRS_SAMPLER_EULER_CFG_PP, Sampler::EulerCfgPp),
    (sdrs_sampler::SDRS_SAMPLER_EULER_ANCESTRAL_CFG_PP, Sampler::EulerAncestralCfgPp),
    (sdrs_sampler::SDRS_SAMPLER_RES_MULTISTEP, Sampler::ResMultistep),
    (sdrs_sampler::SDRS_SAMPLER_SA_SOLVER, Sampler::SaSolver),
    (sdrs_sampler::SDRS_SAMPLER_DPMPP_2M_CFG_PP, Sampler::DpmPp2mCfgPp),
    (sdrs_sampler::SDRS_SAMPLER_RES_MULTISTEP_CFG_PP, Sampler::ResMultistepCfgPp),
];

#[rustfmt::skip]
const SCHEDULES: &[(sdrs_schedule, Schedule)] = &[
    (sdrs_schedule::SDRS_SCHEDULE_AUTOMATIC, Schedule::Automatic),
    (sdrs_schedule::SDRS_SCHEDULE_UNIFORM, Schedule::Uniform),
    (sdrs_schedule::SDRS_SCHEDULE_KARRAS, Schedule::Karras),
    (sdrs_schedule::SDRS_SCHEDULE_EXPONENTIAL, Schedule::Exponential),
    (sdrs_schedule::SDRS_SCHEDULE_POLYEXPONENTIAL, Schedule::Polyexponential),
    (sdrs_schedule::SDRS_SCHEDULE_SGM_UNIFORM, Schedule::SgmUniform),
    (sdrs_schedule::SDRS_SCHEDULE_SIMPLE, Schedule::Simple),
    (sdrs_schedule::SDRS_SCHEDULE_NORMAL, Schedule::Normal),
    (sdrs_schedule::SDRS_SCHEDULE_DDIM, Schedule::Ddim),
    (sdrs_schedule::SDRS_SCHEDULE_KL_OPTIMAL, Schedule::KlOptimal),
    (sdrs_schedule::SDRS_SCHEDULE_ALIGN_YOUR_STEPS, Schedule::AlignYourSteps),
    (sdrs_schedule::SDRS_SCHEDULE_ALIGN_YOUR_STEPS_32, Schedule::AlignYourSteps32),
    (sdrs_schedule::SDRS_SCHEDULE_ALIGN_YOUR_STEPS_GITS, Schedule::AlignYourStepsGits),
    (sdrs_schedule::SDRS_SCHEDULE_BETA, Schedule::Beta),
    (sdrs_schedule::SDRS_SCHEDULE_TURBO, Schedule::Turbo),
    (sdrs_schedule::SDRS_SCHEDULE_LINEAR_QUADRATIC, Schedule::LinearQuadratic),
    (sdrs_schedule::SDRS_SCHEDULE_LEADING, Schedule::Leading),
    (sdrs_schedule::SDRS_SCHEDULE_TRAILING, Schedule::Trailing),
];

const DTYPES: &[(sdrs_dtype, Option<Dtype>)] = &[
    (sdrs_dtype::SDRS_DTYPE_AUTO, None),
    (sdrs_dtype::SDRS_DTYPE_F32, Some(Dtype::F32)),
    (sdrs_dtype::SDRS_DTYPE_BF16, Some(Dtype::Bf16)),
    (sdrs_dtype::SDRS_DTYPE_F16, Some(Dtype::F16)),
];

const WEIGHT_DTYPES: &[(sdrs_weight_dtype, WeightDtype)] = &[
    (sdrs_weight_dtype::SDRS_WEIGHT_DTYPE_AUTO, WeightDtype::Auto),
    (sdrs_weight_dtype::SDRS_WEIGHT_DTYPE_F32, WeightDtype::F32),
    (sdrs_weight_dtype::SDRS_WEIGHT_DTYPE_BF16, WeightDtype::Bf16),
    (sdrs_weight_dtype::SDRS_WEIGHT_DTYPE_F16, WeightDtype::F16),
    (sdrs_weight_dtype::SDRS_WEIGHT_DTYPE_F8, WeightDtype::F8),
];

const QUANTIZATIONS: &[(sdrs_quantization, Quantization)] = &[
    (sdrs_quantization::SDRS_QUANTIZATION_NONE, Quantization::None),
    (sdrs_quantization::SDRS_QUANTIZATION_INT8, Quantization::Int8),
    (sdrs_quantization::SDRS_QUANTIZATION_AUTO, Quantization::Auto),
];

const PREDICTIONS: &[(sdrs_prediction, Option<Prediction>)] = &[
    (sdrs_prediction::SDRS_PREDICTION_AUTO, None),
    (
        sdrs_prediction::SDRS_PREDICTION_EPSILON,
        Some(Prediction::Epsilon),
    ),
    (sdrs_prediction::SDRS_PREDICTION_V, Some(Prediction::V)),
    (sdrs_prediction::SDRS_PREDICTION_SAMPLE, Some(Prediction::Sample)),
    (sdrs_prediction::SDRS_PREDICTION_EDM_V, Some(Prediction::EdmV)),
];

const RNGS: &[(sdrs_rng, Rng)] = &[
    (sdrs_rng::SDRS_RNG_CPU, Rng::Cpu),
    (sdrs_rng::SDRS_RNG_NV, Rng::Nv),
];

/// An enumeration of the header.
pub(crate) trait Enumeration: Copy + PartialEq + 'static {
    /// The type in `sdrs` that it stands for.
    type Value: Copy + PartialEq + 'static;
    /// Its parameter, for errors.
    const NAME: &'static str;
    /// All of it.
    const TABLE: &'static [(Self, Self::Value)];

    /// The number.
    fn number(self) -> i32;
}

macro_rules! enumeration {
    ($($c:ty, $value:ty, $name:literal, $table:ident;)*) => {$(
        impl $crate::enums::Enumeration for $c {
            type Value = $value;
            const NAME: &'static str = $name;
            const TABLE: &'static [(Self, Self::Value)] = $table;

            fn number(self) -> i32 {
                self as i32
            }
        }
    )*};
}
pub(crate) use enumeration;

enumeration! {
    sdrs_sampler, Sampler, "sampler", SAMPLERS;
    sdrs_schedule, Schedule, "schedule", SCHEDULES;
    sdrs_dtype, Option<Dtype>, "dtype", DTYPES;
    sdrs_weight_dtype, WeightDtype, "weight_dtype", WEIGHT_DTYPES;
    sdrs_quantization, Quantization, "quantization", QUANTIZATIONS;
    sdrs_prediction, Option<Prediction>, "prediction", PREDICTIONS;
    sdrs_rng, Rng, "rng", RNGS;
}

/// The value that a caller's number stands for.
pub(crate) fn value<E: Enumeration>(number: i32) -> Result<E::Value> {
    let found = E::TABLE.iter().find(|(c, _)| c.number() == number);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let last = E::TABLE.len() - 1;
        Failure::argument(E::NAME, format!("{number} is none: they are 0 to {last}"))
    })
}

/// The caller's number for a value.
pub(crate) fn number<E: Enumeration>(value: E::Value) -> Result<i32> {
    let found = E::TABLE.iter().find(|(_, v)| *v == value);
    // A value that the header lacks can only come from a newer `sdrs`.
    found
        .map(|(c, _)| c.number())
        .ok_or_else(|| Failure::argument(E::NAME, "this header has no number for it"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn numbered<E: Enumeration>() {
        let numbers: Vec<i32> = E::TABLE.iter().map(|(c, _)| c.number()).collect();
        assert_eq!(
            numbers,
            (0..numbers.len() as i32).collect::<Vec<_>>(),
            "{}",
            E::NAME
        );
        for (c, v) in E::TABLE {
            assert!(value::<E>(c.number()).unwrap() == *v && number::<E>(*v).unwrap() == c.number());
        }
        assert!(value::<E>(-1).is_err() && value::<E>(numbers.len() as i32).is_err());
    }

    #[test]
    fn tables_are_whole() {
        numbered::<sdrs_sampler>();
        numbered::<sdrs_schedule>();
        numbered::<sdrs_dtype>();
        numbered::<sdrs_weight_dtype>();
        numbered::<sdrs_quantization>();
        numbered::<sdrs_prediction>();
        numbered::<sdrs_rng>();
        assert!(Sampler::ALL.iter().all(|&s| number::<sdrs_sampler>(s).is_ok()));
        assert!(Schedule::ALL.iter().all(|&s| number::<sdrs_schedule>(s).is_ok()));
    }
}
