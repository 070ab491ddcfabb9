//! SwarmUI: `sui_image_params`, over ComfyUI's samplers.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, number, words};

/// Keys that need no words.
const SILENT: [&str; 8] = [
    "swarm_version",
    "date",
    "generation_time",
    "aspectratio",
    "imageformat",
    "nopreviews",
    "original_prompt",
    "automaticvae",
];

const KNOWN: [&str; 13] = [
    "prompt",
    "negativeprompt",
    "model",
    "seed",
    "steps",
    "cfgscale",
    "width",
    "height",
    "sampler",
    "scheduler",
    "comfyuisampler",
    "autowebuisampler",
    "vae",
];

pub(super) fn translate(parameters: &Map<String, Value>) -> Foreign {
    let mut found = Foreign::new("SwarmUI");
    let get = |key: &str| parameters.get(key);
    found.prompt = words(get("prompt")).unwrap_or_default();
    found.negative_prompt = words(get("negativeprompt")).unwrap_or_default();
    found.set("steps", number(get("steps")));
    let sampler = ["sampler", "comfyuisampler", "autowebuisampler"];
    let sampler = sampler.iter().find_map(|key| words(get(key)));
    found.sampler(SAMPLER, sampler, words(get("scheduler")));
    found.set("cfg_scale", number(get("cfgscale")));
    found.set("seed", number(get("seed")));
    found.size(number(get("width")), number(get("height")));
    found.file("Model", words(get("model")));
    found.file("VAE", words(get("vae")));
    // Its prompts have LoRAs in tags, and weights as the WebUI writes them.
    found.set("rng", Some("CPU".into()));
    for (key, value) in parameters {
        if !KNOWN.contains(&key.as_str()) && !SILENT.contains(&key.as_str()) {
            let value: String = value.to_string().chars().take(60).collect();
            found.left.push(format!("{key} {value}"));
        }
    }
    found
}
