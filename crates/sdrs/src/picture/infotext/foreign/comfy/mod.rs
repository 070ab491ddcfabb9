//! ComfyUI: a graph of nodes by number, each with a class and inputs, which are values or `[node, output]`.
//!
//! The way is walked backwards from the picture that is saved: decoder, sampler, and what the sampler is given. A second sampler on the way
//! is a second pass, or a refiner. Nodes that change the picture and have no counterpart are told.

mod conditioning;
mod graph;
mod sampling;
mod second;

use serde_json::{Map, Value};

use self::{conditioning::Conditioning, graph::Graph, sampling::Sampling, second::second_sampler};
use super::{Foreign, SAMPLER, float};

/// Classes that save or show a picture, the more telling first.
const ENDS: [&str; 4] = [
    "SaveImage",
    "SaveImageWebsocket",
    "SaveAnimatedWEBP",
    "PreviewImage",
];

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
        Some(end) => graph.sampler(graph.picture(end), &mut way),
        // A node of somebody's own saves it.
        None => graph
            .0
            .keys()
            .rev()
            .map(String::as_str)
            .find(|id| graph.is_sampler(id)),
    };
    let last = last.ok_or("its ComfyUI graph has no sampler that is known here")?;
    let mut between = Vec::new();
    let first = graph.sampler(graph.latents(last), &mut between);
    let (main, sampling) = match first {
        Some(first) => (first, second_sampler(&graph, &mut found, (first, last), &between)),
        None => (last, Sampling::of(&graph, last)),
    };
    for id in way {
        tell(&graph, &mut found, id);
    }
    settings(&graph, &mut found, main, &sampling);
    latents(&graph, &mut found, (main, &sampling, first.is_some()));
    Ok(found)
}

/// What a run is but for the size.
fn settings(graph: &Graph, found: &mut Foreign, id: &str, sampling: &Sampling) {
    let [positive, negative] = ["positive", "negative"].map(|side| {
        let conditioning = Conditioning::of(graph, id, side);
        let (text, told) = conditioning.prompt(graph, side);
        found.left.extend(told);
        (conditioning, text)
    });
    (found.prompt, found.negative_prompt) = (positive.1, negative.1);
    found.set("prompt_dialect", Some("comfy".into()));
    found.set("steps", sampling.steps.clone());
    found.sampler(SAMPLER, sampling.sampler.clone(), sampling.schedule.clone());
    found.set("cfg_scale", sampling.cfg.clone());
    found.set("seed", sampling.seed.clone());
    found.set("rng", Some("CPU".into()));
    found.file("Model", graph.checkpoint(id));
    // Models are changed from the loader to the sampler.
    for node in graph.models(id) {
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
    }
    // The same for text encoders.
    for node in positive.0.encoders(graph) {
        if graph.class(node) == "CLIPSetLastLayer" {
            let layer = float(graph.value(node, "stop_at_clip_layer")).unwrap_or(-1.0);
            found.set("clip_skip", Some((-layer).to_string()));
        }
    }
    let mut decoders = graph
        .0
        .keys()
        .filter(|node| graph.class(node).starts_with("VAEDecode"));
    let vae = decoders.find_map(|node| graph.words(graph.from(node, "vae")?, "vae_name"));
    found.file("VAE", vae);
}

/// Where the first sampler's latents come from.
fn latents(graph: &Graph, found: &mut Foreign, (sampler, sampling, has_second): (&str, &Sampling, bool)) {
    for node in graph.pictures(graph.latents(sampler)) {
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
