//! Schedules and samplers alone: the caller brings the network.

use sd_sched::{
    Dialect, Latent, ModelSampling, PlanOptions, Prediction, Request, ScheduleOptions, Stepper, plan,
};

use crate::{
    enums::{sdrs_sampler, sdrs_sampler_value, sdrs_schedule, sdrs_schedule_value, value},
    error::{Failure, Result, guard, sdrs_status},
    pipeline::sdrs_pipeline,
    pointer::{Out, fill, free, object, object_mut, slice, slice_mut},
    sized::{SizedOut, get, grows, init},
};

/// The noise levels of a pipeline's model, or for NULL Stable Diffusion's with noise as the prediction.
///
/// # Safety
/// As the header says of pointers.
unsafe fn sampling(pipeline: *const sdrs_pipeline) -> Result<ModelSampling> {
    if pipeline.is_null() {
        return Ok(ModelSampling::stable_diffusion(Prediction::Epsilon));
    }
    // SAFETY: as promised by the caller.
    Ok(unsafe { object(pipeline, "pipeline") }?.inner.sampling().clone())
}

/// The noise levels of a schedule for a number of steps, falling, most often `steps + 1` of them with a final 0. `pipeline` may be NULL:
/// then those of every Stable Diffusion. Writes at most `capacity` of them to `sigmas`, and their number to `count`; `sigmas` may be NULL
/// if `capacity` is 0. A sampler may have its own habits: `sdrs_stepper_sigmas` gives the levels that it visits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_schedule_sigmas(
    pipeline: *const sdrs_pipeline,
    schedule: sdrs_schedule_value,
    steps: u32,
    sigmas: *mut f64,
    capacity: usize,
    count: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (model, out) = unsafe { (sampling(pipeline)?, Out::new(count, "count")?) };
        // SAFETY: as above.
        let buffer = unsafe { slice_mut(sigmas, capacity, "sigmas") }?;
        let schedule = value::<sdrs_schedule>(schedule)?;
        let sigmas = schedule.sigmas(
            steps as usize,
            &model,
            Dialect::WebUi,
            &ScheduleOptions::default(),
        )?;
        fill(&sigmas, buffer, out);
        Ok(())
    })
}

/// A sampler under way. It asks for denoised latents and for noise, and combines them.
pub struct sdrs_stepper {
    pub(crate) inner: Stepper<Vec<f32>>,
    sampling: ModelSampling,
}
crate::pointer::handle!(sdrs_stepper, 6);

/// The sampler, schedule and steps of a stepper.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_stepper_options {
    /// Size of this structure, set by `sdrs_stepper_options_init`.
    pub struct_size: usize,
    /// The amount of fresh noise that replaces old; NAN (the default) is the sampler's own.
    pub eta: f64,
    /// The sampler (`SDRS_SAMPLER_DPMPP_2M`).
    pub sampler: sdrs_sampler_value,
    /// The noise schedule (`SDRS_SCHEDULE_AUTOMATIC`).
    pub schedule: sdrs_schedule_value,
    /// Steps, 1 to 10,000 (20).
    pub steps: u32,
    /// 0, for now.
    pub reserved: u32,
}
grows!(sdrs_stepper_options, until: reserved, init: "sdrs_stepper_options_init");

const DEFAULT: sdrs_stepper_options = sdrs_stepper_options {
    struct_size: size_of::<sdrs_stepper_options>(),
    eta: f64::NAN,
    sampler: sdrs_sampler::SDRS_SAMPLER_DPMPP_2M as i32,
    schedule: sdrs_schedule::SDRS_SCHEDULE_AUTOMATIC as i32,
    steps: 20,
    reserved: 0,
};

/// Sets the defaults; `struct_size` is `sizeof(sdrs_stepper_options)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_options_init(
    options: *mut sdrs_stepper_options,
    struct_size: usize,
) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(options, struct_size, DEFAULT, "options") })
}

