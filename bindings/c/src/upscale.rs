//! Upscalers: larger pictures, by a network or a filter.

use std::{
    ffi::{c_char, c_void},
    path::Path,
};

use sdrs::{CancelToken, Picture, Upscaler};

use crate::{
    enums::{sdrs_dtype, sdrs_dtype_value, value},
    error::{Failure, Result, guard, sdrs_status},
    pointer::{Out, free, object, slice, slice_mut, string},
    run::sdrs_cancel_token,
};

/// An upscaler. Threads may share it.
pub struct sdrs_upscaler {
    inner: Upscaler,
}
crate::pointer::handle!(sdrs_upscaler, 10);

/// Opens an upscaler: a network's file (ESRGAN, Real-ESRGAN or its compact kind, as `.pth` or `.safetensors`), or the name of a filter
/// ("lanczos", "bicubic", "bilinear", "nearest", "box", "hamming"), if there is no such file. `device` is as `sdrs_builder_device` takes it,
/// NULL for "auto"; `threads` as `sdrs_builder_threads` takes it, 0 for those of the process. A filter needs neither.
///
/// Fails with `SDRS_ERROR_UNKNOWN_NAME`, `SDRS_ERROR_IO`, `SDRS_ERROR_INVALID_FILE`, `SDRS_ERROR_INVALID_WEIGHTS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_upscaler_open(
    path_or_name: *const c_char,
    device: *const c_char,
    dtype: sdrs_dtype_value,
    threads: u32,
    upscaler: *mut *mut sdrs_upscaler,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (given, out) = unsafe {
            (
                string(path_or_name, "path_or_name")?,
                Out::new(upscaler, "upscaler")?,
            )
        };
        let dtype = value::<sdrs_dtype>(dtype)?;
        let device = match device.is_null() {
            true => "auto",
            // SAFETY: as above.
            false => unsafe { string(device, "device") }?,
        };
        let filter = Upscaler::from_name(given);
        let is_word = !given.contains(['/', '\\', '.']);
        let inner = match (Path::new(given).exists(), filter) {
            (false, Ok(filter)) => filter,
            (false, Err(error)) if is_word => return Err(error.into()),
            _ => {
                let mut builder = Upscaler::builder(given).device(device);
                if let Some(dtype) = dtype {
                    builder = builder.dtype(dtype);
                }
                if threads != 0 {
                    builder = builder.threads(threads as usize);
                }
                builder.build()?
            }
        };
        out.give(sdrs_upscaler { inner });
        Ok(())
    })
}

/// Pixels of a side that a network makes of one; 0 of a filter, and of NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_upscaler_factor(upscaler: *const sdrs_upscaler) -> u32 {
    let mut factor = 0;
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        factor = unsafe { object(upscaler, "upscaler") }?
            .inner
            .factor()
            .unwrap_or(0) as u32;
        Ok(())
    });
    factor
}

/// Frees an upscaler; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_upscaler_free(upscaler: *mut sdrs_upscaler) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(upscaler) }
}

/// Called after each square that a network is done with, in the calling thread: how many are done, of how many. 0 goes on; anything else
/// cancels. The callback must return: no exception and no `longjmp` may leave it.
pub type sdrs_upscale_fn =
    Option<unsafe extern "C" fn(done: usize, count: usize, user_data: *mut c_void) -> i32>;

/// Brings a picture to another size. `pixels` has `height` rows of `width` pixels of `channels` bytes: 3 for red, green and blue, 4 with
/// alpha besides, from the top and without padding; `out` gets as many channels, `out_width * out_height * channels` bytes.
///
/// A network's own factor is applied until the picture is large enough, three times at most, then Lanczos brings it to the size; a picture
/// that gets smaller sees Lanczos alone. Alpha goes through Lanczos. `tile` is the side in pixels of the square that a network sees at a
/// time, 128 to 8192, or 0 for 256; `cancel`, `on_progress` and `user_data` may be NULL.
///
/// Fails with `SDRS_ERROR_INVALID_PARAMETER` before any work, `SDRS_ERROR_CANCELLED`, `SDRS_ERROR_NOT_FINITE`; `out` is untouched then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_upscale(
    upscaler: *const sdrs_upscaler,
    pixels: *const u8,
    width: u32,
    height: u32,
    channels: u32,
    out_width: u32,
    out_height: u32,
    tile: u32,
    cancel: *const sdrs_cancel_token,
    on_progress: sdrs_upscale_fn,
    user_data: *mut c_void,
    out: *mut u8,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let upscaler = unsafe { object(upscaler, "upscaler") }?;
        Picture::check_size(width, height)?;
        Picture::check_size(out_width, out_height)?;
        let length = |width: u32, height: u32| width as usize * height as usize * channels as usize;
        let picture = match channels {
            3 | 4 => {
                // SAFETY: as above.
                let pixels = unsafe { slice(pixels, length(width, height), "pixels") }?;
                match channels {
                    3 => Picture::from_rgb(width, height, pixels)?,
                    _ => Picture::from_rgba(width, height, pixels.to_vec())?,
                }
            }
            _ => {
                return Err(Failure::argument(
                    "channels",
                    format!("{channels}: 3 or 4 are known"),
                ));
            }
        };
        // SAFETY: as above; no two pictures of the caller overlap.
        let out = unsafe { slice_mut(out, length(out_width, out_height), "out") }?;
        let token = match cancel.is_null() {
            true => CancelToken::new(),
            // SAFETY: as above.
            false => unsafe { object(cancel, "cancel") }?.token(),
        };
        let made = enlarged(
            &upscaler.inner,
            &picture,
            [out_width, out_height],
            tile,
            &token,
            |done, count| {
                let Some(callback) = on_progress else {
                    return;
                };
                // SAFETY: the caller gave this function for this purpose, with this user data.
                if unsafe { callback(done, count, user_data) } != 0 {
                    token.cancel();
                }
            },
        )?;
        match channels {
            3 => out.copy_from_slice(&made.rgb()),
            _ => out.copy_from_slice(made.rgba()),
        }
        Ok(())
    })
}

fn enlarged(
    upscaler: &Upscaler,
    picture: &Picture,
    [width, height]: [u32; 2],
    tile: u32,
    token: &CancelToken,
    mut told: impl FnMut(usize, usize),
) -> Result<Picture> {
    let mut request = upscaler.upscale(picture).size(width, height).cancel_token(token);
    if tile != 0 {
        request = request.tile(tile as usize);
    }
    Ok(request
        .on_progress(|progress| told(progress.tile, progress.tiles))
        .run()?)
}
