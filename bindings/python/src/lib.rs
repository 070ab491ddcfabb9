//! The native module of the Python package `sdrs`: `sdrs._sdrs`.
//!
//! It is thin, and private to the package: values come in as plain Python objects that the package has prepared, arrays as bytes with
//! their shape. What users see, with its words, defaults and docstrings, is Python's (`python/sdrs`). Every computation runs detached
//! from the interpreter, through `error::detached`.

mod array;
mod error;
mod image;
mod interrogate;
mod pipeline;
mod prompt;
mod run;
mod sched;
mod settings;
mod upscale;

use pyo3::prelude::*;

#[pymodule]
mod _sdrs {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::{
        image::Image,
        interrogate::{AestheticPredictor, Interrogator},
        pipeline::Pipeline,
        prompt::{parse_attention, schedule, subprompts},
        run::{CancelToken, Run},
        sched::{
            Generator, Plan, betas, brownian, noise_levels, sample, samplers, scalings, schedules, sigmas,
        },
        settings::{parse_infotext, plan_prompts, read_infotext},
        upscale::Upscaler,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", sdrs::VERSION)
    }

    /// The kinds of device that this build knows.
    #[pyfunction]
    fn available_devices() -> Vec<&'static str> {
        sdrs::available_devices()
    }

    /// The devices of this machine, as JSON.
    #[pyfunction]
    fn devices(py: Python<'_>) -> PyResult<String> {
        crate::error::detached(py, || Ok(sdrs::devices())).and_then(|devices| crate::json(&devices))
    }

    /// The inspection of a file or folder, as JSON.
    #[pyfunction]
    fn inspect(py: Python<'_>, path: std::path::PathBuf) -> PyResult<String> {
        crate::error::detached(py, || sdrs::inspect(path)).and_then(|inspection| crate::json(&inspection))
    }
}

/// Plain data as JSON; the package makes dictionaries of it.
fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| error::internal(&e.to_string()))
}
