//! CLIP's structure, read off the names and shapes of OpenAI's and open_clip's tensors, since no file need say it.

use crate::{
    Error, Result,
    config::{Activation, ClipConfig, ClipTextConfig, VisionConfig},
    weights::TensorFile,
};

/// Layers that no model has.
const MOST_LAYERS: usize = 1000;

/// Widths of open_clip's vision models (g/14, H/14, bigG/14) whose heads aren't 64 wide, and how wide these are.
const HEADS: [(usize, usize); 3] = [(1280, 80), (1408, 88), (1664, 104)];

/// What else is known of a model.
pub(super) struct Stated {
    pub activation: Option<Activation>,
    pub head_width: Option<usize>,
    pub text_heads: Option<usize>,
}

/// The configuration of a file; `prefix` stands before its names.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::Config`] if it is no such model.
pub(super) fn of(file: &TensorFile, prefix: &str, stated: Stated) -> Result<ClipConfig> {
    let origin = file.origin();
    let shape = |name: &str| -> Result<Vec<usize>> {
        let name = format!("{prefix}{name}");
        match file.info(&name) {
            Some(info) => Ok(info.shape.clone()),
            None => Err(Error::malformed(origin, format!("CLIP's {name} is missing"))),
        }
    };
    let matrix = |name: &str| -> Result<[usize; 2]> {
        let shape = shape(name)?;
        <[usize; 2]>::try_from(shape.as_slice())
            .map_err(|_| Error::malformed(origin, format!("{name}: shape {shape:?} is no matrix")))
    };
    let layers = |of: &str| {
        let there = |i: &usize| file.info(&format!("{prefix}{of}.{i}.ln_1.weight")).is_some();
        (0..MOST_LAYERS).take_while(there).count()
    };
    let squares = shape("visual.conv1.weight")?;
    let [width, 3, patch, _] = squares[..] else {
        let reason = format!("visual.conv1.weight: shape {squares:?} is not that of a ViT");
        return Err(Error::malformed(origin, reason));
    };
    let [tokens, _] = matrix("visual.positional_embedding")?;
    let grid = tokens.saturating_sub(1).isqrt();
    let inner = |of: &str| matrix(&format!("{of}.0.mlp.c_fc.weight")).map(|[inner, _]| inner);
    // OpenAI's archives hold these numbers, and others don't.
    let of_openai = file.info(&format!("{prefix}input_resolution")).is_some();
    let usual = match of_openai {
        true => Activation::QuickGelu,
        false => Activation::Gelu,
    };
    let hidden_act = stated.activation.unwrap_or(usual);
    let known = HEADS.iter().find(|(of, _)| *of == width).map(|(_, heads)| *heads);
    let head_width = stated.head_width.or(known).unwrap_or(64).max(1);
    let (vision, text) = ("visual.transformer.resblocks", "transformer.resblocks");
    let vision = VisionConfig {
        hidden_size: width,
        intermediate_size: inner(vision)?,
        num_hidden_layers: layers(vision),
        // Of narrow models all is one head.
        num_attention_heads: (width / head_width).max(1),
        image_size: grid.saturating_mul(patch),
        patch_size: patch,
        hidden_act,
        layer_norm_eps: 1e-5,
    };
    vision.check(origin)?;
    let [vocab_size, hidden_size] = matrix("token_embedding.weight")?;
    let [max_position_embeddings, _] = matrix("positional_embedding")?;
    let [_, projection] = matrix("text_projection")?;
    let text = ClipTextConfig {
        vocab_size,
        hidden_size,
        intermediate_size: inner(text)?,
        num_hidden_layers: layers(text),
        num_attention_heads: stated.text_heads.unwrap_or((hidden_size / 64).max(1)),
        max_position_embeddings,
        hidden_act,
        layer_norm_eps: 1e-5,
        skipped_layers: 0,
        final_norm: true,
        projection: Some(projection),
    };
    text.check(origin)?;
    Ok(ClipConfig {
        text,
        vision,
        projection,
    })
}
