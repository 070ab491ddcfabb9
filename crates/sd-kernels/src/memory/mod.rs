//! Memory: regions of the system's, workspaces that lend them to operations, and values on their way into layers.

pub(crate) mod buffer;
mod pool;
pub(crate) mod region;
pub(crate) mod staging;
pub(crate) mod workspace;
