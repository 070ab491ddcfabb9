//! What other programs write about their pictures, as infotexts.
//!
//! Their formats were read off files that these programs have written, and off two readers of them, sd-parsers and
//! stable-diffusion-prompt-reader.

mod comfy;
mod draw_things;
mod fooocus;
mod invoke;
mod novelai;
mod swarm;

use serde_json::{Map, Value};

use super::{pairs::FEWEST_PAIRS, write::quoted};
use crate::settings;

/// A LoRA that another program was given beside the prompt: `name:weight`, or `name:weight on text encoders:weight on the U-Net`.
pub(crate) const LORAS: &str = "Loras";

/// What has no place in an infotext.
const LEFT: &str = "Not translated";

/// The texts of a PNG file that other programs write, apart from `parameters`.
const KEYWORDS: [&str; 7] = [
    "prompt",
    "invokeai_metadata",
    "sd-metadata",
    "Dream",
    "Comment",
    "XML:com.adobe.xmp",
    "Description",
];

/// The infotext of what another program has written into a PNG, if it is a known one. `text` looks a keyword up, `size` is the picture's.
pub(super) fn of_png(
    size: [u32; 2],
    texts: impl FnOnce(&[&str]) -> Result<Vec<Option<String>>, String>,
) -> Result<Option<String>, String> {
    let texts = texts(&KEYWORDS)?;
    let text = |keyword| {
        let at = KEYWORDS.iter().position(|known| *known == keyword);
        at.and_then(|at| texts[at].as_deref())
    };
    let json = |keyword| match text(keyword).map(object) {
        Some(Err(reason)) => Err(format!("its text '{keyword}' {reason}")),
        Some(Ok(object)) => Ok(Some(object)),
        None => Ok(None),
    };
    let found = if let Some(graph) = json("prompt")? {
        comfy::translate(&graph)?
    } else if let Some(metadata) = json("invokeai_metadata")? {
        invoke::translate(&metadata)
    } else if let Some(metadata) = json("sd-metadata")? {
        invoke::second(&metadata)
    } else if let Some(command) = text("Dream") {
        invoke::dream(command)
    } else if let Some(comment) = text("Comment").and_then(|text| object(text).ok()) {
        match comment.contains_key("base_model") {
            true => fooocus::translate(&comment),
            false => novelai::translate(text("Description"), &comment, size),
        }
    } else if let Some(comment) = text("XML:com.adobe.xmp").and_then(draw_things::comment) {
        draw_things::translate(&object(&comment).map_err(|reason| format!("its comment {reason}"))?)
    } else {
        return Ok(None);
    };
    Ok(Some(found.infotext()))
}

/// The infotext of a text in an infotext's place, which may be another program's: as it is, if it is no JSON.
pub(super) fn of_comment(text: String) -> Result<String, String> {
    let Ok(json) = object(&text) else {
        return Ok(text);
    };
    if let Some(Value::Object(parameters)) = json.get("sui_image_params") {
        return Ok(swarm::translate(parameters).infotext());
    }
    match json.contains_key("base_model") || json.contains_key("Base Model") {
        true => Ok(fooocus::translate(&json).infotext()),
        false => Err("its settings are JSON of no program that is known here".into()),
    }
}

/// The infotext of ComfyUI's graph, as it writes it into EXIF data.
pub(super) fn of_graph(text: &str) -> Result<String, String> {
    let graph = object(text).map_err(|reason| format!("its graph {reason}"))?;
    Ok(comfy::translate(&graph)?.infotext())
}

/// Settings of another program, as far as they were understood.
struct Foreign {
    program: &'static str,
    prompt: String,
    negative_prompt: String,
    /// By an infotext's keys.
    pairs: Vec<(&'static str, String)>,
    loras: Vec<String>,
    /// A few words for each thing that was not.
    left: Vec<String>,
}

impl Foreign {
    fn new(program: &'static str) -> Self {
        Self {
            program,
            prompt: String::new(),
            negative_prompt: String::new(),
            pairs: Vec::new(),
            loras: Vec::new(),
            left: Vec::new(),
        }
    }

    /// A setting of ours.
    fn set(&mut self, name: &str, value: Option<String>) {
        let key = settings().iter().find(|setting| setting.name == name);
        if let (Some(key), Some(value)) = (key.and_then(|setting| setting.key()), value) {
            self.pairs.push((key, value));
        }
    }

