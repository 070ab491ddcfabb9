//! Seeded noise as the WebUI draws it.

use sd_sched::{
    Request,
    rng::{BatchBrownian, BatchNoise, NoiseOptions, Shape, Source},
};
use sdrs::Rng;

use crate::{
    enums::{sdrs_rng, sdrs_rng_value, value},
    error::{Failure, Result, guard, sdrs_status},
    pointer::{Out, free, object, object_mut, slice_mut},
    sched::sdrs_stepper,
    sized::{get, grows, init},
};

/// The noise of one picture, drawn on the host: the same on every device.
pub struct sdrs_noise {
    inner: BatchNoise,
    values: usize,
    brownian: Option<BatchBrownian>,
}
crate::pointer::handle!(sdrs_noise, 7);

/// The choice of a noise: seeds, size and source.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_noise_options {
    /// Size of this structure, set by `sdrs_noise_options_init`.
    pub struct_size: usize,
    /// The seed (0).
    pub seed: u64,
    /// Seed of the noise that the first noise is mixed with (0).
    pub variation_seed: u64,
    /// The share of that noise in the first noise, 0 (the default) to 1.
    pub variation_strength: f64,
    /// Eta noise seed delta (0).
    pub ensd: i64,
    /// Channels of the latent (4).
    pub channels: u32,
    /// Rows of the latent: the picture's height by the model's `downscale`. Must be set.
    pub height: u32,
    /// Columns of the latent. Must be set.
    pub width: u32,
    /// The source of random numbers (`SDRS_RNG_CPU`).
    pub rng: sdrs_rng_value,
}
grows!(sdrs_noise_options, until: rng, init: "sdrs_noise_options_init");

const DEFAULT: sdrs_noise_options = sdrs_noise_options {
    struct_size: size_of::<sdrs_noise_options>(),
    seed: 0,
    variation_seed: 0,
    variation_strength: 0.0,
    ensd: 0,
    channels: 4,
    height: 0,
    width: 0,
    rng: sdrs_rng::SDRS_RNG_CPU as i32,
};

/// Sets the defaults; `struct_size` is `sizeof(sdrs_noise_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_noise_options_init(
    options: *mut sdrs_noise_options,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(options, struct_size, DEFAULT, "options") })
}

/// Makes the generators of a picture's noise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_noise_new(
    options: *const sdrs_noise_options,
    noise: *mut *mut sdrs_noise,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (o, out) = unsafe { (get(options, DEFAULT, "options")?, Out::new(noise, "noise")?) };
        let shape = Shape {
            channels: o.channels as usize,
            height: o.height as usize,
            width: o.width as usize,
        };
        let source = match value::<sdrs_rng>(o.rng)? {
            Rng::Cpu => Source::TorchCpu,
            Rng::Nv => Source::Philox,
            other => {
                return Err(Failure::argument(
                    "rng",
                    format!("{} has no number", other.name()),
                ));
            }
        };
        let inner = BatchNoise::new(NoiseOptions {
            source,
            variation_seed: o.variation_seed,
            variation_strength: o.variation_strength,
            ensd: o.ensd,
            ..NoiseOptions::new(o.seed, shape)
        })?;
        out.give(sdrs_noise {
            inner,
            values: shape.channels * shape.height * shape.width,
            brownian: None,
        });
        Ok(())
    })
}

/// The buffer for a draw.
///
/// # Safety
/// As the header says of pointers.
unsafe fn buffer<'a>(noise: &sdrs_noise, pointer: *mut f32, length: usize) -> Result<&'a mut [f32]> {
    if length != noise.values {
        let reason = format!("must have room for {} values, not {length}", noise.values);
        return Err(Failure::argument("values", reason));
    }
    // SAFETY: as promised by the caller.
    unsafe { slice_mut(pointer, length, "values") }
}

fn copy(drawn: Vec<Vec<f32>>, buffer: &mut [f32]) {
    let drawn = drawn.into_iter().flatten();
    buffer.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
}

/// The first noise, which sampling begins with: draw it once, before the others. Fills `values`, which has the `length` of one latent:
/// `channels * height * width`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_noise_first(
    noise: *mut sdrs_noise,
    values: *mut f32,
    length: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let noise = unsafe { object_mut(noise, "noise") }?;
        // SAFETY: as above.
        let buffer = unsafe { buffer(noise, values, length) }?;
        copy(noise.inner.first(), buffer);
        Ok(())
    })
}

/// The next noise. With a stepper that asks for noise, it is what that sampler wants: SDE samplers take it from a Brownian tree. `stepper`
/// may be NULL: then the generator's next values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_noise_next(
    noise: *mut sdrs_noise,
    stepper: *const sdrs_stepper,
    values: *mut f32,
    length: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let noise = unsafe { object_mut(noise, "noise") }?;
        // SAFETY: as above.
        let buffer = unsafe { buffer(noise, values, length) }?;
        if stepper.is_null() {
            copy(noise.inner.next(), buffer);
            return Ok(());
        }
        // SAFETY: as above.
        let stepper = &unsafe { object(stepper, "stepper") }?.inner;
        let Request::Noise {
            sigma_from, sigma_to, ..
        } = stepper.request()
        else {
            return Err(Failure::argument("stepper", "does not ask for noise now"));
        };
        if !stepper.plan().sampler().uses_brownian_noise() {
            copy(noise.inner.next(), buffer);
            return Ok(());
        }
        if noise.brownian.is_none() {
            noise.brownian = Some(noise.inner.brownian(stepper.plan().brownian_range())?);
        }
        if let Some(trees) = &mut noise.brownian {
            copy(trees.noise(sigma_from, sigma_to), buffer);
        }
        Ok(())
    })
}

/// Frees generators of noise; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_noise_free(noise: *mut sdrs_noise) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(noise) }
}
