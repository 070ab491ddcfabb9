//! The networks one call at a time.

use std::ffi::c_char;

use sdrs::Array;

use crate::{
    error::{Failure, Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, fill, free, object, slice, slice_mut, text},
};

/// An array of floats with its shape, row-major. Threads may share it.
pub struct sdrs_tensor {
    array: Array,
}
crate::pointer::handle!(sdrs_tensor, 5);

impl sdrs_tensor {
    pub(crate) fn new(array: Array) -> Self {
        Self { array }
    }
}

/// The values and the shape of a tensor. `data` and `shape` are the library's, and valid as long as the tensor; `shape` has `rank` numbers.
/// `shape` and `rank` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_tensor_get(
    tensor: *const sdrs_tensor,
    data: *mut *const f32,
    shape: *mut *const usize,
    rank: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (tensor, data) = unsafe { (object(tensor, "tensor")?, Out::new(data, "data")?) };
        if !shape.is_null() {
            // SAFETY: as above.
            unsafe { Out::new(shape, "shape") }?.put(tensor.array.shape.as_ptr());
        }
        if !rank.is_null() {
            // SAFETY: as above.
            unsafe { Out::new(rank, "rank") }?.put(tensor.array.shape.len());
        }
        data.put(tensor.array.values.as_ptr());
        Ok(())
    })
}

/// The number of values of a tensor; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_tensor_size(tensor: *const sdrs_tensor) -> usize {
    let mut size = 0;
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        size = unsafe { object(tensor, "tensor") }?.array.values.len();
        Ok(())
    });
    size
}

/// Frees a tensor; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_tensor_free(tensor: *mut sdrs_tensor) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(tensor) }
}

/// A shape of `N` numbers.
///
/// # Safety
/// As the header says of pointers.
unsafe fn shape<const N: usize>(pointer: *const usize, name: &'static str) -> Result<[usize; N]> {
    // SAFETY: as promised by the caller.
    let shape = unsafe { slice(pointer, N, name) }?;
    Ok(std::array::from_fn(|i| shape[i]))
}

/// A caller's buffer that is as large as its shape says.
///
/// # Safety
/// As the header says of pointers.
unsafe fn floats<'a>(pointer: *const f32, shape: &[usize], name: &'static str) -> Result<&'a [f32]> {
    let size = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
    let Some(size) = size else {
        let reason = format!("the shape {shape:?} holds more than any memory");
        return Err(Failure::argument(name, reason));
    };
    // SAFETY: as promised by the caller.
    unsafe { slice(pointer, size, name) }
}

/// The token ids of a text, which is repaired first as a prompt's is: no start or end token, no padding, no limit. `length` is the text's in bytes, or
/// `SDRS_NUL_TERMINATED`. Writes at most `capacity` ids to `ids`, and to `count` how many there are; `ids` may be NULL if `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_tokenize(
    pipeline: *const sdrs_pipeline,
    text: *const c_char,
    length: usize,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, text) = unsafe { (object(pipeline, "pipeline")?, self::text(text, length, "text")?) };
        // SAFETY: as above.
        let (ids, count) = unsafe { (slice_mut(ids, capacity, "ids")?, Out::new(count, "count")?) };
        fill(&pipeline.inner.tokenize(text)?, ids, count);
        Ok(())
    })
}

/// The context of a prompt for the U-Net, `[tokens, context_width]`, weights, embeddings and all: what a run of one step computes of it.
/// There are `context_length` tokens for every 75 of the prompt, so contexts may differ in length. `length` is the prompt's in bytes, or
/// `SDRS_NUL_TERMINATED`; `clip_skip` is 1 for the text encoder's last layer.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` for a prompt with an AND in it, which has several contexts, or with the tag of a LoRA that the
/// pipeline doesn't have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_encode_prompt(
    pipeline: *const sdrs_pipeline,
    prompt: *const c_char,
    length: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        encode(
            pipeline,
            (prompt, "prompt"),
            length,
            clip_skip,
            context,
            sdrs::Pipeline::encode_prompt,
        )
    })
}

/// The context of a text in which no character has a meaning of its own, `[context_length, context_width]`, as diffusers encodes it: tokens for
/// which there is no room are dropped. Arguments are those of `sdrs_encode_prompt`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_encode_text(
    pipeline: *const sdrs_pipeline,
    text: *const c_char,
    length: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        encode(
            pipeline,
            (text, "text"),
            length,
            clip_skip,
            context,
            sdrs::Pipeline::encode_text,
        )
    })
}

