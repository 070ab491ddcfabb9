//! U-Net and autoencoder one call at a time, and the tensors that they give.

use sdrs::Array;

use crate::{
    error::{Failure, Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, free, object, slice},
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

/// The part of SDXL's vector beside the timestep that stands behind the pooled text: 256 sinusoids of each of `count` numbers, cosines
/// first. SDXL has 6 numbers, in pixels: original height and width, the crop's top and left edge, target height and width; its refiner 5:
/// the aesthetic score stands in place of the target size.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` if the model has another number of them, or none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_size_vector(
    pipeline: *const sdrs_pipeline,
    sizes: *const f64,
    count: usize,
    vector: *mut *mut sdrs_tensor,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, sizes) = unsafe { (object(pipeline, "pipeline")?, slice(sizes, count, "sizes")?) };
        // SAFETY: as above.
        let out = unsafe { Out::new(vector, "vector") }?;
        out.give(sdrs_tensor::new(pipeline.inner.size_vector(sizes)?));
        Ok(())
    })
}

/// One evaluation of the U-Net: its raw prediction, `[batch, latent_channels, h, w]`.
///
/// `latents` is `[batch, unet_channels, h, w]`, scaled as the network wants it (`c_in` of `sdrs_request`), and behind its
/// `latent_channels` what an inpainting, depth or editing model takes besides, which isn't scaled; `latents_shape` has those 4 numbers; `timesteps` has `batch` numbers, fractions allowed; `context` is `[batch, tokens, context_width]`,
/// with any number of tokens, `context_shape` those 3. Prompts of different length need a call each. SDXL's U-Net takes a vector besides:
/// `sdrs_unet_with_vector`.
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
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        unet(
            pipeline,
            (latents, latents_shape),
            timesteps,
            (context, context_shape),
            (std::ptr::null(), None),
            prediction,
        )
    })
}

/// The same with the vector that SDXL's U-Net takes beside the timestep: `added` is `[batch, added_width]`, a pooled text
/// (`sdrs_pooled_prompt`) with sizes behind it (`sdrs_size_vector`) in each row; NULL for a model whose `added_width` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_unet_with_vector(
    pipeline: *const sdrs_pipeline,
    latents: *const f32,
    latents_shape: *const usize,
    timesteps: *const f64,
    context: *const f32,
    context_shape: *const usize,
    added: *const f32,
    prediction: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        unet(
            pipeline,
            (latents, latents_shape),
            timesteps,
            (context, context_shape),
            (added, None),
            prediction,
        )
    })
}

/// The same of a model that the scale of guidance is an input of (a latent consistency model): one call with `cfg_scale`, on all rows, is
/// what two calls are with other models. `added` may be NULL as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_unet_guided(
    pipeline: *const sdrs_pipeline,
    latents: *const f32,
    latents_shape: *const usize,
    timesteps: *const f64,
    context: *const f32,
    context_shape: *const usize,
    added: *const f32,
    cfg_scale: f64,
    prediction: *mut *mut sdrs_tensor,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe {
        unet(
            pipeline,
            (latents, latents_shape),
            timesteps,
            (context, context_shape),
            (added, Some(cfg_scale)),
            prediction,
        )
    })
}

/// The part that all functions that call the U-Net share.
///
/// # Safety
/// As the header says of pointers.
unsafe fn unet(
    pipeline: *const sdrs_pipeline,
    (latents, latents_shape): (*const f32, *const usize),
    timesteps: *const f64,
    (context, context_shape): (*const f32, *const usize),
    (added, cfg_scale): (*const f32, Option<f64>),
    prediction: *mut *mut sdrs_tensor,
) -> Result {
    // SAFETY: as promised by the caller.
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
    let shape2 = [shape4[0], pipeline.inner.sizes().added_width];
    let added = match added.is_null() {
        true => None,
        // SAFETY: as above.
        false => Some((unsafe { floats(added, &shape2, "added") }?, shape2)),
    };
    let (latents, context) = ((latents, shape4), (context, shape3));
    let pipeline = &pipeline.inner;
    let predicted = match cfg_scale {
        None => pipeline.unet(latents, timesteps, context, added)?,
        Some(scale) => pipeline.unet_guided(latents, timesteps, context, added, scale)?,
    };
    out.give(sdrs_tensor::new(predicted));
    Ok(())
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
