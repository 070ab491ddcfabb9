//! A second sampler on the way: a refiner, or a second pass.

use serde_json::Value;

use super::{
    super::{Foreign, float, stem},
    conditioning::Conditioning,
    graph::Graph,
    sampling::Sampling,
    tell,
};

/// Sets what two samplers do, one behind the other, and gives what the first is given. `between` are the nodes between them.
pub(super) fn second_sampler(
    graph: &Graph,
    found: &mut Foreign,
    (first, last): (&str, &str),
    between: &[&str],
) -> Sampling {
    let (mut one, two) = (Sampling::of(graph, first), Sampling::of(graph, last));
    if let Some(third) = graph.sampler(graph.latents(first), &mut Vec::new()) {
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
        let refiner = graph
            .checkpoint(last)
            .filter(|name| Some(name) != graph.checkpoint(first).as_ref());
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
                upscaler = upscaler.map(|name| stem(&name).to_owned());
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
    for (side, setting) in [
        ("positive", "hires_prompt"),
        ("negative", "hires_negative_prompt"),
    ] {
        let [own, hires] =
            [first, last].map(|sampler| Conditioning::of(graph, sampler, side).prompt(graph, side).0);
        found.set(setting, Some(hires).filter(|text| *text != own));
    }
    one
}

fn number_value(text: &Option<String>) -> Option<Value> {
    text.as_ref().map(|text| Value::String(text.clone()))
}
