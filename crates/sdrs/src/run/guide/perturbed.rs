//! Guidance away from what the network gives with worse self-attention: perturbed attention guidance (Ahn et al. 2024, arXiv:2403.17377), in
//! whose layers each pixel sees itself alone, and smoothed energy guidance (Hong 2024, arXiv:2408.00760), in whose layers queries are blurred.
//! Both add `scale * (cond - perturbed cond)` to what classifier-free guidance gives, or to cond alone, and take one more evaluation for
//! each prompt.

use sd_core::{
    config::UnetConfig,
    models::{Perturbation, SelfAttentionLayers},
};

use crate::{Error, GenerateParams, Result};

/// A perturbation that a run is guided away from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Perturbed {
    pub scale: f64,
    pub perturbation: Perturbation,
    pub layers: SelfAttentionLayers,
}

/// Those that parameters ask for.
pub(super) fn perturbed(params: &GenerateParams, config: &UnetConfig) -> Result<Vec<Perturbed>> {
    let guidance = &params.guidance;
    let sigma = guidance.seg_sigma.unwrap_or(f64::INFINITY);
    let mut asked = vec![
        (guidance.pag_scale, Perturbation::Identity),
        (guidance.seg_scale, Perturbation::BlurredQueries { sigma }),
    ];
    asked.retain(|(scale, _)| *scale != 0.0);
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let names = &guidance.perturbed_layers;
    let fail = |reason: String| Err(Error::parameter("perturbed_layers", reason));
    const KNOWN: &str = "names are those of diffusers, from the beginning: mid, down, up, down_blocks.1, \
                         up_blocks.1.attentions.0.transformer_blocks.0";
    let layers = match SelfAttentionLayers::named(names, config) {
        Ok(layers) if layers.is_empty() => return fail(format!("names no layer; {KNOWN}")),
        Ok(layers) => layers,
        Err(unknown) => {
            let unknown: Vec<String> = unknown
                .iter()
                .map(|name| format!("'{}'", name.chars().take(80).collect::<String>()))
                .collect();
            return fail(format!(
                "this U-Net has no self-attention in {}; {KNOWN}",
                unknown.join(", ")
            ));
        }
    };
    let all = asked.into_iter().map(|(scale, perturbation)| Perturbed {
        scale,
        perturbation,
        layers: layers.clone(),
    });
    Ok(all.collect())
}
