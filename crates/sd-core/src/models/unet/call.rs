//! Evaluating the U-Net, or as much of it as is asked for.

use burn_tensor::{Tensor, TensorData};
use sd_kernels::{Activation, ConvExtras, Linear};

use super::{
    super::{
        nn::{channels_first, channels_last},
        resnet::{Downsample, Upsample},
    },
    Deep, DeepFeatures, Layer, Middle, TextMemory, Transformer, UNet, UnetCall, UnetOptions,
};
use crate::{Error, Result, config::UnetConfig};

impl UNet {
    /// One evaluation.
    ///
    /// `latents` is `[batch, in_channels, h, w]` in any float type, `timesteps` has one value (0 to 1000, fractions allowed) for each
    /// row, `context` is `[batch, m, cross_attention_dim]`, `added` is `[batch, added_width]` for the families that have it (SDXL).
    /// The prediction is `[batch, out_channels, h, w]` in `f32`.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument's shape is not as above.
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timesteps: &[f64],
        context: Tensor<3>,
        added: Option<Tensor<2>>,
    ) -> Result<Tensor<4>> {
        self.check(&latents, timesteps, added.as_ref())?;
        let memory = self.remember(context)?;
        let call = self.forward_with(latents, timesteps, &memory, added, UnetOptions::default())?;
        Ok(call.prediction)
    }

    /// What cross-attention has to know of a context, `[batch, m, cross_attention_dim]`, at any timestep.
    ///
    /// # Errors
    /// [`Error::Shape`] if its shape is not as above.
    pub fn remember(&self, context: Tensor<3>) -> Result<TextMemory> {
        let [rows, m, width] = context.dims();
        if rows * m == 0 || width != self.config.cross_attention_dim {
            let expected = format!("[batch, tokens, {}], none 0", self.config.cross_attention_dim);
            return shape_error("context", expected, &context.dims());
        }
        let context = context.cast(self.target.dtype.burn());
        let layers = self.transformers().map(|t| t.0.memory(&context));
        Ok(TextMemory {
            rows,
            layers: layers.collect(),
        })
    }

    /// [`forward`](Self::forward) for a context that is remembered, leaving out what `options` say.
    ///
    /// # Errors
    /// [`Error::Shape`] if an argument's shape is not as described there, `memory` is of another network or batch, or
    /// [`Deep::Reuse`] is given features of another size or branch.
    pub fn forward_with(
        &self,
        latents: Tensor<4>,
        timesteps: &[f64],
        memory: &TextMemory,
        added: Option<Tensor<2>>,
        options: UnetOptions,
    ) -> Result<UnetCall> {
        let [batch, ..] = latents.dims();
        self.check(&latents, timesteps, added.as_ref())?;
        if memory.rows != batch || memory.layers.len() != self.transformers().count() {
            let expected = format!("of this network and {batch} rows");
            return shape_error("text memory", expected, &[memory.rows]);
        }
        let dtype = self.target.dtype.burn();
        let mlp = |[one, two]: &[Linear; 2], x: Tensor<2>| two.forward(one.forward_then(x, Activation::Silu));

        let sinusoids = timestep_embedding(timesteps, self.config.levels[0].channels, &self.config);
        let sinusoids = TensorData::new(sinusoids, [batch, self.config.levels[0].channels]);
        let sinusoids =
            Tensor::<2>::from_data(sinusoids, (self.target.device.burn(), burn_tensor::DType::F32));
        let mut time = mlp(&self.time, sinusoids.cast(dtype));
        if let (Some(layers), Some(added)) = (&self.added, added) {
            time = time + mlp(layers, added.cast(dtype));
        }
        // Every residual block would apply SiLU first.
        let time = sd_kernels::silu(time);

        let x = self
            .conv_in
            .forward(channels_last(latents.cast(dtype)), ConvExtras::default());
        let call = Call {
            time,
            memory,
            merging: options.token_merging,
            full: [x.dims()[1], x.dims()[2]],
        };
        let (x, deep) = self.between(x, &call, options.deep)?;
        let x = self
            .conv_out
            .forward(self.norm_out.forward_silu(x), ConvExtras::default());
        Ok(UnetCall {
            prediction: channels_first(x).cast(burn_tensor::DType::F32),
            deep,
        })
    }

    /// Everything between the first and the last convolution.
    fn between(&self, x: Tensor<4>, call: &Call, deep: Deep) -> Result<(Tensor<4>, Option<DeepFeatures>)> {
        let branches = self.branches();
        // Of known features, the outermost layers alone are left, up to the branch.
        let (keep, reused, outermost) = match deep {
            Deep::Whole => (None, None, branches),
            Deep::Keep { branch } => (Some(branch), None, branches),
            Deep::Reuse(DeepFeatures { branch, x }) => (None, Some(x), branch),
        };
        if let Some(branch) = keep
            .or(reused.is_some().then_some(outermost))
            .filter(|b| *b >= branches)
        {
            let expected = format!("0 to {} for this network", branches - 1);
            return shape_error("branch", expected, &[branch]);
        }
        let mut skips = vec![x];
        for unit in self.way_down().take(outermost) {
            let x = skips.last().cloned().expect("what conv_in gave, at least");
            skips.push(match unit {
                Unit::Layer(layer) => layer.forward(x, call),
                Unit::Resample(downsample) => downsample.forward(x),
            });
        }
        let mut x = match reused {
            Some(x) => {
                let [batch, h, w, _] = skips[outermost].dims();
                let expected = [batch, h, w, self.deep_channels(outermost)];
                if x.dims() != expected {
                    return shape_error("deep features", format!("{expected:?}"), &x.dims());
                }
                x
            }
            None => {
                let x = skips.last().cloned().expect("what conv_in gave, at least");
                match &self.middle {
                    Some(middle) => middle.forward(x, call),
                    None => x,
                }
            }
        };
        let mut kept = None;
        for unit in self.way_up() {
            match unit {
                Unit::Layer((place, _)) if place > outermost => {}
                Unit::Layer((place, layer)) => {
                    if keep == Some(place) {
                        kept = Some(DeepFeatures {
                            branch: place,
                            x: x.clone(),
                        });
                    }
                    let skip = skips.pop().expect("one skip for each layer on the way up");
                    x = layer.forward(sd_kernels::concatenate(x, skip), call);
                }
                Unit::Resample((place, _)) if place >= outermost => {}
                Unit::Resample((_, upsample)) => {
                    let size = skips.last().map(|skip| [skip.dims()[1], skip.dims()[2]]);
                    x = upsample.forward(x, size);
                }
            }
        }
        Ok((x, kept))
    }

    /// How many layers the way up has, each with a branch to it from the way down: the outermost is branch 0.
    pub fn branches(&self) -> usize {
        self.up.iter().map(|level| level.layers.len()).sum()
    }

    /// Channels of what comes from below to the layer on the way up that a branch leads to.
    fn deep_channels(&self, branch: usize) -> usize {
        let levels = &self.config.levels;
        let (level, layer) = (
            branch / (self.config.layers_per_block + 1),
            branch % (self.config.layers_per_block + 1),
        );
        // The first layer of a level comes last in this order.
        let below = level + usize::from(layer == self.config.layers_per_block);
        levels[below.min(levels.len() - 1)].channels
    }

    /// What leaves a skip on the way down, in its order, behind the first convolution.
    fn way_down(&self) -> impl Iterator<Item = Unit<&Layer, &Downsample>> {
        self.down.iter().flat_map(|level| {
            let layers = level.layers.iter().map(Unit::Layer);
            layers.chain(level.downsample.iter().map(Unit::Resample))
        })
    }

    /// The way up, each layer with its branch, and each change of resolution with that of the layer behind it.
    fn way_up(&self) -> impl Iterator<Item = Unit<(usize, &Layer), (usize, &Upsample)>> {
        let mut left = self.branches();
        self.up.iter().flat_map(move |level| {
            let first = left;
            left -= level.layers.len();
            let behind = left.saturating_sub(1);
            let layers = level.layers.iter().enumerate();
            let layers = layers.map(move |(i, layer)| Unit::Layer((first - 1 - i, layer)));
            layers.chain(level.upsample.iter().map(move |up| Unit::Resample((behind, up))))
        })
    }

    /// All transformers, in the order of their places.
    fn transformers(&self) -> impl Iterator<Item = &Transformer> {
        let down = self.down.iter().flat_map(|level| &level.layers);
        let up = self.up.iter().flat_map(|level| &level.layers);
        let (down, up) = (down.filter_map(|l| l.1.as_ref()), up.filter_map(|l| l.1.as_ref()));
        let middle = self
            .middle
            .iter()
            .filter_map(|middle| middle.transformer.as_ref());
        down.chain(middle).chain(up)
    }

    fn check(&self, latents: &Tensor<4>, timesteps: &[f64], added: Option<&Tensor<2>>) -> Result<()> {
        let [batch, c, h, w] = latents.dims();
        if c != self.config.in_channels || batch * h * w == 0 {
            let expected = format!("[batch, {}, height, width], none 0", self.config.in_channels);
            return shape_error("latents", expected, &latents.dims());
        }
        if timesteps.len() != batch || !timesteps.iter().all(|t| t.is_finite()) {
            return shape_error("timesteps", format!("{batch} finite numbers"), &[timesteps.len()]);
        }
        match (self.config.added_width, added.map(|a| a.dims())) {
            (None, None) => Ok(()),
            (Some(width), Some(dims)) if dims == [batch, width] => Ok(()),
            (expected, got) => shape_error(
                "additional embedding",
                expected.map_or("none".into(), |width| format!("[{batch}, {width}]")),
                &got.unwrap_or_default(),
            ),
        }
    }
}

