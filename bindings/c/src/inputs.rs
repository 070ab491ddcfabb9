//! The pictures and latents that a run begins at.

use std::{ffi::c_char, ptr};

use sdrs::{Array, MaskedContent, Picture, Request, ResizeMode, StrengthRule, TiledDiffusion};

use crate::{
    enums::enumeration,
    error::{Failure, Result, guard, sdrs_status},
    pointer::{Out, free, object, path, slice},
    sized::{SizedOut, get, grows, init},
};

/// The rule by which `strength` makes steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_strength_rule {
    /// "webui": `strength * steps` steps and one more.
    SDRS_STRENGTH_RULE_WEBUI = 0,
    /// "exact": as many as `steps` says, of a longer schedule.
    SDRS_STRENGTH_RULE_EXACT = 1,
    /// "diffusers": `strength * steps` steps.
    SDRS_STRENGTH_RULE_DIFFUSERS = 2,
}

/// The way in which a picture of another size is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_resize_mode {
    /// "stretch": stretched or squeezed.
    SDRS_RESIZE_MODE_STRETCH = 0,
    /// "crop": enlarged until it covers everything; what juts out is cut off.
    SDRS_RESIZE_MODE_CROP = 1,
    /// "fill": made to fit in; its edges are repeated around it.
    SDRS_RESIZE_MODE_FILL = 2,
    /// "latent": encoded as it is; its latents are stretched or squeezed.
    SDRS_RESIZE_MODE_LATENT = 3,
}

/// The start of the masked part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_masked_content {
    /// "original": the picture as it is.
    SDRS_MASKED_CONTENT_ORIGINAL = 0,
    /// "fill": colours from around it.
    SDRS_MASKED_CONTENT_FILL = 1,
    /// "latent noise": latents of noise.
    SDRS_MASKED_CONTENT_LATENT_NOISE = 2,
    /// "latent nothing": latents of zeros.
    SDRS_MASKED_CONTENT_LATENT_NOTHING = 3,
}

/// The way in which tiles of latents become one at a call of the U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_tiled_diffusion {
    /// "none": the U-Net sees the whole.
    SDRS_TILED_DIFFUSION_NONE = 0,
    /// "multidiffusion": the mean of all tiles (Bar-Tal et al. 2023).
    SDRS_TILED_DIFFUSION_MULTIDIFFUSION = 1,
    /// "mixture of diffusers": their mean with Gaussian weights (Barbero Jimenez 2023).
    SDRS_TILED_DIFFUSION_MIXTURE_OF_DIFFUSERS = 2,
}

/// `sdrs_tiled_diffusion` as callers give it: any number.
pub type sdrs_tiled_diffusion_value = i32;
/// `sdrs_strength_rule` as callers give it: any number.
pub type sdrs_strength_rule_value = i32;
/// `sdrs_resize_mode` as callers give it.
pub type sdrs_resize_mode_value = i32;
/// `sdrs_masked_content` as callers give it.
pub type sdrs_masked_content_value = i32;

#[rustfmt::skip]
const TILED_DIFFUSIONS: &[(sdrs_tiled_diffusion, TiledDiffusion)] = &[
    (sdrs_tiled_diffusion::SDRS_TILED_DIFFUSION_NONE, TiledDiffusion::None),
    (sdrs_tiled_diffusion::SDRS_TILED_DIFFUSION_MULTIDIFFUSION, TiledDiffusion::MultiDiffusion),
    (sdrs_tiled_diffusion::SDRS_TILED_DIFFUSION_MIXTURE_OF_DIFFUSERS, TiledDiffusion::MixtureOfDiffusers),
];

#[rustfmt::skip]
const STRENGTH_RULES: &[(sdrs_strength_rule, StrengthRule)] = &[
    (sdrs_strength_rule::SDRS_STRENGTH_RULE_WEBUI, StrengthRule::WebUi),
    (sdrs_strength_rule::SDRS_STRENGTH_RULE_EXACT, StrengthRule::Exact),
    (sdrs_strength_rule::SDRS_STRENGTH_RULE_DIFFUSERS, StrengthRule::Diffusers),
];

