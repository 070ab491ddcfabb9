//! The structure of an upscaler, read off the names and shapes of its tensors.

use std::collections::HashSet;

use super::names::{Layout, UpscalerNames};
use crate::{Error, Result, weights::TensorFile};

/// The sizes of a network that enlarges pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpscalerStructure {
    /// Channels of a picture, in and out: 3, or 1 of a grey one.
    pub channels: usize,
    /// Pixels of a side of the result for each of the picture.
    pub factor: usize,
    /// Channels between layers.
    pub width: usize,
    /// What the network is made of.
    pub kind: UpscalerKind,
}

/// The kinds of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpscalerKind {
    /// ESRGAN's residual-in-residual dense blocks (Wang et al. 2018, arXiv:1809.00219), and Real-ESRGAN's (Wang et al. 2021,
    /// arXiv:2107.10833), which sees squares of pixels as channels where it enlarges less.
    Rrdb {
        /// Blocks of three dense blocks.
        blocks: usize,
        /// Channels that a dense block's layer adds.
        growth: usize,
        /// Times that the side is doubled.
        doublings: usize,
        /// The side of the square of pixels that becomes one pixel's channels first: 1, 2 or 4.
        unshuffle: usize,
    },
    /// Real-ESRGAN's compact network: convolutions at the picture's size, and squares of pixels made of channels at the end.
    Compact {
        /// Convolutions, the first and the last included.
        convolutions: usize,
    },
}

/// What trainers put around the weights, the averaged ones first.
const NESTS: [&str; 4] = ["params_ema.", "params.", "model.", "generator."];

/// A larger factor, or more blocks, has no network.
const MOST: usize = 16;
const MOST_BLOCKS: usize = 1000;

impl UpscalerStructure {
    /// The structure of a file's network.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no such network.
    pub fn of(file: &TensorFile) -> Result<Self> {
        Self::named(file).map(|(structure, _)| structure)
    }

    /// The same, with the names that the network's parameters have in the file.
    pub(super) fn named(file: &TensorFile) -> Result<(Self, UpscalerNames)> {
        let fail = |reason: String| Error::malformed(file.origin(), reason);
        let has = |prefix: &str, name: &str| file.info(&format!("{prefix}{name}")).is_some();
        let found = [""].iter().chain(&NESTS).find_map(|prefix| {
            let found = |layout: &Layout| has(prefix, layout.mark());
            Some((*prefix, Layout::ALL.into_iter().find(found)?))
        });
        let (prefix, layout) = found.ok_or_else(|| {
            fail(
                "no upscaler of a known structure: ESRGAN, Real-ESRGAN (RRDBNet) and its compact network (SRVGGNetCompact) can be read"
                    .into(),
            )
        })?;
        let inside: HashSet<&str> = file
            .names()
            .filter_map(|name| name.strip_prefix(prefix))
            .collect();
        let count = |name: &dyn Fn(usize) -> String| {
            let all = (0..MOST_BLOCKS).take_while(|i| inside.contains(name(*i).as_str()));
            all.count()
        };
        let mut names = UpscalerNames {
            prefix,
            layout,
            blocks: 0,
            doublings: 0,
        };
        let shape = |names: &UpscalerNames, canonical: &str| -> Result<[usize; 4]> {
            let name = names.stored(canonical);
            let info = file
                .info(&name)
                .ok_or_else(|| fail(format!("the upscaler lacks {name}")))?;
            <[usize; 4]>::try_from(info.shape.as_slice())
                .ok()
                .filter(|shape| !shape.contains(&0))
                .ok_or_else(|| fail(format!("{name}: shape {:?} is no convolution's", info.shape)))
        };
        let misfit = |inputs: usize, outputs: usize| {
            let reason = format!(
                "the upscaler makes {outputs} channels of {inputs}: only pictures of 3 channels or 1 can be enlarged, by 1 to {MOST}"
            );
            Err(fail(reason))
        };
        if layout == Layout::Compact {
            // Convolutions have even numbers, their slopes odd ones.
            let convolutions = count(&|i| format!("body.{}.weight", 2 * i));
            let [width, inputs, ..] = shape(&names, "body.0.weight")?;
            let last = format!("body.{}.weight", 2 * convolutions - 2);
            let [outputs, ..] = shape(&names, &last)?;
            let factor = (1..=MOST).find(|f| inputs * f * f == outputs);
            return match (inputs, factor) {
                (1 | 3, Some(factor)) if convolutions > 1 => Ok((
                    Self {
                        channels: inputs,
                        factor,
                        width,
                        kind: UpscalerKind::Compact { convolutions },
                    },
                    names,
                )),
                _ => misfit(inputs, outputs),
            };
        }
        names.blocks = count(&|i| names.inside(&format!("body.{i}.rdb1.conv1.weight")));
        names.doublings = match layout {
            // The numbers of the last layers follow from how often the side is doubled.
            Layout::Esrgan => count(&|i| format!("model.{}.weight", 3 * i + 3)).min(4),
            _ => count(&|i| names.inside(&format!("conv_up{}.weight", i + 1))),
        };
        if layout == Layout::Esrgan {
            let ends = |n: usize| inside.contains(format!("model.{}.weight", 4 + 3 * n).as_str());
            names.doublings = (0..=4).find(|n| ends(*n)).unwrap_or(names.doublings);
        }
        let [width, inputs, ..] = shape(&names, "conv_first.weight")?;
        let [growth, ..] = shape(&names, "body.0.rdb1.conv1.weight")?;
        let [outputs, ..] = shape(&names, "conv_last.weight")?;
        let unshuffle = [1, 2, 4].into_iter().find(|side| outputs * side * side == inputs);
        let doubled = 1 << names.doublings;
        match (outputs, unshuffle) {
            (1 | 3, Some(unshuffle)) if doubled >= unshuffle && doubled <= MOST => Ok((
                Self {
                    channels: outputs,
                    factor: doubled / unshuffle,
                    width,
                    kind: UpscalerKind::Rrdb {
                        blocks: names.blocks,
                        growth,
                        doublings: names.doublings,
                        unshuffle,
                    },
                },
                names,
            )),
            _ => misfit(inputs, outputs),
        }
    }

    /// The multiple that a picture's sides must be of.
    pub fn multiple(&self) -> usize {
        match self.kind {
            UpscalerKind::Rrdb { unshuffle, .. } => unshuffle,
            UpscalerKind::Compact { .. } => 1,
        }
    }

    /// How many pixels of the picture to each side a pixel of the result may depend on.
    pub fn reach(&self) -> usize {
        match self.kind {
            // Five convolutions in a dense block; first and last ones besides, those behind a doubling counted in full.
            UpscalerKind::Rrdb {
                blocks, unshuffle, ..
            } => (15 * blocks + 6) * unshuffle,
            UpscalerKind::Compact { convolutions } => convolutions,
        }
    }

    /// What it is called: its kind, factor and sizes.
    pub fn describe(&self) -> String {
        match self.kind {
            UpscalerKind::Rrdb { blocks, .. } => {
                format!(
                    "RRDBNet x{}, {blocks} blocks of width {}",
                    self.factor, self.width
                )
            }
            UpscalerKind::Compact { convolutions } => {
                format!(
                    "compact x{}, {convolutions} convolutions of width {}",
                    self.factor, self.width
                )
            }
        }
    }
}
