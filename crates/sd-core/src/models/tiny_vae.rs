//! The tiny autoencoder of Stable Diffusion, TAESD (madebyollin), as diffusers' `AutoencoderTiny` and in the original files: latents of the
//! U-Net to pictures, a hundred times as fast as the KL autoencoder, nearly as good.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use burn_tensor::{DType, Tensor};
use sd_kernels::{Conv2d, ConvExtras, ConvShape, Padding, Quantization};

use super::{
    memory::Size,
    nn::{channels_first, channels_last},
};
use crate::{
    Dtype, Error, Result,
    weights::{
        Params, PartWeights, Target, TensorFile, load,
        names::{Names, Spelling},
    },
};

/// The tiny autoencoder, or one half of it, where the file holds no more. Its latents are the U-Net's.
pub struct TinyVae {
    origin: String,
    target: Target,
    encoder: Option<Half>,
    decoder: Option<Half>,
    weight_bytes: usize,
}

/// Layers one after another, and the channels that go in.
struct Half {
    inputs: usize,
    layers: Vec<Layer>,
    /// The channels that go into each layer, those that come out, and its stride.
    sizes: Vec<([usize; 2], usize)>,
}

enum Layer {
    Conv(Conv2d),
    /// Pixels are repeated, twice in both directions, then convolved.
    Upsample(Conv2d),
    Block(Box<Block>),
}

/// Three convolutions around a shortcut.
struct Block {
    convolutions: [Conv2d; 3],
    skip: Option<Conv2d>,
}

/// The kinds of layers that have weights, with their numbers in the file.
#[derive(Clone, Copy)]
enum Kind {
    Conv,
    Upsample,
    Halve,
    Block,
}

/// One half's place in a file: what stands before the numbers of its layers, and these.
#[derive(Clone)]
struct Place {
    prefix: &'static str,
    numbers: Vec<usize>,
}

/// More layers than any half has.
const MOST_LAYERS: usize = 200;

impl TinyVae {
    /// Whether a file holds one, by the names of its tensors.
    pub fn is_in(file: &TensorFile) -> bool {
        let names = TinyNames::of(file);
        names.encoder.is_some() || names.decoder.is_some()
    }

    /// Its file, or the name given with the bytes.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it can encode: whether its file holds the encoder.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if not.
    pub fn can_encode(&self) -> Result<()> {
        self.half(&self.encoder, "encoder").map(drop)
    }

    /// Loads a file: diffusers' `AutoencoderTiny`, or the encoder or decoder of the original; safetensors, or what PyTorch saves.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Malformed`] if it can't be read or is no such autoencoder, [`Error::Weights`] if tensors don't fit.
    pub fn open(path: &Path, target: &Target) -> Result<Self> {
        Self::load(TensorFile::open(path)?, target)
    }

    /// Loads a file that is open.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no such autoencoder, [`Error::Weights`] if tensors don't fit.
    pub fn load(file: TensorFile, target: &Target) -> Result<Self> {
        let origin = file.origin().to_owned();
        let weight_bytes = Self::weight_bytes_of(&file, target);
        let names = TinyNames::of(&file);
        if names.encoder.is_none() && names.decoder.is_none() {
            let reason = "no tiny autoencoder (TAESD); diffusers' AutoencoderTiny, taesd_encoder and taesd_decoder can be read";
            return Err(Error::malformed(origin, reason));
        }
        let (encoder, decoder) = (names.encoder.clone(), names.decoder.clone());
        let weights = PartWeights::alone(
            format!("tiny autoencoder {origin}"),
            vec![Arc::new(file)],
            Arc::new(names),
        );
        let half = |p: &Params, name: &str, place: &Option<Place>| {
            let place = place.as_ref()?;
            Some(Half::new(
                &p.at(name).at("layers"),
                &weights,
                place,
                name == "decoder",
            ))
        };
        let (encoder, decoder) = load(&weights, target, |p| {
            (half(p, "encoder", &encoder), half(p, "decoder", &decoder))
        })?;
        Ok(Self {
            origin,
            target: target.clone(),
            encoder,
            decoder,
            weight_bytes,
        })
    }

    /// Bytes that its weights take.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes that a file's weights take when they are loaded.
    pub fn weight_bytes_of(file: &TensorFile, target: &Target) -> usize {
        let shapes = file.names().filter_map(|name| Some(&file.info(name)?.shape));
        let values: usize = shapes.map(|shape| shape.iter().product::<usize>()).sum();
        values * target.dtype.size()
    }

    /// Bytes that it has in use at once when it decodes one latent of `h` by `w`.
    pub fn decoder_bytes(&self, sides: [usize; 2]) -> usize {
        let half = self.decoder.as_ref();
        half.map_or(0, |half| half.bytes(self.target.dtype, sides))
    }

    /// The same when it encodes one picture to such a latent.
    pub fn encoder_bytes(&self, sides: [usize; 2]) -> usize {
        let (half, factor) = (self.encoder.as_ref(), self.factor().unwrap_or(1));
        half.map_or(0, |half| {
            half.bytes(self.target.dtype, sides.map(|side| factor * side))
        })
    }

