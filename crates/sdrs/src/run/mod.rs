//! A run: pictures from a request, and what they are drawn with.

mod cache;
mod components;
mod guide;
mod pass;
mod predict;
mod request;
mod setters;

pub(crate) use components::{Components, Tagged};
pub use request::{CancelToken, Latents, Output, Progress, Txt2Img};
