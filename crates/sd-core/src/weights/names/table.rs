//! Tables of names: LDM's U-Net and autoencoder, OpenCLIP's two encoders, and BLIP's vision model.

use super::{Spelling, View};
use crate::config::{BlipConfig, BlockKind, ClipTextConfig, UnetConfig, VaeConfig, Way};

/// A table of blocks: the canonical beginning of names, that in the file, and the leaves that are renamed behind it.
pub(super) struct Table(Vec<(String, String, &'static [Leaf])>);

/// The beginning of a leaf, that in the file, and the parameter's place in the tensor.
type Leaf = (&'static str, &'static str, View);

const UNET_RESNET: &[Leaf] = &[
    ("norm1", "in_layers.0", View::Whole),
    ("conv1", "in_layers.2", View::Whole),
    ("time_emb_proj", "emb_layers.1", View::Whole),
    ("norm2", "out_layers.0", View::Whole),
    ("conv2", "out_layers.3", View::Whole),
    ("conv_shortcut", "skip_connection", View::Whole),
];

const VAE_RESNET: &[Leaf] = &[("conv_shortcut", "nin_shortcut", View::Whole)];

/// Its projections are convolutions there.
const VAE_ATTENTION: &[Leaf] = &[
    ("group_norm", "norm", View::Whole),
    ("to_q", "q", View::Pixelwise),
    ("to_k", "k", View::Pixelwise),
    ("to_v", "v", View::Pixelwise),
    ("to_out.0", "proj_out", View::Pixelwise),
];

/// Its queries, keys and values are one matrix, and one bias.
const OPEN_CLIP_LAYER: &[Leaf] = &[
    ("layer_norm1", "ln_1", View::Whole),
    ("self_attn.q_proj.", "attn.in_proj_", third(0)),
    ("self_attn.k_proj.", "attn.in_proj_", third(1)),
    ("self_attn.v_proj.", "attn.in_proj_", third(2)),
    ("self_attn.out_proj", "attn.out_proj", View::Whole),
    ("layer_norm2", "ln_2", View::Whole),
    ("mlp.fc1", "mlp.c_fc", View::Whole),
    ("mlp.fc2", "mlp.c_proj", View::Whole),
];

const OPEN_CLIP_EMBEDDINGS: &[Leaf] = &[
    ("token_embedding", "token_embedding", View::Whole),
    ("position_embedding.weight", "positional_embedding", View::Whole),
];

/// It multiplies from the right there.
const OPEN_CLIP_PROJECTION: &[Leaf] = &[("weight", "text_projection", View::Transposed)];

const OPEN_CLIP_PICTURES: &[Leaf] = &[
    ("class_embedding", "class_embedding", View::Whole),
    ("patch_embedding", "conv1", View::Whole),
    ("position_embedding.weight", "positional_embedding", View::Whole),
];

/// It multiplies from the right there, too.
const OPEN_CLIP_PICTURES_PROJECTION: &[Leaf] = &[("weight", "proj", View::Transposed)];

const fn third(index: usize) -> View {
    View::Slice { index, count: 3 }
}

const BLIP_LAYER: &[Leaf] = &[
    ("self_attn.q_proj.", "self_attn.qkv.", third(0)),
    ("self_attn.k_proj.", "self_attn.qkv.", third(1)),
    ("self_attn.v_proj.", "self_attn.qkv.", third(2)),
    ("self_attn.out_proj", "self_attn.projection", View::Whole),
];

const BLIP_ORIGINAL_LAYER: &[Leaf] = &[
    ("layer_norm1", "norm1", View::Whole),
    ("self_attn.q_proj.", "attn.qkv.", third(0)),
    ("self_attn.k_proj.", "attn.qkv.", third(1)),
    ("self_attn.v_proj.", "attn.qkv.", third(2)),
    ("self_attn.out_proj", "attn.proj", View::Whole),
    ("layer_norm2", "norm2", View::Whole),
];

const BLIP_ORIGINAL_EMBEDDINGS: &[Leaf] = &[
    ("class_embedding", "cls_token", View::Whole),
    ("patch_embedding", "patch_embed.proj", View::Whole),
    ("position_embedding", "pos_embed", View::Whole),
];

impl Table {
    /// Adds the parameters of a block.
    fn add(&mut self, canonical: &str, stored: &str, leaves: &'static [Leaf]) {
        self.0
            .push((format!("{canonical}."), format!("{stored}."), leaves));
    }

    pub fn spell(&self, canonical: &str) -> Option<Spelling> {
        self.0.iter().find_map(|(from, to, leaves)| {
            let leaf = canonical.strip_prefix(from.as_str())?;
            let renamed = leaves.iter().find_map(|(a, b, view)| {
                let rest = leaf.strip_prefix(a)?;
                let name = format!("{to}{b}{rest}");
                Some(Spelling { name, view: *view })
            });
            Some(renamed.unwrap_or_else(|| Spelling::from(format!("{to}{leaf}"))))
        })
    }
}

/// OpenCLIP's text encoder.
pub(super) fn open_clip(config: &ClipTextConfig) -> Table {
    let mut table = Table(Vec::new());
    for i in 0..config.num_hidden_layers {
        table.add(
            &format!("text_model.encoder.layers.{i}"),
            &format!("transformer.resblocks.{i}"),
            OPEN_CLIP_LAYER,
        );
    }
    table.add("text_model.final_layer_norm", "ln_final", &[]);
    for (canonical, leaves) in [
        ("text_model.embeddings.", OPEN_CLIP_EMBEDDINGS),
        ("text_projection.", OPEN_CLIP_PROJECTION),
    ] {
        table.0.push((canonical.into(), String::new(), leaves));
    }
    table
}

/// Both of OpenCLIP's encoders.
pub(super) fn clip(text: &ClipTextConfig, vision_layers: usize) -> Table {
    let mut table = open_clip(text);
    for i in 0..vision_layers {
        table.add(
            &format!("vision_model.encoder.layers.{i}"),
            &format!("visual.transformer.resblocks.{i}"),
            OPEN_CLIP_LAYER,
        );
    }
    table.add("vision_model.embeddings", "visual", OPEN_CLIP_PICTURES);
    table.add("vision_model.pre_layrnorm", "visual.ln_pre", &[]);
    table.add("vision_model.post_layernorm", "visual.ln_post", &[]);
    table.add("visual_projection", "visual", OPEN_CLIP_PICTURES_PROJECTION);
    table
}

/// BLIP's vision model, under transformers' names or its authors'.
pub(super) fn blip(config: &BlipConfig, original: bool) -> Table {
    let mut table = Table(Vec::new());
    for i in 0..config.vision.num_hidden_layers {
        let canonical = format!("vision_model.encoder.layers.{i}");
        match original {
            true => table.add(
                &canonical,
                &format!("visual_encoder.blocks.{i}"),
                BLIP_ORIGINAL_LAYER,
            ),
            false => table.add(&canonical, &canonical, BLIP_LAYER),
        }
    }
    if original {
        table.add(
            "vision_model.embeddings",
            "visual_encoder",
            BLIP_ORIGINAL_EMBEDDINGS,
        );
        table.add("vision_model.post_layernorm", "visual_encoder.norm", &[]);
    }
    table
}

/// The numbers of a U-Net's groups in a file.
pub(super) enum Numbering {
    /// Those of each way are numbered through.
    Through,
    /// A level has three numbers on each way, as SD1's levels need, though it has fewer blocks: so diffusers' script converts distilled
    /// models. An upsampler stands alone in its level's last group, at the place among its members that is given by level.
    Spaced(Vec<usize>),
}

impl Numbering {
    /// Numbers of a spaced level.
    const LEVEL: usize = 3;

    /// That of a file with these names, behind the U-Net's prefix.
    pub fn of<'a>(config: &UnetConfig, names: impl Iterator<Item = &'a str>) -> Self {
        let single = config.levels.iter().all(|level| level.down.len() == 1);
        let (mut spaced, mut members) = (false, vec![1; config.levels.len()]);
        for name in names {
            // Numbered through, it would be the first block of the second level.
            spaced |= name == "input_blocks.3.0.op.weight";
            for (i, member) in members.iter_mut().enumerate() {
                let group = format!("output_blocks.{}.", Self::LEVEL * i + 2);
                let inner = name
                    .strip_prefix(&group)
                    .and_then(|inner| inner.strip_suffix(".conv.weight"));
                let found: Option<u8> = inner.and_then(|inner| inner.parse().ok());
                *member = found.map_or(*member, usize::from);
            }
        }
        match spaced && single {
            true => Self::Spaced(members),
            false => Self::Through,
        }
    }
}

/// LDM's U-Net.
pub(super) fn unet(config: &UnetConfig, numbering: &Numbering) -> Table {
    let mut table = Table(Vec::new());
    for (canonical, stored) in [
        ("conv_in", "input_blocks.0.0"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("time_embedding.cond_proj", "time_embed.cond_proj"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ] {
        table.add(canonical, stored, &[]);
    }
    // LDM numbers the groups of a direction through. A change of resolution is a group on the way down, and rides on the last one on the
    // way up; the middle is one group.
    let (mut inputs, mut outputs) = (0, 0);
    let (mut group, mut members) = (String::new(), 0);
    let (last, mut before) = (config.levels.len() - 1, (Way::Middle, 0));
    for block in config.blocks() {
        let place = (block.way, block.level);
        if let Numbering::Spaced(_) = numbering {
            let level = match block.way {
                Way::Up => last - block.level,
                _ => block.level,
            };
            // Each level begins at its own numbers, and its change of resolution has the last of them.
            let start = Numbering::LEVEL * level;
            match (block.way, block.kind) {
                (Way::Down, BlockKind::Downsample) => inputs = start + 2,
                (Way::Down, _) if place != before => inputs = start,
                (Way::Up, BlockKind::Upsample) => outputs = start + 3,
                (Way::Up, _) if place != before => outputs = start,
                _ => {}
            }
        }
        before = place;
        let next = match block.way {
            Way::Down => {
                inputs += 1;
                format!("input_blocks.{inputs}")
            }
            Way::Middle => "middle_block".to_owned(),
            Way::Up => {
                outputs += usize::from(block.kind == BlockKind::Residual);
                format!("output_blocks.{}", outputs - 1)
            }
        };
        if next != group {
            (group, members) = (next, 0);
        }
        if let (Numbering::Spaced(at), BlockKind::Upsample) = (numbering, block.kind) {
            members = at[last - block.level];
        }
        let (member, leaves) = match block.kind {
            BlockKind::Residual => ("", UNET_RESNET),
            BlockKind::Downsample => (".op", [].as_slice()),
            BlockKind::Upsample => (".conv", [].as_slice()),
        };
        table.add(&block.path, &format!("{group}.{members}{member}"), leaves);
        members += 1;
        if let Some(transformer) = block.transformer {
            table.add(&transformer.path, &format!("{group}.{members}"), &[]);
            members += 1;
        }
    }
    table
}

/// LDM's autoencoder.
pub(super) fn vae(config: &VaeConfig) -> Table {
    let mut table = Table(Vec::new());
    let levels = config.block_out_channels.len();
    for half in ["encoder", "decoder"] {
        for (name, stored, leaves) in [
            ("conv_in", "conv_in", [].as_slice()),
            ("mid_block.resnets.0", "mid.block_1", VAE_RESNET),
            ("mid_block.attentions.0", "mid.attn_1", VAE_ATTENTION),
            ("mid_block.resnets.1", "mid.block_2", VAE_RESNET),
            ("conv_norm_out", "norm_out", &[]),
            ("conv_out", "conv_out", &[]),
        ] {
            table.add(&format!("{half}.{name}"), &format!("{half}.{stored}"), leaves);
        }
    }
    for i in 0..levels {
        // LDM counts the decoder's levels from the picture's resolution too.
        for (canonical, stored, change, resnets) in [
            (
                "encoder.down_blocks",
                format!("encoder.down.{i}"),
                "downsample",
                config.layers_per_block,
            ),
            (
                "decoder.up_blocks",
                format!("decoder.up.{}", levels - 1 - i),
                "upsample",
                config.layers_per_block + 1,
            ),
        ] {
            for j in 0..resnets {
                let resnet = format!("{canonical}.{i}.resnets.{j}");
                table.add(&resnet, &format!("{stored}.block.{j}"), VAE_RESNET);
            }
            let canonical = format!("{canonical}.{i}.{change}rs.0.conv");
            table.add(&canonical, &format!("{stored}.{change}.conv"), &[]);
        }
    }
    table.add("quant_conv", "quant_conv", &[]);
    table.add("post_quant_conv", "post_quant_conv", &[]);
    table
}
