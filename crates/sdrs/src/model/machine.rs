//! The device, the type and the threads that a builder is told of.

use sd_core::{Device, Dtype, WeightDtype, weights::Target};

use super::runtime::{Log, Runtime};
use crate::{Error, Result};

/// Where networks compute and in which type; what is not said has a default.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    pub device: Option<String>,
    pub dtype: Option<Dtype>,
    pub threads: Option<usize>,
}

impl Machine {
    /// The device, if it computes in the type that is asked for.
    pub fn device(&self) -> Result<Device> {
        let device = Device::from_name(self.device.as_deref().unwrap_or("auto"))?;
        check_dtype(&device, self.dtype)?;
        Ok(device)
    }

    /// The same of a list of devices: one at least.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let devices = Device::list(self.device.as_deref().unwrap_or("auto"))?;
        for device in &devices {
            check_dtype(device, self.dtype)?;
        }
        Ok(devices)
    }

    /// Device, type and runtime of networks that are too small for the CPU's `bf16` to be worth its rounding.
    pub fn of_small(&self, log: Option<Log>) -> Result<(Target, Runtime)> {
        let device = self.device()?;
        let dtype = self.dtype.unwrap_or_else(|| small_dtype(&device));
        let runtime = Runtime::new(self.threads, Some(&device), log)?;
        if let Some(reason) = device.reason() {
            runtime.info(|| reason.to_owned());
        }
        Ok((Target::chosen(device, Some(dtype), WeightDtype::Auto), runtime))
    }
}

/// Refuses a type that a GPU doesn't compute in. The CPU takes another one in its place.
///
/// # Errors
/// [`Error::InvalidParameter`], with what would be right.
fn check_dtype(device: &Device, dtype: Option<Dtype>) -> Result<()> {
    match dtype {
        Some(dtype) if !device.is_cpu() && !device.computes_in(dtype) => {
            let types = [Dtype::F32, Dtype::F16, Dtype::Bf16].into_iter();
            let has: Vec<&str> = types
                .filter(|dtype| device.computes_in(*dtype))
                .map(Dtype::name)
                .collect();
            let reason = format!(
                "{} doesn't compute in {dtype}; it computes in {}",
                device.name(),
                has.join(", ")
            );
            Err(Error::parameter("dtype", reason))
        }
        _ => Ok(()),
    }
}

/// The type that networks compute in if none is asked for, which are too small for the CPU's `bf16` to be worth its rounding.
fn small_dtype(device: &Device) -> Dtype {
    match device.is_cpu() {
        true => Dtype::F32,
        false => device.default_dtype(),
    }
}

/// The setters of a builder of small networks, whose field `machine` is a [`Machine`].
macro_rules! machine_setters {
    () => {
        /// The device: "auto" (the default), "cpu", "cuda:0", "vulkan:0".
        pub fn device(mut self, name: impl Into<String>) -> Self {
            self.machine.device = Some(name.into());
            self
        }

        /// The compute type; by default `f32` on the CPU and `f16` on a GPU. On the CPU `f16` means `f32`.
        pub fn dtype(mut self, dtype: Dtype) -> Self {
            self.machine.dtype = Some(dtype);
            self
        }

        /// The number of threads that the CPU computes with, 1 to 1024; by default those of the process, one for each core.
        pub fn threads(mut self, threads: usize) -> Self {
            self.machine.threads = Some(threads);
            self
        }
    };
}

pub(crate) use machine_setters;
