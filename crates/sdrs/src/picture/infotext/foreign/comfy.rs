//! ComfyUI: a graph of nodes by number, each with a class and inputs, which are values or `[node, output]`.
//!
//! The way is walked backwards from the picture that is saved: decoder, sampler, and what the sampler is given. A second sampler on the way
//! is a second pass, or a refiner. Nodes that change the picture and have no counterpart are told.

use serde_json::{Map, Value};

use super::{Foreign, SAMPLER, float, number, words};

/// Steps on one way: graphs of people have some dozens.
const FAR: usize = 200;

/// Classes that save or show a picture, the more telling first.
const ENDS: [&str; 4] = [
    "SaveImage",
    "SaveImageWebsocket",
    "SaveAnimatedWEBP",
    "PreviewImage",
];

/// Inputs that a picture or latents come through.
const PICTURES: [&str; 5] = ["images", "image", "samples", "pixels", "latent"];

type Node = Map<String, Value>;

struct Graph<'a>(&'a Map<String, Value>);

impl<'a> Graph<'a> {
    fn class(&self, id: &str) -> &'a str {
        let node = self.0.get(id).and_then(|node| node.get("class_type"));
        node.and_then(Value::as_str).unwrap_or_default()
    }

    fn inputs(&self, id: &str) -> Option<&'a Node> {
        self.0.get(id)?.get("inputs")?.as_object()
    }

    fn input(&self, id: &str, name: &str) -> Option<&'a Value> {
        self.inputs(id)?.get(name)
    }

    /// The node that an input comes from.
    fn from(&self, id: &str, name: &str) -> Option<&'a str> {
        link(self.input(id, name)?)
    }

    /// A value that stands in a node, or in nodes that only hand a value on.
    fn value(&self, id: &str, name: &str) -> Option<&'a Value> {
        let mut value = self.input(id, name)?;
        for _ in 0..FAR {
            let Some(source) = link(value) else {
                return Some(value);
            };
            let held = [
                "value",
                "text",
                "string",
                "int",
                "float",
                "seed",
                "number",
                "ckpt_name",
                name,
            ];
            value = held.iter().find_map(|held| self.input(source, held))?;
        }
        None
    }

    fn number(&self, id: &str, name: &str) -> Option<String> {
        number(self.value(id, name))
    }

    fn words(&self, id: &str, name: &str) -> Option<String> {
        words(self.value(id, name))
    }
}

/// The node that a value names, if it is a link.
fn link(value: &Value) -> Option<&str> {
    match value.as_array()?.as_slice() {
        [Value::String(id), Value::Number(_)] => Some(id),
        _ => None,
    }
}

/// What a sampler is given, whichever class it is.
#[derive(Default)]
struct Sampling {
    seed: Option<String>,
    steps: Option<String>,
    cfg: Option<String>,
    sampler: Option<String>,
    schedule: Option<String>,
    denoise: Option<f64>,
    /// Of a sampler that runs some of its steps.
    start: Option<f64>,
}

pub(super) fn translate(graph: &Map<String, Value>) -> Result<Foreign, String> {
    let graph = Graph(graph);
    let mut found = Foreign::new("ComfyUI");
    let end = ENDS.iter().find_map(|class| {
        let mut of_class: Vec<&String> = graph.0.keys().filter(|id| graph.class(id) == *class).collect();
        of_class.sort_by_key(|id| (id.len(), id.as_str()));
        let last = of_class.pop()?;
        (!of_class.is_empty()).then(|| {
            found
                .left
                .push(format!("the other pictures of {} nodes", of_class.len()))
        });
        Some(last.as_str())
    });
    let mut way = Vec::new();
    let last = match end {
        Some(end) => sampler_before(&graph, end, &mut way),
        // A node of somebody's own saves it.
        None => graph
            .0
            .keys()
            .rev()
            .map(String::as_str)
            .find(|id| is_sampler(&graph, id)),
    };
    let last = last.ok_or("its ComfyUI graph has no sampler that is known here")?;
    let mut between = Vec::new();
    let first = latents_of(&graph, last).and_then(|id| sampler_or_before(&graph, id, &mut between));
    let (main, sampling) = match first {
        Some(first) => (first, second_sampler(&graph, &mut found, (first, last), &between)),
        None => (last, sampling(&graph, last)),
    };
    for id in way {
        tell(&graph, &mut found, id);
    }
    settings(&graph, &mut found, main, &sampling);
    latents(&graph, &mut found, (main, &sampling, first.is_some()));
    Ok(found)
}

fn is_sampler(graph: &Graph, id: &str) -> bool {
    let has = |name| graph.input(id, name).is_some();
    has("latent_image") && (has("sampler_name") || has("sampler") || has("positive"))
}