/// Begins to sample from noise of unit variance, `length` values, which are copied and scaled as the sampler wants them. `pipeline` may be
/// NULL: then the noise levels are those of every Stable Diffusion, and the network's prediction is noise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_new(
    pipeline: *const sdrs_pipeline,
    options: *const sdrs_stepper_options,
    noise: *const f32,
    length: usize,
    stepper: *mut *mut sdrs_stepper,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (sampling, out) = unsafe { (sampling(pipeline)?, Out::new(stepper, "stepper")?) };
        // SAFETY: as above.
        let (o, noise) = unsafe { (get(options, DEFAULT, "options")?, slice(noise, length, "noise")?) };
        if noise.is_empty() {
            return Err(Failure::argument("noise", "has no values"));
        }
        let plan_options = PlanOptions {
            eta: (!o.eta.is_nan()).then_some(o.eta),
            ..PlanOptions::default()
        };
        let (sampler, schedule) = (
            value::<sdrs_sampler>(o.sampler)?,
            value::<sdrs_schedule>(o.schedule)?,
        );
        let plan = plan(sampler, schedule, o.steps as usize, &sampling, &plan_options)?;
        let x = Vec::lincomb(&[(plan.noise_scale(), &noise.to_vec())]);
        out.give(sdrs_stepper {
            inner: Stepper::new(plan, x),
            sampling,
        });
        Ok(())
    })
}

/// The noise levels that a stepper visits, falling. Writes at most `capacity` of them to `sigmas`, and to `count` how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_sigmas(
    stepper: *const sdrs_stepper,
    sigmas: *mut f64,
    capacity: usize,
    count: *mut usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (stepper, count) = unsafe { (object(stepper, "stepper")?, Out::new(count, "count")?) };
        // SAFETY: as above.
        let buffer = unsafe { slice_mut(sigmas, capacity, "sigmas") }?;
        fill(stepper.inner.plan().sigmas(), buffer, count);
        Ok(())
    })
}

/// The kind of a stepper's next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum sdrs_request_kind {
    /// Nothing: `x` is the result.
    SDRS_REQUEST_DONE = 0,
    /// The denoised latent of `x`: answer with `sdrs_stepper_provide_denoised`.
    SDRS_REQUEST_DENOISE = 1,
    /// Noise of unit variance, of the latent's size: answer with `sdrs_stepper_provide_noise`.
    SDRS_REQUEST_NOISE = 2,
}

/// `sdrs_request_kind` in a structure.
pub type sdrs_request_kind_value = i32;

/// The next request of a stepper, with the values to answer it.
///
/// The denoised latent is `c_skip * x + c_out * unet(c_in * x, timestep)`, once for the prompt (cond) and once for the negative prompt
/// (uncond), guided: `uncond + cfg_scale * (cond - uncond)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sdrs_request {
    /// Size of this structure, set by `sdrs_request_init`.
    pub struct_size: usize,
    /// DENOISE and DONE: the latent. The library's, and valid until the stepper is given something or freed. NULL for NOISE.
    pub x: *const f32,
    /// The number of values of `x`.
    pub length: usize,
    /// The step, from 0.
    pub step: usize,
    /// DENOISE: the number of this call of the network, from 0.
    pub call: usize,
    /// DENOISE: the noise level of `x`.
    pub sigma: f64,
    /// DENOISE: the timestep for the network, not always whole.
    pub timestep: f64,
    /// DENOISE: the factor of the network's input.
    pub c_in: f64,
    /// DENOISE: the factor of `x` in the denoised latent.
    pub c_skip: f64,
    /// DENOISE: the factor of the network's output in the denoised latent.
    pub c_out: f64,
    /// NOISE: the first noise level of the interval that the noise is for.
    pub sigma_from: f64,
    /// NOISE: the last noise level of that interval.
    pub sigma_to: f64,
    /// The kind of the request.
    pub kind: sdrs_request_kind_value,
    /// DENOISE: 1 if the sampler also needs the latent by the negative prompt alone, else 0.
    pub needs_uncond: i32,
}
grows!(sdrs_request, until: needs_uncond, init: "sdrs_request_init");

