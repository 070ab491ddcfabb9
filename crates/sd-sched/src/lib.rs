//! Diffusion samplers, schedules and noise as pure mathematics in `f64`.
