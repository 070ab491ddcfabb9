//! Changes to weights on their way from the file to the model.

use super::Part;

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
    /// What doesn't fit, naming the patch's file.
    fn check(&self, part: Part, name: &str, shape: &[usize]) -> Result<(), String>;

    /// Adds its change to a parameter that it touches and that has been checked; `values` are row-major.
    fn apply(&self, part: Part, name: &str, values: &mut [f32]);
}
