//! The settings that PEFT may write, by the parameters of its configuration classes (PEFT 0.21).

use sd_core::config::{Others, Plain};

/// LoRA's settings that are not read, or read as they are named here.
pub(super) static LORA: Others = Others {
    only: &[
        MODULES_TO_SAVE,
        // Variants that compute something else, or act on other than layers.
        ("alora_invocation_tokens", &[]),
        ("arrow_config", &[]),
        ("kasa_config", &[]),
        ("layer_replication", &[]),
        ("monteclora_config", &[]),
        ("target_parameters", &[]),
        ("trainable_token_indices", &[]),
        ("use_bdlora", &[]),
        ("use_qalora", &[]),
    ],
    harmless: &[
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
        // Of its backward pass.
        "velora_config",
        // Of PEFT's first versions.
        "enable_lora",
        "merge_weights",
    ],
};

/// LoHa's and LoKr's: that a factor is a product, or has a core, its tensors say.
pub(super) static LYCORIS: Others = Others {
    only: &[MODULES_TO_SAVE],
    harmless: &[
        "decompose_both",
        "decompose_factor",
        "init_weights",
        "module_dropout",
        "rank_dropout",
        "rank_dropout_scale",
        "use_effective_conv2d",
    ],
};

/// OFT's.
pub(super) static OFT: Others = Others {
    only: &[MODULES_TO_SAVE],
    harmless: &[
        "block_share",
        "init_weights",
        "module_dropout",
        "oft_block_size",
        "r",
    ],
};

/// For any kind: notes, and the names of adapted modules, which the file's tensors give too.
pub(super) const EVERYWHERE: [&str; 13] = [
    "auto_mapping",
    "base_model_name_or_path",
    // Whole biases have keys of their own, which are reported.
    "bias",
    "exclude_modules",
    // PEFT sets it aside for linear layers; convolutions have none.
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "peft_type",
    "peft_version",
    "revision",
    "target_modules",
    "task_type",
];

/// Whole layers beside the adapter.
const MODULES_TO_SAVE: (&str, &[Plain]) = ("modules_to_save", &[]);

/// Beginnings of LoRA that leave the base weights as they are. The others' adapters act on other weights than the model's.
pub(super) const PLAIN_BEGINNINGS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];
