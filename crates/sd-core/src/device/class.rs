//! Kinds of devices.

use serde::Serialize;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeviceClass {
    /// The processor, by kernels of our own or another library's.
    Cpu,
    /// A card with memory of its own.
    DiscreteGpu,
    /// A GPU that shares the processor's memory.
    IntegratedGpu,
    /// A GPU that a virtual machine is given.
    VirtualGpu,
    /// A driver that computes on the processor: slower than the CPU itself, for tests.
    SoftwareGpu,
    /// Some other device of a GPU's driver.
    OtherGpu,
}

impl DeviceClass {
    /// The words for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "processor",
            Self::DiscreteGpu => "discrete GPU",
            Self::IntegratedGpu => "integrated GPU",
            Self::VirtualGpu => "virtual GPU",
            Self::SoftwareGpu => "software driver",
            Self::OtherGpu => "GPU",
        }
    }

    /// The place in the order in which "auto" prefers GPUs; `None` for what it never takes as one.
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    pub(super) fn rank(self) -> Option<u8> {
        match self {
            Self::DiscreteGpu => Some(0),
            Self::IntegratedGpu => Some(1),
            Self::VirtualGpu => Some(2),
            Self::OtherGpu => Some(3),
            Self::Cpu | Self::SoftwareGpu => None,
        }
    }
}
