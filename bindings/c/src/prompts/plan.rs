//! Plans of prompts.

use std::ffi::c_char;

use crate::{
    error::{guard, sdrs_status},
    inspect::json_text,
    params::sdrs_generate_params,
    pipeline::sdrs_pipeline,
    pointer::{Out, object},
};

/// Tells what both prompts of `params` will be encoded as, as JSON: texts by step, chunks, tokens with their weights and places, LoRAs,
/// embeddings. Nothing is computed. `pipeline` may be NULL: then the tokenizer is that of all Stable Diffusion 1, and there are neither
/// LoRAs nor embeddings. Free the text with `sdrs_string_free`.
///
///     {"calls": 20, "loras": [], "unknown_tags": [{"text": "<x:y>", "span": {"start": 0, "end": 5}}],
///      "prompt": [{"weight": 1.0, "texts": [{"calls": {"start": 0, "end": 20}, "text": "a (red:1.2) circle", "chunks": [[
///          {"id": 320, "text": "a", "span": {"start": 0, "end": 1}, "weight": 1.0}, ...]]}]}],
///      "negative_prompt": {"weight": 1.0, "texts": [...]}}
///
/// Spans are in bytes of the prompt as it was given; ends are exclusive. A LoRA has "name", "text_encoder" and "unet" (its strengths),
/// "span", and whether a run would have it, "loaded"; where the tag has them also "course" (pairs of a strength on the U-Net and its moment),
/// "start", "stop" and "blocks". A token that is a vector of an embedding has that one's name as "embedding".
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_plan_prompts(
    pipeline: *const sdrs_pipeline,
    params: *const sdrs_generate_params,
    json: *mut *mut c_char,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let ((mut params, given), out) = unsafe { (crate::params::params(params)?, Out::new(json, "json")?) };
        let plan = match pipeline.is_null() {
            true => sdrs::plan_prompts(&params)?,
            false => {
                // SAFETY: as above.
                let pipeline = &unsafe { object(pipeline, "pipeline") }?.inner;
                pipeline.recommended().settle(&given, &mut params);
                pipeline.plan_prompts(&params)?
            }
        };
        out.put(json_text(serde_json::to_string(&plan))?);
        Ok(())
    })
}
