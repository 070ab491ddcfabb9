//! Settings that a model has no use for.

use sd_sched::{Sampler, Schedule};

use super::{Components, hires::second_pass, start::Inputs};
use crate::{
    GenerateParams, TiledDiffusion,
    model::{AddedNumbers, UnetExtra},
    settings,
};

/// A sentence for each setting that differs from its default and acts nowhere in these models, or on these inputs.
pub(super) fn unused(
    params: &GenerateParams,
    Components { model, refiner, .. }: &Components,
    inputs: &Inputs,
) -> Vec<String> {
    let mut told = Vec::new();
    if params.reading().clip_skip > 1 && !model.heeds_clip_skip() {
        told.push(
            "clip_skip is not used: with OpenCLIP's text encoders the WebUI skips no layers".to_owned(),
        );
    }
    let refiner = refiner.as_ref().map(|refiner| &refiner.model);
    let all = || [Some(model), refiner].into_iter().flatten();
    let has = |numbers| all().any(|model| model.added_numbers() == Some(numbers));
    let takes_scale = all().all(|model| model.unet.config().time_cond_proj_dim.is_some());
    let guidance = &params.guidance;
    let one_pass = !params.hires.asks_for_one();
    let second = second_pass(params);
    let passes = match one_pass {
        true => vec![&params.sampling],
        false => vec![&params.sampling, &second.sampling],
    };
    let over = |known: &[Schedule]| {
        passes.iter().any(|pass| match pass.schedule {
            Schedule::Automatic => known.contains(&pass.sampler.automatic_schedule()),
            schedule => known.contains(&schedule),
        })
    };
    let churns = passes
        .iter()
        .any(|pass| matches!(pass.sampler, Sampler::Euler | Sampler::Heun | Sampler::Dpm2));
    let default = GenerateParams::default();
    let changed = settings().iter().filter(|it| it.get(params) != it.get(&default));
    for setting in changed {
        let reason = match (setting.group, setting.name) {
            ("conditioning", _) if !has(AddedNumbers::Sizes) && !has(AddedNumbers::Score) => {
                "this model's U-Net is conditioned on the text alone"
            }
            (_, "aesthetic_score" | "negative_aesthetic_score") if !has(AddedNumbers::Score) => {
                "SDXL's refiner is told of scores, and this is no refiner"
            }
            (_, "target_width" | "target_height") if !has(AddedNumbers::Sizes) => {
                "SDXL's refiner is told of a score in its place"
            }
            (_, "refiner_switch_at" | "refiner_by_steps") if refiner.is_none() => {
                "the pipeline has no refiner"
            }
            (
                "guidance",
                "ngms"
                | "ngms_all_steps"
                | "skip_early_cfg"
                | "guidance_sigma_min"
                | "guidance_sigma_max"
                | "adaptive_guidance"
                | "mimic_scale"
                | "threshold_percentile"
                | "skimming_scale"
                | "full_skim_negative"
                | "disable_flipping_filter"
                | "apg_eta"
                | "apg_norm_threshold"
                | "apg_momentum"
                | "cfg_zero_star"
                | "perp_neg_scale",
            ) if takes_scale => "this model's U-Net takes cfg_scale itself, and sees no negative prompt",
            ("guidance", "guidance_rescale")
                if takes_scale && !params.perturbs() && guidance.sag_scale == 0.0 =>
            {
                "this model's U-Net takes cfg_scale itself, and nothing else guides it"
            }
            ("guidance", "full_skim_negative" | "disable_flipping_filter")
                if guidance.skimming_scale.is_none() =>
            {
                "nothing is skimmed without skimming_scale"
            }
            ("guidance", "threshold_percentile") if guidance.mimic_scale.is_none() => {
                "there is no dynamic thresholding without mimic_scale"
            }
            ("guidance", "ngms_all_steps") if guidance.ngms == 0.0 => "no call is left out without ngms",
            ("guidance", "seg_sigma") if guidance.seg_scale == 0.0 => {
                "there is no smoothed energy guidance without seg_scale"
            }
            ("guidance", "perturbed_layers") if !params.perturbs() => {
                "nothing is perturbed without pag_scale or seg_scale"
            }
            ("guidance", "sag_blur_sigma" | "sag_threshold") if guidance.sag_scale == 0.0 => {
                "there is no self-attention guidance without sag_scale"
            }
            ("tiles", "tile_width" | "tile_height" | "tile_overlap")
                if params.tiles.tiled_diffusion == TiledDiffusion::None =>
            {
                "there are no tiles without tiled_diffusion"
            }
            ("sampling", "beta_alpha" | "beta_beta") if !over(&[Schedule::Beta]) => {
                "it belongs to the schedule Beta"
            }
            ("sampling", "rho") if !over(&[Schedule::Karras, Schedule::Polyexponential]) => {
                "it belongs to the schedules Karras and Polyexponential"
            }
            ("sampling", "s_churn" | "s_tmin" | "s_tmax") if !churns => {
                "of the samplers Euler, Heun and DPM2 alone add noise in that way"
            }
            ("sampling", "s_tmin" | "s_tmax") if params.sampling.s_churn == 0.0 => {
                "no noise is added without s_churn"
            }
            ("speed", "token_merging_cross_attention" | "token_merging_mlp")
                if params.speed.token_merging == 0.0 =>
            {
                "nothing is merged without token_merging"
            }
            ("speed", "deep_cache_branch") if params.speed.deep_cache_interval <= 1 => {
                "there is no DeepCache without deep_cache_interval"
            }
            ("speed", "batch_per_call") if params.size.batch_size == 1 => "the batch is one picture",
            ("hires", _) if one_pass => "there is no second pass without hires_scale or a size of it",
            ("image", "strength") if one_pass && !inputs.has_start() => {
                "there is neither a picture to begin at nor a hires pass"
            }
            ("image", "image_cfg_scale") if model.unet_extra != UnetExtra::Image => {
                "this model doesn't edit pictures by instruction"
            }
            ("image", "strength_rule" | "noise_multiplier") if !inputs.has_start() => {
                "there is no picture to begin at"
            }
            ("image", "resize_mode" | "posterior_sample" | "color_correction") if inputs.image.is_none() => {
                "there is no picture to begin at"
            }
            (
                "image",
                "mask_blur"
                | "mask_inverted"
                | "soft_mask"
                | "masked_content"
                | "only_masked"
                | "only_masked_padding",
            ) if inputs.mask.is_none() => "there is no mask",
            _ => continue,
        };
        told.push(format!("{} is not used: {reason}", setting.name));
    }
    told
}
