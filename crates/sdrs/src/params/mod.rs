//! Everything that decides a picture, besides the weights: settings in groups, made from one table.

mod choices;
#[cfg(test)]
mod page;
mod reading;
mod recommended;
mod sampling;
mod setting;
mod table;
mod tiling;
mod value;

use std::ops::RangeInclusive;

use sd_core::{
    models::{FreeU, FreeUVersion},
    prompt::{Emphasis, PromptDialect, PromptOptions, TimeRule},
};
use sd_kernels::Axes;
use sd_sched::{MAX_STEPS, Sampler, Schedule};

pub use choices::{
    ClipSkipRule, EmptyNegativeRule, MaskedContent, ResizeMode, Rng, StrengthRule, TiledDiffusion,
};
pub(crate) use reading::Reading;
pub use recommended::{Given, Recommended};
pub use setting::Setting;
use setting::{
    Pair::{Always, Changed, ChangedIf, Refined, Unwritten},
    Range::{Any, Branch, Layer, Level, Seed, Share, Side, Whole, Within},
};
pub(crate) use table::table;
pub(crate) use tiling::Tiles;
use value::Scalar;
pub use value::{SettingKind, SettingValue, parse_emphasis, parse_prompt_dialect};

use crate::{Error, Result};

macro_rules! groups {
    ($($(#[$about:meta])* $group:ident: $Group:ident {$(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ident $(<$inner:ident>)? = $default:expr, $range:expr, $pair:expr $(, $recommended:ident)?;
    )*})*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq)]
            #[non_exhaustive]
            pub struct $Group {
                $($(#[doc = $doc])* pub $name: $type $(<$inner>)?,)*
            }

            impl Default for $Group {
                fn default() -> Self {
                    Self { $($name: $default,)* }
                }
            }
        )*

        /// Everything that decides a picture, besides the weights. The defaults are the WebUI's.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[non_exhaustive]
        pub struct GenerateParams {
            $($(#[$about])* pub $group: $Group,)*
        }

        static SETTINGS: &[Setting] = &[$($(Setting {
            name: stringify!($name),
            group: stringify!($group),
            kind: <$type $(<$inner>)? as Scalar>::KIND,
            optional: <$type $(<$inner>)? as Scalar>::OPTIONAL,
            recommended: {
                const MARKS: &[&str] = &[$(stringify!($recommended))?];
                !MARKS.is_empty()
            },
            doc: concat!($($doc),*),
            range: $range,
            pair: $pair,
            get: |params| params.$group.$name.value(),
            set: |params, value| {
                params.$group.$name = Scalar::take(stringify!($name), value)?;
                Ok(())
            },
        },)*)*];
    };
}
table!(groups);

/// All settings, group by group.
pub fn settings() -> &'static [Setting] {
    SETTINGS
}

/// The properties of a model that validation needs.
pub(crate) struct Limits {
    /// Pixels of a side for each latent.
    pub downscale: u32,
    /// Side of a picture where none is given.
    pub default_side: u32,
    /// Layers of the text encoder.
    pub layers: usize,
    /// Branches of the U-Net.
    pub branches: usize,
}

/// The largest size that a model may be told of.
const MAX_CONDITION: usize = 65_536;

/// The largest side: well beyond what anyone's memory holds, and far from any overflow.
pub(crate) const MAX_SIDE: u32 = 16_384;

impl GenerateParams {
    /// Checks every value and returns width and height in pixels.
    pub(crate) fn validate(&self, limits: &Limits) -> Result<[u32; 2]> {
        for setting in SETTINGS {
            setting.check(self, limits)?;
        }
        let width = side("width", self.size.width, limits)?;
        let height = side("height", self.size.height, limits)?;
        self.check_seed_resize(limits)?;
        if self.speed.first_block_cache > 0.0 && self.speed.deep_cache_interval > 1 {
            let reason = "can't be used together with deep_cache_interval, which leaves out the same work: leave one of them out";
            return Err(Error::parameter("first_block_cache", reason));
        }
        Ok([width, height])
    }

    /// Height and width in latents of the picture whose noise is kept.
    pub(crate) fn seed_resize(&self, downscale: u32) -> Option<(usize, usize)> {
        let sides = [self.noise.seed_resize_height, self.noise.seed_resize_width];
        let [height, width] = sides.map(|side| (side.unwrap_or(0) / downscale) as usize);
        (height > 0 && width > 0).then_some((height, width))
    }

    /// The factors of FreeU, if any of them acts.
    pub(crate) fn free_u(&self) -> Option<FreeU> {
        let network = &self.network;
        let (backbone, skip) = (
            [network.freeu_b1, network.freeu_b2],
            [network.freeu_s1, network.freeu_s2],
        );
        let version = match network.freeu_version {
            1 => FreeUVersion::One,
            _ => FreeUVersion::Two,
        };
        (backbone != [1.0; 2] || skip != [1.0; 2]).then_some(FreeU {
            backbone,
            skip,
            version,
        })
    }

    /// The axes along which pictures go on at their opposite edges.
    pub(crate) fn wrap(&self) -> Axes {
        Axes {
            rows: self.network.tile_y,
            columns: self.network.tile_x,
        }
    }

    /// Whether guidance perturbs self-attention.
    pub(crate) fn perturbs(&self) -> bool {
        self.guidance.pag_scale != 0.0 || self.guidance.seg_scale != 0.0
    }

