//! A run: pictures from a request, and the components that draw them.

mod cache;
mod components;
mod guide;
mod pass;
mod predict;
mod refiner;
mod request;
mod setters;
mod unused;

pub(crate) use components::{Components, Tagged};
pub use request::{CancelToken, Latents, Output, Progress, Txt2Img};