/// The nearest sampler before a node, and what stands on the way.
fn sampler_before<'a>(graph: &Graph<'a>, id: &str, way: &mut Vec<&'a str>) -> Option<&'a str> {
    let next = PICTURES.iter().find_map(|name| graph.from(id, name))?;
    sampler_or_before(graph, next, way)
}

fn sampler_or_before<'a>(graph: &Graph<'a>, mut id: &'a str, way: &mut Vec<&'a str>) -> Option<&'a str> {
    for _ in 0..FAR {
        if is_sampler(graph, id) {
            return Some(id);
        }
        way.push(id);
        id = PICTURES.iter().find_map(|name| graph.from(id, name))?;
    }
    None
}

fn latents_of<'a>(graph: &Graph<'a>, sampler: &str) -> Option<&'a str> {
    graph.from(sampler, "latent_image")
}

/// The guider of a sampler whose parts are nodes, or the sampler itself.
fn guider<'a>(graph: &Graph<'a>, sampler: &'a str) -> &'a str {
    graph.from(sampler, "guider").unwrap_or(sampler)
}

fn sampling(graph: &Graph, id: &str) -> Sampling {
    let mut it = Sampling {
        seed: graph
            .number(id, "seed")
            .or_else(|| graph.number(id, "noise_seed")),
        steps: graph.number(id, "steps"),
        cfg: graph.number(id, "cfg"),
        sampler: graph.words(id, "sampler_name"),
        schedule: graph.words(id, "scheduler"),
        denoise: float(graph.value(id, "denoise")),
        start: float(graph.value(id, "start_at_step")),
    };
    if let Some(noise) = graph.from(id, "noise") {
        it.seed = it.seed.or(graph.number(noise, "noise_seed"));
    }
    it.cfg = it.cfg.or(graph.number(guider(graph, id), "cfg"));
    if let Some(chosen) = graph.from(id, "sampler") {
        let own = graph
            .class(chosen)
            .strip_prefix("Sampler")
            .unwrap_or_default()
            .to_lowercase();
        it.sampler = graph.words(chosen, "sampler_name").or(Some(own));
    }
    if let Some(sigmas) = graph.from(id, "sigmas") {
        it.steps = it.steps.or(graph.number(sigmas, "steps"));
        it.denoise = it.denoise.or(float(graph.value(sigmas, "denoise")));
        let class = graph.class(sigmas);
        let own = match class.strip_suffix("Scheduler").unwrap_or(class) {
            "AlignYourSteps" => "align_your_steps".to_owned(),
            "SDTurbo" => "sd_turbo".to_owned(),
            "GITS" => "gits".to_owned(),
            other => other.to_lowercase(),
        };
        it.schedule = graph.words(sigmas, "scheduler").or(Some(own));
    }
    it
}

/// A second sampler, as a refiner or a second pass; what the first one is given.
fn second_sampler(
    graph: &Graph,
    found: &mut Foreign,
    (first, last): (&str, &str),
    between: &[&str],
) -> Sampling {
    let (mut one, two) = (sampling(graph, first), sampling(graph, last));
    if let Some(third) = latents_of(graph, first).and_then(|id| sampler_or_before(graph, id, &mut Vec::new()))
    {
        found.left.push(format!(
            "the sampler of node {third}, which comes before two others"
        ));
    }
    if between.is_empty() {
        // It goes on where the first one stopped.
        let share = two
            .start
            .zip(float(number_value(&two.steps).as_ref()))
            .map(|(start, steps)| start / steps.max(1.0));
        let refiner = checkpoint(graph, last).filter(|name| Some(name) != checkpoint(graph, first).as_ref());
        match (share, refiner) {
            (Some(share), Some(refiner)) => {
                found.file("Refiner", Some(refiner));
                found.set("refiner_switch_at", Some(share.to_string()));
            }
            _ => found.left.push(format!(
                "the sampler of node {last}, which goes on from that of node {first}"
            )),
        }
        one.denoise = one.denoise.filter(|_| one.start.is_none());
        return one;
    }
    found.set("strength", two.denoise.map(|denoise| denoise.to_string()));
    found.set("hires_steps", two.steps.clone());
    found.sampler(
        ["Hires sampler", "Hires schedule type"],
        two.sampler.clone(),
        two.schedule.clone(),
    );
    found.set("hires_cfg_scale", two.cfg.clone());
    let mut upscaler = None;
    for id in between {
        let method = graph.words(id, "upscale_method");
        match graph.class(id) {
            "LatentUpscale" | "LatentUpscaleBy" => {
                upscaler = Some(
                    match method.as_deref() {
                        Some("nearest-exact") => "Latent (nearest-exact)",
                        Some("bicubic") => "Latent (bicubic)",
                        Some("bilinear") | None => "Latent",
                        Some(other) => {
                            found.left.push(format!("latents enlarged by {other}"));
                            "Latent"
                        }
                    }
                    .to_owned(),
                );
            }
            "ImageUpscaleWithModel" => {
                upscaler = graph
                    .from(id, "upscale_model")
                    .and_then(|model| graph.words(model, "model_name"));
                upscaler = upscaler.map(|name| super::stem(&name).to_owned());
            }
            "ImageScale" | "ImageScaleBy" if upscaler.is_none() => {
                upscaler = method
                    .filter(|method| method == "lanczos")
                    .map(|_| "Lanczos".to_owned());
            }
            _ => {}
        }
        found.set("hires_scale", graph.number(id, "scale_by"));
        let sides = [graph.number(id, "width"), graph.number(id, "height")];
        if let [Some(width), Some(height)] = sides {
            found.pair("Hires resize", Some(format!("{width}x{height}")));
        }
        tell(graph, found, id);
    }
    found.set("hires_upscaler", upscaler);
    if one.seed != two.seed {
        found.left.push(format!(
            "the second pass's own seed {}",
            two.seed.unwrap_or_default()
        ));
    }
    let prompts = |sampler| {
        [
            prompt(graph, sampler, "positive"),
            prompt(graph, sampler, "negative"),
        ]
    };
    let [[positive, negative], [hires_positive, hires_negative]] = [first, last].map(prompts);
    found.set(
        "hires_prompt",
        Some(hires_positive.0.clone()).filter(|text| *text != positive.0),
    );
    found.set(
        "hires_negative_prompt",
        Some(hires_negative.0.clone()).filter(|text| *text != negative.0),
    );
    one
}

