//! Configurations that no model can have. Each error names the file and the field.

mod common;

use std::path::Path;

use common::{assert_says, load, put, tiny, tiny_copy};
use sd_core::{
    checkpoint::{Checkpoint, inspect},
    config::{ClipTextConfig, Part, SchedulerConfig, UnetConfig, VaeConfig},
};
use serde_json::{Value, json};

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const TEXT: &str = "text_encoder/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// The cases: the file, the fields that differ from the tiny model's, and a part of the error.
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
        (UNET, json!({"layers_per_block": [1, 2]}), "layers_per_block: has 2 values for 4 levels"),
        (UNET, json!({"layers_per_block": [1, 2, 0, 1]}), "layers_per_block: must be 1 to"),
        (UNET, json!({"transformer_layers_per_block": 0}), "transformer_layers_per_block: must be 1 to"),
        (UNET, json!({"transformer_layers_per_block": 9999}), "transformer_layers_per_block: must be 1 to"),
        (UNET, json!({"cross_attention_dim": 24}), "text encoder's width 16 is not the U-Net's context width 24"),
        (UNET, json!({"up_block_types": ["UpBlock2D"]}), "up_block_types: has 1 values for 4 levels"),
        (UNET, json!({"up_block_types": vec!["UpBlock2D"; 4]}), "up_block_types: do not mirror"),
        (UNET, json!({"down_block_types": vec!["AttnDownBlock2D"; 4]}), "down_block_types: 'AttnDownBlock2D' is not"),
        (UNET, json!({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}), "mid_block_type: 'UNetMidBlock2DSimpleCrossAttn' is not supported"),
        (UNET, json!({"norm_eps": 0}), "norm_eps: must be between"),
        (UNET, json!({"norm_eps": -1.0}), "norm_eps: must be between"),
        (UNET, json!({"freq_shift": 1e9}), "freq_shift: must be"),
        (UNET, json!({"freq_shift": -1}), "freq_shift: must be"),
        (UNET, json!({"sample_size": 0}), "sample_size: must be 1 to"),
        (UNET, json!({"sample_size": "64"}), "sample_size: expected a side"),
        (UNET, json!({"act_fn": "gelu"}), "act_fn: 'gelu' is not supported; supported: silu, swish"),
        (UNET, json!({"class_embed_type": "timestep"}), "class_embed_type: 'timestep' is not supported; supported: null"),
        (UNET, json!({"encoder_hid_dim": 4096}), "encoder_hid_dim: 4096 is not supported"),
        (UNET, json!({"dual_cross_attention": true}), "dual_cross_attention: true is not supported; supported: false"),
        (UNET, json!({"downsample_padding": 0}), "downsample_padding: 0 is not supported; supported: 1"),
        (UNET, json!({"only_cross_attention": true}), "only_cross_attention: true is not supported"),
        (UNET, json!({"only_cross_attention": [true, false, false, false]}), "only_cross_attention: a list is not supported"),
        (UNET, json!({"mid_block_only_cross_attention": true}), "mid_block_only_cross_attention: true is not"),
        (UNET, json!({"mid_block_scale_factor": 2}), "mid_block_scale_factor: 2 is not supported; supported: 1"),
        (UNET, json!({"resnet_out_scale_factor": 1.4}), "resnet_out_scale_factor: 1.4 is not supported"),
        (UNET, json!({"resnet_skip_time_act": true}), "resnet_skip_time_act: true is not supported"),
        (UNET, json!({"resnet_time_scale_shift": "scale_shift"}), "resnet_time_scale_shift: 'scale_shift' is not"),
        (UNET, json!({"time_embedding_act_fn": "silu"}), "time_embedding_act_fn: 'silu' is not supported"),
        (UNET, json!({"timestep_post_act": "silu"}), "timestep_post_act: 'silu' is not supported"),
        (UNET, json!({"time_embedding_type": "fourier"}), "time_embedding_type: 'fourier' is not"),
        (UNET, json!({"time_embedding_dim": 64}), "time_embedding_dim: 64 is not supported; supported: 128"),
        (UNET, json!({"time_cond_proj_dim": 1}), "time_cond_proj_dim: must be 4 to"),
        (UNET, json!({"conv_in_kernel": 1}), "conv_in_kernel: 1 is not supported; supported: 3"),
        (UNET, json!({"conv_out_kernel": 5}), "conv_out_kernel: 5 is not supported"),
        (UNET, json!({"attention_type": "gated"}), "attention_type: 'gated' is not supported"),
        (UNET, json!({"cross_attention_norm": "layer_norm"}), "cross_attention_norm: 'layer_norm' is not"),
        (UNET, json!({"num_class_embeds": 1000}), "num_class_embeds: 1000 is not supported"),
        (UNET, json!({"reverse_transformer_layers_per_block": [1, 2]}), "reverse_transformer_layers_per_block: has 2 values for 4"),
        (UNET, json!({"reverse_transformer_layers_per_block": [1, [1, 1], 1, 1]}), "reverse_transformer_layers_per_block: has 2 values for 3"),
        (UNET, json!({"reverse_transformer_layers_per_block": [1, 1, 1, 0]}), "reverse_transformer_layers_per_block: must be 1 to"),
        (UNET, json!({"transformer_layers_per_block": [[1, 1], 1, 1, 1]}), "transformer_layers_per_block: has a list for a level"),
        (UNET, json!({"transformer_layers_per_block": "x"}), "transformer_layers_per_block: expected a whole number, or a list"),
        (UNET, json!({"quantization_config": {"load_in_4bit": true}}), "quantization_config: an object is not known here"),
        (UNET, json!({"a_new_feature": false}), "a_new_feature: false is not known here and may change what is computed"),
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
        (VAE, json!({"shift_factor": 0.1}), "shift_factor: 0.1 is not supported"),
        (VAE, json!({"latents_mean": [0.1, 0.2, 0.3, 0.4]}), "latents_mean: must be a number for each of 4 channels"),
        (VAE, json!({"latents_std": [1, 1, 1, 1]}), "latents_std: must be a number for each of 4 channels"),
        (VAE, json!({"latents_mean": [1, 1, 1], "latents_std": [1, 1, 1]}), "latents_mean: must be a number"),
        (VAE, json!({"latents_mean": [1, 1, 1, 1], "latents_std": [1, 1, 0, 1]}), "latents_std: must be a number"),
        (VAE, json!({"latents_mean": 7, "latents_std": 7}), "latents_mean: invalid type"),
        (VAE, json!({"up_block_types": vec!["AttnUpDecoderBlock2D"; 4]}), "up_block_types: a list is not supported"),
        (VAE, json!({"decoder_block_out_channels": [64, 64]}), "decoder_block_out_channels: a list is not known here"),
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
        (TEXT, json!({"model_type": "bert"}), "model_type: 'bert' is not supported; supported: clip_text_model, clip"),
        (TEXT, json!({"position_embedding_type": "absolute"}), "position_embedding_type: 'absolute' is not known here"),
        (TEXT, json!({"layer_norm_eps": 1.5}), "layer_norm_eps: must be between"),
        (SCHEDULER, json!({"prediction_type": "flow"}), "prediction_type: 'flow' is not supported"),
        (SCHEDULER, json!({"beta_schedule": "exp"}), "beta_schedule: 'exp' is not supported"),
        (SCHEDULER, json!({"beta_start": 0.5, "beta_end": 0.1}), "beta_start, beta_end: must be"),
        (SCHEDULER, json!({"beta_start": "0"}), "beta_start: invalid type"),
        (SCHEDULER, json!({"num_train_timesteps": 0}), "num_train_timesteps: must be 2 to"),
        (SCHEDULER, json!({"num_train_timesteps": huge}), "num_train_timesteps: must be 2 to"),
        (SCHEDULER, json!({"trained_betas": [0.1]}), "trained_betas: a list is not supported"),
        (SCHEDULER, json!({"timestep_type": "continuous"}), "timestep_type: 'continuous' is supported with v_prediction alone"),
        (SCHEDULER, json!({"timestep_type": "x"}), "timestep_type: 'x' is not supported"),
        (
            SCHEDULER,
            json!({"timestep_type": "continuous", "prediction_type": "v_prediction"}),
            "sigma_data: must be 0 < sigma_min < sigma_max",
        ),
        (SCHEDULER, json!({"_class_name": "EDMEulerScheduler", "sigma_max": 0.001}), "must be 0 < sigma_min < sigma_max"),
        (SCHEDULER, json!({"_class_name": "EDMEulerScheduler", "sigma_data": 0}), "sigma_data over 0"),
        (SCHEDULER, json!({"_class_name": "EDMEulerScheduler", "prediction_type": "sample"}), "prediction_type: 'sample' is not"),
        (SCHEDULER, json!({"sigma_data": 0.5}), "sigma_data: 0.5 is not supported; supported: null"),
        (SCHEDULER, json!({"sigma_max": 700.0}), "sigma_max: 700.0 is not supported; supported: null"),
        (SCHEDULER, json!({"predict_epsilon": false}), "predict_epsilon: false is not supported; supported: true"),
        (SCHEDULER, json!({"variance_type": "learned_range"}), "variance_type: 'learned_range' is not supported"),
        (SCHEDULER, json!({"shift": 3.0}), "shift: 3.0 is not known here"),
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