#[rustfmt::skip]
const RESIZE_MODES: &[(sdrs_resize_mode, ResizeMode)] = &[
    (sdrs_resize_mode::SDRS_RESIZE_MODE_STRETCH, ResizeMode::Stretch),
    (sdrs_resize_mode::SDRS_RESIZE_MODE_CROP, ResizeMode::Crop),
    (sdrs_resize_mode::SDRS_RESIZE_MODE_FILL, ResizeMode::Fill),
    (sdrs_resize_mode::SDRS_RESIZE_MODE_LATENT, ResizeMode::Latent),
];

#[rustfmt::skip]
const MASKED_CONTENTS: &[(sdrs_masked_content, MaskedContent)] = &[
    (sdrs_masked_content::SDRS_MASKED_CONTENT_ORIGINAL, MaskedContent::Original),
    (sdrs_masked_content::SDRS_MASKED_CONTENT_FILL, MaskedContent::Fill),
    (sdrs_masked_content::SDRS_MASKED_CONTENT_LATENT_NOISE, MaskedContent::LatentNoise),
    (sdrs_masked_content::SDRS_MASKED_CONTENT_LATENT_NOTHING, MaskedContent::LatentNothing),
];

enumeration! {
    sdrs_strength_rule, StrengthRule, "strength_rule", STRENGTH_RULES;
    sdrs_resize_mode, ResizeMode, "resize_mode", RESIZE_MODES;
    sdrs_masked_content, MaskedContent, "masked_content", MASKED_CONTENTS;
    sdrs_tiled_diffusion, TiledDiffusion, "tiled_diffusion", TILED_DIFFUSIONS;
}

/// Pixels in the caller's memory: a byte for each channel, row by row from the top.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_picture {
    /// Size of this structure, set by `sdrs_picture_init`.
    pub struct_size: usize,
    /// The first row.
    pub pixels: *const u8,
    /// Bytes from one row to the next; 0 (the default) if there is nothing between them.
    pub stride: usize,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes of a pixel: 1 is grey, 3 (the default) red, green and blue, 4 alpha besides, which is not multiplied in.
    pub channels: u32,
}
grows!(sdrs_picture, until: channels, init: "sdrs_picture_init");

const NO_PICTURE: sdrs_picture = sdrs_picture {
    struct_size: size_of::<sdrs_picture>(),
    pixels: ptr::null(),
    stride: 0,
    width: 0,
    height: 0,
    channels: 3,
};

/// Prepares a picture; `struct_size` is `sizeof(sdrs_picture)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_picture_init(picture: *mut sdrs_picture, struct_size: usize) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(picture, struct_size, NO_PICTURE, "picture") })
}

/// A picture that was read from a file. Threads may share it.
pub struct sdrs_picture_file {
    inner: Picture,
}
crate::pointer::handle!(sdrs_picture_file, 14);

/// Reads a PNG, JPEG, WebP, BMP or GIF file, turned as its EXIF data say, in sRGB: of 16 bits the upper 8, of an animation the first frame.
///
/// Fails with `SDRS_ERROR_IO` and `SDRS_ERROR_INVALID_FILE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_picture_open(
    path_to: *const c_char,
    file: *mut *mut sdrs_picture_file,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, out) = unsafe { (path(path_to, "path")?, Out::new(file, "file")?) };
        out.give(sdrs_picture_file {
            inner: Picture::open(path)?,
        });
        Ok(())
    })
}

/// The pixels of a picture that was read: four channels, the library's, valid as long as `file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_picture_file_get(
    file: *const sdrs_picture_file,
    picture: *mut sdrs_picture,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (file, out) = unsafe { (object(file, "file")?, SizedOut::new(picture, "picture")?) };
        out.put(sdrs_picture {
            pixels: file.inner.rgba().as_ptr(),
            width: file.inner.width(),
            height: file.inner.height(),
            channels: 4,
            ..NO_PICTURE
        });
        Ok(())
    })
}

/// Frees a picture that was read; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_picture_file_free(file: *mut sdrs_picture_file) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(file) }
}

