//! "First pass size": the first form of the WebUI's hires fix, where "Size" was the second pass's.

use crate::{GenerateParams, params::HiresParams};

pub const KEY: &str = "First pass size";

/// Puts the sizes where they stand now. 0 is a first pass of about 512 x 512 pixels, in steps of 64, with the picture's aspect.
pub fn settle(params: &mut GenerateParams, first: [u32; 2]) {
    let size = [params.size.width, params.size.height].map(|side| side.unwrap_or(512));
    let first = match first {
        [0, _] | [_, 0] => about_512(size),
        given => given,
    };
    [params.size.width, params.size.height] = first.map(Some);
    let HiresParams {
        hires_width,
        hires_height,
        ..
    } = &mut params.hires;
    [*hires_width, *hires_height] = size.map(Some);
}

fn about_512(size: [u32; 2]) -> [u32; 2] {
    let [width, height] = size.map(f64::from);
    let scale = (512.0 * 512.0 / (width * height)).sqrt();
    [width, height].map(|side| ((scale * side / 64.0).ceil() as u32).saturating_mul(64))
}
