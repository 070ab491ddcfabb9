//! The structure of the authors' BLIP files, read off names and shapes.

use crate::{
    BertTokenizer, Error, Result,
    config::{Activation, BlipConfig, BlipTextConfig, VisionConfig},
    weights::TensorFile,
};

/// Layers that no model has.
const MOST_LAYERS: usize = 1000;

/// The configuration of a file; `prefix` stands before its names, and `tokenizer` is its tokenizer.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::Config`] if it is no such model.
pub(super) fn of(file: &TensorFile, prefix: &str, tokenizer: &BertTokenizer) -> Result<BlipConfig> {
    let origin = file.origin();
    let shape = |name: &str| -> Result<Vec<usize>> {
        let name = format!("{prefix}{name}");
        match file.info(&name) {
            Some(info) => Ok(info.shape.clone()),
            None => Err(Error::malformed(
                origin,
                format!("is no BLIP for captions: {name} is missing"),
            )),
        }
    };
    let first_two = |name: &str| -> Result<[usize; 2]> {
        match shape(name)?[..] {
            [rows, columns, ..] => Ok([rows, columns]),
            _ => Err(Error::malformed(origin, format!("{name}: is no matrix"))),
        }
    };
    let layers = |of: &str, leaf: &str| {
        let there = |i: &usize| file.info(&format!("{prefix}{of}.{i}.{leaf}")).is_some();
        (0..MOST_LAYERS).take_while(there).count()
    };
    let squares = shape("visual_encoder.patch_embed.proj.weight")?;
    let [width, 3, patch, _] = squares[..] else {
        let reason =
            format!("visual_encoder.patch_embed.proj.weight: shape {squares:?} is not that of a ViT");
        return Err(Error::malformed(origin, reason));
    };
    let [_, tokens] = first_two("visual_encoder.pos_embed")?;
    let grid = tokens.saturating_sub(1).isqrt();
    let [inner, _] = first_two("visual_encoder.blocks.0.mlp.fc1.weight")?;
    let vision = VisionConfig {
        hidden_size: width,
        intermediate_size: inner,
        num_hidden_layers: layers("visual_encoder.blocks", "norm1.weight"),
        num_attention_heads: (width / 64).max(1),
        image_size: grid.saturating_mul(patch),
        patch_size: patch,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-6,
    };
    vision.check(origin)?;
    let [vocab_size, hidden_size] = first_two("text_decoder.bert.embeddings.word_embeddings.weight")?;
    let [longest, _] = first_two("text_decoder.bert.embeddings.position_embeddings.weight")?;
    let layer = "text_decoder.bert.encoder.layer";
    let [intermediate_size, _] = first_two(&format!("{layer}.0.intermediate.dense.weight"))?;
    let added = u32::try_from(vocab_size.saturating_sub(2)).unwrap_or(u32::MAX);
    let text = BlipTextConfig {
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers: layers(layer, "attention.self.query.weight"),
        num_attention_heads: (hidden_size / 64).max(1),
        max_position_embeddings: longest,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-12,
        // Two tokens were added to BERT's, which its vocabulary may lack: the first one opens what is decoded.
        bos_token_id: tokenizer.id("[DEC]").unwrap_or(added),
        sep_token_id: tokenizer.id("[SEP]").unwrap_or(102),
        pad_token_id: tokenizer.id("[PAD]").unwrap_or(0),
        tie_word_embeddings: true,
    };
    text.check(origin)?;
    Ok(BlipConfig { vision, text })
}
