//! Changes to weights on their way from the file to the model.

use crate::config::Part;

/// Something that changes weights while they are loaded, as an adapter does.
///
/// Patches see the base weights in `f32`, before the cast to the compute type, and are applied in the order in which they were given.
/// The files stay untouched, so loading again without a patch removes it exactly.
pub trait WeightPatch: Send + Sync {
    /// Whether it changes this parameter.
    fn touches(&self, part: Part, name: &str) -> bool;

    /// Whether its change fits a parameter of this shape; if not, why not.
    ///
    /// # Errors
    /// The reason why it doesn't fit, naming the patch's file.
    fn check(&self, part: Part, name: &str, shape: &[usize]) -> Result<(), String>;

    /// Makes its change to a parameter that it touches and that has been checked; `values` are row-major.
    ///
    /// # Errors
    /// A message with the fault and the patch's file: its own values are not finite, say, which nobody looked at before.
    fn apply(&self, part: Part, name: &str, shape: &[usize], values: &mut [f32]) -> Result<(), String>;
}
