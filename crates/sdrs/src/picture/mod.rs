//! Pictures as they leave a run.

mod preview;

pub use preview::{Preview, PreviewMethod};
