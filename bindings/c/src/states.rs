//! Saved steps: runs that go on.

use std::ffi::c_char;

use sdrs::RunState;

use crate::{
    error::{Result, guard, sdrs_status},
    image::sdrs_images,
    params::{Held, sdrs_generate_params},
    pipeline::sdrs_pipeline,
    pointer::{Out, free, object, path},
    run::{sdrs_run_options, watched},
    sized::SizedOut,
};

/// A picture under way, after one of its steps, as a run with `states_folder` wrote it. Threads may share it.
pub struct sdrs_run_state {
    inner: RunState,
    params: Held,
}
crate::pointer::handle!(sdrs_run_state, 15);

/// Reads a state.
///
/// Fails with `SDRS_ERROR_IO` and `SDRS_ERROR_INVALID_FILE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_run_state_open(
    path_to: *const c_char,
    state: *mut *mut sdrs_run_state,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (path, out) = unsafe { (path(path_to, "path")?, Out::new(state, "state")?) };
        let inner = RunState::open(path)?;
        let params = Held::new(inner.params(), &inner.given())?;
        out.give(sdrs_run_state { inner, params });
        Ok(())
    })
}

/// The parameters of the picture, with its seed and size. Their texts are the library's, valid as long as `state`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_run_state_params(
    state: *const sdrs_run_state,
    params: *mut sdrs_generate_params,
) -> sdrs_status {
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (state, out) = unsafe { (object(state, "state")?, SizedOut::new(params, "params")?) };
        out.put(state.params.get());
        Ok(())
    })
}

/// Steps of the picture that are done, in all passes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_run_state_step(state: *const sdrs_run_state) -> usize {
    let mut step = 0;
    guard(|| {
        // SAFETY: the caller keeps the header's rules for pointers.
        step = unsafe { object(state, "state") }?.inner.step();
        Ok(())
    });
    step
}

/// Frees a state; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_run_state_free(state: *mut sdrs_run_state) {
    // SAFETY: the caller keeps the header's rules for pointers.
    unsafe { free(state) }
}

/// Goes on from a state: with `params` NULL to the same picture, to the bit. Parameters from `sdrs_run_state_params` may be changed where they
/// decide only what is to come (prompts, guidance, shortcuts, tiles, a later pass); pictures that the run began at come along.
///
/// Fails as `sdrs_txt2img` does, with `SDRS_ERROR_INVALID_PARAMETER` also for parameters that decided what is behind, and for another model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sdrs_resume(
    pipeline: *const sdrs_pipeline,
    state: *const sdrs_run_state,
    params: *const sdrs_generate_params,
    options: *const sdrs_run_options,
    images: *mut *mut sdrs_images,
) -> sdrs_status {
    let run = || -> Result {
        // SAFETY: the caller keeps the header's rules for pointers.
        let (pipeline, state, out) = unsafe {
            (
                object(pipeline, "pipeline")?,
                object(state, "state")?,
                Out::new(images, "images")?,
            )
        };
        let mut run = pipeline.inner.txt2img("").resume(state.inner.clone());
        if !params.is_null() {
            // SAFETY: as above.
            let (params, given) = unsafe { crate::params::params(params) }?;
            run = run.params_and_given(params, given);
        }
        // SAFETY: as above.
        let run = unsafe { watched(run, options) }?;
        out.give(sdrs_images::new(run.run()?.images));
        Ok(())
    };
    guard(run)
}
