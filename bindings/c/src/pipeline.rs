//! A loaded checkpoint, and what there is to know of it.

use std::{
    ffi::{CString, c_char},
    path::Path,
};

use sdrs::Dtype;

use crate::{
    SDRS_NOT_SET,
    enums::{
        number, sdrs_dtype, sdrs_dtype_value, sdrs_prediction, sdrs_prediction_value, sdrs_sampler,
        sdrs_sampler_value, sdrs_schedule, sdrs_schedule_value, sdrs_weight_dtype, sdrs_weight_dtype_value,
        value,
    },
    error::{Failure, Result, guard, sdrs_status},
    names::c_string,
    params,
    pointer::{free, object, path},
    sized::{SizedOut, grows, init},
};

/// A loaded checkpoint, ready to draw. It holds nothing of a run: any number of threads may use one at the same time.
pub struct sdrs_pipeline {
    pub(crate) inner: sdrs::Pipeline,
    name: CString,
    refiner: Option<CString>,
    device: CString,
    embeddings: Vec<CString>,
    skipped_embeddings: Vec<CString>,
    /// Their paths.
    pub(crate) loras: Vec<CString>,
}
crate::pointer::handle!(sdrs_pipeline, 2);

impl sdrs_pipeline {
    pub(crate) fn new(inner: sdrs::Pipeline) -> Self {
        Self {
            name: c_string(inner.name()),
            refiner: inner.refiner_name().map(c_string),
            device: c_string(inner.device()),
            embeddings: inner.embeddings().map(c_string).collect(),
            loras: inner.loras().map(|lora| c_string(lora.origin())).collect(),
            skipped_embeddings: inner.skipped_embeddings().iter().map(c_string).collect(),
            inner,
        }
    }
}

/// The properties of a pipeline, and the sizes of its arrays.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_pipeline_info {
    /// Size of this structure, set by `sdrs_pipeline_info_init`.
    pub struct_size: usize,
    /// The checkpoint's name: its file's or folder's, without extension. Valid as long as the pipeline.
    pub name: *const c_char,
    /// The device that it computes on, "auto" resolved; of several all their names with commas between them. Valid as long as the pipeline.
    pub device: *const c_char,
    /// The type that it computes in.
    pub dtype: sdrs_dtype_value,
    /// The prediction type of the U-Net.
    pub prediction: sdrs_prediction_value,
    /// Width in pixels of the pictures that it was trained on.
    pub default_width: u32,
    /// Height in pixels of the pictures that it was trained on.
    pub default_height: u32,
    /// Channels of a latent.
    pub latent_channels: u32,
    /// Pixels of a side for each value of a latent's side.
    pub downscale: u32,
    /// Tokens that one chunk of the context has, start and end token included.
    pub context_length: u32,
    /// Values of the context for each token.
    pub context_width: u32,
    /// The largest `clip_skip`: layers of the text encoder, for SDXL one less than the smaller one has.
    pub text_layers: u32,
    /// Number of tokens that the text encoder knows.
    pub vocabulary: u32,
    /// Timesteps that it was trained on.
    pub train_steps: u32,
    /// 0, for now.
    pub reserved: u32,
    /// The smallest noise level of the table.
    pub sigma_min: f64,
    /// The largest noise level of the table.
    pub sigma_max: f64,
    /// The strength of guidance that the checkpoint recommends; NAN if none.
    pub recommended_cfg_scale: f64,
    /// The sampling steps that it recommends; `SDRS_NOT_SET` if none.
    pub recommended_steps: u32,
    /// The text encoder's layer that it recommends, from the end, 1 the last; `SDRS_NOT_SET` if none.
    pub recommended_clip_skip: u32,
    /// The sampler that it recommends; `SDRS_SAMPLER_NOT_SET` if none.
    pub recommended_sampler: sdrs_sampler_value,
    /// The schedule that it recommends with that; `SDRS_SCHEDULE_NOT_SET` if none.
    pub recommended_schedule: sdrs_schedule_value,
    /// The factor from the autoencoder's own latents to those of the U-Net: 0.18215 for SD1 and SD2.
    pub scaling_factor: f64,
    /// The part of `context_width` that the first text encoder makes: all of it where there is one.
    pub text_width: u32,
    /// The part that a second text encoder makes; 0 without one.
    pub text_width_2: u32,
    /// Values of a pooled text; 0 where no text encoder gives one.
    pub pooled_width: u32,
    /// Values of the vector that the U-Net takes beside the timestep (`sdrs_unet_with_vector`); 0 where it takes none.
    pub added_width: u32,
    /// The refiner's name, NULL without one. Valid as long as the pipeline.
    pub refiner_name: *const c_char,
    /// Channels that the U-Net takes: `latent_channels`, and those behind them of inpainting, depth and editing models.
    pub unet_channels: u32,
    /// The type that weights are kept in.
    pub weight_dtype: sdrs_weight_dtype_value,
}
grows!(sdrs_pipeline_info, until: sigma_max, init: "sdrs_pipeline_info_init");