    fn pair(&mut self, key: &'static str, value: Option<String>) {
        self.pairs.extend(value.map(|value| (key, value)));
    }

    fn size(&mut self, width: Option<String>, height: Option<String>) {
        self.pair(
            "Size",
            width
                .zip(height)
                .map(|(width, height)| format!("{width}x{height}")),
        );
    }

    /// A checkpoint's or other file's name, as infotexts have it.
    fn file(&mut self, key: &'static str, name: Option<String>) {
        self.pair(key, name.map(|name| stem(&name).to_owned()));
    }

    /// A sampler, and a schedule that may stand in its name or apart from it; `prefix` is for a second pass.
    fn sampler(
        &mut self,
        [sampler_key, schedule_key]: [&'static str; 2],
        name: Option<String>,
        schedule: Option<String>,
    ) {
        let mut own = None;
        if let Some(name) = name {
            // Old versions of ComfyUI call them by their functions.
            let plain = name.strip_prefix("sample_").unwrap_or(&name);
            match sd_sched::parse_sampler(plain) {
                Ok((sampler, schedule)) => {
                    own = schedule;
                    self.pairs.push((sampler_key, sampler.to_string()));
                }
                Err(_) => self.left.push(format!("sampler {name}")),
            }
        }
        let given = schedule.as_deref().map(str::parse::<sd_sched::Schedule>);
        match (given, schedule) {
            (Some(Err(_)), Some(name)) => self.left.push(format!("schedule {name}")),
            (Some(Ok(schedule)), _) => self.pairs.push((schedule_key, schedule.to_string())),
            (None, _) => self
                .pairs
                .extend(own.map(|schedule| (schedule_key, schedule.to_string()))),
            _ => {}
        }
    }

    fn lora(&mut self, name: &str, weights: &[f64]) {
        if weights.iter().all(|weight| *weight == 0.0) {
            return;
        }
        let weights: Vec<String> = weights.iter().map(f64::to_string).collect();
        self.loras.push(format!(
            "{}:{}",
            stem(name).replace([':', ','], ""),
            weights.join(":")
        ));
    }

    fn infotext(mut self) -> String {
        if !self.loras.is_empty() {
            self.pairs.push((LORAS, self.loras.join(", ")));
        }
        // With the two pairs that follow there must be enough, or all would be read as a part of the prompt.
        if self.pairs.len() + 2 < FEWEST_PAIRS {
            self.set("clip_skip", Some("1".into()));
        }
        if self.pairs.len() + 1 < FEWEST_PAIRS && self.left.is_empty() {
            self.left.push("other settings".into());
        }
        if !self.left.is_empty() {
            self.pairs.push((LEFT, self.left.join("; ")));
        }
        self.pairs.push(("Source", self.program.into()));
        let pairs: Vec<String> = self
            .pairs
            .iter()
            .map(|(key, value)| format!("{key}: {}", quoted(value)))
            .collect();
        let mut text = one_line_each(&self.prompt);
        if !self.negative_prompt.trim().is_empty() {
            text += &format!("\nNegative prompt: {}", one_line_each(&self.negative_prompt));
        }
        format!("{text}\n{}", pairs.join(", "))
    }
}

/// The keys of a sampler and its schedule.
const SAMPLER: [&str; 2] = ["Sampler", "Schedule type"];

/// A prompt without what an infotext's reader would take for the beginning of the negative one.
fn one_line_each(prompt: &str) -> String {
    let lines = prompt.trim().lines();
    let lines = lines.map(|line| line.trim().trim_start_matches("Negative prompt:"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A file's name without folders, of any system, and without an ending that weights have.
fn stem(name: &str) -> &str {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let endings = [".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft"];
    endings
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}

/// A text that must be a JSON object; the error goes on a sentence that names it.
fn object(text: &str) -> Result<Map<String, Value>, String> {
    // Python writes NaN, which is none.
    match serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.replace("NaN", "null"))) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is no JSON object".into()),
        Err(error) => Err(format!("can't be read as JSON: {error}")),
    }
}

/// A number, or a text that is one, as an infotext has it.
fn number(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => text.trim().parse::<f64>().ok().map(|_| text.trim().to_owned()),
        _ => None,
    }
}

fn float(value: Option<&Value>) -> Option<f64> {
    number(value)?.parse().ok()
}

/// A text that says something.
fn words(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
