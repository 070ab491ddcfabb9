//! Configurations as diffusers' `config.json` files, for the readers beside this module.

use serde_json::{Map, Value, json};

use super::{
    Activation, ClipTextConfig, PredictionType, SchedulerConfig, UnetConfig, VaeConfig, WITH_PROJECTION,
    standard,
};

/// Fields of a configuration; written over those of the file that it was read from, of which other programs may want more.
pub(crate) trait Fields {
    /// The configuration's fields by diffusers' names.
    fn fields(&self) -> Value;

    /// A whole `config.json`; `original` is the one that the configuration was read from, if there was one.
    fn to_json(&self, original: Option<&str>) -> Map<String, Value> {
        let mut file: Map<String, Value> = original
            .and_then(|json| serde_json::from_str(&standard(json)).ok())
            .unwrap_or_default();
        if let Value::Object(fields) = self.fields() {
            for (key, value) in fields {
                // A class names a program's own way of computing the same thing.
                if !(key == "_class_name" && file.contains_key(&key)) {
                    file.insert(key, value);
                }
            }
        }
        file
    }
}

/// One number if all levels have the same.
fn per_level(values: Vec<usize>) -> Value {
    match values.iter().all(|value| *value == values[0]) {
        true => json!(values[0]),
        false => json!(values),
    }
}

