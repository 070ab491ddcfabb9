//! Settings that a model has no use for.

use crate::{
    GenerateParams,
    model::{AddedNumbers, Model},
    settings,
};

/// A sentence for each setting that differs from its default and acts nowhere in this model.
pub(super) fn unused(params: &GenerateParams, model: &Model) -> Vec<String> {
    let mut told = Vec::new();
    if params.reading().clip_skip > 1 && !model.heeds_clip_skip() {
        told.push(
            "clip_skip is not used: with OpenCLIP's text encoders the WebUI skips no layers".to_owned(),
        );
    }
    let numbers = model.added_numbers();
    let default = GenerateParams::default();
    let changed = settings()
        .iter()
        .filter(|setting| setting.group == "conditioning" && setting.get(params) != setting.get(&default));
    for setting in changed {
        let reason = match (setting.name, numbers) {
            (_, None) => "this model's U-Net is conditioned on the text alone",
            ("aesthetic_score" | "negative_aesthetic_score", Some(AddedNumbers::Sizes)) => {
                "SDXL's refiner is told of scores, and this is no refiner"
            }
            ("target_width" | "target_height", Some(AddedNumbers::Score)) => {
                "SDXL's refiner is told of a score in its place"
            }
            _ => continue,
        };
        told.push(format!("{} is not used: {reason}", setting.name));
    }
    told
}
