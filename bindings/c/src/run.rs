//! Runs: options to watch and stop one, and txt2img.

use std::ffi::{c_char, c_void};

use sdrs::{CancelToken, PreviewMethod, Progress, Request};

use crate::{
    enums::{enumeration, value},
    error::{Result, guard, sdrs_status},
    image::sdrs_images,
    inputs::{sdrs_inputs, with_inputs},
    low_level::sdrs_tensor,
    params::sdrs_generate_params,
    pipeline::sdrs_pipeline,
    pointer::{Out, free, lend, object, path, slice_mut},
    sized::{get, grows, init},
};

/// Stops runs from anywhere: any thread may use one at any time.
pub struct sdrs_cancel_token {
    inner: CancelToken,
}
crate::pointer::handle!(sdrs_cancel_token, 3);

impl sdrs_cancel_token {
    /// The token itself.
    pub(crate) fn token(&self) -> CancelToken {
        self.inner.clone()
    }
}

/// A token that has not been used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_cancel_token_new(token: *mut *mut sdrs_cancel_token) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { Out::new(token, "token") }?.give(sdrs_cancel_token {
            inner: CancelToken::new(),
        });
        Ok(())
    })
}

/// Asks the runs that hold this token to stop: each fails with `SDRS_ERROR_CANCELLED` within a step. A token stays used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_cancel_token_cancel(token: *const sdrs_cancel_token) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        unsafe { object(token, "token") }?.inner.cancel();
        Ok(())
    })
}

/// Whether the token was used: 1, or 0, also for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_cancel_token_is_cancelled(token: *const sdrs_cancel_token) -> i32 {
    let mut cancelled = 0;
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        cancelled = i32::from(unsafe { object(token, "token") }?.inner.is_cancelled());
        Ok(())
    });
    cancelled
}

/// Frees a token; NULL is fine. Runs that hold it go on, and can't be stopped through it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_cancel_token_free(token: *mut sdrs_cancel_token) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(token) }
}

/// The state of a run, for a progress callback. Later versions may add fields behind these.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_progress {
    /// Size of this structure in the library.
    pub struct_size: usize,
    /// The index of the picture in its batch, from 0.
    pub image: usize,
    /// Pictures in the batch.
    pub images: usize,
    /// Steps of this picture that are done, in all passes.
    pub step: usize,
    /// Steps of each picture in all passes; 0 if known only at the end (DPM adaptive).
    pub steps: usize,
    /// The noise level that the step began at.
    pub sigma: f64,
    /// The picture as far as it is known: red, green, blue, a byte each, row by row from the top, valid during the call. NULL unless
    /// this step's was asked for.
    pub preview: *const u8,
    /// Bytes from one row of the preview to the next.
    pub preview_stride: usize,
    /// Pixels of a row of the preview.
    pub preview_width: u32,
    /// Rows of the preview.
    pub preview_height: u32,
}

/// Whether a run shows what there is of the picture, and how it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_preview {
    /// No previews.
    SDRS_PREVIEW_NONE = 0,
    /// A pixel for each value of the latent's side, its colour a linear function of the latent: microseconds. The function is fitted to
    /// the pipeline's autoencoder when a run first asks for it.
    SDRS_PREVIEW_APPROXIMATE = 1,
    /// The autoencoder decodes: the picture as it would be, at the price of a last step.
    SDRS_PREVIEW_FULL = 2,
    /// The tiny autoencoder decodes that `sdrs_builder_taesd` named: nearly the same, in a small part of the time.
    SDRS_PREVIEW_TAESD = 3,
}

/// `sdrs_preview` as callers give it: any number.
pub type sdrs_preview_value = i32;

const PREVIEWS: &[(sdrs_preview, Option<PreviewMethod>)] = &[
    (sdrs_preview::SDRS_PREVIEW_NONE, None),
    (
        sdrs_preview::SDRS_PREVIEW_APPROXIMATE,
        Some(PreviewMethod::Approximate),
    ),
    (sdrs_preview::SDRS_PREVIEW_FULL, Some(PreviewMethod::Full)),
    (sdrs_preview::SDRS_PREVIEW_TAESD, Some(PreviewMethod::Taesd)),
];

enumeration! {
    sdrs_preview, Option<PreviewMethod>, "preview", PREVIEWS;
}