impl Fields for UnetConfig {
    fn fields(&self) -> Value {
        let last = self.levels.len() - 1;
        let kinds = |plain: &str, attention: &str| -> Vec<String> {
            let kind = |level: &super::UnetLevel| match level.transformer_depth {
                0 => plain.to_owned(),
                _ => attention.to_owned(),
            };
            self.levels.iter().map(kind).collect()
        };
        let mut up = kinds("UpBlock2D", "CrossAttnUpBlock2D");
        up.reverse();
        let middle = self.middle.map_or(0, |middle| middle.transformer_depth);
        // The middle's depth is the last level's, also where that has no attention itself.
        let depth = |(i, level): (usize, &super::UnetLevel)| match i == last {
            true => middle.max(level.transformer_depth).max(1),
            false => level.transformer_depth.max(1),
        };
        let channels: Vec<usize> = self.levels.iter().map(|level| level.channels).collect();
        let mut fields = json!({
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": per_level(self.levels.iter().map(|level| level.heads).collect()),
            "num_attention_heads": null,
            "block_out_channels": channels,
            "cross_attention_dim": self.cross_attention_dim,
            "down_block_types": kinds("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": up,
            "mid_block_type": self.middle.map(|_| "UNetMidBlock2DCrossAttn"),
            "flip_sin_to_cos": self.flip_sin_to_cos,
            "freq_shift": whole(self.freq_shift),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "layers_per_block": self.layers_per_block,
            "norm_eps": self.norm_eps,
            "norm_num_groups": self.norm_num_groups,
            "sample_size": self.sample_size,
            "transformer_layers_per_block": per_level(self.levels.iter().enumerate().map(depth).collect()),
            "use_linear_projection": self.use_linear_projection,
        });
        if let Some(width) = self.added_width {
            fields["addition_embed_type"] = json!("text_time");
            fields["addition_time_embed_dim"] = json!(256);
            fields["projection_class_embeddings_input_dim"] = json!(width);
        }
        fields
    }
}

/// A whole number as diffusers spells it.
fn whole(value: f64) -> Value {
    match value.fract() == 0.0 {
        true => json!(value as i64),
        false => json!(value),
    }
}

impl Fields for VaeConfig {
    fn fields(&self) -> Value {
        let levels = self.block_out_channels.len();
        json!({
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": self.block_out_channels,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "latent_channels": self.latent_channels,
            "layers_per_block": self.layers_per_block,
            "norm_num_groups": self.norm_num_groups,
            "scaling_factor": self.scaling_factor,
            "use_quant_conv": self.use_quant_conv,
            "use_post_quant_conv": self.use_post_quant_conv,
            "mid_block_add_attention": self.mid_block_add_attention,
        })
    }
}

impl Fields for ClipTextConfig {
    fn fields(&self) -> Value {
        let mut fields = json!({
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "max_position_embeddings": self.max_position_embeddings,
            "hidden_act": match self.hidden_act {
                Activation::QuickGelu => "quick_gelu",
                Activation::Gelu => "gelu",
            },
            "layer_norm_eps": self.layer_norm_eps,
        });
        if let Some(width) = self.projection {
            fields["architectures"] = json!([WITH_PROJECTION]);
            fields["projection_dim"] = json!(width);
        }
        fields
    }
}

impl Fields for SchedulerConfig {
    fn fields(&self) -> Value {
        let mut fields = json!({
            "prediction_type": self.prediction_type.name(),
            "beta_schedule": self.beta_schedule,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "num_train_timesteps": self.num_train_timesteps,
            "clip_sample": false,
            "set_alpha_to_one": false,
            "steps_offset": 1,
        });
        // PNDM is what SD1's own folders name; it knows neither of these.
        if self.rescale_betas_zero_snr || self.prediction_type == PredictionType::Sample {
            fields["_class_name"] = json!("DDIMScheduler");
            fields["rescale_betas_zero_snr"] = json!(self.rescale_betas_zero_snr);
            fields["timestep_spacing"] = json!("trailing");
        } else {
            fields["_class_name"] = json!("PNDMScheduler");
            fields["skip_prk_steps"] = json!(true);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{UnetLevel, sd1_text_encoder, sd1_unet, sdxl_unet, sdxl_vae};

    fn text(fields: &impl Fields, original: Option<&str>) -> String {
        Value::Object(fields.to_json(original)).to_string()
    }

    /// A written configuration is read as it was, whatever the file said that it was read from.
    #[test]
    fn what_is_written_is_read() {
        let level = |channels, transformer_depth, heads| UnetLevel {
            channels,
            transformer_depth,
            heads,
        };
        let sdxl = UnetConfig {
            freq_shift: 0.5,
            ..sdxl_unet()
        };
        let tiny = UnetConfig {
            levels: vec![level(64, 1, 8), level(32, 0, 8)],
            middle: None,
            ..sd1_unet(9)
        };
        for unet in [sd1_unet(4), sdxl, tiny] {
            let other = text(&sd1_unet(8), None);
            for original in [None, Some(other.as_str())] {
                assert_eq!(UnetConfig::from_json(&text(&unet, original), "x").unwrap(), unet);
            }
        }
        let vae = VaeConfig {
            use_quant_conv: false,
            ..sdxl_vae()
        };
        assert_eq!(VaeConfig::from_json(&text(&vae, None), "x").unwrap(), vae);
        let encoder = ClipTextConfig {
            hidden_act: Activation::Gelu,
            projection: Some(7),
            ..sd1_text_encoder()
        };
        assert_eq!(
            ClipTextConfig::from_json(&text(&encoder, None), "x").unwrap(),
            encoder
        );
        for (prediction_type, rescale) in [
            (PredictionType::Epsilon, false),
            (PredictionType::V, true),
            (PredictionType::Sample, false),
        ] {
            let scheduler = SchedulerConfig {
                prediction_type,
                rescale_betas_zero_snr: rescale,
                beta_end: 0.0135,
                ..SchedulerConfig::default()
            };
            let written = text(&scheduler, None);
            assert_eq!(SchedulerConfig::from_json(&written, "x").unwrap(), scheduler);
        }
    }

    #[test]
    fn what_others_want_is_kept() {
        let original = r#"{"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": true, "beta_end": 0.5,
            "lambda_min_clipped": -Infinity}"#;
        let written = SchedulerConfig::default().to_json(Some(original));
        assert_eq!(written["_class_name"], "EulerDiscreteScheduler");
        assert_eq!(written["use_karras_sigmas"], true);
        assert_eq!(written["beta_end"], 0.012);
    }
}