    /// Channels of its latents.
    pub fn latent_channels(&self) -> Option<usize> {
        self.decoder.as_ref().map(|decoder| decoder.inputs)
    }

    /// Pixels of a picture's side that one latent stands for.
    pub fn factor(&self) -> Option<usize> {
        let doubles = |layer: &&Layer| matches!(layer, Layer::Upsample(_));
        self.decoder
            .as_ref()
            .map(|decoder| 1 << decoder.layers.iter().filter(doubles).count().min(16))
    }

    /// Whether it can decode: whether its file holds the decoder.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if not.
    pub fn can_decode(&self) -> Result<()> {
        self.half(&self.decoder, "decoder").map(drop)
    }

    fn half<'a>(&self, half: &'a Option<Half>, name: &str) -> Result<&'a Half> {
        half.as_ref().ok_or_else(|| Error::Incomplete {
            origin: self.origin.clone(),
            reason: format!("has no {name}; give the file that has, such as taesd_{name}.safetensors"),
        })
    }

    /// Decodes latents of the U-Net, `[batch, c, h, w]`, to pictures `[batch, 3, 8 h, 8 w]`, values about -1 to 1, in `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other channels, [`Error::Incomplete`] if it has no decoder.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<4>> {
        /// Latents beyond are brought near it.
        const MAGNITUDE: f64 = 3.0;
        let decoder = self.half(&self.decoder, "decoder")?;
        let latents = (latents.cast(DType::F32) / MAGNITUDE).tanh() * MAGNITUDE;
        Ok(self.run(decoder, "latents", latents)? * 2.0 - 1.0)
    }

    /// Encodes pictures `[batch, 3, h, w]`, values -1 to 1, to latents of the U-Net, an eighth of the side.
    ///
    /// # Errors
    /// [`Error::Shape`] for other channels, [`Error::Incomplete`] if it has no encoder.
    pub fn encode(&self, pictures: Tensor<4>) -> Result<Tensor<4>> {
        let encoder = self.half(&self.encoder, "encoder")?;
        self.run(encoder, "pictures", (pictures.cast(DType::F32) + 1.0) / 2.0)
    }

    fn run(&self, half: &Half, name: &'static str, x: Tensor<4>) -> Result<Tensor<4>> {
        let [batch, c, h, w] = x.dims();
        if c != half.inputs || batch * h * w == 0 {
            return Err(Error::Shape {
                name,
                expected: format!("[batch, {}, h, w]", half.inputs),
                got: x.dims().to_vec(),
            });
        }
        let x = channels_last(x.cast(self.target.dtype.burn()));
        let y = half.layers.iter().fold(x, |x, layer| layer.forward(x));
        Ok(channels_first(y).cast(DType::F32))
    }
}

impl Half {
    fn new(p: &Params, weights: &PartWeights, place: &Place, decodes: bool) -> Self {
        let shape = |name: &str| {
            let stored = weights.find(&format!("{}.layers.{name}", half_name(decodes)));
            let shape = stored.map(|stored| stored.shape()).unwrap_or_default();
            [0, 1].map(|i| shape.get(i).copied().unwrap_or(1))
        };
        let has = |name: &str| {
            weights
                .find(&format!("{}.layers.{name}", half_name(decodes)))
                .is_some()
        };
        let first = place.numbers[0];
        let [_, inputs] = shape(&format!("{first}.weight"));
        let mut channels = inputs;
        let (mut layers, mut all_sizes) = (Vec::new(), Vec::new());
        for (i, &number) in place.numbers.iter().enumerate() {
            let ends = i == 0 || i + 1 == place.numbers.len();
            let kind = match has(&format!("{number}.conv.0.weight")) {
                true => Kind::Block,
                false if ends => Kind::Conv,
                false if decodes => Kind::Upsample,
                false => Kind::Halve,
            };
            let weight = match kind {
                Kind::Block => format!("{number}.conv.0.weight"),
                _ => format!("{number}.weight"),
            };
            let [outputs, _] = shape(&weight);
            let here = p.at(number);
            let sizes = [channels, outputs];
            layers.push(match kind {
                // Of all convolutions that stand alone, the decoder's first has an activation.
                Kind::Conv => Layer::Conv(conv(&here, sizes, 3, 1, true, decodes && i == 0)),
                Kind::Upsample => Layer::Upsample(conv(&here, sizes, 3, 1, false, false)),
                Kind::Halve => Layer::Conv(conv(&here, sizes, 3, 2, false, false)),
                Kind::Block => Layer::Block(Box::new(Block {
                    convolutions: [0, 2, 4].map(|j| {
                        let sizes = [if j == 0 { channels } else { outputs }, outputs];
                        conv(&here.at("conv").at(j), sizes, 3, 1, true, true)
                    }),
                    skip: (channels != outputs).then(|| conv(&here.at("skip"), sizes, 1, 1, false, false)),
                })),
            });
            all_sizes.push((sizes, if matches!(kind, Kind::Halve) { 2 } else { 1 }));
            channels = outputs;
        }
        Self {
            inputs,
            layers,
            sizes: all_sizes,
        }
    }

