//! What becomes of a picture before a vision model sees it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    others::{Others, Plain},
    parse, within,
};
use crate::{Error, Result};

/// How a picture becomes what a vision model sees: resized, cropped, and brought to the mean and deviation of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparation {
    /// Pixels of the side of the square that is seen.
    pub side: usize,
    /// What is done about other proportions.
    pub fit: Fit,
    /// Whether what is transparent becomes white, as in transformers 5, or keeps the colours that it has beneath.
    pub over_white: bool,
    /// Pillow's number of the filter: 3 for bicubic.
    pub filter: u8,
    /// What is taken from red, green and blue, of values 0 to 1.
    pub mean: [f32; 3],
    /// What they are divided by then.
    pub std: [f32; 3],
}

/// What is done about a picture's proportions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Nothing: it is stretched.
    Stretch,
    /// Its shorter side becomes `edge` pixels, and the middle is cut out.
    Crop {
        /// Pixels of the shorter side.
        edge: usize,
        /// Where the middle begins if it lies between two pixels: at the lower one as in transformers, or at the even one as in torchvision,
        /// which also resizes a picture with its alpha.
        torchvision: bool,
    },
}

/// OpenAI's mean and deviation, which all models here were trained with.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

const BICUBIC: u8 = 3;

static OTHERS: Others = Others {
    only: &[
        ("do_resize", &[Plain::Bool(true)]),
        ("do_rescale", &[Plain::Bool(true)]),
        ("do_normalize", &[Plain::Bool(true)]),
        ("do_convert_rgb", &[Plain::Bool(true)]),
        ("do_pad", &[Plain::Bool(false)]),
    ],
    harmless: &[
        "crop_pct",
        "data_format",
        "default_to_square",
        "device",
        "disable_grouping",
        "feature_extractor_type",
        "image_processor_type",
        "image_seq_length",
        "input_data_format",
        "pad_size",
        "processor_class",
        "return_tensors",
        "size_divisor",
    ],
};

#[derive(Deserialize)]
#[serde(default)]
struct File {
    size: Option<Size>,
    crop_size: Option<Size>,
    do_center_crop: Option<bool>,
    resample: u8,
    rescale_factor: f64,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

impl Default for File {
    fn default() -> Self {
        Self {
            size: None,
            crop_size: None,
            do_center_crop: None,
            resample: BICUBIC,
            rescale_factor: 1.0 / 255.0,
            image_mean: MEAN,
            image_std: STD,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(
    untagged,
    expecting = "expected a number of pixels, shortest_edge, or height and width"
)]
enum Size {
    Edge(usize),
    Shortest { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Preparation {
    /// CLIP's, as transformers does it or as torchvision does it for OpenAI's code and open_clip.
    pub fn clip(side: usize, torchvision: bool) -> Self {
        Self {
            side,
            fit: Fit::Crop {
                edge: side,
                torchvision,
            },
            over_white: !torchvision,
            filter: BICUBIC,
            mean: MEAN,
            std: STD,
        }
    }

    /// BLIP's, as transformers does it or as its authors do.
    pub fn blip(side: usize, original: bool) -> Self {
        Self {
            fit: Fit::Stretch,
            ..Self::clip(side, original)
        }
    }

    /// Reads transformers' `preprocessor_config.json`, or `processor_config.json` with it inside; `origin` names it in errors. `usual` is what
    /// fields that it leaves out mean.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not such a file, [`Error::Config`] for a preparation that is not known here, or that doesn't give pictures
    /// of the model's size.
    pub fn from_json(json: &str, origin: &str, usual: &Self) -> Result<Self> {
        let all: Map<String, Value> = parse(json, origin, &mut |_| {})?;
        let inside = all.get("image_processor").map(Value::to_string);
        let file: File = OTHERS.parse(inside.as_deref().unwrap_or(json), origin)?;
        let fail = |field: &str, reason: String| Err(Error::config(origin, field, reason));
        let crops = file
            .do_center_crop
            .unwrap_or(matches!(usual.fit, Fit::Crop { .. }));
        let (fit, side) = match (file.size, crops) {
            (None, false) => (Fit::Stretch, usual.side),
            (Some(Size::Both { height, width }), false) if height == width => (Fit::Stretch, width),
            (Some(Size::Edge(side)), false) => (Fit::Stretch, side),
            (size, true) => {
                let edge = match size {
                    None => usual.side,
                    Some(Size::Edge(edge) | Size::Shortest { shortest_edge: edge }) => edge,
                    Some(Size::Both { .. }) => {
                        return fail("size", "shortest_edge is expected where a crop follows".into());
                    }
                };
                let side = match file.crop_size {
                    None => usual.side,
                    Some(Size::Edge(side)) => side,
                    Some(Size::Both { height, width }) if height == width => width,
                    Some(_) => return fail("crop_size", "a square's height and width are expected".into()),
                };
                let torchvision = false;
                (Fit::Crop { edge, torchvision }, side)
            }
            _ => return fail("size", "a square's height and width are expected".into()),
        };
        within(side, usual.side..=usual.side, origin, "size")?;
        if let Fit::Crop { edge, .. } = fit {
            within(edge, side..=65_535, origin, "size")?;
        }
        within(file.resample.into(), 0..=5, origin, "resample")?;
        if (file.rescale_factor * 255.0 - 1.0).abs() > 1e-6 {
            return fail("rescale_factor", "must be 1/255".into());
        }
        let finite = file.image_mean.iter().all(|v| v.is_finite());
        if !finite || !file.image_std.iter().all(|v| v.is_finite() && *v > 0.0) {
            return fail(
                "image_std",
                "means must be numbers, and deviations be over 0".into(),
            );
        }
        Ok(Self {
            side,
            fit,
            over_white: true,
            filter: file.resample,
            mean: file.image_mean,
            std: file.image_std,
        })
    }

    /// Red, green and blue of a pixel as the model sees them.
    pub fn normalised(&self, rgb: [u8; 3]) -> [f32; 3] {
        std::array::from_fn(|i| (f32::from(rgb[i]) / 255.0 - self.mean[i]) / self.std[i])
    }
}
