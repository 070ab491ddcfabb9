//! Configurations that no model can have. Each error names the file and the field.

mod common;

use std::path::Path;

use common::{assert_says, load, put, tiny, tiny_copy};
use sd_core::weights::{Checkpoint, Part};
use serde_json::{Value, json};

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const TEXT: &str = "text_encoder/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// What is wrong: the file, the fields that differ from the tiny model's, what the error must say.
#[rustfmt::skip] // A row a line.
fn table() -> Vec<(&'static str, Value, &'static str)> {
    let huge = u64::MAX;
    vec![
        (UNET, json!({"in_channels": 0}), "in_channels: must be 1 to"),
        (UNET, json!({"in_channels": -4}), "in_channels: invalid value: integer `-4`"),
        (UNET, json!({"in_channels": 4.5}), "in_channels: invalid type: floating point `4.5`"),
        (UNET, json!({"in_channels": "4"}), "in_channels: invalid type: string"),
        (UNET, json!({"in_channels": null}), "in_channels: invalid type: null"),
        (UNET, json!({"in_channels": huge}), "in_channels: must be 1 to"),
        (UNET, json!({"in_channels": 1e300}), "in_channels: invalid type"),
        (UNET, json!({"in_channels": 3}), "in_channels: the U-Net's 3 channels"),
        (UNET, json!({"out_channels": 0}), "out_channels: must be 1 to"),
        (UNET, json!({"out_channels": 8}), "latent_channels: the VAE's 4"),
        (UNET, json!({"block_out_channels": []}), "block_out_channels: must be 1 to"),
        (UNET, json!({"block_out_channels": vec![32; 100]}), "block_out_channels: must be 1 to 8"),
        (UNET, json!({"block_out_channels": [32, 32, 32]}), "down_block_types: has 4 values for 3 levels"),
        (UNET, json!({"block_out_channels": [32, 32, 32, 0]}), "block_out_channels: must be 1 to"),
        (UNET, json!({"block_out_channels": [32, 32, 32, huge]}), "block_out_channels: must be 1 to"),
        (UNET, json!({"block_out_channels": [32, 32, "x", 32]}), "block_out_channels[2]: invalid type"),
        (UNET, json!({"block_out_channels": [32, 32, 32, 40]}), "norm_num_groups: 16 does not divide 40"),
        (UNET, json!({"norm_num_groups": 0}), "norm_num_groups: 0 does not divide"),
        (UNET, json!({"norm_num_groups": 24}), "norm_num_groups: 24 does not divide"),
        (UNET, json!({"attention_head_dim": 0}), "attention_head_dim: 0 does not divide"),
        (UNET, json!({"attention_head_dim": 5}), "attention_head_dim: 5 does not divide"),
        (UNET, json!({"attention_head_dim": [8, 8]}), "attention_head_dim: has 2 values for 4 levels"),
        (UNET, json!({"attention_head_dim": "8"}), "attention_head_dim: expected a whole number, or a list"),
        (UNET, json!({"num_attention_heads": 7}), "num_attention_heads: 7 does not divide"),
        (UNET, json!({"layers_per_block": 0}), "layers_per_block: must be 1 to"),
        (UNET, json!({"layers_per_block": 1000}), "layers_per_block: must be 1 to"),
        (UNET, json!({"layers_per_block": [1, 2, 1, 1]}), "layers_per_block: differs between levels"),
        (UNET, json!({"transformer_layers_per_block": 0}), "transformer_layers_per_block: must be 1 to"),
        (UNET, json!({"transformer_layers_per_block": 9999}), "transformer_layers_per_block: must be 1 to"),
        (UNET, json!({"cross_attention_dim": 24}), "text encoder's width 16 is not the U-Net's context width 24"),
        (UNET, json!({"up_block_types": ["UpBlock2D"]}), "up_block_types: has 1 values for 4 levels"),
        (UNET, json!({"up_block_types": vec!["UpBlock2D"; 4]}), "up_block_types: do not mirror"),
        (UNET, json!({"down_block_types": vec!["AttnDownBlock2D"; 4]}), "down_block_types: 'AttnDownBlock2D' is not"),
        (UNET, json!({"mid_block_type": "UNetMidBlock2D"}), "mid_block_type: 'UNetMidBlock2D' is not supported"),
        (UNET, json!({"norm_eps": 0}), "norm_eps: must be between"),
        (UNET, json!({"norm_eps": -1.0}), "norm_eps: must be between"),
        (UNET, json!({"freq_shift": 1e9}), "freq_shift: must be"),
        (UNET, json!({"freq_shift": -1}), "freq_shift: must be"),
        (UNET, json!({"sample_size": 0}), "sample_size: must be 1 to"),
        (UNET, json!({"sample_size": "64"}), "sample_size: expected a side"),
        (UNET, json!({"act_fn": "gelu"}), "act_fn: 'gelu' is not supported; supported: silu"),
        (UNET, json!({"class_embed_type": "timestep"}), "class_embed_type: is not supported"),
        (UNET, json!({"encoder_hid_dim": 4096}), "encoder_hid_dim: is not supported"),
        (UNET, json!({"dual_cross_attention": true}), "dual_cross_attention: is not supported"),
        (UNET, json!({"addition_embed_type": "text"}), "addition_embed_type: 'text' is not supported"),
        (UNET, json!({"addition_embed_type": "text_time"}), "projection_class_embeddings_input_dim: must be"),
        (VAE, json!({"block_out_channels": []}), "block_out_channels: must be 1 to"),
        (VAE, json!({"block_out_channels": [0]}), "block_out_channels: must be 1 to"),
        (VAE, json!({"block_out_channels": 64}), "block_out_channels: invalid type"),
        (VAE, json!({"norm_num_groups": 7}), "norm_num_groups: 7 does not divide"),
        (VAE, json!({"latent_channels": 0}), "latent_channels: must be 1 to"),
        (VAE, json!({"latent_channels": 16}), "latent_channels: the VAE's 16"),
        (VAE, json!({"layers_per_block": 0}), "layers_per_block: must be 1 to"),
        (VAE, json!({"layers_per_block": huge}), "layers_per_block: must be 1 to"),
        (VAE, json!({"scaling_factor": 0}), "scaling_factor: must be a positive"),
        (VAE, json!({"scaling_factor": -0.18}), "scaling_factor: must be a positive"),
        (VAE, json!({"scaling_factor": "0.18"}), "scaling_factor: invalid type"),
        (VAE, json!({"shift_factor": 0.1}), "shift_factor: is not supported"),
        (VAE, json!({"act_fn": "relu"}), "act_fn: 'relu' is not supported"),
        (VAE, json!({"out_channels": 1}), "out_channels: must be 3"),
        (TEXT, json!({"vocab_size": 0}), "vocab_size: must be 2 to"),
        (TEXT, json!({"vocab_size": huge}), "vocab_size: must be 2 to"),
        (TEXT, json!({"hidden_size": 17}), "num_attention_heads: 4 does not divide 17"),
        (TEXT, json!({"hidden_size": 32}), "text encoder's width 32 is not the U-Net's"),
        (TEXT, json!({"hidden_size": 0}), "hidden_size: must be 1 to"),
        (TEXT, json!({"num_attention_heads": 0}), "num_attention_heads: 0 does not divide"),
        (TEXT, json!({"num_hidden_layers": 0}), "num_hidden_layers: must be 1 to"),
        (TEXT, json!({"num_hidden_layers": 1_u64 << 40}), "num_hidden_layers: must be 1 to"),
        (TEXT, json!({"max_position_embeddings": 1}), "max_position_embeddings: must be 3 to"),
        (TEXT, json!({"hidden_act": "relu"}), "hidden_act: unknown variant `relu`, expected `quick_gelu` or `gelu`"),
        (TEXT, json!({"layer_norm_eps": 1.5}), "layer_norm_eps: must be between"),
        (SCHEDULER, json!({"prediction_type": "flow"}), "prediction_type: 'flow' is not supported"),
        (SCHEDULER, json!({"beta_schedule": "exp"}), "beta_schedule: 'exp' is not supported"),
        (SCHEDULER, json!({"beta_start": 0.5, "beta_end": 0.1}), "beta_start, beta_end: must be"),
        (SCHEDULER, json!({"beta_start": "0"}), "beta_start: invalid type"),
        (SCHEDULER, json!({"num_train_timesteps": 0}), "num_train_timesteps: must be 2 to"),
        (SCHEDULER, json!({"num_train_timesteps": huge}), "num_train_timesteps: must be 2 to"),
        (SCHEDULER, json!({"trained_betas": [0.1]}), "trained_betas: is not supported"),
    ]
}