/// Called after each step, in the thread of the run. 0 goes on; anything else cancels the run, and the token that the run was given.
/// `progress` is valid during the call. The callback may call the library, also to start another run. It must return: no exception and
/// no `longjmp` may leave it.
pub type sdrs_progress_fn =
    Option<unsafe extern "C" fn(progress: *const sdrs_progress, user_data: *mut c_void) -> i32>;

/// Called with each picture of a batch as soon as it is done, in the thread of the run: what is cancelled or fails later can't take it
/// away. `index` is its place in the batch, from 0. `image` has this picture alone, as its first; it is the library's, and valid
/// during the call. 0 goes on; anything else cancels the run, and the token that the run was given. The callback may call the library. It
/// must return: no exception and no `longjmp` may leave it.
pub type sdrs_image_fn =
    Option<unsafe extern "C" fn(index: usize, image: *const sdrs_images, user_data: *mut c_void) -> i32>;

/// The options to watch and stop a run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_run_options {
    /// Size of this structure, set by `sdrs_run_options_init`.
    pub struct_size: usize,
    /// Called after each step; NULL for none.
    pub on_progress: sdrs_progress_fn,
    /// Given to the callbacks as it is.
    pub user_data: *mut c_void,
    /// Stops the run; NULL for none.
    pub cancel: *const sdrs_cancel_token,
    /// Whether `on_progress` is shown previews (`SDRS_PREVIEW_NONE`). They don't change the result.
    pub preview: sdrs_preview_value,
    /// After how many steps each; 0 (the default) and 1 are after every step.
    pub preview_every: u32,
    /// After how many steps a state is written to `states_folder`; 0 (the default) and 1 are after every step. The last of a pass is written
    /// in any case.
    pub states_every: u32,
    /// The folder that states are written into, `picture-1-step-00012.safetensors` and so on, from which `sdrs_resume` goes on; NULL (the
    /// default) for none.
    pub states_folder: *const c_char,
    /// A file that records what each stage of the run computes, as JSON lines, for `sdrs trace compare`; NULL (the default) for none.
    pub trace: *const c_char,
    /// Called with each picture as soon as it is done, and not where latents are asked for; NULL (the default) for none.
    pub on_image: sdrs_image_fn,
}
grows!(sdrs_run_options, until: cancel, init: "sdrs_run_options_init");

const NONE: sdrs_run_options = sdrs_run_options {
    struct_size: size_of::<sdrs_run_options>(),
    on_progress: None,
    user_data: std::ptr::null_mut(),
    cancel: std::ptr::null(),
    preview: sdrs_preview::SDRS_PREVIEW_NONE as i32,
    preview_every: 0,
    states_every: 0,
    states_folder: std::ptr::null(),
    trace: std::ptr::null(),
    on_image: None,
};

/// Sets the options to none; `struct_size` is `sizeof(sdrs_run_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_run_options_init(
    options: *mut sdrs_run_options,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(options, struct_size, NONE, "options") })
}

/// A run as the caller described it.
///
/// # Safety
/// As the header says of pointers.
unsafe fn run<'a>(
    pipeline: &'a sdrs::Pipeline,
    params: *const sdrs_generate_params,
    options: *const sdrs_run_options,
) -> Result<Request<'a>> {
    // SAFETY: as promised by the caller.
    let (params, given) = unsafe { crate::params::params(params) }?;
    // SAFETY: as above.
    unsafe { watched(pipeline.txt2img("").params_and_given(params, given), options) }
}

