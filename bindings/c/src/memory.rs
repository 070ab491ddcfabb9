//! The memory that runs and siblings take.

use std::ffi::c_char;

use crate::{
    error::{guard, sdrs_status},
    inputs::{sdrs_inputs, with_inputs},
    loras::{listed, sdrs_lora},
    params::sdrs_generate_params,
    pipeline::sdrs_pipeline,
    pointer::{Out, object, path},
    sized::{SizedOut, grows, init},
};

/// The most of the CPU's memory that a run needs, in bytes: an estimate from the model's files and configuration. A GPU's own memory, other
/// pipelines, networks that enlarge pictures, and the pictures themselves are not counted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_memory_plan {
    /// Size of this structure, set by `sdrs_memory_plan_init`.
    pub struct_size: usize,
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
    /// The number of such runs at once on one pipeline. Weights are there once; the figures above are a single run's.
    pub runs: u64,
    /// The least that the runs get by with: for one it is the smallest `sdrs_builder_memory_limit` that allows it.
    pub least: u64,
    /// The most that they take without a limit.
    pub most: u64,
}
grows!(sdrs_memory_plan, until: most, init: "sdrs_memory_plan_init");

const EMPTY: sdrs_memory_plan = sdrs_memory_plan {
    struct_size: size_of::<sdrs_memory_plan>(),
    weights: 0,
    text_encoders: 0,
    unet: 0,
    vae: 0,
    loras: 0,
    lora_text_encoders: 0,
    encoding: 0,
    denoising: 0,
    decoding: 0,
    other: 0,
    runs: 0,
    least: 0,
    most: 0,
};

/// Prepares `plan` for `sdrs_pipeline_memory_plan`; `struct_size` is `sizeof(sdrs_memory_plan)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_memory_plan_init(
    plan: *mut sdrs_memory_plan,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(plan, struct_size, EMPTY, "plan") })
}

/// Writes the memory that a run with `params` takes, begun at `inputs`, which may be NULL; nothing is drawn. `runs` is the number of such runs
/// at once on the pipeline; 0 and 1 are one.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if a value is out of its range or a LoRA that a prompt names is not found, and as
/// `sdrs_builder_build` does for LoRAs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_memory_plan(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    inputs: *const sdrs_inputs,
    runs: u32,
    plan: *mut sdrs_memory_plan,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, SizedOut::new(plan, "plan")?) };
        // SAFETY: as above.
        let (params, given) = unsafe { crate::params::params(params) }?;
        let mut run = pipeline.inner.txt2img("").params_and_given(params, given);
        if !inputs.is_null() {
            // SAFETY: as above.
            run = unsafe { with_inputs(run, inputs) }?;
        }
        let made = run.memory_plan()?.parallel(runs as usize);
        out.put(sdrs_memory_plan {
            struct_size: size_of::<sdrs_memory_plan>(),
            weights: made.weights,
            text_encoders: made.text_encoders,
            unet: made.unet,
            vae: made.vae,
            loras: made.loras,
            lora_text_encoders: made.lora_text_encoders,
            encoding: made.encoding,
            denoising: made.denoising,
            decoding: made.decoding,
            other: made.other,
            runs: made.runs,
            least: made.least(),
            most: made.most(),
        });
        Ok(())
    })
}

/// Writes the bytes that a pipeline made by `sdrs_pipeline_with_lora_list`, with the same arguments, takes beside `pipeline`: those of the
/// layers that its LoRAs or the pipeline's change.
///
/// Fails as `sdrs_pipeline_with_lora_list` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_memory_of_loras(
    pipeline: *const sdrs_pipeline,
    loras: *const *const sdrs_lora,
    count: usize,
    bytes: *mut u64,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(bytes, "bytes")?) };
        // SAFETY: as above.
        let loras = unsafe { listed(loras, count) }?;
        out.put(pipeline.inner.memory_of_loras(loras)?);
        Ok(())
    })
}

/// Writes the bytes that a pipeline made by `sdrs_pipeline_with_vae` takes beside `pipeline`: those of the autoencoder.
///
/// Fails as `sdrs_pipeline_with_vae` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_memory_of_vae(
    pipeline: *const sdrs_pipeline,
    vae: *const c_char,
    bytes: *mut u64,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, vae) = unsafe { (object(pipeline, "pipeline")?, path(vae, "vae")?) };
        // SAFETY: as above.
        let out = unsafe { Out::new(bytes, "bytes") }?;
        out.put(pipeline.inner.memory_of_vae(vae)?);
        Ok(())
    })
}