/// Prepares `info` for `sdrs_pipeline_get_info`; `struct_size` is `sizeof(sdrs_pipeline_info)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_info_init(
    info: *mut sdrs_pipeline_info,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(info, struct_size, EMPTY, "info") })
}

const EMPTY: sdrs_pipeline_info = sdrs_pipeline_info {
    struct_size: size_of::<sdrs_pipeline_info>(),
    name: std::ptr::null(),
    device: std::ptr::null(),
    dtype: 0,
    prediction: 0,
    default_width: 0,
    default_height: 0,
    latent_channels: 0,
    downscale: 0,
    context_length: 0,
    context_width: 0,
    text_layers: 0,
    vocabulary: 0,
    train_steps: 0,
    reserved: 0,
    sigma_min: 0.0,
    sigma_max: 0.0,
    recommended_cfg_scale: f64::NAN,
    recommended_steps: SDRS_NOT_SET,
    recommended_clip_skip: SDRS_NOT_SET,
    recommended_sampler: sdrs_sampler::SDRS_SAMPLER_NOT_SET as sdrs_sampler_value,
    recommended_schedule: sdrs_schedule::SDRS_SCHEDULE_NOT_SET as sdrs_schedule_value,
    scaling_factor: 0.0,
    text_width: 0,
    text_width_2: 0,
    pooled_width: 0,
    added_width: 0,
    refiner_name: std::ptr::null(),
    unet_channels: 0,
    weight_dtype: 0,
};

/// Writes the properties of a pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_get_info(
    pipeline: *const sdrs_pipeline,
    info: *mut sdrs_pipeline_info,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, SizedOut::new(info, "info")?) };
        let (sizes, sampling) = (pipeline.inner.sizes(), pipeline.inner.sampling());
        let recommended = params::recommended(pipeline.inner.recommended())?;
        // Configurations are bounded far below this.
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        out.put(sdrs_pipeline_info {
            struct_size: size_of::<sdrs_pipeline_info>(),
            name: pipeline.name.as_ptr(),
            device: pipeline.device.as_ptr(),
            dtype: number::<sdrs_dtype>(Some(pipeline.inner.dtype()))?,
            prediction: number::<sdrs_prediction>(Some(sampling.prediction()))?,
            default_width: small(sizes.default_side),
            default_height: small(sizes.default_side),
            latent_channels: small(sizes.latent_channels),
            downscale: small(sizes.downscale),
            context_length: small(sizes.context_length),
            context_width: small(sizes.context_width),
            text_layers: small(sizes.text_layers),
            vocabulary: small(sizes.vocabulary),
            train_steps: small(sampling.train_steps()),
            reserved: 0,
            sigma_min: sampling.sigma_min(),
            sigma_max: sampling.sigma_max(),
            recommended_cfg_scale: recommended.cfg_scale,
            recommended_steps: recommended.steps,
            recommended_clip_skip: recommended.clip_skip,
            recommended_sampler: recommended.sampler,
            recommended_schedule: recommended.schedule,
            scaling_factor: pipeline.inner.scaling_factor(),
            text_width: small(sizes.text_width),
            text_width_2: small(sizes.text_width_2),
            pooled_width: small(sizes.pooled_width),
            added_width: small(sizes.added_width),
            refiner_name: pipeline
                .refiner
                .as_ref()
                .map_or(std::ptr::null(), |name| name.as_ptr()),
            unet_channels: small(sizes.unet_channels),
            weight_dtype: number::<sdrs_weight_dtype>(pipeline.inner.weight_dtype())?,
        });
        Ok(())
    })
}

