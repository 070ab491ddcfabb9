//! Writing infotexts.

use super::{HIRES_SIZE, NOT_MASKED, ONLY_MASKED, ZERO_TERMINAL_SNR, tiled};
use crate::{GenerateParams, Setting, SettingValue, VERSION, params::ClipSkipRule, settings};

/// The seeds of one picture.
#[derive(Clone, Copy)]
pub(crate) struct Seeds {
    pub seed: u64,
    /// If it had any influence.
    pub variation_seed: Option<u64>,
}

/// The WebUI's order of pairs. Settings that it doesn't know follow in the table's.
#[rustfmt::skip]
const ORDER: [&str; 22] = [
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Variation seed", "Variation seed strength",
    "Seed resize from", "Denoising strength", "Clip skip", "Emphasis", "Old prompt editing timelines", "Text as is", "Pad conds", "Eta",
    "ENSD", "RNG",
    "Refiner", "Refiner switch at", "Refiner switch by sampling steps",
];

/// The infotext of one picture.
pub(crate) fn infotext(
    params: &GenerateParams,
    seeds: Seeds,
    [width, height]: [u32; 2],
    (model, refiner): (&str, Option<&str>),
    lora_hashes: &[(String, String)],
) -> String {
    let prompts = &params.text;
    let mut text = prompts.prompt.trim().to_owned();
    if !prompts.negative_prompt.trim().is_empty() {
        text += &format!("\nNegative prompt: {}", prompts.negative_prompt.trim());
    }
    let mut own = params.clone();
    own.noise.seed = seeds.seed.into();
    own.noise.variation_seed = seeds.variation_seed.map_or(-1, i128::from);
    // The WebUI counts in its own way.
    own.text.clip_skip = params.reading().clip_skip;
    own.text.clip_skip_rule = ClipSkipRule::WebUi;
    let mut pairs: Vec<(&str, String)> = settings()
        .iter()
        .filter_map(|setting| pair(setting, &own, refiner.is_some()))
        .collect();
    pairs.push(("Size", format!("{width}x{height}")));
    pairs.push(("Model", model.to_owned()));
    pairs.extend(refiner.map(|refiner| ("Refiner", refiner.to_owned())));
    let hires = [params.hires.hires_width, params.hires.hires_height];
    if hires.iter().any(Option::is_some) {
        let [width, height] = hires.map(Option::unwrap_or_default);
        pairs.push((HIRES_SIZE, format!("{width}x{height}")));
    }
    if let (Some(width @ 1..), Some(height @ 1..)) =
        (params.noise.seed_resize_width, params.noise.seed_resize_height)
    {
        pairs.push(("Seed resize from", format!("{width}x{height}")));
    }
    // The WebUI knows both axes together.
    if own.network.tile_x && own.network.tile_y {
        pairs.retain(|(key, _)| !matches!(*key, "Tile X" | "Tile Y"));
        pairs.push(("Tiling", "True".into()));
    }
    pairs.extend(tiled::written(&own).map(|value| (tiled::KEY, value)));
    pairs.sort_by_key(|(key, _)| ORDER.iter().position(|known| known == key).unwrap_or(ORDER.len()));
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
        .map(|(key, value)| match *key {
            // It is an object, as extensions write theirs.
            tiled::KEY => format!("{key}: {value}"),
            _ => format!("{key}: {}", quoted(value)),
        })
        .collect();
    format!("{text}\n{}", pairs.join(", "))
}

/// A setting's pair, with the value as the WebUI spells it.
fn pair(setting: &Setting, params: &GenerateParams, refined: bool) -> Option<(&'static str, String)> {
    let (key, value) = (setting.key()?, setting.written(params, refined)?);
    let value = match (setting.name, &value) {
        ("emphasis", SettingValue::Text(mode)) => match mode.as_str() {
            "nonorm" => "No norm".into(),
            "ignore" => "Ignore".into(),
            _ => "None".into(),
        },
        // Of two rules the older one is written.
        ("time_rule", _) => "True".into(),
        ("zero_terminal_snr", _) => ZERO_TERMINAL_SNR.into(),
        ("mask_inverted", _) => NOT_MASKED.into(),
        ("only_masked", _) => ONLY_MASKED.into(),
        ("rng", _) => params.noise.rng.name().into(),
        _ => value.to_string(),
    };
    Some((key, value))
}

/// A value that reading would cut short, trim or unquote stands as a JSON string.
pub(super) fn quoted(value: &str) -> String {
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
        let mut params = GenerateParams::default();
        params.text.prompt = "a red circle".into();
        params.text.negative_prompt = "blurry".into();
        params.text.clip_skip = 2;
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
        assert_eq!(
            infotext(&params, seeds, [64, 32], ("demo, v1", None), &hashes),
            expected
        );
        let refined = infotext(&params, seeds, [64, 32], ("demo, v1", Some("fine")), &hashes);
        assert!(refined.contains(", RNG: CPU, Refiner: fine, Refiner switch at: 0.8, Lora hashes"));
    }
}
