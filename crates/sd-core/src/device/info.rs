//! The list of a machine's devices.

use serde::Serialize;

use super::{
    class::DeviceClass,
    dtype::Dtype,
    memory::DeviceMemory,
    named::{Device, available_in_order},
};

/// A device of this machine that this build can compute on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The name that [`Device::from_name`] takes: "cpu", "cuda:0".
    pub name: String,
    /// The name that it was sold by; its kind, where nobody tells.
    pub title: String,
    /// What it is.
    pub class: DeviceClass,
    /// Bytes of memory, if they are known; the CPU's is the machine's.
    pub memory: Option<u64>,
    /// Bytes of it that are free now, if they are known.
    pub free_memory: Option<u64>,
    /// The types that networks can compute in there; none if its driver can't open it.
    pub dtypes: Vec<Dtype>,
    /// The type that `dtype` "auto" is there.
    pub default_dtype: Dtype,
    /// Whether it is the one that "auto" takes.
    pub is_default: bool,
}

/// The devices of this machine that this build can compute on, the CPU last. Each GPU is opened and asked, which takes up to a second and some
/// of its memory while the process lives.
pub fn devices() -> Vec<DeviceInfo> {
    let kinds: Vec<Vec<Device>> = available_in_order().map(Device::all_of).collect();
    let default = kinds.iter().find_map(|devices| Device::best_of(devices));
    let is_default = |name: &str| default.as_ref().is_some_and(|default| default.name() == name);
    let described = kinds.iter().flatten().map(|device| {
        let memory: Option<DeviceMemory> = device.memory();
        let class = class(device);
        let types = [Dtype::F32, Dtype::F16, Dtype::Bf16].into_iter();
        DeviceInfo {
            title: title(device).unwrap_or_else(|| class.title().to_owned()),
            class,
            memory: memory.map(|memory| memory.total),
            free_memory: memory.and_then(|memory| memory.free),
            dtypes: types.filter(|dtype| device.computes_in(*dtype)).collect(),
            default_dtype: device.default_dtype(),
            is_default: is_default(device.name()),
            name: device.name().to_owned(),
        }
    });
    described.collect()
}

fn class(device: &Device) -> DeviceClass {
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    if !device.is_cpu() {
        return super::gpu::class(device.burn());
    }
    let _ = device;
    DeviceClass::Cpu
}

fn title(device: &Device) -> Option<String> {
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    if !device.is_cpu() {
        return super::gpu::title(device.name(), device.burn());
    }
    let _ = device;
    processor(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The processor's name in Linux' `/proc/cpuinfo`.
fn processor(text: &str) -> Option<String> {
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'))?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_the_processors_name() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\nmodel name\t: another\n";
        assert_eq!(
            processor(text).as_deref(),
            Some("AMD EPYC 9654 96-Core Processor")
        );
        for text in ["", "model name\t:  \n", "processor: 3\n"] {
            assert_eq!(processor(text), None, "{text}");
        }
    }

    #[test]
    fn the_cpu_is_there_and_one_is_the_default() {
        let devices = devices();
        let cpu = devices.last().unwrap();
        assert_eq!((cpu.name.as_str(), cpu.class), ("cpu", DeviceClass::Cpu));
        assert_eq!(cpu.dtypes, [Dtype::F32, Dtype::Bf16]);
        assert!(cpu.dtypes.contains(&cpu.default_dtype));
        assert_eq!(devices.iter().filter(|device| device.is_default).count(), 1);
        for device in &devices {
            assert_eq!(Device::from_name(&device.name).unwrap().name(), device.name);
            assert!(device.free_memory <= device.memory);
        }
    }
}
