//! A run: pictures from a request, and the components that draw them.

mod cache;
mod components;
mod guide;
mod pass;
mod predict;
mod request;
mod setters;

pub(crate) use components::{Components, Tagged};
pub use request::{Latents, Output, Progress, Txt2Img};
