//! Configurations as diffusers' `config.json` files, for the readers beside this module.

use serde_json::{Map, Value, json};

use super::{
    Activation, ClipTextConfig, PredictionType, SchedulerConfig, UnetConfig, UnetLevel, UnetMiddle,
    VaeConfig, WITH_PROJECTION, standard,
    unet::{MIDDLE, MIDDLE_RESIDUAL},
};

/// Fields of a configuration; written over those of the file that it was read from, of which other programs may want more.
pub(crate) trait Fields {
    /// The configuration's fields by diffusers' names.
    fn fields(&self) -> Value;

    /// A whole `config.json`; `original` is the one that the configuration was read from, if there was one.
    fn to_json(&self, original: Option<&str>) -> Map<String, Value> {
        over(original, self.fields())
    }
}

/// Fields written over those of a file.
fn over(original: Option<&str>, fields: Value) -> Map<String, Value> {
    let mut file: Map<String, Value> = original
        .and_then(|json| serde_json::from_str(&standard(json)).ok())
        .unwrap_or_default();
    if let Value::Object(fields) = fields {
        for (key, value) in fields {
            // A class names a program's own way of computing the same thing.
            if !(key == "_class_name" && file.contains_key(&key)) {
                file.insert(key, value);
            }
        }
    }
    file
}

/// One number if all levels have the same.
fn per_level(values: Vec<usize>) -> Value {
    match values.iter().all(|value| *value == values[0]) {
        true => json!(values[0]),
        false => json!(values),
    }
}

/// Transformer blocks by level: a number where a level's residual blocks have the same, `default` where they have none.
fn depths<'a>(levels: impl Iterator<Item = &'a Vec<usize>>, default: &[usize]) -> Vec<Value> {
    let level = |(depths, default): (&Vec<usize>, &usize)| match depths[0] {
        0 => json!(default),
        _ => per_level(depths.clone()),
    };
    levels.zip(default).map(level).collect()
}