/// The pictures and latents that a run begins at, or draws after. Each may be NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_inputs {
    /// Size of this structure, set by `sdrs_inputs_init`.
    pub struct_size: usize,
    /// The picture to begin at, and not noise. If `width` and `height` are 0, its size counts, as far as latents allow.
    pub image: *const sdrs_picture,
    /// A picture of the same size: only what is white in it, or opaque where it has transparency, is drawn anew; all else stays to the bit.
    pub mask: *const sdrs_picture,
    /// The depth of the picture, bright is near: for models that draw after it, and for no others.
    pub depth: *const sdrs_picture,
    /// Latents of the U-Net in the place of `image`, `[1, latent_channels, h, w]`.
    pub latents: *const f32,
    /// Their shape.
    pub latents_shape: [usize; 4],
}
grows!(sdrs_inputs, until: latents_shape, init: "sdrs_inputs_init");

const NO_INPUTS: sdrs_inputs = sdrs_inputs {
    struct_size: size_of::<sdrs_inputs>(),
    image: ptr::null(),
    mask: ptr::null(),
    depth: ptr::null(),
    latents: ptr::null(),
    latents_shape: [0; 4],
};

/// Sets all to none; `struct_size` is `sizeof(sdrs_inputs)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_inputs_init(inputs: *mut sdrs_inputs, struct_size: usize) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(inputs, struct_size, NO_INPUTS, "inputs") })
}

/// A caller's picture.
///
/// # Safety
/// As the header says of pointers.
unsafe fn picture(pointer: *const sdrs_picture, name: &'static str) -> Result<Option<Picture>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as promised by the caller.
    let c = unsafe { get(pointer, NO_PICTURE, name) }?;
    let fault = |reason: String| Err(Failure::argument(name, reason));
    if ![1, 3, 4].contains(&c.channels) {
        return fault(format!("has {} channels; 1, 3 and 4 are known", c.channels));
    }
    let row = c.width as usize * c.channels as usize;
    let stride = if c.stride == 0 { row } else { c.stride };
    if c.width == 0 || c.height == 0 || stride < row {
        return fault(format!(
            "{}x{} pixels in rows of {stride} bytes: no picture",
            c.width, c.height
        ));
    }
    let Some(length) = stride
        .checked_mul(c.height as usize - 1)
        .and_then(|n| n.checked_add(row))
    else {
        return fault("is too large".into());
    };
    // SAFETY: as promised by the caller; the last row has no gap behind it.
    let bytes = unsafe { slice(c.pixels, length, name) }?;
    let rows: Vec<u8> = bytes
        .chunks(stride)
        .flat_map(|line| &line[..row])
        .copied()
        .collect();
    let picture = match c.channels {
        1 => Picture::from_gray(c.width, c.height, &rows),
        3 => Picture::from_rgb(c.width, c.height, &rows),
        _ => Picture::from_rgba(c.width, c.height, rows),
    };
    Ok(Some(picture?))
}

/// A run with a caller's inputs.
///
/// # Safety
/// As the header says of pointers.
pub(crate) unsafe fn with_inputs<'a>(
    mut run: Request<'a>,
    inputs: *const sdrs_inputs,
) -> Result<Request<'a>> {
    // SAFETY: as promised by the caller.
    let c = unsafe { get(inputs, NO_INPUTS, "inputs") }?;
    // SAFETY: as above.
    let (image, mask, depth) = unsafe {
        (
            picture(c.image, "image")?,
            picture(c.mask, "mask")?,
            picture(c.depth, "depth")?,
        )
    };
    run = run.image(image).mask(mask).depth(depth);
    if !c.latents.is_null() {
        let volume = c
            .latents_shape
            .iter()
            .try_fold(1usize, |n, axis| n.checked_mul(*axis));
        let Some(volume) = volume.filter(|n| *n > 0) else {
            let reason = format!("the shape {:?} holds nothing", c.latents_shape);
            return Err(Failure::argument("latents_shape", reason));
        };
        let mut latents = Array::default();
        latents.shape = c.latents_shape.to_vec();
        // SAFETY: as above.
        latents.values = unsafe { slice(c.latents, volume, "latents") }?.to_vec();
        run = run.image_latents(latents);
    }
    Ok(run)
}