    fn check_seed_resize(&self, limits: &Limits) -> Result<()> {
        let (width, height) = (self.noise.seed_resize_width, self.noise.seed_resize_height);
        let least = limits.downscale;
        for (name, side) in [("seed_resize_width", width), ("seed_resize_height", height)] {
            if side.is_some_and(|side| (1..least).contains(&side)) {
                return Err(Error::parameter(
                    name,
                    format!("must be {least} or more, or 0 for none"),
                ));
            }
        }
        match (width.unwrap_or(0), height.unwrap_or(0)) {
            (0, 1..) => Err(Error::parameter(
                "seed_resize_width",
                "is needed with seed_resize_height",
            )),
            (1.., 0) => Err(Error::parameter(
                "seed_resize_height",
                "is needed with seed_resize_width",
            )),
            _ => Ok(()),
        }
    }
}

/// -1, and the seeds of generators.
pub(crate) const SEEDS: RangeInclusive<i128> = -1..=u64::MAX as i128;

/// The seed given, or for -1 32 random bits, which is the range of the seeds that people share.
pub(crate) fn resolve_seed(seed: i128) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library's hash keys are the operating system's random numbers.
    u64::try_from(seed).unwrap_or_else(|_| RandomState::new().build_hasher().finish() & 0xffff_ffff)
}

fn side(name: &'static str, value: Option<u32>, limits: &Limits) -> Result<u32> {
    let f = limits.downscale;
    let value = value.unwrap_or(limits.default_side);
    if value < f || value > MAX_SIDE {
        return Err(Error::parameter(
            name,
            format!("must be {f} to {MAX_SIDE}, not {value}"),
        ));
    }
    if !value.is_multiple_of(f) {
        let below = value / f * f;
        let reason = format!(
            "must be a multiple of {f}: {value} is not; the nearest are {below} and {}",
            below + f
        );
        return Err(Error::parameter(name, reason));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        downscale: 8,
        default_side: 512,
        layers: 12,
        branches: 12,
    };

    fn message(change: impl Fn(&mut GenerateParams)) -> String {
        let mut params = GenerateParams::default();
        change(&mut params);
        params.validate(&LIMITS).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(GenerateParams::default().validate(&LIMITS).unwrap(), [512, 512]);
    }

    #[test]
    fn each_bad_value_is_named() {
        assert_eq!(
            message(|p| p.size.width = Some(515)),
            "width: must be a multiple of 8: 515 is not; the nearest are 512 and 520"
        );
        assert_eq!(
            message(|p| p.size.height = Some(0)),
            "height: must be 8 to 16384, not 0"
        );
        assert_eq!(
            message(|p| p.size.height = Some(u32::MAX)),
            "height: must be 8 to 16384, not 4294967295"
        );
        assert_eq!(
            message(|p| p.sampling.steps = 0),
            "steps: must be 1 to 10000, not 0"
        );
        assert_eq!(
            message(|p| p.noise.seed = -2),
            "seed: must be 0 to 18446744073709551615, or -1 for a random one, not -2"
        );
        assert_eq!(
            message(|p| p.noise.variation_seed = 1 << 64),
            "variation_seed: must be 0 to 18446744073709551615, or -1 for a random one, not 18446744073709551616"
        );
        assert_eq!(
            message(|p| p.size.batch_size = 0),
            "batch_size: must be 1 to 1000, not 0"
        );
        assert_eq!(
            message(|p| p.text.clip_skip = 13),
            "clip_skip: must be 1 to 12, not 13"
        );
        assert_eq!(
            message(|p| p.guidance.cfg_scale = f64::NAN),
            "cfg_scale: must be a number from -1000 to 1000, not NaN"
        );
        assert_eq!(
            message(|p| p.speed.token_merging = 1.5),
            "token_merging: must be 0 to 1, not 1.5"
        );
        assert_eq!(
            message(|p| p.guidance.skip_early_cfg = f64::NAN),
            "skip_early_cfg: must be 0 to 1, not NaN"
        );
        assert_eq!(
            message(|p| p.guidance.ngms = -1.0),
            "ngms: must be a number from 0 on, not -1"
        );
        assert_eq!(
            message(|p| p.guidance.guidance_sigma_max = Some(f64::INFINITY)),
            "guidance_sigma_max: must be a number from 0 on, not inf"
        );
        assert_eq!(
            message(|p| p.guidance.guidance_rescale = 1.5),
            "guidance_rescale: must be 0 to 1, not 1.5"
        );
        assert_eq!(
            message(|p| p.guidance.mimic_scale = Some(f64::NAN)),
            "mimic_scale: must be a number from -1000 to 1000, not NaN"
        );
        assert_eq!(
            message(|p| p.noise.seed_resize_width = Some(512)),
            "seed_resize_height: is needed with seed_resize_width"
        );
        assert_eq!(
            message(|p| p.noise.seed_resize_height = Some(7)),
            "seed_resize_height: must be 8 or more, or 0 for none"
        );
        assert_eq!(
            message(|p| p.noise.seed_resize_height = Some(20_000)),
            "seed_resize_height: must be 0 to 16384, not 20000"
        );
        assert_eq!(
            message(|p| p.speed.deep_cache_interval = 0),
            "deep_cache_interval: must be 1 to 10000, not 0"
        );
        assert_eq!(
            message(|p| p.speed.deep_cache_branch = 12),
            "deep_cache_branch: must be 0 to 11, not 12"
        );
        assert_eq!(
            message(|p| p.guidance.adaptive_guidance = 1.01),
            "adaptive_guidance: must be 0 to 1, not 1.01"
        );
        assert_eq!(
            message(|p| (p.speed.first_block_cache, p.speed.deep_cache_interval) = (0.1, 2)),
            "first_block_cache: can't be used together with deep_cache_interval, which leaves out the same work: leave one of them out"
        );
    }
}
