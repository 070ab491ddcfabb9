//! Layers: weights as they are wanted where they are used, and what is done with them.

mod conv;
mod linear;
mod packed;

pub use conv::{Conv2d, ConvExtras, ConvShape, Padding, conv_room};
pub use linear::{Activation, Linear};
pub use packed::Quantization;