fn shape_error<T>(name: &'static str, expected: String, got: &[usize]) -> Result<T> {
    Err(Error::Shape {
        name,
        expected,
        got: got.to_vec(),
    })
}

/// A step of the way down or up.
enum Unit<L, R> {
    Layer(L),
    Resample(R),
}

/// What all layers need in one evaluation.
struct Call<'a> {
    time: Tensor<2>,
    memory: &'a TextMemory,
    merging: f64,
    /// Height and width of the latents: tokens are merged at this resolution alone.
    full: [usize; 2],
}

impl Layer {
    fn forward(&self, x: Tensor<4>, call: &Call) -> Tensor<4> {
        let x = self.0.forward(x, Some(&call.time));
        match &self.1 {
            Some(transformer) => transformer.forward(x, call),
            None => x,
        }
    }
}

impl Middle {
    fn forward(&self, x: Tensor<4>, call: &Call) -> Tensor<4> {
        let x = self.first.forward(x, Some(&call.time));
        let x = match &self.transformer {
            Some(transformer) => transformer.forward(x, call),
            None => x,
        };
        self.second.forward(x, Some(&call.time))
    }
}

impl Transformer {
    fn forward(&self, x: Tensor<4>, call: &Call) -> Tensor<4> {
        let [_, h, w, _] = x.dims();
        let merging = if [h, w] == call.full { call.merging } else { 0.0 };
        self.0.forward(x, &call.memory.layers[self.1], merging)
    }
}

/// Sinusoids of the timesteps, a row of `width` for each (Vaswani et al. 2017, arXiv:1706.03762), cosines first where the
/// configuration flips them.
///
/// In `f32` like the reference implementations: at timestep 999 the rounding of the arguments shows in the fifth digit, so exact
/// arithmetic would be further from them.
pub fn timestep_embedding(timesteps: &[f64], width: usize, config: &UnetConfig) -> Vec<f32> {
    let half = width / 2;
    let step = -(10_000f64.ln()) as f32;
    let mut out = Vec::with_capacity(timesteps.len() * width);
    for &t in timesteps {
        let argument = |i: usize| {
            let exponent = step * i as f32 / (half as f32 - config.freq_shift as f32);
            t as f32 * f64::from(exponent).exp() as f32
        };
        let sines = (0..half).map(|i| argument(i).sin());
        let cosines = (0..half).map(|i| argument(i).cos());
        if config.flip_sin_to_cos {
            out.extend(cosines.chain(sines));
        } else {
            out.extend(sines.chain(cosines));
        }
        out.extend(std::iter::repeat_n(0.0, width % 2));
    }
    out
}