fn number_value(text: &Option<String>) -> Option<Value> {
    text.as_ref().map(|text| Value::String(text.clone()))
}

/// What a run is but for the size.
fn settings(graph: &Graph, found: &mut Foreign, id: &str, sampling: &Sampling) {
    let texts = [("positive", true), ("negative", false)];
    for (name, positive) in texts {
        let (text, told) = prompt(graph, id, name);
        match positive {
            true => found.prompt = text,
            false => found.negative_prompt = text,
        }
        found.left.extend(told);
    }
    found.set("prompt_dialect", Some("comfy".into()));
    found.set("steps", sampling.steps.clone());
    found.sampler(SAMPLER, sampling.sampler.clone(), sampling.schedule.clone());
    found.set("cfg_scale", sampling.cfg.clone());
    found.set("seed", sampling.seed.clone());
    found.set("rng", Some("CPU".into()));
    found.file("Model", checkpoint(graph, id));
    // Models are changed from the loader to the sampler.
    let mut at = graph
        .from(guider(graph, id), "model")
        .or_else(|| graph.from(id, "model"));
    for _ in 0..FAR {
        let Some(node) = at else { break };
        let get = |name| graph.number(node, name);
        match graph.class(node) {
            "LoraLoader" | "LoraLoaderModelOnly" => {
                let weights = [
                    float(graph.value(node, "strength_clip")),
                    float(graph.value(node, "strength_model")),
                ];
                let weights = [weights[0].unwrap_or(0.0), weights[1].unwrap_or(1.0)];
                if let Some(name) = graph.words(node, "lora_name") {
                    found.lora(&name, &weights);
                }
            }
            class @ ("FreeU" | "FreeU_V2") => {
                let version = if class == "FreeU" { "1" } else { "2" };
                found.set("freeu_version", Some(version.into()));
                for name in ["b1", "b2", "s1", "s2"] {
                    found.set(&format!("freeu_{name}"), get(name));
                }
            }
            "RescaleCFG" => found.set("guidance_rescale", get("multiplier")),
            "PerturbedAttentionGuidance" => found.set("pag_scale", get("scale")),
            "SelfAttentionGuidance" => {
                found.set("sag_scale", get("scale"));
                found.set("sag_blur_sigma", get("blur_sigma"));
            }
            "TomePatchModel" => found.set("token_merging", get("ratio")),
            class if !class.contains("Loader") && !class.is_empty() => {
                found.left.push(format!("{class} (node {node})"))
            }
            _ => {}
        }
        at = graph.from(node, "model");
    }
    // The same for text encoders.
    let mut at = conditioning(graph, id, "positive").and_then(|node| graph.from(node, "clip"));
    for _ in 0..FAR {
        let Some(node) = at else { break };
        if graph.class(node) == "CLIPSetLastLayer" {
            let layer = float(graph.value(node, "stop_at_clip_layer")).unwrap_or(-1.0);
            found.set("clip_skip", Some((-layer).to_string()));
        }
        at = graph.from(node, "clip");
    }
    let mut decoders = graph
        .0
        .keys()
        .filter(|node| graph.class(node).starts_with("VAEDecode"));
    let vae = decoders.find_map(|node| graph.words(graph.from(node, "vae")?, "vae_name"));
    found.file("VAE", vae);
}

