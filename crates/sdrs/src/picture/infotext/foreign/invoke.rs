//! InvokeAI: `invokeai_metadata` since version 3, `sd-metadata` and `Dream` before.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, float, number, words};

/// Version 3 and later.
pub(super) fn translate(metadata: &Map<String, Value>) -> Foreign {
    let mut found = Foreign::new("InvokeAI");
    let get = |key: &str| metadata.get(key);
    found.prompt = weights(&words(get("positive_prompt")).unwrap_or_default());
    found.negative_prompt = weights(&words(get("negative_prompt")).unwrap_or_default());
    found.set("steps", number(get("steps")));
    if let Some(name) = words(get("scheduler")) {
        let (name, schedule) = match name.strip_suffix("_k") {
            Some(name) => (name.to_owned(), Some("karras".to_owned())),
            None => (name, None),
        };
        let known = match name.as_str() {
            "kdpm_2" => "dpm_2",
            "kdpm_2_a" => "dpm_2_ancestral",
            "dpmpp_2s" => "dpmpp_2s_ancestral",
            "euler_a" => "euler_ancestral",
            "unipc" => "uni_pc_bh2",
            other => other,
        };
        found.sampler(SAMPLER, Some(known.to_owned()), schedule);
    }
    found.set("cfg_scale", number(get("cfg_scale")));
    let rescale = float(get("cfg_rescale_multiplier")).filter(|value| *value > 0.0);
    found.set("guidance_rescale", rescale.map(|value| value.to_string()));
    found.set("seed", number(get("seed")));
    found.size(number(get("width")), number(get("height")));
    let model = get("model").and_then(Value::as_object);
    found.file("Model", name(model));
    found.file("VAE", name(get("vae").and_then(Value::as_object)));
    let refiner = get("refiner_model").and_then(Value::as_object);
    if refiner.is_some() {
        found.set("refiner_switch_at", number(get("refiner_start")));
    }
    found.file("Refiner", name(refiner));
    let skipped = float(get("clip_skip")).filter(|skip| *skip > 0.0);
    found.set("clip_skip", skipped.map(|skip| (skip + 1.0).to_string()));
    found.set("strength", number(get("strength")));
    found.set(
        "rng",
        Some("CPU".into()).filter(|_| get("rand_device").is_none_or(|device| device == "cpu")),
    );
    for axis in ["x", "y"] {
        let on = get(&format!("seamless_{axis}")).and_then(Value::as_bool) == Some(true);
        found.set(&format!("tile_{axis}"), on.then(|| "True".into()));
    }
    for lora in get("loras").and_then(Value::as_array).into_iter().flatten() {
        let model = lora
            .get("model")
            .or_else(|| lora.get("lora"))
            .and_then(Value::as_object);
        if let (Some(name), Some(weight)) = (name(model), float(lora.get("weight"))) {
            found.lora(&name, &[weight]);
        }
    }
    for key in [
        "controlnets",
        "ipAdapters",
        "t2iAdapters",
        "hrf_enabled",
        "positive_style_prompt",
        "negative_style_prompt",
    ] {
        let told = get(key).filter(|value| match value {
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.trim().is_empty(),
            other => other.as_bool() == Some(true),
        });
        if told.is_some() {
            found.left.push(key.replace('_', " "));
        }
    }
    found
}

/// A model's name: the key's has changed.
fn name(model: Option<&Map<String, Value>>) -> Option<String> {
    let model = model?;
    words(model.get("name")).or_else(|| words(model.get("model_name")))
}

/// Version 2.
pub(super) fn second(metadata: &Map<String, Value>) -> Foreign {
    let empty = Map::new();
    let image = metadata.get("image").and_then(Value::as_object).unwrap_or(&empty);
    let get = |key: &str| image.get(key);
    let mut found = Foreign::new("InvokeAI");
    let prompt = match get("prompt") {
        Some(Value::Array(parts)) => {
            if parts.len() > 1 {
                found.left.push("weights of several prompts".into());
            }
            let parts: Vec<String> = parts
                .iter()
                .filter_map(|part| words(part.get("prompt")))
                .collect();
            parts.join(", ")
        }
        one => words(one).unwrap_or_default(),
    };
    both_prompts(&mut found, &prompt);
    found.set("steps", number(get("steps")));
    found.sampler(SAMPLER, words(get("sampler")), None);
    found.set("cfg_scale", number(get("cfg_scale")));
    found.set("seed", number(get("seed")));
    found.size(number(get("width")), number(get("height")));
    found.file("Model", words(metadata.get("model_weights")));
    found.pair(
        "Model hash",
        words(metadata.get("model_hash")).map(|hash| hash.chars().take(10).collect()),
    );
    found.set(
        "strength",
        number(get("strength")).filter(|_| get("type") == Some(&"img2img".into())),
    );
    if get("seamless").and_then(Value::as_bool) == Some(true) {
        found.pair("Tiling", Some("True".into()));
    }
    for step in get("postprocessing")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        found.left.extend(words(step.get("type")));
    }
    if get("hires_fix").and_then(Value::as_bool) == Some(true) {
        found.left.push("hires fix".into());
    }
    found
}