    /// Bytes that are in use at once for one input of `h` by `w`.
    fn bytes(&self, dtype: Dtype, [h, w]: [usize; 2]) -> usize {
        let mut size = Size::new(dtype, Quantization::None, [1, h, w]);
        let mut most = 0;
        for (layer, &([input, output], stride)) in self.layers.iter().zip(&self.sizes) {
            let [_, h, w] = size.shape;
            let (after, held) = match layer {
                Layer::Conv(_) => (size.sized([1, h.div_ceil(stride), w.div_ceil(stride)]), 0),
                Layer::Upsample(_) => (size.sized([1, 2 * h, 2 * w]), 0),
                // What is added in the end, and what the middle convolution makes.
                Layer::Block(_) => (size, size.of(output)),
            };
            let room = size.of(input) + held + after.of(output) + after.conv(input, output);
            most = most.max(room);
            size = after;
        }
        most
    }
}

fn half_name(decodes: bool) -> &'static str {
    if decodes { "decoder" } else { "encoder" }
}

/// A convolution, with ReLU behind all else if `active`.
fn conv(
    p: &Params,
    [input, output]: [usize; 2],
    kernel: usize,
    stride: usize,
    biased: bool,
    active: bool,
) -> Conv2d {
    let shape = ConvShape {
        stride,
        padding: Padding::Even(kernel / 2),
    };
    p.layer(|p| {
        let weight = p.tensor("weight", [output, input, kernel, kernel]);
        let bias = biased.then(|| p.tensor("bias", [output]));
        let layer = Conv2d::new(weight, bias, shape, p.quantization());
        match active {
            true => layer.with_slopes(Tensor::zeros([output], (p.device().burn(), DType::F32))),
            false => layer,
        }
    })
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let plain = |conv: &Conv2d, x| conv.forward(x, ConvExtras::default());
        match self {
            Self::Conv(conv) => plain(conv, x),
            Self::Upsample(conv) => {
                let [_, h, w, _] = x.dims();
                let extras = ConvExtras {
                    upsample: Some([2 * h, 2 * w]),
                    ..ConvExtras::default()
                };
                conv.forward(x, extras)
            }
            Self::Block(block) => {
                let [first, second, third] = &block.convolutions;
                let residual = match &block.skip {
                    Some(skip) => plain(skip, x.clone()),
                    None => x.clone(),
                };
                let extras = ConvExtras {
                    residual: Some(residual),
                    ..ConvExtras::default()
                };
                third.forward(plain(second, plain(first, x)), extras)
            }
        }
    }
}

/// The names of a tiny autoencoder's parameters in a file. Canonical are diffusers'.
struct TinyNames {
    encoder: Option<Place>,
    decoder: Option<Place>,
}

impl TinyNames {
    fn of(file: &TensorFile) -> Self {
        let names: BTreeSet<&str> = file.names().collect();
        let whole = |prefix: &'static str| Place::of(&names, prefix);
        let encoder = ["encoder.layers.", "taesd_encoder."].into_iter().find_map(whole);
        let decoder = ["decoder.layers.", "taesd_decoder."].into_iter().find_map(whole);
        let bare = || whole("").map(|place| (place.numbers[0] == 0, place));
        match (encoder, decoder) {
            // In the original's files the decoder's first layer, which bounds latents, has no weights.
            (None, None) => match bare() {
                Some((true, place)) => Self {
                    encoder: Some(place),
                    decoder: None,
                },
                Some((false, place)) => Self {
                    encoder: None,
                    decoder: Some(place),
                },
                None => Self {
                    encoder: None,
                    decoder: None,
                },
            },
            (encoder, decoder) => Self { encoder, decoder },
        }
    }
}

impl Place {
    /// The layers behind a prefix, if there are blocks among them.
    fn of(names: &BTreeSet<&str>, prefix: &'static str) -> Option<Self> {
        let has = |number: usize, leaf: &str| names.contains(format!("{prefix}{number}.{leaf}").as_str());
        let block = |number: &usize| has(*number, "conv.0.weight");
        let numbers: Vec<usize> = (0..MOST_LAYERS)
            .filter(|number| has(*number, "weight") || block(number))
            .collect();
        let stands_alone = |number: Option<&usize>| number.is_some_and(|number| has(*number, "weight"));
        let fits = stands_alone(numbers.first()) && stands_alone(numbers.last()) && numbers.iter().any(block);
        fits.then_some(Self { prefix, numbers })
    }
}

impl Names for TinyNames {
    fn spellings(&self, canonical: &str) -> Vec<Spelling> {
        let halves = [
            ("encoder.layers.", &self.encoder),
            ("decoder.layers.", &self.decoder),
        ];
        let spelt = halves.into_iter().find_map(|(beginning, place)| {
            let rest = canonical.strip_prefix(beginning)?;
            Some(format!("{}{rest}", place.as_ref()?.prefix))
        });
        vec![spelt.unwrap_or_else(|| canonical.to_owned()).into()]
    }

    fn claims(&self, _: &str) -> bool {
        true
    }
}