/// A run with a caller's options.
///
/// # Safety
/// As the header says of pointers.
pub(crate) unsafe fn watched<'a>(run: Request<'a>, options: *const sdrs_run_options) -> Result<Request<'a>> {
    let options = match options.is_null() {
        true => NONE,
        // SAFETY: as promised by the caller.
        false => unsafe { get(options, NONE, "options") }?,
    };
    let token = match options.cancel.is_null() {
        true => CancelToken::new(),
        // SAFETY: as above.
        false => unsafe { object(options.cancel, "cancel") }?.inner.clone(),
    };
    let mut run = run.cancel_token(&token);
    if !options.states_folder.is_null() {
        // SAFETY: as above.
        let folder = unsafe { path(options.states_folder, "states_folder") }?;
        run = run.save_states(folder, options.states_every.max(1) as usize);
    }
    if !options.trace.is_null() {
        // SAFETY: as above.
        run = run.trace(unsafe { path(options.trace, "trace") }?);
    }
    if let Some(method) = value::<sdrs_preview>(options.preview)? {
        run = run.previews(method, options.preview_every.max(1) as usize);
    }
    if let Some(callback) = options.on_image {
        let token = token.clone();
        run = run.on_image(move |index, drawn| {
            let image = sdrs_images::new(vec![drawn.clone()]);
            // SAFETY: the caller gave this function for this purpose, with this user data.
            let answer = lend(image, |image| unsafe {
                callback(index, image, options.user_data)
            });
            if answer != 0 {
                token.cancel();
            }
        });
    }
    let Some(callback) = options.on_progress else {
        return Ok(run);
    };
    Ok(run.on_progress(move |progress: Progress| {
        let preview = progress.preview.as_ref();
        let width = preview.map_or(0, |preview| preview.width);
        let state = sdrs_progress {
            struct_size: size_of::<sdrs_progress>(),
            image: progress.image,
            images: progress.images,
            step: progress.step,
            steps: progress.steps,
            sigma: progress.sigma,
            preview: preview.map_or(std::ptr::null(), |preview| preview.rgb.as_ptr()),
            preview_stride: 3 * width as usize,
            preview_width: width,
            preview_height: preview.map_or(0, |preview| preview.height),
        };
        // SAFETY: the caller gave this function for this purpose, with this user data.
        if unsafe { callback(&raw const state, options.user_data) } != 0 {
            token.cancel();
        }
    }))
}

/// Draws pictures from a prompt, one after the other, in the calling thread (and the library's own helpers). `options` may be NULL.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, `SDRS_ERROR_CANCELLED`, `SDRS_ERROR_NOT_FINITE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_txt2img(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    options: *const sdrs_run_options,
    images: *mut *mut sdrs_images,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(images, "images")?) };
        // SAFETY: as above.
        let run = unsafe { run(&pipeline.inner, params, options) }?;
        out.give(sdrs_images::new(run.run()?.images));
        Ok(())
    })
}

/// Draws pictures from a picture, or a part of it anew: as `sdrs_txt2img`, with `inputs`.
///
/// Fails as `sdrs_txt2img` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_img2img(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    inputs: *const sdrs_inputs,
    options: *const sdrs_run_options,
    images: *mut *mut sdrs_images,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(images, "images")?) };
        // SAFETY: as above.
        let run = unsafe { with_inputs(run(&pipeline.inner, params, options)?, inputs) }?;
        out.give(sdrs_images::new(run.run()?.images));
        Ok(())
    })
}

/// The same without decoding, as `sdrs_txt2img_latents`, with `inputs`.
///
/// Fails as `sdrs_txt2img` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_img2img_latents(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    inputs: *const sdrs_inputs,
    options: *const sdrs_run_options,
    latents: *mut *mut sdrs_tensor,
    seeds: *mut u64,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(latents, "latents")?) };
        // SAFETY: as above.
        let made = unsafe { with_inputs(run(&pipeline.inner, params, options)?, inputs) }?.latents()?;
        // SAFETY: as above.
        unsafe { put_seeds(seeds, &made.seeds) }?;
        out.give(sdrs_tensor::new(made.latents));
        Ok(())
    })
}

/// Writes the seeds to a buffer of as many numbers, if there is one.
///
/// # Safety
/// As the header says of pointers.
unsafe fn put_seeds(seeds: *mut u64, made: &[u64]) -> Result {
    if !seeds.is_null() {
        // SAFETY: as promised by the caller.
        unsafe { slice_mut(seeds, made.len(), "seeds") }?.copy_from_slice(made);
    }
    Ok(())
}

/// The same without decoding: the latents as the U-Net has them, `[batch_size, latent_channels, h, w]`, which `sdrs_vae_decode` takes.
/// `seeds` gets `batch_size` numbers, for each picture the seed that gives it alone; it may be NULL.
///
/// Fails as `sdrs_txt2img` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_txt2img_latents(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    options: *const sdrs_run_options,
    latents: *mut *mut sdrs_tensor,
    seeds: *mut u64,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(latents, "latents")?) };
        // SAFETY: as above.
        let made = unsafe { run(&pipeline.inner, params, options) }?.latents()?;
        // SAFETY: as above.
        unsafe { put_seeds(seeds, &made.seeds) }?;
        out.give(sdrs_tensor::new(made.latents));
        Ok(())
    })
}