/// The command of the first versions: the prompt in quotes, and options.
pub(super) fn dream(command: &str) -> Foreign {
    let mut found = Foreign::new("InvokeAI");
    let command = command.trim();
    let (prompt, options) = match command.strip_prefix('"').and_then(|rest| rest.rsplit_once('"')) {
        Some((prompt, options)) => (prompt, options),
        None => command.split_once(" -").unwrap_or((command, "")),
    };
    both_prompts(&mut found, prompt);
    let words: Vec<&str> = options.split_whitespace().collect();
    let value = |names: [&str; 2]| {
        words.iter().enumerate().find_map(|(at, word)| {
            let inline = names.iter().find_map(|name| word.strip_prefix(name));
            match inline? {
                "" => words.get(at + 1).map(|value| (*value).to_owned()),
                value => Some(value.trim_start_matches('=').to_owned()),
            }
        })
    };
    found.set("steps", value(["-s", "--steps"]));
    found.sampler(SAMPLER, value(["-A", "--sampler"]), None);
    found.set("cfg_scale", value(["-C", "--cfg_scale"]));
    found.set("seed", value(["-S", "--seed"]));
    found.size(value(["-W", "--width"]), value(["-H", "--height"]));
    for (name, told) in [
        ("-G", "face restoration"),
        ("-U", "an upscaler"),
        ("-I", "a picture to begin at"),
        ("-V", "variations"),
    ] {
        if words.iter().any(|word| word.starts_with(name)) {
            found.left.push(told.into());
        }
    }
    found
}

/// Splits a prompt with its negative parts in square brackets.
fn both_prompts(found: &mut Foreign, prompt: &str) {
    let (mut positive, mut negative) = (String::new(), Vec::new());
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once('[') {
        let (inner, after) = after.split_once(']').unwrap_or((after, ""));
        positive += before;
        negative.push(inner.trim());
        rest = after;
    }
    positive += rest;
    (found.prompt, found.negative_prompt) = (weights(positive.trim()), weights(&negative.join(", ")));
}

/// Weights behind words and parentheses, as the compel library reads them, as the WebUI's: `word++`, `(some words)1.2`, `(some words)-`.
/// A plus is 1.1, a minus 0.9.
fn weights(prompt: &str) -> String {
    let chars: Vec<char> = prompt.chars().collect();
    let mut out: Vec<char> = Vec::new();
    // Where parentheses open in `out`, those that have no end yet, and where the current word begins. They are put in at the end: to move
    // what follows each time would take the square of a prompt's length.
    let (mut opened, mut open, mut word) = (Vec::new(), Vec::new(), 0);
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' if at + 1 < chars.len() => {
                out.extend([c, chars[at + 1]]);
                at += 2;
            }
            '(' => {
                open.push(out.len());
                at += 1;
                word = out.len();
            }
            ')' => {
                let start = open.pop();
                let (weight, next) = weight_at(&chars, at + 1);
                word = start.unwrap_or(word);
                match (start, weight) {
                    (Some(start), Some(weight)) => {
                        opened.push(start);
                        out.extend(format!(":{weight})").chars());
                    }
                    // Without a weight they only hold together, where the WebUI has 1.1.
                    (Some(_), None) => {}
                    (None, _) => out.extend(['\\', ')']),
                }
                at = next;
            }
            '+' | '-' if out.len() > word => {
                let (weight, next) = signs_at(&chars, at);
                match chars.get(next).is_some_and(|c| c.is_alphanumeric()) {
                    true => out.extend(&chars[at..next]),
                    false => {
                        opened.push(word);
                        out.extend(format!(":{weight})").chars());
                    }
                }
                at = next;
            }
            _ => {
                out.push(c);
                at += 1;
                if c.is_whitespace() || c == ',' {
                    word = out.len();
                }
            }
        }
    }
    opened.extend(open);
    opened.sort_unstable();
    let mut from = 0;
    let mut text = String::with_capacity(out.len() + opened.len());
    for at in opened {
        text.extend(&out[from..at]);
        text.push('(');
        from = at;
    }
    text.extend(&out[from..]);
    text
}

/// A weight that begins here, and what follows it.
fn weight_at(chars: &[char], from: usize) -> (Option<f64>, usize) {
    let (weight, next) = signs_at(chars, from);
    if next > from {
        return (Some(weight), next);
    }
    let digits = chars[from..]
        .iter()
        .take_while(|c| c.is_ascii_digit() || **c == '.');
    let text: String = digits.collect();
    match text.parse() {
        Ok(weight) => (Some(weight), from + text.len()),
        Err(_) => (None, from),
    }
}

/// The weight of all plus and minus signs from here on, and what follows them.
fn signs_at(chars: &[char], from: usize) -> (f64, usize) {
    let signs = chars[from..].iter().take_while(|c| matches!(c, '+' | '-'));
    let count = signs.clone().count();
    let plus = signs.filter(|c| **c == '+').count();
    let power = |base: f64, count: usize| base.powi(count.min(99) as i32);
    let weight = power(1.1, plus) * power(0.9, count - plus);
    ((weight * 1e6).round() / 1e6, from + count)
}
