//! The readers of configurations: any text gives a configuration that a model can have, or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sd_core::config::{ClipTextConfig, SchedulerConfig, UnetConfig, VaeConfig};

fuzz_target!(|json: &str| {
    if let Ok(unet) = UnetConfig::from_json(json, "fuzz") {
        for level in &unet.levels {
            assert_eq!(level.channels % unet.norm_num_groups, 0);
            assert!(level.down[0] == 0 || level.channels % level.heads == 0);
            assert_eq!(level.up.len(), level.down.len() + 1);
        }
    }
    if let Ok(vae) = VaeConfig::from_json(json, "fuzz") {
        assert!(
            vae.block_out_channels
                .iter()
                .all(|channels| channels % vae.norm_num_groups == 0)
        );
    }
    if let Ok(text) = ClipTextConfig::from_json(json, "fuzz") {
        assert_eq!(text.hidden_size % text.num_attention_heads, 0);
    }
    if let Ok(scheduler) = SchedulerConfig::from_json(json, "fuzz") {
        assert!(scheduler.beta_start <= scheduler.beta_end);
    }
});
