//! Fooocus: its own scheme, as JSON in `parameters` or, in older versions, in `Comment`.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, float, number, words};

pub(super) fn translate(json: &Map<String, Value>) -> Foreign {
    let mut found = Foreign::new("Fooocus");
    // Versions before 2.2 have the labels of the page as keys.
    let get = |key: &str, label: &str| json.get(key).or_else(|| json.get(label));
    found.prompt = whole(json, "full_prompt", get("prompt", "Prompt"));
    found.negative_prompt = whole(
        json,
        "full_negative_prompt",
        get("negative_prompt", "Negative Prompt"),
    );
    found.set("prompt_dialect", Some("comfy".into()));
    found.set("steps", number(get("steps", "Steps")));
    found.sampler(
        SAMPLER,
        words(get("sampler", "Sampler")),
        words(get("scheduler", "Scheduler")),
    );
    found.set("cfg_scale", number(get("guidance_scale", "Guidance Scale")));
    found.set("seed", number(get("seed", "Seed")));
    let resolution = words(get("resolution", "Resolution")).unwrap_or_default();
    let mut sides = resolution
        .split(|c: char| !c.is_ascii_digit())
        .filter(|side| !side.is_empty())
        .map(str::to_owned);
    found.size(sides.next(), sides.next());
    found.file("Model", words(get("base_model", "Base Model")));
    found.pair("Model hash", words(json.get("base_model_hash")));
    let refiner = words(get("refiner_model", "Refiner Model")).filter(|name| name != "None");
    if refiner.is_some() {
        found.set(
            "refiner_switch_at",
            number(get("refiner_switch", "Refiner Switch")),
        );
    }
    found.file("Refiner", refiner);
    let vae = words(get("vae", "VAE")).filter(|name| !name.starts_with("Default"));
    found.file("VAE", vae);
    found.set("rng", Some("CPU".into()));
    for lora in json.get("loras").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(name), Some(weight)) = (lora.get(0).and_then(Value::as_str), float(lora.get(1))) {
            found.lora(name, &[weight]);
        }
    }
    for (key, value) in json {
        // "LoRA 1": "name.safetensors : 0.5", with whether it is on before it in later versions.
        if key.starts_with("lora_combined_") || key.starts_with("LoRA ") {
            let parts: Vec<&str> = value.as_str().unwrap_or_default().split(" : ").collect();
            let (on, name, weight) = match parts[..] {
                [name, weight] => (true, name, weight),
                [on, name, weight] => (on == "True", name, weight),
                _ => continue,
            };
            if let (true, Ok(weight)) = (on && name != "None", weight.parse()) {
                found.lora(name, &[weight]);
            }
        }
    }
    if let Some(freeu) = words(get("freeu", "FreeU")) {
        let numbers = freeu
            .trim_matches(['(', ')'])
            .split(',')
            .map(|n| n.trim().to_owned());
        for (name, value) in ["freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"]
            .iter()
            .zip(numbers)
        {
            found.set(name, Some(value));
        }
    }
    for key in [
        "sharpness",
        "adm_guidance",
        "adaptive_cfg",
        "refiner_swap_method",
        "inpaint_method",
    ] {
        if let Some(value) = json.get(key).filter(|value| !value.is_null()) {
            found.left.push(format!("{} {value}", key.replace('_', " ")));
        }
    }
    found
}

/// A prompt as it was encoded, with styles: each of several is encoded by itself, and all stand side by side.
fn whole(json: &Map<String, Value>, key: &str, own: Option<&Value>) -> String {
    let parts = json.get(key).and_then(Value::as_array);
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter_map(|part| words(Some(part)))
        .collect();
    match parts.is_empty() {
        true => words(own).unwrap_or_default(),
        false => parts.join(", "),
    }
}
