//! The configurations of the families whose single-file checkpoints carry none.

use super::{Activation, ClipTextConfig, UnetConfig, UnetLevel, UnetMiddle, VaeConfig};

/// SD1.x's U-Net; `in_channels` is 4, or 8 or 9 for the variants with concatenated conditions.
pub fn sd1_unet(in_channels: usize) -> UnetConfig {
    let level = |channels, depth| UnetLevel::even(channels, 8, 2, depth);
    UnetConfig {
        in_channels,
        out_channels: 4,
        levels: vec![level(320, 1), level(640, 1), level(1280, 1), level(1280, 0)],
        middle: Some(UnetMiddle::Transformer { depth: 1, heads: 8 }),
        cross_attention_dim: 768,
        use_linear_projection: false,
        norm_num_groups: 32,
        norm_eps: 1e-5,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        sample_size: 64,
        added_width: None,
        time_cond_proj_dim: None,
    }
}

/// SD1.x's text encoder: OpenAI's CLIP ViT-L/14.
pub fn sd1_text_encoder() -> ClipTextConfig {
    ClipTextConfig {
        vocab_size: 49_408,
        hidden_size: 768,
        intermediate_size: 3072,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        max_position_embeddings: 77,
        hidden_act: Activation::QuickGelu,
        layer_norm_eps: 1e-5,
        skipped_layers: 0,
        final_norm: true,
        projection: None,
    }
}

/// SD2.x's U-Net; `in_channels` is 4, 5 with depth, or 9 for inpainting. The first models were trained on latents of 64x64, those that
/// predict v on 96x96.
pub fn sd2_unet(in_channels: usize) -> UnetConfig {
    let level = |channels, depth| UnetLevel::even(channels, channels / 64, 2, depth);
    UnetConfig {
        levels: vec![level(320, 1), level(640, 1), level(1280, 1), level(1280, 0)],
        middle: Some(UnetMiddle::Transformer { depth: 1, heads: 20 }),
        cross_attention_dim: 1024,
        use_linear_projection: true,
        ..sd1_unet(in_channels)
    }
}

/// SD2.x's text encoder: OpenCLIP ViT-H/14 without its last layer, which is never used.
pub fn sd2_text_encoder() -> ClipTextConfig {
    ClipTextConfig {
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 23,
        num_attention_heads: 16,
        hidden_act: Activation::Gelu,
        ..sd1_text_encoder()
    }
}

/// The autoencoder of SD1.x and SD2.x.
pub fn sd1_vae() -> VaeConfig {
    VaeConfig {
        block_out_channels: vec![128, 256, 512, 512],
        layers_per_block: 2,
        ..VaeConfig::default()
    }
}

/// SDXL's U-Net. Its vector is the pooled text and six sizes of 256 sinusoids each.
pub fn sdxl_unet() -> UnetConfig {
    let level = |channels, depth| UnetLevel::even(channels, channels / 64, 2, depth);
    UnetConfig {
        levels: vec![level(320, 0), level(640, 2), level(1280, 10)],
        middle: Some(UnetMiddle::Transformer { depth: 10, heads: 20 }),
        cross_attention_dim: 2048,
        use_linear_projection: true,
        sample_size: 128,
        added_width: Some(1280 + 6 * 256),
        ..sd1_unet(4)
    }
}

/// SDXL's first text encoder: OpenAI's CLIP ViT-L/14, whose last layer and norm are not used.
pub fn sdxl_text_encoder() -> ClipTextConfig {
    ClipTextConfig {
        skipped_layers: 1,
        final_norm: false,
        ..sd1_text_encoder()
    }
}

/// SDXL's second text encoder: OpenCLIP ViT-bigG/14. Its last layer and norm serve the pooled text alone.
pub fn sdxl_text_encoder_2() -> ClipTextConfig {
    ClipTextConfig {
        hidden_size: 1280,
        intermediate_size: 5120,
        num_hidden_layers: 32,
        num_attention_heads: 20,
        hidden_act: Activation::Gelu,
        projection: Some(1280),
        ..sdxl_text_encoder()
    }
}

/// The U-Net of SDXL's refiner, whose context is the second text encoder's alone. Its vector is the pooled text and five numbers of 256
/// sinusoids each.
pub fn sdxl_refiner_unet() -> UnetConfig {
    let level = |channels, depth| UnetLevel::even(channels, channels / 64, 2, depth);
    UnetConfig {
        levels: vec![level(384, 0), level(768, 4), level(1536, 4), level(1536, 0)],
        middle: Some(UnetMiddle::Transformer { depth: 4, heads: 24 }),
        cross_attention_dim: 1280,
        added_width: Some(1280 + 5 * 256),
        ..sdxl_unet()
    }
}

/// SDXL's autoencoder.
pub fn sdxl_vae() -> VaeConfig {
    VaeConfig {
        scaling_factor: 0.13025,
        ..sd1_vae()
    }
}