const DONE: sdrs_request = sdrs_request {
    struct_size: size_of::<sdrs_request>(),
    x: std::ptr::null(),
    length: 0,
    step: 0,
    call: 0,
    sigma: 0.0,
    timestep: 0.0,
    c_in: 0.0,
    c_skip: 0.0,
    c_out: 0.0,
    sigma_from: 0.0,
    sigma_to: 0.0,
    kind: sdrs_request_kind::SDRS_REQUEST_DONE as i32,
    needs_uncond: 0,
};

/// Prepares `request` for `sdrs_stepper_request`; `struct_size` is `sizeof(sdrs_request)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_request_init(request: *mut sdrs_request, struct_size: usize) -> sdrs_status {
    // SAFETY: the caller keeps the header's rules for pointers.
    guard(|| unsafe { init(request, struct_size, DONE, "request") })
}

/// Writes the next request of a stepper. Asking twice changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_request(
    stepper: *const sdrs_stepper,
    request: *mut sdrs_request,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (stepper, out) = unsafe { (object(stepper, "stepper")?, SizedOut::new(request, "request")?) };
        out.put(match stepper.inner.request() {
            Request::Denoise {
                x,
                sigma,
                timestep,
                step,
                call,
                needs_uncond,
            } => {
                let scalings = stepper.sampling.scalings(sigma);
                sdrs_request {
                    kind: sdrs_request_kind::SDRS_REQUEST_DENOISE as i32,
                    x: x.as_ptr(),
                    length: x.len(),
                    step,
                    call,
                    sigma,
                    timestep,
                    c_in: scalings.c_in,
                    c_skip: scalings.c_skip,
                    c_out: scalings.c_out,
                    needs_uncond: needs_uncond.into(),
                    ..DONE
                }
            }
            Request::Noise {
                sigma_from,
                sigma_to,
                step,
            } => sdrs_request {
                kind: sdrs_request_kind::SDRS_REQUEST_NOISE as i32,
                sigma_from,
                sigma_to,
                step,
                ..DONE
            },
            Request::Done(x) => sdrs_request {
                x: x.as_ptr(),
                length: x.len(),
                step: stepper.inner.steps_done(),
                ..DONE
            },
            other => return Err(Failure::Panic(format!("unknown request: {other:?}"))),
        });
        Ok(())
    })
}

/// Answers a request for a denoised latent, `length` values. `uncond` is what the negative prompt alone gave, needed if the request has
/// `needs_uncond`; else it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_provide_denoised(
    stepper: *mut sdrs_stepper,
    denoised: *const f32,
    uncond: *const f32,
    length: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (stepper, denoised) = unsafe {
            (
                object_mut(stepper, "stepper")?,
                slice(denoised, length, "denoised")?,
            )
        };
        let denoised = denoised.to_vec();
        if uncond.is_null() {
            stepper.inner.provide_denoised(denoised)?;
        } else {
            // SAFETY: as above.
            let uncond = unsafe { slice(uncond, length, "uncond") }?.to_vec();
            stepper.inner.provide_denoised_with_uncond(denoised, uncond)?;
        }
        Ok(())
    })
}

/// Answers a request for noise, `length` values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_provide_noise(
    stepper: *mut sdrs_stepper,
    noise: *const f32,
    length: usize,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (stepper, noise) = unsafe { (object_mut(stepper, "stepper")?, slice(noise, length, "noise")?) };
        stepper.inner.provide_noise(noise.to_vec())?;
        Ok(())
    })
}

/// Frees a stepper; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_stepper_free(stepper: *mut sdrs_stepper) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(stepper) }
}