/// The checkpoint that a sampler's model comes from.
fn checkpoint(graph: &Graph, sampler: &str) -> Option<String> {
    let sampler: &str = sampler;
    let from = graph
        .from(sampler, "guider")
        .and_then(|guider| graph.from(guider, "model"));
    let mut at = from.or_else(|| graph.from(sampler, "model"))?;
    for _ in 0..FAR {
        let name = ["ckpt_name", "unet_name", "model_name"]
            .iter()
            .find_map(|name| graph.words(at, name));
        if name.is_some() {
            return name;
        }
        at = graph.from(at, "model")?;
    }
    None
}

/// The node with the text of a sampler's conditioning.
fn conditioning<'a>(graph: &Graph<'a>, sampler: &'a str, name: &str) -> Option<&'a str> {
    let guider = guider(graph, sampler);
    let mut at = graph.from(guider, name).or_else(|| match name {
        "positive" => graph.from(guider, "conditioning"),
        _ => None,
    })?;
    for _ in 0..FAR {
        let has_text = ["text", "text_g", "text_l"]
            .iter()
            .any(|name| graph.input(at, name).is_some());
        if has_text {
            return Some(at);
        }
        // ControlNets hand on both sides.
        let onward = [name, "conditioning", "conditioning_1", "conditioning_to"];
        at = onward.iter().find_map(|name| graph.from(at, name))?;
    }
    None
}

/// The text of a sampler's conditioning, and what stands before it that was passed over.
fn prompt(graph: &Graph, sampler: &str, name: &str) -> (String, Vec<String>) {
    let mut told = Vec::new();
    let guider = guider(graph, sampler);
    let Some(node) = conditioning(graph, sampler, name) else {
        let given = graph.from(guider, name);
        told.extend(
            given.map(|node| format!("the {name} conditioning of {} (node {node})", graph.class(node))),
        );
        return (String::new(), told);
    };
    let mut at = graph
        .from(guider, name)
        .or_else(|| graph.from(guider, "conditioning"));
    for _ in 0..FAR {
        let Some(passed) = at.filter(|passed| *passed != node) else {
            break;
        };
        told.push(format!("{} (node {passed})", graph.class(passed)));
        let onward = [name, "conditioning", "conditioning_1", "conditioning_to"];
        at = onward.iter().find_map(|name| graph.from(passed, name));
    }
    let text = ["text", "text_g", "text_l"].map(|name| graph.words(node, name));
    let text = match text {
        [Some(text), ..] | [None, Some(text), None] | [None, None, Some(text)] => text,
        [None, Some(global), Some(local)] => {
            if global != local {
                told.push(format!(
                    "the other text of {} (node {node}): {local}",
                    graph.class(node)
                ));
            }
            global
        }
        [None, None, None] => String::new(),
    };
    (text, told)
}

/// Where the first sampler's latents come from.
fn latents(graph: &Graph, found: &mut Foreign, (sampler, sampling, has_second): (&str, &Sampling, bool)) {
    let mut at = latents_of(graph, sampler);
    for _ in 0..FAR {
        let Some(node) = at else { break };
        let class = graph.class(node);
        if class.starts_with("Empty") {
            found.size(graph.number(node, "width"), graph.number(node, "height"));
            if float(graph.value(node, "batch_size")).is_some_and(|count| count > 1.0) {
                found
                    .left
                    .push("the others of its batch, which share their noise".into());
            }
            return;
        }
        if class.starts_with("VAEEncode") || class == "LoadImage" {
            match has_second {
                true => found.left.push("a picture that it began at".into()),
                false => found.set("strength", sampling.denoise.map(|denoise| denoise.to_string())),
            }
            if class != "VAEEncode" && class != "LoadImage" {
                found.left.push(format!("{class} (node {node})"));
            }
            return;
        }
        found.left.push(format!("{class} (node {node})"));
        at = PICTURES.iter().find_map(|name| graph.from(node, name));
    }
}

/// Tells of a node between samplers or behind the last, unless it is one that was understood.
fn tell(graph: &Graph, found: &mut Foreign, id: &str) {
    let class = graph.class(id);
    let known = [
        "VAEDecode",
        "VAEDecodeTiled",
        "VAEEncode",
        "VAEEncodeTiled",
        "LatentUpscale",
        "LatentUpscaleBy",
    ];
    let between = ["ImageUpscaleWithModel", "ImageScale", "ImageScaleBy"];
    let understood = found.pairs.iter().any(|(key, _)| *key == "Hires sampler");
    if !(known.contains(&class) || understood && between.contains(&class)) {
        found.left.push(format!("{class} (node {id})"));
    }
}