fn opening(folder: &Path) -> String {
    Checkpoint::open(folder)
        .map(drop)
        .expect_err("should not open")
        .to_string()
}

/// Sets fields of a part's config.json.
fn set(folder: &Path, file: &str, fields: &Value) {
    let text = std::fs::read_to_string(tiny().join(file)).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        config[field] = value.clone();
    }
    put(folder, file, config.to_string().as_bytes());
}

#[test]
fn each_gets_its_error() {
    let folder = tiny_copy();
    for (file, fields, says) in table() {
        println!("{file} {fields}");
        set(folder.path(), file, &fields);
        let message = opening(folder.path());
        assert_says(&message, &[says, folder.path().to_str().unwrap()]);
        // Where two parts disagree, the error is of neither file.
        assert!(
            message.contains(file) || message.contains("U-Net") || message.contains("pictures"),
            "{message}"
        );
        set(folder.path(), file, &json!({}));
    }
    Checkpoint::open(folder.path()).map(drop).unwrap();
    for missing in ["in_channels", "block_out_channels", "cross_attention_dim"] {
        let mut config: Value = serde_json::from_slice(&std::fs::read(tiny().join(UNET)).unwrap()).unwrap();
        config.as_object_mut().unwrap().remove(missing);
        put(folder.path(), UNET, config.to_string().as_bytes());
        assert_says(
            &opening(folder.path()),
            &[UNET, &format!("missing field `{missing}`")],
        );
    }
}

/// A configuration within all bounds that wants far more tensors than there are: an error soon, and of few lines.
#[test]
fn the_largest_configuration() {
    let folder = tiny_copy();
    let types = |name: &'static str| vec![name; 8];
    let fields = json!({
        "block_out_channels": vec![64; 8], "layers_per_block": 16, "transformer_layers_per_block": 64,
        "down_block_types": types("CrossAttnDownBlock2D"), "up_block_types": types("CrossAttnUpBlock2D"),
    });
    set(folder.path(), "unet/config.json", &fields);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let error = load(&checkpoint, Part::Unet).unwrap_err();
    assert_says(&error.to_string(), &["missing", "more"]);
}
