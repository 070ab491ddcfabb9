//! Random numbers as the field's programs draw them, so that a seed means the same picture everywhere.
//!
//! [`BatchNoise`] is for pipelines: the first noise of each image, the noise that samplers ask for later, and Brownian trees for the SDE
//! samplers. The generators below it can be used alone.

mod brownian;
mod dtype;
mod generator;
mod image;
mod mt19937;
mod philox;
mod seed_sequence;
mod torch_cpu;

pub use brownian::BrownianTree;
pub use dtype::Dtype;
pub(crate) use dtype::round_f16;
pub use generator::{Generator, Source};
pub use image::{BatchBrownian, BatchNoise, NoiseOptions, Shape};
pub use mt19937::Mt19937;
pub use philox::{Card, PhiloxRng, philox_4x32_10};
pub use seed_sequence::SeedSequence;
pub use torch_cpu::TorchCpuRng;
