use sdrs::GenerateParams;

use crate::txt2img::set;

/// What a run leaves out to be faster; the picture becomes another.
#[derive(clap::Args)]
#[command(next_help_heading = "Faster, for another picture")]
pub struct Shortcuts {
    /// Negative guidance minimum sigma: leave the negative prompt out of every second call below this noise level.
    #[arg(long, value_name = "SIGMA")]
    ngms: Option<f64>,
    /// Do so in every call.
    #[arg(long)]
    ngms_all_steps: bool,
    /// Leave the negative prompt out of this share of the steps, at the beginning.
    #[arg(long, value_name = "0..1")]
    skip_early_cfg: Option<f64>,
    /// Leave the negative prompt out at this noise level and below.
    #[arg(long, value_name = "SIGMA")]
    guidance_sigma_min: Option<f64>,
    /// Leave the negative prompt out above this noise level.
    #[arg(long, value_name = "SIGMA")]
    guidance_sigma_max: Option<f64>,
    /// Merge this share of the pixels with others where they look at each other; 0.5 is much.
    #[arg(long, value_name = "0..1")]
    token_merging: Option<f64>,
    /// Compute the whole U-Net only every N steps, in between its outermost layers (DeepCache).
    #[arg(long, value_name = "N")]
    deep_cache_interval: Option<usize>,
    /// How many layers are computed in between: those up to this branch, 0 is the outermost [default: 0].
    #[arg(long, value_name = "N")]
    deep_cache_branch: Option<usize>,
}

impl Shortcuts {
    pub fn apply(&self, params: &mut GenerateParams) {
        set(&mut params.ngms, &self.ngms);
        params.ngms_all_steps |= self.ngms_all_steps;
        set(&mut params.skip_early_cfg, &self.skip_early_cfg);
        set(&mut params.guidance_sigma_min, &self.guidance_sigma_min);
        params.guidance_sigma_max = self.guidance_sigma_max.or(params.guidance_sigma_max);
        set(&mut params.token_merging, &self.token_merging);
        set(&mut params.deep_cache_interval, &self.deep_cache_interval);
        set(&mut params.deep_cache_branch, &self.deep_cache_branch);
    }
}
