//! 8-bit weights with a scale each, as ComfyUI stores them: `LAYER.scale_weight` beside `LAYER.weight`, and a tensor `scaled_fp8` as
//! the marker. Newer files say `weight_scale`, and `comfy_quant` for each layer.
//!
//! The scale becomes a property of its weight, so that nobody else needs to know of it. `scale_input` is for computing in 8 bits, which
//! isn't done here.

use super::{
    cast,
    tensor::{Header, StoredDtype},
};
use crate::error::shown;

const MARKER: &str = "scaled_fp8";
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];
const UNUSED: [&str; 3] = ["scale_input", "input_scale", "comfy_quant"];

/// Finds the scales among a file's tensors, and takes them out.
///
/// # Errors
/// The scale that is not a single finite number.
pub(super) fn fold(header: &mut Header, bytes: &[u8]) -> Result<(), String> {
    let tensors = &mut header.tensors;
    let marked: Vec<String> = tensors
        .keys()
        .filter(|name| name.rsplit('.').next() == Some(MARKER))
        .cloned()
        .collect();
    let mut found = Vec::new();
    for name in tensors.keys() {
        let Some((layer, leaf)) = name.rsplit_once('.') else {
            continue;
        };
        let weight = format!("{layer}.weight");
        let Some(info) = tensors.get(&weight) else {
            continue;
        };
        // Without the marker, only tensors that can mean nothing else.
        let eight_bits = matches!(info.dtype, StoredDtype::F8_E4M3 | StoredDtype::F8_E5M2);
        if (SCALES.contains(&leaf) || UNUSED.contains(&leaf)) && (eight_bits || !marked.is_empty()) {
            found.push((name.clone(), SCALES.contains(&leaf).then_some(weight)));
        }
    }
    for (name, weight) in found {
        let Some(info) = tensors.remove(&name) else {
            continue;
        };
        let Some(weight) = weight else { continue };
        let one = info.shape.iter().all(|&n| n == 1) && info.strides.is_none();
        let value = one
            .then(|| cast::cast::<f32>(&bytes[info.bytes.clone()], &info))
            .flatten();
        match value.as_deref() {
            Some(&[scale]) if scale.is_finite() => {
                tensors
                    .get_mut(&weight)
                    .into_iter()
                    .for_each(|info| info.scale = scale);
            }
            _ => {
                return Err(format!(
                    "tensor '{}': a scale must be one finite number; its shape is {:?}",
                    shown(&name),
                    info.shape
                ));
            }
        }
    }
    marked.iter().for_each(|name| drop(tensors.remove(name)));
    Ok(())
}