impl Fields for UnetConfig {
    fn fields(&self) -> Value {
        let last = self.levels.len() - 1;
        let kinds = |plain: &str, attention: &str| -> Vec<String> {
            let kind = |level: &UnetLevel| match level.down[0] {
                0 => plain.to_owned(),
                _ => attention.to_owned(),
            };
            self.levels.iter().map(kind).collect()
        };
        let mut up = kinds("UpBlock2D", "CrossAttnUpBlock2D");
        up.reverse();
        // The middle's depth is the last level's, also where that has no attention itself.
        let mut without = vec![1; last + 1];
        if let Some(UnetMiddle::Transformer { depth, .. }) = self.middle {
            without[last] = depth;
        }
        let down_depths = depths(self.levels.iter().map(|level| &level.down), &without);
        let mut up_depths = depths(self.levels.iter().map(|level| &level.up), &without);
        up_depths.reverse();
        let mirrored = up_depths.iter().rev().eq(&down_depths) && down_depths.iter().all(Value::is_number);
        let down_depths = match down_depths.iter().all(|depth| *depth == down_depths[0]) {
            true if mirrored => down_depths[0].clone(),
            _ => json!(down_depths),
        };
        let by_level = |value: fn(&UnetLevel) -> usize| per_level(self.levels.iter().map(value).collect());
        let channels: Vec<usize> = self.levels.iter().map(|level| level.channels).collect();
        let mut fields = json!({
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": by_level(|level| level.heads),
            "num_attention_heads": null,
            "block_out_channels": channels,
            "cross_attention_dim": self.cross_attention_dim,
            "down_block_types": kinds("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": up,
            "mid_block_type": self.middle.map(|middle| match middle {
                UnetMiddle::Residual => MIDDLE_RESIDUAL,
                UnetMiddle::Transformer { .. } => MIDDLE,
            }),
            "flip_sin_to_cos": self.flip_sin_to_cos,
            "freq_shift": whole(self.freq_shift),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "layers_per_block": by_level(|level| level.down.len()),
            "norm_eps": self.norm_eps,
            "norm_num_groups": self.norm_num_groups,
            "sample_size": self.sample_size,
            "transformer_layers_per_block": down_depths,
            "reverse_transformer_layers_per_block": (!mirrored).then_some(up_depths),
            "time_cond_proj_dim": self.time_cond_proj_dim,
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
            "latents_mean": self.latents_mean,
            "latents_std": self.latents_std,
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
    /// A class of other noise levels than these is not kept.
    fn to_json(&self, original: Option<&str>) -> Map<String, Value> {
        let read = |json: &&str| Self::from_json(json, "").is_ok_and(|read| read.edm == self.edm);
        over(original.filter(read), self.fields())
    }

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
        if let Some(edm) = self.edm {
            fields["sigma_min"] = json!(edm.sigma_min);
            fields["sigma_max"] = json!(edm.sigma_max);
            if edm.sigma_data == 1.0 && self.prediction_type == PredictionType::V {
                fields["_class_name"] = json!("EulerDiscreteScheduler");
                fields["timestep_type"] = json!("continuous");
            } else {
                fields["_class_name"] = json!("EDMEulerScheduler");
                fields["sigma_data"] = json!(edm.sigma_data);
            }
            return fields;
        }
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
    use crate::config::{EdmConfig, sd1_text_encoder, sd1_unet, sdxl_unet, sdxl_vae};

    fn text(fields: &impl Fields, original: Option<&str>) -> String {
        Value::Object(fields.to_json(original)).to_string()
    }

    /// A written configuration is read as it was, whatever the file said that it was read from.
    #[test]
    fn what_is_written_is_read() {
        let sdxl = UnetConfig {
            freq_shift: 0.5,
            ..sdxl_unet()
        };
        let level = |channels, depth, layers| UnetLevel::even(channels, 8, layers, depth);
        let tiny = UnetConfig {
            levels: vec![level(64, 1, 3), level(32, 0, 1)],
            middle: None,
            time_cond_proj_dim: Some(256),
            ..sd1_unet(9)
        };
        let uneven = UnetConfig {
            levels: vec![
                level(32, 0, 1),
                UnetLevel {
                    down: vec![2, 4],
                    up: vec![3, 1, 1],
                    ..level(64, 1, 2)
                },
                UnetLevel {
                    up: vec![7; 3],
                    ..level(64, 2, 2)
                },
            ],
            middle: Some(UnetMiddle::Residual),
            ..sdxl_unet()
        };
        for unet in [sd1_unet(4), sdxl, tiny, uneven] {
            let other = text(&sd1_unet(8), None);
            for original in [None, Some(other.as_str())] {
                assert_eq!(UnetConfig::from_json(&text(&unet, original), "x").unwrap(), unet);
            }
        }
        let vae = VaeConfig {
            use_quant_conv: false,
            latents_mean: Some(vec![0.5, -1.0, 0.0, 2.0]),
            latents_std: Some(vec![8.0, 1.0, 0.25, 3.0]),
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
        let edm = EdmConfig::PLAYGROUND;
        let continuous = EdmConfig {
            sigma_data: 1.0,
            ..edm
        };
        for (prediction_type, rescale, edm) in [
            (PredictionType::Epsilon, false, None),
            (PredictionType::V, true, None),
            (PredictionType::Sample, false, None),
            (PredictionType::Epsilon, false, Some(edm)),
            (PredictionType::V, false, Some(edm)),
            (PredictionType::V, false, Some(continuous)),
        ] {
            let scheduler = SchedulerConfig {
                prediction_type,
                rescale_betas_zero_snr: rescale,
                beta_end: 0.0135,
                edm,
                ..SchedulerConfig::default()
            };
            let other = text(&SchedulerConfig::default(), None);
            for original in [None, Some(other.as_str())] {
                let written = text(&scheduler, original);
                assert_eq!(SchedulerConfig::from_json(&written, "x").unwrap(), scheduler);
            }
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
