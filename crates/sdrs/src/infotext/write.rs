//! Writing infotexts.

use sd_core::prompt::{Emphasis, TimeRule};

use crate::{GenerateParams, VERSION};

/// The seeds of one picture.
#[derive(Clone, Copy)]
pub(crate) struct Seeds {
    pub seed: u64,
    /// If it had any influence.
    pub variation_seed: Option<u64>,
}

/// The infotext of one picture.
pub(crate) fn infotext(
    params: &GenerateParams,
    seeds: Seeds,
    [width, height]: [u32; 2],
    model: &str,
    lora_hashes: &[(String, String)],
) -> String {
    let mut text = params.prompt.trim().to_owned();
    if !params.negative_prompt.trim().is_empty() {
        text += &format!("\nNegative prompt: {}", params.negative_prompt.trim());
    }
    let mut pairs = vec![
        ("Steps", params.steps.to_string()),
        ("Sampler", params.sampler.to_string()),
        ("Schedule type", params.schedule.to_string()),
        ("CFG scale", params.cfg_scale.to_string()),
        ("Seed", seeds.seed.to_string()),
        ("Size", format!("{width}x{height}")),
        ("Model", model.to_owned()),
    ];
    if let Some(seed) = seeds.variation_seed {
        pairs.push(("Variation seed", seed.to_string()));
        pairs.push(("Variation seed strength", params.variation_strength.to_string()));
    }
    let reading = params.reading();
    if reading.clip_skip > 1 {
        pairs.push(("Clip skip", reading.clip_skip.to_string()));
    }
    match params.emphasis {
        Emphasis::NoNorm => pairs.push(("Emphasis", "No norm".into())),
        Emphasis::Ignore => pairs.push(("Emphasis", "Ignore".into())),
        Emphasis::None => pairs.push(("Emphasis", "None".into())),
        _ => {}
    }
    if params.time_rule == TimeRule::Before16 {
        pairs.push(("Old prompt editing timelines", "True".into()));
    }
    if params.text_as_is {
        pairs.push(("Text as is", "True".into()));
    }
    if params.pad_prompts {
        pairs.push(("Pad conds", "True".into()));
    }
    if let Some(eta) = params.eta {
        pairs.push(("Eta", eta.to_string()));
    }
    if params.ensd != 0 && params.sampler.uses_ensd() {
        pairs.push(("ENSD", params.ensd.to_string()));
    }
    pairs.push(("RNG", params.rng.name().into()));
    pairs.extend(shortcuts(params));
    if !lora_hashes.is_empty() {
        let hashes: Vec<String> = lora_hashes
            .iter()
            .map(|(name, hash)| format!("{}: {hash}", name.replace([':', ','], "")))
            .collect();
        pairs.push(("Lora hashes", hashes.join(", ")));
    }
    pairs.push(("Version", format!("sdrs {VERSION}")));
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}: {}", quoted(value)))
        .collect();
    format!("{text}\n{}", pairs.join(", "))
}

/// What a run leaves out, under the WebUI's names where it has one.
fn shortcuts(params: &GenerateParams) -> impl Iterator<Item = (&'static str, String)> {
    let positive = |value: f64| (value > 0.0).then(|| value.to_string());
    let deep = params.deep_cache_interval > 1;
    let branch = params.deep_cache_branch;
    [
        ("NGMS", positive(params.ngms)),
        (
            "NGMS all steps",
            (params.ngms > 0.0 && params.ngms_all_steps).then(|| "True".into()),
        ),
        ("Skip Early CFG", positive(params.skip_early_cfg)),
        ("Guidance sigma min", positive(params.guidance_sigma_min)),
        (
            "Guidance sigma max",
            params.guidance_sigma_max.map(|value| value.to_string()),
        ),
        ("Token merging ratio", positive(params.token_merging)),
        (
            "DeepCache interval",
            deep.then(|| params.deep_cache_interval.to_string()),
        ),
        (
            "DeepCache branch",
            (deep && branch > 0).then(|| branch.to_string()),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
}

/// A value that reading would cut short, trim or unquote stands as a JSON string.
fn quoted(value: &str) -> String {
    let plain = !value.contains([',', ':', '\n', '\r']) && !value.starts_with('"') && value.trim() == value;
    match plain {
        true => value.to_owned(),
        false => serde_json::Value::from(value).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_webui_writes() {
        let params = GenerateParams {
            prompt: "a red circle".into(),
            negative_prompt: "blurry".into(),
            clip_skip: 2,
            ..GenerateParams::default()
        };
        let expected = format!(
            "a red circle\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Automatic, CFG scale: 7, Seed: 3, \
             Size: 64x32, Model: \"demo, v1\", Clip skip: 2, RNG: CPU, Lora hashes: \"a: 0123456789ab, bc: f00\", \
             Version: sdrs {VERSION}"
        );
        let seeds = Seeds {
            seed: 3,
            variation_seed: None,
        };
        let hashes = [("a", "0123456789ab"), ("b:c", "f00")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(infotext(&params, seeds, [64, 32], "demo, v1", &hashes), expected);
    }
}
