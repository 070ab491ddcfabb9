//! The names of an upscaler's parameters in its layouts. Real-ESRGAN's are the canonical ones.

use crate::weights::names::{Names, Spelling};

/// The layouts of upscalers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `conv_first`, `body.0.rdb1.conv1`: BasicSR's RRDBNet.
    RealEsrgan,
    /// `model.0`, `model.1.sub.0.RDB1.conv1.0`: the first ESRGAN, all numbers.
    Esrgan,
    /// `RRDB_trunk.0.RDB1.conv1`: ESRGAN's later names, and BSRGAN's.
    Trunk,
    /// `body.0`, `body.1`: SRVGGNetCompact.
    Compact,
}

impl Layout {
    pub const ALL: [Self; 4] = [Self::RealEsrgan, Self::Esrgan, Self::Trunk, Self::Compact];

    /// A tensor that no other layout has.
    pub fn mark(self) -> &'static str {
        match self {
            Self::RealEsrgan => "body.0.rdb1.conv1.weight",
            Self::Esrgan => "model.1.sub.0.RDB1.conv1.0.weight",
            Self::Trunk => "RRDB_trunk.0.RDB1.conv1.weight",
            Self::Compact => "body.0.weight",
        }
    }
}

/// The spelling of an upscaler's parameters in a file.
#[derive(Debug, Clone, Copy)]
pub struct UpscalerNames {
    /// What stands before all of them.
    pub(super) prefix: &'static str,
    pub(super) layout: Layout,
    pub(super) blocks: usize,
    pub(super) doublings: usize,
}

impl UpscalerNames {
    /// The name behind the prefix.
    pub(super) fn inside(&self, canonical: &str) -> String {
        let (layer, leaf) = canonical.rsplit_once('.').unwrap_or((canonical, ""));
        let layer = match self.layout {
            Layout::RealEsrgan | Layout::Compact => layer.to_owned(),
            Layout::Esrgan => self.numbered(layer),
            Layout::Trunk => trunk(layer),
        };
        format!("{layer}.{leaf}")
    }

    pub(super) fn stored(&self, canonical: &str) -> String {
        format!("{}{}", self.prefix, self.inside(canonical))
    }

    /// A layer's number in the first ESRGAN: the first convolution, the blocks with the one behind them, three entries for each doubling,
    /// and the last two with an activation between.
    fn numbered(&self, layer: &str) -> String {
        match layer {
            "conv_first" => "model.0".into(),
            "conv_body" => format!("model.1.sub.{}", self.blocks),
            "conv_hr" => format!("model.{}", 2 + 3 * self.doublings),
            "conv_last" => format!("model.{}", 4 + 3 * self.doublings),
            _ => match (layer.strip_prefix("conv_up"), layer.strip_prefix("body.")) {
                (Some(number), _) => format!("model.{}", 3 * number.parse().unwrap_or(0)),
                (_, Some(inner)) => format!("model.1.sub.{}.0", inner.replace("rdb", "RDB")),
                _ => layer.to_owned(),
            },
        }
    }
}

fn trunk(layer: &str) -> String {
    match layer {
        "conv_body" => "trunk_conv".into(),
        "conv_hr" => "HRconv".into(),
        _ => match (layer.strip_prefix("conv_up"), layer.strip_prefix("body.")) {
            (Some(number), _) => format!("upconv{number}"),
            (_, Some(inner)) => format!("RRDB_trunk.{}", inner.replace("rdb", "RDB")),
            _ => layer.to_owned(),
        },
    }
}

impl Names for UpscalerNames {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        vec![self.stored(canonical).into()]
    }

    fn claims(&self, stored: &str) -> bool {
        stored.starts_with(self.prefix)
    }
}
