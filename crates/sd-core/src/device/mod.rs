//! Devices and compute types by name, chosen at run time.

mod class;
mod dtype;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod gpu;
mod info;
mod memory;
mod named;
#[cfg(any(feature = "cuda", feature = "vulkan", test))]
mod pick;

pub use class::DeviceClass;
pub use dtype::Dtype;
pub use info::{DeviceInfo, devices};
pub use memory::{DeviceMemory, machine_memory};
pub use named::{Device, available};
