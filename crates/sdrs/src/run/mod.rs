//! A run: pictures from a request, and the components that draw them.

mod cache;
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
mod unused;

pub(crate) use components::{Components, Tagged};
pub use request::{Latents, Output, Progress, Request};