/// The fields that today's classes write by default, and those that other writers leave in such files.
#[test]
fn harmless_fields_are_passed_over() {
    let text = std::fs::read_to_string(goldens::root().join("config_fields.json")).unwrap();
    let classes: Value = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for (reader, classes) in classes.as_object().unwrap() {
        for (class, config) in classes.as_object().unwrap() {
            let config = config.as_str().unwrap();
            let read = match reader.as_str() {
                "unet" => UnetConfig::from_json(config, class).map(drop),
                "text_encoder" => ClipTextConfig::from_json(config, class).map(drop),
                "scheduler" => SchedulerConfig::from_json(config, class).map(drop),
                // Its default is a small one of one level.
                _ => VaeConfig::from_json(config, class).map(drop),
            };
            read.unwrap();
            seen += 1;
        }
    }
    assert_eq!(seen, 23);

    let folder = tiny_copy();
    for (file, fields) in [
        // diffusers' average of weights over training.
        (
            UNET,
            json!({"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 15000, "power": 0.75,
            "update_after_step": 0, "use_ema_warmup": false}),
        ),
        (
            UNET,
            json!({"_name_or_path": "x", "only_cross_attention": [false, false, false, false], "upcast_attention": true,
            "time_embedding_dim": 128, "mid_block_scale_factor": 1.0, "class_embed_type": null, "a_new_feature": null}),
        ),
        (
            UNET,
            json!({"_class_name": "FlaxUNet2DConditionModel", "dropout": 0.0, "use_memory_efficient_attention": false}),
        ),
        (
            VAE,
            json!({"force_upcast": false, "latents_mean": null, "torch_dtype": "float16"}),
        ),
        (
            TEXT,
            json!({"torch_dtype": "float16", "use_cache": true, "id2label": {"0": "LABEL_0"}, "pruned_heads": null}),
        ),
        (
            SCHEDULER,
            json!({"predict_epsilon": true, "tensor_format": "pt", "timestep_values": null, "timestep_spacing": "leading"}),
        ),
    ] {
        set(folder.path(), file, &fields);
        Checkpoint::open(folder.path()).map(drop).unwrap();
        set(folder.path(), file, &json!({}));
    }
}

/// The folder of another model can be inspected, whatever its scheduler says.
#[test]
fn inspection_goes_on() {
    let folder = tiny_copy();
    set(
        folder.path(),
        SCHEDULER,
        &json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}),
    );
    let found = inspect(folder.path()).unwrap();
    assert_eq!(found.prediction_type, None);
    assert_says(
        &found.prediction_reason.unwrap(),
        &[SCHEDULER, "shift: 3.0 is not known here"],
    );
}

/// Python's numbers that JSON lacks, outside of texts.
#[test]
fn infinite_numbers_are_none() {
    let config = r#"{"_note": "NaN \"-Infinity\" \\", "lambda_min_clipped": -Infinity, "sigma_max": NaN, "beta_end": 0.02}"#;
    assert_eq!(SchedulerConfig::from_json(config, "x").unwrap().beta_end, 0.02);
    let error = SchedulerConfig::from_json(r#"{"NaN": "#, "x").unwrap_err();
    assert_says(&error.to_string(), &["x: not the JSON expected here"]);
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
