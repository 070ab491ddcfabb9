//! GPUs through Burn: CUDA's and Vulkan's.

#[cfg(feature = "cuda")]
mod cuda;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(feature = "vulkan")]
use burn_dispatch::devices::WgpuDeviceKind;
use burn_dispatch::{DispatchDevice, devices::CubeDevice};
use burn_tensor::{Device as BurnDevice, DeviceType};

use super::{class::DeviceClass, dtype::Dtype, memory::DeviceMemory};
use crate::{Error, Result};

/// The kinds that this build knows, in the order in which "auto" looks for them.
pub(super) const KINDS: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "vulkan")]
    "vulkan",
];

/// The devices of a kind that the machine has, in the order of their numbers.
pub(super) fn all(kind: &str) -> Vec<BurnDevice> {
    let kind = match kind {
        #[cfg(feature = "cuda")]
        "cuda" => DeviceType::Cuda,
        #[cfg(feature = "vulkan")]
        "vulkan" => DeviceType::Vulkan,
        _ => return Vec::new(),
    };
    sd_kernels::keep_kernels();
    // Drivers that are missing or broken make the backends panic.
    quietly(|| BurnDevice::enumerate(kind).into_vec()).unwrap_or_default()
}

/// The n-th device of a kind that the machine has; `name` is for the error.
pub(super) fn nth(kind: &str, n: u16, name: &str) -> Result<BurnDevice> {
    let found = all(kind);
    let count = found.len();
    let fail = || Error::Device {
        name: name.to_owned(),
        reason: format!("this machine has {count} of that kind, counted from 0; \"cpu\" is always there"),
    };
    found.into_iter().nth(usize::from(n)).ok_or_else(fail)
}

/// The software Vulkan driver.
#[cfg(feature = "vulkan")]
pub(super) fn software(name: &str) -> Result<BurnDevice> {
    let found = all("vulkan")
        .into_iter()
        .find(|device| class(device) == DeviceClass::SoftwareGpu);
    found.ok_or_else(|| Error::Device {
        name: name.to_owned(),
        reason: "this machine has no software Vulkan driver (Mesa's lavapipe is one)".into(),
    })
}

/// What a device is.
pub(super) fn class(device: &BurnDevice) -> DeviceClass {
    match device.as_dispatch() {
        #[cfg(feature = "vulkan")]
        DispatchDevice::Cube(CubeDevice::Wgpu(device)) => match device.kind {
            WgpuDeviceKind::DiscreteGpu(_) => DeviceClass::DiscreteGpu,
            WgpuDeviceKind::IntegratedGpu(_) => DeviceClass::IntegratedGpu,
            WgpuDeviceKind::VirtualGpu(_) => DeviceClass::VirtualGpu,
            WgpuDeviceKind::Cpu => DeviceClass::SoftwareGpu,
            _ => DeviceClass::OtherGpu,
        },
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(CubeDevice::Cuda(_)) => DeviceClass::DiscreteGpu,
        _ => DeviceClass::OtherGpu,
    }
}

/// Whether a device computes in a type. Opens it.
pub(super) fn computes_in(device: &BurnDevice, dtype: Dtype) -> bool {
    quietly(|| device.supports_dtype(dtype.burn())).unwrap_or_default()
}

/// A device's memory, if its driver tells.
pub(super) fn memory(name: &str, device: &BurnDevice) -> Option<DeviceMemory> {
    #[cfg(feature = "cuda")]
    if let Some(number) = name.strip_prefix("cuda:") {
        return cuda::Card::ask(number.parse().ok()?).map(|card| card.memory);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = name;
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return None;
    };
    let properties = quietly(|| device.client().properties().clone())?;
    #[cfg(feature = "vulkan")]
    if let Some(address) = properties.identity.physical.and_then(|card| card.pci_address) {
        let folder = format!("/sys/bus/pci/devices/{address}");
        if let Some(memory) = super::memory::of_card(folder.as_ref()) {
            return Some(memory);
        }
    }
    Some(DeviceMemory {
        total: properties.memory.max_memory()?,
        free: None,
    })
}

/// What people know a device by, if its driver tells.
pub(super) fn title(name: &str, device: &BurnDevice) -> Option<String> {
    #[cfg(feature = "cuda")]
    if let Some(number) = name.strip_prefix("cuda:") {
        return cuda::Card::ask(number.parse().ok()?).map(|card| card.title);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = name;
    quietly(|| device.identity())?.map(|identity| identity.name)
}

/// What a driver does, unless it panics.
fn quietly<T>(ask: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(ask)).ok()
}
