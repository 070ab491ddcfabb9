//! The text encoders one call at a time.

use std::ffi::c_char;

use sdrs::Array;

use crate::{
    error::{Result, guard, sdrs_status},
    low_level::sdrs_tensor,
    pipeline::sdrs_pipeline,
    pointer::{Out, fill, object, slice, slice_mut, text},
};

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

/// The pooled text of a prompt, `[pooled_width]`, by the last text encoder: of its first 75 tokens, without weights. With sizes behind it
/// (`sdrs_size_vector`) it is SDXL's vector beside the timestep. `length` is the prompt's in bytes, or `SDRS_NUL_TERMINATED`.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if the model has no pooled text, and as `sdrs_encode_prompt`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pooled_prompt(
    pipeline: *const sdrs_pipeline,
    prompt: *const c_char,
    length: usize,
    pooled: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        pool(
            pipeline,
            (prompt, "prompt"),
            length,
            pooled,
            sdrs::Pipeline::pooled_prompt,
        )
    })
}

/// The pooled text of a text in which no character has a meaning of its own, as diffusers makes it. Arguments are those of
/// `sdrs_pooled_prompt`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pooled_text(
    pipeline: *const sdrs_pipeline,
    text: *const c_char,
    length: usize,
    pooled: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        pool(
            pipeline,
            (text, "text"),
            length,
            pooled,
            sdrs::Pipeline::pooled_text,
        )
    })
}

/// The part that both functions that pool a text share.
///
/// # Safety
/// As the header says of pointers.
unsafe fn pool(
    pipeline: *const sdrs_pipeline,
    (text, name): (*const c_char, &'static str),
    length: usize,
    pooled: *mut *mut sdrs_tensor,
    how: fn(&sdrs::Pipeline, &str) -> sdrs::Result<Array>,
) -> Result {
    // SAFETY: as promised by the caller.
    let (pipeline, text) = unsafe { (object(pipeline, "pipeline")?, self::text(text, length, name)?) };
    // SAFETY: as above.
    let out = unsafe { Out::new(pooled, "pooled") }?;
    out.give(sdrs_tensor::new(how(&pipeline.inner, text)?));
    Ok(())
}

/// The context of token ids as they are (start and end token included, if they are wanted), `[count, text_width]`, by the first text
/// encoder: its hidden state, from the end the one that `clip_skip` counts (1 is the last of SD1), with the final norm for SD1 and SD2. There
/// may be 1 to `context_length` ids.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_encode_ids(
    pipeline: *const sdrs_pipeline,
    ids: *const u32,
    count: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        states(pipeline, (ids, count), (context, "context"), |pipeline, ids| {
            pipeline.encode_ids(ids, clip_skip as usize, 0)
        })
    })
}

/// The same by the text encoder of this number, counted from 0: 1 is SDXL's second one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_encode_ids_with(
    pipeline: *const sdrs_pipeline,
    encoder: u32,
    ids: *const u32,
    count: usize,
    clip_skip: u32,
    context: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        states(pipeline, (ids, count), (context, "context"), |pipeline, ids| {
            pipeline.encode_ids(ids, clip_skip as usize, encoder as usize)
        })
    })
}

/// Every hidden state of the first text encoder for one row of token ids (start and end token included, if they are wanted), without the
/// final norm: `[layers + 1, count, text_width]`, the embeddings first. `sdrs_encode_ids` gives them with the norm.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_text_hidden_states(
    pipeline: *const sdrs_pipeline,
    ids: *const u32,
    count: usize,
    states: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        self::states(pipeline, (ids, count), (states, "states"), |pipeline, ids| {
            pipeline.text_hidden_states(ids, 0)
        })
    })
}

/// The same of the text encoder of this number, counted from 0: 1 is SDXL's second one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_text_hidden_states_with(
    pipeline: *const sdrs_pipeline,
    encoder: u32,
    ids: *const u32,
    count: usize,
    states: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        self::states(pipeline, (ids, count), (states, "states"), |pipeline, ids| {
            pipeline.text_hidden_states(ids, encoder as usize)
        })
    })
}

/// The part that the functions over token ids share.
///
/// # Safety
/// As the header says of pointers.
unsafe fn states(
    pipeline: *const sdrs_pipeline,
    (ids, count): (*const u32, usize),
    (to, name): (*mut *mut sdrs_tensor, &'static str),
    how: impl FnOnce(&sdrs::Pipeline, &[u32]) -> sdrs::Result<Array>,
) -> Result {
    // SAFETY: as promised by the caller.
    let (pipeline, ids) = unsafe { (object(pipeline, "pipeline")?, slice(ids, count, "ids")?) };
    // SAFETY: as above.
    let out = unsafe { Out::new(to, name) }?;
    out.give(sdrs_tensor::new(how(&pipeline.inner, ids)?));
    Ok(())
}
