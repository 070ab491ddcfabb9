//! Pipelines that share their unchanged parts: other LoRAs, another VAE.

use std::{ffi::c_char, ptr};

use sdrs::Lora;

use crate::{
    error::{Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, object, path, slice},
};

/// The same pipeline with these LoRAs instead of those that it has; with `count` 0, as it was without any, to the bit. Weights are made anew
/// from the checkpoint's, and all that the LoRAs don't change is shared, so the new pipeline takes memory for the layers that they do. Each
/// is freed on its own, in any order.
///
/// `loras` has `count` paths, `weights` as many weights, 1 as trained; NULL is 1 for all. `text_encoder_weights` may have others for the
/// text encoder; NULL is the same. All may be NULL if `count` is 0.
///
/// Fails as `sdrs_builder_build` does for LoRAs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_with_loras(
    pipeline: *const sdrs_pipeline,
    loras: *const *const c_char,
    weights: *const f64,
    text_encoder_weights: *const f64,
    count: usize,
    other: *mut *mut sdrs_pipeline,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, out) = unsafe { (object(pipeline, "pipeline")?, Out::new(other, "other")?) };
        // SAFETY: as above.
        let paths = unsafe { slice(loras, count, "loras") }?;
        let numbers = |pointer: *const f64, name| -> Result<Option<&[f64]>> {
            // SAFETY: as above.
            let given = (!pointer.is_null()).then(|| unsafe { slice(pointer, count, name) });
            given.transpose()
        };
        let weights = numbers(weights, "weights")?;
        let text_encoder = numbers(text_encoder_weights, "text_encoder_weights")?.or(weights);
        let mut loras = Vec::new();
        for (i, &lora) in paths.iter().enumerate() {
            // SAFETY: as above.
            let file = Lora::file(unsafe { path(lora, "loras") }?);
            let of = |list: Option<&[f64]>| list.map_or(1.0, |list| list[i]);
            loras.push(file.unet(of(weights)).text_encoder(of(text_encoder)));
        }
        out.give(sdrs_pipeline::new(pipeline.inner.with_loras(loras)?));
        Ok(())
    })
}

/// The same pipeline with another autoencoder: a file with a VAE in it, or a diffusers folder. All else is shared. Each is freed on its own.
///
/// Fails as `sdrs_builder_build` does for a VAE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_with_vae(
    pipeline: *const sdrs_pipeline,
    vae: *const c_char,
    other: *mut *mut sdrs_pipeline,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, vae) = unsafe { (object(pipeline, "pipeline")?, path(vae, "vae")?) };
        // SAFETY: as above.
        let out = unsafe { Out::new(other, "other") }?;
        out.give(sdrs_pipeline::new(pipeline.inner.with_vae(vae)?));
        Ok(())
    })
}

/// The path of a LoRA that a pipeline has, counted from 0 in the order that they were added; NULL past the last. Valid as long as the
/// pipeline. `weight` and `text_encoder_weight` receive its weights; both may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_pipeline_lora(
    pipeline: *const sdrs_pipeline,
    index: usize,
    weight: *mut f64,
    text_encoder_weight: *mut f64,
) -> *const c_char {
    let mut found = ptr::null();
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let pipeline = unsafe { object(pipeline, "pipeline") }?;
        let Some((path, lora)) = pipeline.loras.get(index).zip(pipeline.inner.loras().nth(index)) else {
            return Ok(());
        };
        let places = [
            (weight, "weight", lora.unet_weight()),
            (
                text_encoder_weight,
                "text_encoder_weight",
                lora.text_encoder_weight(),
            ),
        ];
        for (place, name, value) in places.into_iter().filter(|(place, ..)| !place.is_null()) {
            // SAFETY: as above.
            unsafe { Out::new(place, name) }?.put(value);
        }
        found = path.as_ptr();
        Ok(())
    });
    found
}
