//! A device by its name.

use burn_tensor::Device as BurnDevice;

use super::{
    dtype::Dtype,
    memory::{DeviceMemory, machine_memory},
};
#[cfg(any(feature = "cuda", feature = "vulkan"))]
use super::{gpu, pick};
use crate::{Error, Result};

/// The device that a model computes on: "cpu", "ndarray", "cuda:0", "vulkan:0" or "auto".
///
/// "auto" is a CUDA device if one is there and compiled in, else a Vulkan device likewise that is a GPU, else the CPU. Of several GPUs
/// it is one of the most capable kind (discrete, integrated, others), and of these the one with most free memory where that can be known,
/// else the first. "cuda" and "vulkan" without a number mean number 0. "vulkan:cpu" is a software Vulkan driver, which "auto" never takes.
#[derive(Debug, Clone)]
pub struct Device {
    name: String,
    burn: BurnDevice,
    /// The reason for which "auto" took it.
    reason: Option<String>,
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
            return Self::best();
        }
        let (kind, index) = lower.split_once(':').unwrap_or((&lower, "0"));
        let number = index.parse::<u16>();
        let (name, burn) = match (kind, number) {
            #[cfg(feature = "flex")]
            ("cpu", Ok(0)) => ("cpu".to_owned(), BurnDevice::flex()),
            #[cfg(feature = "ndarray")]
            ("ndarray", Ok(0)) => ("ndarray".to_owned(), BurnDevice::ndarray()),
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            (_, Ok(n)) if gpu::KINDS.contains(&kind) => (format!("{kind}:{n}"), gpu::nth(kind, n, name)?),
            #[cfg(feature = "vulkan")]
            ("vulkan", Err(_)) if index == "cpu" => (lower.clone(), gpu::software(name)?),
            _ => return Err(unknown(name)),
        };
        Ok(Self {
            name,
            burn,
            reason: None,
        })
    }

    /// Finds several devices by their names, with commas between them, in this order: one at least. "cuda:all" and "vulkan:all" are all GPUs of
    /// that kind, of which a software driver is none. A name that is there twice is a device twice.
    ///
    /// # Errors
    /// As [`from_name`](Self::from_name), for the first name that can't be used, and if all of a kind are none.
    pub fn list(names: &str) -> Result<Vec<Self>> {
        let mut devices = Vec::new();
        for name in names.split(',') {
            match name.trim().to_ascii_lowercase().strip_suffix(":all") {
                Some(kind) => devices.extend(Self::gpus(kind, name)?),
                None => devices.push(Self::from_name(name)?),
            }
        }
        Ok(devices)
    }

    /// All GPUs of a kind; `name` is for the error.
    fn gpus(kind: &str, name: &str) -> Result<Vec<Self>> {
        #[cfg(any(feature = "cuda", feature = "vulkan"))]
        if gpu::KINDS.contains(&kind) {
            let mut all = Self::all_of(kind);
            all.retain(|device| gpu::class(&device.burn).rank().is_some());
            return match all.is_empty() {
                true => Err(Error::Device {
                    name: name.to_owned(),
                    reason: "this machine has none of that kind; \"cpu\" is always there".into(),
                }),
                false => Ok(all),
            };
        }
        let _ = kind;
        Err(unknown(name))
    }

    /// What "auto" is.
    fn best() -> Result<Self> {
        let best = available_in_order().find_map(|kind| Self::best_of(&Self::all_of(kind)));
        best.ok_or_else(|| unknown("auto"))
    }

    /// The devices of a kind that this machine has, by their numbers.
    pub(super) fn all_of(kind: &str) -> Vec<Self> {
        #[cfg(any(feature = "cuda", feature = "vulkan"))]
        if gpu::KINDS.contains(&kind) {
            let named = gpu::all(kind).into_iter().enumerate().map(|(n, burn)| Self {
                name: format!("{kind}:{n}"),
                burn,
                reason: None,
            });
            return named.collect();
        }
        Self::from_name(kind).ok().into_iter().collect()
    }

    /// The device that "auto" takes of those of one kind, if any is worth it.
    pub(super) fn best_of(devices: &[Self]) -> Option<Self> {
        let first = devices.first()?;
        if first.is_cpu() {
            return Some(first.clone());
        }
        #[cfg(any(feature = "cuda", feature = "vulkan"))]
        {
            let ranks = devices.iter().map(|device| gpu::class(&device.burn).rank());
            let ranks: Vec<Option<u8>> = ranks.collect();
            let (place, free) = pick::best(&ranks, |place| devices[place].memory()?.free)?;
            let of = ranks.iter().filter(|rank| **rank == ranks[place]).count();
            let reason = match free {
                _ if of == 1 => "the only one of its kind".to_owned(),
                Some(free) => format!("of {of} it has most free memory, {:.1} GB", free as f64 / 1e9),
                None => format!("the first of {of}, whose free memory is not known"),
            };
            let device = &devices[place];
            Some(Self {
                reason: Some(format!("auto takes {}: {reason}", device.name)),
                ..device.clone()
            })
        }
        #[cfg(not(any(feature = "cuda", feature = "vulkan")))]
        None
    }

    /// Where networks are described without being loaded: the CPU, if this build has it, and else whatever it has. No GPU is opened by it.
    pub(crate) fn for_descriptions() -> Result<Self> {
        match available().first() {
            Some(first) => Self::from_name(first),
            None => Err(unknown("cpu")),
        }
    }

    /// The name, lower-cased, with its number, and with "auto" resolved.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reason for which "auto" took it, where there was a choice: a sentence for a log.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether it computes with the CPU, in this process's memory.
    pub fn is_cpu(&self) -> bool {
        matches!(self.name.as_str(), "cpu" | "ndarray")
    }

    /// Whether it computes in a type: a GPU may lack one, and the CPU has no `f16`.
    pub fn computes_in(&self, dtype: Dtype) -> bool {
        match self.is_cpu() {
            true => dtype != Dtype::F16,
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            false => gpu::computes_in(&self.burn, dtype),
            #[cfg(not(any(feature = "cuda", feature = "vulkan")))]
            false => true,
        }
    }

    /// The type that it computes in if none is asked for: on the CPU `bf16` where the processor multiplies it, else `f32`; on a GPU `f16`
    /// if it has that, else `f32`.
    pub fn default_dtype(&self) -> Dtype {
        match self.name.as_str() {
            "cpu" if sd_kernels::multiplies_bf16() => Dtype::Bf16,
            "cpu" | "ndarray" => Dtype::F32,
            _ if self.computes_in(Dtype::F16) => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    /// Its memory, as far as the system or the driver tells: of the CPU's the machine's. A GPU's free memory counts what this process holds
    /// as taken, though part of it may serve again.
    pub fn memory(&self) -> Option<DeviceMemory> {
        match self.is_cpu() {
            true => machine_memory(),
            #[cfg(any(feature = "cuda", feature = "vulkan"))]
            false => gpu::memory(&self.name, &self.burn),
            #[cfg(not(any(feature = "cuda", feature = "vulkan")))]
            false => None,
        }
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

/// The same, in the order in which "auto" looks for them.
pub(super) fn available_in_order() -> impl Iterator<Item = &'static str> {
    let of = |kinds: [&'static str; 2]| available().into_iter().filter(move |kind| kinds.contains(kind));
    of(["cuda", "vulkan"]).chain(of(["cpu", "ndarray"]))
}

fn unknown(name: &str) -> Error {
    let reason = format!(
        "unknown, or not compiled in; this build has auto, {} (cuda and vulkan take a number, as in cuda:0, or all)",
        available().join(", ")
    );
    Error::Device {
        name: name.to_owned(),
        reason,
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
    fn lists_are_devices_in_their_order() {
        let names = |list: &str| -> Vec<String> {
            let devices = Device::list(list).unwrap();
            devices.iter().map(|device| device.name().to_owned()).collect()
        };
        assert_eq!(names("cpu"), ["cpu"]);
        assert_eq!(names(" CPU, cpu:0"), ["cpu", "cpu"]);
        for list in [
            "", ",", "cpu,", "cpu,gpu", "cpu;cpu", "cpu:all", "auto:all", ":all", "all",
        ] {
            let message = Device::list(list).expect_err(list).to_string();
            assert!(message.contains("this build has auto, cpu"), "{list}: {message}");
        }
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
