//! Devices and compute types by name, chosen at run time.

use burn_tensor::{DType, Device as BurnDevice};

use crate::{Error, Result};

/// The device that a model computes on: "cpu", "ndarray", "cuda:0", "vulkan:0" or "auto".
///
/// "auto" is the first CUDA device that is there and compiled in, else the first Vulkan device likewise, else the CPU. "cuda" and
/// "vulkan" without a number mean number 0. "vulkan:cpu" is a software Vulkan driver.
#[derive(Debug, Clone)]
pub struct Device {
    name: String,
    burn: BurnDevice,
}

impl Device {
    /// Finds a device by name.
    ///
    /// # Errors
    /// [`Error::Device`] if the name is unknown or this build lacks its backend, listing the names this build knows; or if the machine
    /// has no such device.
    pub fn from_name(name: &str) -> Result<Self> {
        let lower = name.trim().to_ascii_lowercase();
        if lower == "auto" {
            let gpus = ["cuda", "vulkan"]
                .into_iter()
                .filter(|kind| available().contains(kind));
            let found = gpus.into_iter().find_map(|kind| Self::from_name(kind).ok());
            return match (found, available().first()) {
                (Some(gpu), _) => Ok(gpu),
                (None, Some(first)) => Self::from_name(first),
                (None, None) => Err(unknown(name)),
            };
        }
        let (kind, index) = lower.split_once(':').unwrap_or((&lower, "0"));
        let number = index.parse::<u16>();
        let (name, burn) = match (kind, number) {
            #[cfg(feature = "flex")]
            ("cpu", Ok(0)) => ("cpu".to_owned(), BurnDevice::flex()),
            #[cfg(feature = "ndarray")]
            ("ndarray", Ok(0)) => ("ndarray".to_owned(), BurnDevice::ndarray()),
            #[cfg(feature = "cuda")]
            ("cuda", Ok(n)) => (format!("cuda:{n}"), nth(burn_tensor::DeviceType::Cuda, n, name)?),
            #[cfg(feature = "vulkan")]
            ("vulkan", Ok(n)) => (
                format!("vulkan:{n}"),
                nth(burn_tensor::DeviceType::Vulkan, n, name)?,
            ),
            #[cfg(feature = "vulkan")]
            ("vulkan", Err(_)) if index == "cpu" => {
                (lower.clone(), BurnDevice::vulkan(burn_tensor::DeviceKind::Cpu))
            }
            _ => return Err(unknown(name)),
        };
        Ok(Self { name, burn })
    }

    /// The name, lower-cased, with its number, and with "auto" resolved.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it computes with the CPU, in this process's memory.
    pub fn is_cpu(&self) -> bool {
        matches!(self.name.as_str(), "cpu" | "ndarray")
    }

    /// Burn's handle, for callers that drive the models themselves.
    pub fn burn(&self) -> &BurnDevice {
        &self.burn
    }
}

/// The kinds of device that this build supports.
pub fn available() -> Vec<&'static str> {
    [
        (cfg!(feature = "flex"), "cpu"),
        (cfg!(feature = "ndarray"), "ndarray"),
        (cfg!(feature = "cuda"), "cuda"),
        (cfg!(feature = "vulkan"), "vulkan"),
    ]
    .into_iter()
    .filter_map(|(compiled, name)| compiled.then_some(name))
    .collect()
}

/// The n-th device of a kind that the machine has.
#[cfg(any(feature = "cuda", feature = "vulkan"))]
fn nth(kind: burn_tensor::DeviceType, n: u16, name: &str) -> Result<BurnDevice> {
    // Drivers that are missing or broken make the backends panic.
    let found = std::panic::catch_unwind(|| BurnDevice::enumerate(kind).into_vec()).unwrap_or_default();
    let count = found.len();
    found
        .into_iter()
        .nth(usize::from(n))
        .ok_or_else(|| Error::Device {
            name: name.to_owned(),
            reason: format!("this machine has {count} of that kind, counted from 0; \"cpu\" is always there"),
        })
}

fn unknown(name: &str) -> Error {
    let reason = format!(
        "unknown, or not compiled in; this build has auto, {} (cuda and vulkan take a number, as in cuda:0)",
        available().join(", ")
    );
    Error::Device {
        name: name.to_owned(),
        reason,
    }
}

/// The floating-point type that a model computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// bfloat16: single precision's range, 8 bits of mantissa.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Dtype {
    /// Parses "f32", "bf16" or "f16" (also "float32", "bfloat16", "float16", "fp32", "fp16", "half").
    pub fn from_name(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "f32" | "fp32" | "float32" | "float" => Some(Self::F32),
            "bf16" | "bfloat16" => Some(Self::Bf16),
            "f16" | "fp16" | "float16" | "half" => Some(Self::F16),
            _ => None,
        }
    }

    /// The short name, as [`Dtype::from_name`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Burn's name of this type.
    pub fn burn(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve() {
        assert_eq!(Device::from_name("CPU").unwrap().name(), "cpu");
        assert_eq!(Device::from_name("cpu:0").unwrap().name(), "cpu");
        assert!(Device::from_name("auto").is_ok());
    }

    #[test]
    fn unknown_names_say_what_there_is() {
        for name in [
            "",
            "gpu",
            "cpu:1",
            "cpu:x",
            "auto:0",
            "cuda:-1",
            "cuda:99999999",
            ":",
            "cpu:",
        ] {
            let message = Device::from_name(name).expect_err(name).to_string();
            assert!(message.contains("this build has auto, cpu"), "{name}: {message}");
        }
    }
}
