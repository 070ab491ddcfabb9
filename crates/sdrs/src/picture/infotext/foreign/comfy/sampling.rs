//! What a sampler is given.

use super::{super::float, graph::Graph};

/// The same of all classes of samplers.
#[derive(Default)]
pub(super) struct Sampling {
    pub seed: Option<String>,
    pub steps: Option<String>,
    pub cfg: Option<String>,
    pub sampler: Option<String>,
    pub schedule: Option<String>,
    pub denoise: Option<f64>,
    /// Of a sampler that runs some of its steps.
    pub start: Option<f64>,
}

impl Sampling {
    /// That of a node.
    pub fn of(graph: &Graph, id: &str) -> Self {
        let mut it = Self {
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
        it.cfg = it.cfg.or(graph.number(graph.guider(id), "cfg"));
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
}
