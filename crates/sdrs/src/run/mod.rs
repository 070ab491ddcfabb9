//! A run: pictures from a request, and the components that draw them.

mod answers;
mod cache;
mod call_state;
mod canvas;
mod components;
mod guide;
mod hires;
mod pass;
mod predict;
mod refiner;
mod region;
mod request;
mod setters;
mod start;
mod state;
mod unused;

pub(crate) use components::{Components, Replica};
pub use request::{Latents, Output, Progress, Request};
pub use state::RunState;
