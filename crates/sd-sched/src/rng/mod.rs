//! Random numbers as the field's programs draw them, so that a seed means the same picture everywhere.

mod mt19937;
mod torch_cpu;

pub use mt19937::Mt19937;
pub use torch_cpu::TorchCpuRng;