/// The name of a textual inversion that prompts may use, counted from 0 in the order that they were added; NULL past the last. Valid as
/// long as the pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_embedding(
    pipeline: *const sdrs_pipeline,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { listed(pipeline, index, |pipeline| &pipeline.embeddings) }
}

/// A file of a folder of textual inversions that was passed over, with the reason, for people, counted from 0; NULL past the last. Valid as
/// long as the pipeline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_skipped_embedding(
    pipeline: *const sdrs_pipeline,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { listed(pipeline, index, |pipeline| &pipeline.skipped_embeddings) }
}

/// An entry of one of a pipeline's lists.
///
/// # Safety
/// As the header says of pointers.
unsafe fn listed(
    pipeline: *const sdrs_pipeline,
    index: usize,
    list: fn(&sdrs_pipeline) -> &[CString],
) -> *const c_char {
    let mut found = std::ptr::null();
    guard(|| {
        // SAFETY: as promised by the caller.
        let list = list(unsafe { object(pipeline, "pipeline") }?);
        found = list.get(index).map_or(std::ptr::null(), |text| text.as_ptr());
        Ok(())
    });
    found
}

/// Writes a pipeline as a single .safetensors file in LDM's layout, its weights as `dtype`, with its LoRAs merged into them. Its metadata
/// carries the configurations, and the tokenizer unless it is CLIP's own. A file that is there is replaced, when the new one is whole.
///
/// Fails with `SDRS_ERROR_IO`, and with `SDRS_ERROR_INVALID_PARAMETER` for `SDRS_DTYPE_AUTO`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_save_file(
    pipeline: *const sdrs_pipeline,
    path: *const c_char,
    dtype: sdrs_dtype_value,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        save(pipeline, path, dtype, |pipeline, path, dtype| {
            pipeline.save_file(path, dtype)
        })
    })
}

/// The same as a diffusers folder. It fails if there is one with something in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_save_folder(
    pipeline: *const sdrs_pipeline,
    path: *const c_char,
    dtype: sdrs_dtype_value,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        save(pipeline, path, dtype, |pipeline, path, dtype| {
            pipeline.save_folder(path, dtype)
        })
    })
}

/// The part that both functions that save share.
///
/// # Safety
/// As the header says of pointers.
unsafe fn save(
    pipeline: *const sdrs_pipeline,
    path: *const c_char,
    dtype: sdrs_dtype_value,
    how: fn(&sdrs::Pipeline, &Path, Dtype) -> sdrs::Result<()>,
) -> Result {
    // SAFETY: as promised by the caller.
    let (pipeline, path) = unsafe { (object(pipeline, "pipeline")?, self::path(path, "path")?) };
    let Some(dtype) = value::<sdrs_dtype>(dtype)? else {
        let reason = "is AUTO; a file needs one: F32, BF16 or F16";
        return Err(Failure::argument("dtype", reason));
    };
    Ok(how(&pipeline.inner, &path, dtype)?)
}

/// Frees a pipeline that no thread uses any more; NULL is fine. Images, tensors and steppers that came of it stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_free(pipeline: *mut sdrs_pipeline) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(pipeline) }
}