/// The part that both functions that encode a text share.
///
/// # Safety
/// As the header says of pointers.
unsafe fn encode(
    pipeline: *const sdrs_pipeline,
    (text, name): (*const c_char, &'static str),
    length: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
    how: fn(&sdrs::Pipeline, &str, usize) -> sdrs::Result<Array>,
) -> Result {
    // SAFETY: as promised by the caller.
    let (pipeline, text) = unsafe { (object(pipeline, "pipeline")?, self::text(text, length, name)?) };
    // SAFETY: as above.
    let out = unsafe { Out::new(context, "context") }?;
    out.give(sdrs_tensor::new(how(&pipeline.inner, text, clip_skip as usize)?));
    Ok(())
}

/// The context of token ids as they are (start and end token included, if they are wanted), `[count, context_width]`: the text encoder's
/// hidden state, from the end the one that `clip_skip` counts (1 is the last), with the final norm. There may be 1 to `context_length` ids.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_encode_ids(
    pipeline: *const sdrs_pipeline,
    ids: *const u32,
    count: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, ids) = unsafe { (object(pipeline, "pipeline")?, slice(ids, count, "ids")?) };
        // SAFETY: as above.
        let out = unsafe { Out::new(context, "context") }?;
        let encoded = pipeline.inner.encode_ids(ids, clip_skip as usize)?;
        out.give(sdrs_tensor::new(encoded));
        Ok(())
    })
}

/// Every hidden state of the text encoder for one row of token ids (start and end token included, if they are wanted), without the final
/// norm: `[text_layers + 1, count, context_width]`, the embeddings first. `sdrs_encode_ids` gives them with the norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_text_hidden_states(
    pipeline: *const sdrs_pipeline,
    ids: *const u32,
    count: usize,
    states: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, ids) = unsafe { (object(pipeline, "pipeline")?, slice(ids, count, "ids")?) };
        // SAFETY: as above.
        let out = unsafe { Out::new(states, "states") }?;
        out.give(sdrs_tensor::new(pipeline.inner.text_hidden_states(ids)?));
        Ok(())
    })
}

/// One evaluation of the U-Net: its raw prediction, of the latents' shape.
///
/// `latents` is `[batch, latent_channels, h, w]`, scaled as the network wants it (`c_in` of `sdrs_request`), `latents_shape` those 4
/// numbers; `timesteps` has `batch` numbers, fractions allowed; `context` is `[batch, tokens, context_width]`,
/// with any number of tokens, `context_shape` those 3. Prompts of different length need a call each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_unet(
    pipeline: *const sdrs_pipeline,
    latents: *const f32,
    latents_shape: *const usize,
    timesteps: *const f64,
    context: *const f32,
    context_shape: *const usize,
    prediction: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(prediction, "prediction")?) };
        // SAFETY: as above.
        let (shape4, shape3) = unsafe {
            (
                shape::<4>(latents_shape, "latents_shape")?,
                shape::<3>(context_shape, "context_shape")?,
            )
        };
        // SAFETY: as above.
        let (latents, context) = unsafe {
            (
                floats(latents, &shape4, "latents")?,
                floats(context, &shape3, "context")?,
            )
        };
        // SAFETY: as above.
        let timesteps = unsafe { slice(timesteps, shape4[0], "timesteps") }?;
        let prediction = pipeline
            .inner
            .unet((latents, shape4), timesteps, (context, shape3))?;
        out.give(sdrs_tensor::new(prediction));
        Ok(())
    })
}

/// Encodes pictures, `[batch, 3, height, width]` with values -1 to 1 (`byte / 127.5 - 1`; values far beyond are refused), to latents
/// `[batch, latent_channels, h, w]` as the U-Net has them: `mean + std * noise`. Both are the autoencoder's own times the
/// `scaling_factor` of `sdrs_pipeline_info`: in diffusers, `vae.encode(images).latent_dist.mean * vae.config.scaling_factor`. `shape` has
/// the pictures' 4 numbers. `std` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_vae_encode(
    pipeline: *const sdrs_pipeline,
    images: *const f32,
    shape: *const usize,
    mean: *mut *mut sdrs_tensor,
    std: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(mean, "mean")?) };
        let out_std = match std.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { Out::new(std, "std") }?),
        };
        // SAFETY: as above.
        let shape = unsafe { self::shape::<4>(shape, "shape") }?;
        // SAFETY: as above.
        let images = unsafe { floats(images, &shape, "images") }?;
        let encoded = pipeline.inner.vae_encode(images, shape)?;
        if let Some(out) = out_std {
            out.give(sdrs_tensor::new(encoded.std));
        }
        out.give(sdrs_tensor::new(encoded.mean));
        Ok(())
    })
}

/// Decodes latents as the U-Net has them, `[batch, latent_channels, h, w]`, to pictures `[batch, 3, downscale h, downscale w]` with values
/// -1 to 1, or a little beyond. The autoencoder is given them divided by the `scaling_factor` of `sdrs_pipeline_info`: in diffusers,
/// `vae.decode(latents / vae.config.scaling_factor)`. `shape` has the latents' 4 numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_vae_decode(
    pipeline: *const sdrs_pipeline,
    latents: *const f32,
    shape: *const usize,
    images: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(images, "images")?) };
        // SAFETY: as above.
        let shape = unsafe { self::shape::<4>(shape, "shape") }?;
        // SAFETY: as above.
        let latents = unsafe { floats(latents, &shape, "latents") }?;
        out.give(sdrs_tensor::new(pipeline.inner.vae_decode(latents, shape)?));
        Ok(())
    })
}
