//! Strengths, blocks, and files that mean no good.

use std::sync::Arc;

use proptest::prelude::*;
use safetensors::tensor::{Dtype as Stored, TensorView};
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::UNet,
    weights::{Target, TensorFile},
};
use sd_lora::{Adapter, AdapterFile, BlockWeights, ModelNames, Network, Strengths};

fn checkpoint() -> Checkpoint {
    Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap()
}

fn names() -> ModelNames {
    ModelNames::new(&checkpoint().parameters().unwrap())
}

/// A file with tensors of one value each.
fn try_file(tensors: &[(String, Vec<usize>, f32)]) -> sd_lora::Result<AdapterFile> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape, value)| value.to_le_bytes().repeat(shape.iter().product()))
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name, TensorView::new(Stored::F32, shape.clone(), bytes).unwrap()));
    AdapterFile::from_tensors(TensorFile::from_bytes(
        "x",
        safetensors::serialize(views, None).unwrap(),
    )?)
}

fn file(tensors: &[(&str, &[usize], f32)]) -> AdapterFile {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape, value)| ((*name).to_owned(), shape.to_vec(), *value))
        .collect();
    try_file(&tensors).unwrap()
}

/// The first value of a weight of zeros, changed.
fn first(adapter: &Adapter, network: Network, name: &str, shape: &[usize]) -> f32 {
    let mut values = vec![0f32; shape.iter().product()];
    adapter.apply_in(network, name, shape, &mut values).unwrap();
    values[0]
}

#[test]
fn strengths_act_where_they_should() {
    let proj = "down_blocks.0.attentions.0.proj_in.weight";
    let file = file(&[
        (
            "lora_unet_down_blocks_0_attentions_0_proj_in.diff",
            &[32, 32],
            1.0,
        ),
        ("lora_unet_conv_out.diff", &[4, 32, 3, 3], 1.0),
        ("lora_unet_time_embedding_linear_1.diff", &[128, 32], 1.0),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.diff", &[64, 16], 1.0),
    ]);
    let names = names();
    let look = |strengths: &Strengths| {
        let adapter = file.bind(&names, strengths).unwrap();
        [
            first(&adapter, Network::Unet, proj, &[32, 32, 1, 1]),
            first(&adapter, Network::Unet, "conv_out.weight", &[4, 32, 3, 3]),
            first(
                &adapter,
                Network::TextEncoder,
                "text_model.encoder.layers.0.mlp.fc1.weight",
                &[64, 16],
            ),
        ]
    };
    let plain = Strengths {
        unet: 0.5,
        text_encoder: -2.0,
        ..Strengths::default()
    };
    assert_eq!(look(&plain), [0.5, 0.5, -2.0]);
    let mut factors = [1.0; 17];
    (factors[0], factors[1]) = (0.25, 3.0);
    let blocks = Strengths {
        blocks: Some(BlockWeights::from_numbers(&factors).unwrap()),
        ..plain.clone()
    };
    // BASE is the text encoder, IN01 the first transformer; the output is in no block.
    assert_eq!(look(&blocks), [1.5, 0.5, -0.5]);
    let patterns = Strengths {
        blocks: Some(BlockWeights::from_patterns([("*", 0.0), ("*.proj_in", 4.0)]).unwrap()),
        ..plain
    };
    assert_eq!(look(&patterns), [2.0, 0.0, 0.0]);
    // What has strength 0 isn't touched at all, so that nothing is read or rounded for it.
    let adapter = file.bind(&names, &patterns).unwrap();
    assert!(!adapter.touches_in(Network::Unet, "conv_out.weight"));
    for unet in [f64::NAN, f64::INFINITY, 1e9] {
        let strengths = Strengths {
            unet,
            ..Strengths::default()
        };
        let error = file.bind(&names, &strengths).unwrap_err().to_string();
        assert!(
            error.contains("unet must be a number from -1000 to 1000"),
            "{error}"
        );
    }
}

/// `dyn`: the first ranks alone, still over all of them.
#[test]
fn ranks_can_be_cut() {
    let mut strengths = Strengths::both(1.0);
    let file = file(&[
        ("lora_unet_conv_in.lora_up.weight", &[32, 4, 1, 1], 1.0),
        ("lora_unet_conv_in.lora_down.weight", &[4, 4, 3, 3], 1.0),
        ("lora_unet_conv_in.alpha", &[], 2.0),
    ]);
    let names = names();
    for (ranks, expected) in [(None, 2.0), (Some(1), 0.5), (Some(3), 1.5), (Some(9), 2.0)] {
        strengths.ranks = ranks;
        let adapter = file.bind(&names, &strengths).unwrap();
        assert_eq!(
            first(&adapter, Network::Unet, "conv_in.weight", &[32, 4, 3, 3]),
            expected
        );
    }
    strengths.ranks = Some(0);
    assert!(file.bind(&names, &strengths).is_err());
}

/// An adapter of a plain model leaves the channels alone that inpainting adds to the first convolution.
#[test]
fn inpainting_keeps_its_own_channels() {
    let adapter = file(&[("lora_unet_conv_in.diff", &[32, 4, 3, 3], 1.0)]);
    let adapter = adapter.bind(&names(), &Strengths::default()).unwrap();
    let shape = [32, 9, 3, 3];
    let mut values = vec![0f32; 32 * 9 * 9];
    adapter.check_in(Network::Unet, "conv_in.weight", &shape).unwrap();
    adapter
        .apply_in(Network::Unet, "conv_in.weight", &shape, &mut values)
        .unwrap();
    for (i, value) in values.iter().enumerate() {
        assert_eq!(*value, f32::from(u8::from(i / 9 % 9 < 4)), "{i}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let names = names();
    let bind = |tensors: &[(&str, &[usize], f32)]| match file(tensors).bind(&names, &Strengths::default()) {
        Ok(_) => panic!("{tensors:?} was taken"),
        Err(error) => error.to_string(),
    };
    let to_q = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    for (tensors, reason) in [
        (
            &[
                ("lora_unet_conv_in.diff", [1].as_slice(), 0.0),
                ("unet.conv_in.diff", &[1], 0.0),
            ][..],
            "lora_unet_conv_in changes the same layer",
        ),
        (
            &[
                ("lora_unet_conv_in.diff", &[1], 0.0),
                ("lora_unet_conv_in.hada_t1", &[1], 0.0),
            ],
            "more than one kind",
        ),
        (
            &[
                ("unet.conv_in.lora_A.a.weight", &[1], 0.0),
                ("unet.conv_in.lora_A.b.weight", &[1], 0.0),
            ],
            "the same tensor of two adapters",
        ),
        (
            &[("lora_unet_conv_in.alpha", &[], 1.0)],
            "none of its tensors changes anything",
        ),
        (
            &[
                ("lora_unet_conv_in.diff_b", &[32], 0.0),
                ("lora_unet_conv_in.dora_scale", &[32], 0.0),
            ],
            "magnitudes (DoRA)",
        ),
        (
            &[
                ("lora_unet_conv_in.weight", &[32], 0.0),
                ("lora_unet_conv_out.diff", &[1], 0.0),
            ],
            "is this a part of a checkpoint?",
        ),
        (
            &[("lora_unet_conv_in.oft_blocks", &[4, 8, 7], 0.0)],
            "no square blocks",
        ),
        (
            &[("lora_unet_conv_in.oft_R.weight", &[4, 5], 0.0)],
            "oft_R has 5 values for a block, which is the upper half of no square",
        ),
        (
            &[
                ("lora_unet_conv_in.oft_blocks", &[4, 8, 8], 0.0),
                ("lora_unet_conv_in.alpha", &[2, 3], 0.0),
            ],
            "alpha is not one number",
        ),
    ] {
        let message = bind(tensors);
        assert!(message.contains(reason), "{message}");
    }
    let message = bind(&[(&format!("unet.{to_q}.diff_b"), &[64], 0.0)]);
    assert!(message.contains("has no bias to change"), "{message}");
}

/// Faults that need the model's shapes, or the values, stop the load with an error that names file and module.
#[test]
fn loading_stops_at_what_can_not_be_applied() {
    let target = Target::new(Device::from_name("cpu").unwrap(), Dtype::F32);
    let load = |tensors: &[(&str, &[usize], f32)], strength: f64| {
        let adapter = file(tensors).bind(&names(), &Strengths::both(strength)).unwrap();
        let mut checkpoint = checkpoint();
        checkpoint.set_patches(&[Arc::new(adapter)]);
        let unet = &checkpoint.configs().unet;
        match UNet::load(unet, checkpoint.weights(Part::Unet), &target) {
            Ok(_) => panic!("{tensors:?} was taken"),
            Err(error) => error.to_string(),
        }
    };
    let conv = "lora_unet_conv_in.diff";
    for (tensors, strength, reason) in [
        (
            &[(conv, [32, 4, 3, 2].as_slice(), 0.0)][..],
            1.0,
            "x: lora_unet_conv_in: diff [32, 4, 3, 2] is not [32, 4, 3, 3]",
        ),
        (
            &[(conv, &[32, 4, 3, 3], f32::NAN)],
            1.0,
            "x: lora_unet_conv_in: diff holds values that are not finite",
        ),
        (
            &[(conv, &[32, 4, 3, 3], f32::INFINITY)],
            1.0,
            "diff holds values that are not finite",
        ),
        (
            &[(conv, &[32, 4, 3, 3], 1e38)],
            100.0,
            "x: lora_unet_conv_in: what it changes is not finite afterwards",
        ),
        (
            &[
                ("lora_unet_conv_in.lora_up.weight", &[32, 400], 0.0),
                ("lora_unet_conv_in.lora_down.weight", &[400, 4, 3, 3], 0.0),
            ],
            1.0,
            "rank 400 is too large for a layer of 36 inputs and 32 outputs",
        ),
        (
            &[("lora_unet_conv_in.diff_b", &[31], 0.0)],
            1.0,
            "diff_b [31] is not [32]",
        ),
        (
            &[("lora_unet_conv_in.oft_blocks", &[9, 2, 16, 16], 0.0)],
            1.0,
            "9 stages are too many for 32 outputs",
        ),
        (
            &[("lora_unet_conv_in.oft_R.weight", &[4, 28], 0.0)],
            1.0,
            "4 blocks of 8 inputs don't make [32, 4, 3, 3]",
        ),
    ] {
        let message = load(tensors, strength);
        assert!(
            message.contains("that an adapter can't change") && message.contains(reason),
            "{message}"
        );
    }
}

/// The tensors that each kind needs, and those that may come with any of them.
const KINDS: [&[&str]; 13] = [
    &["lora_down.weight", "lora_up.weight"],
    &["lora_down.weight", "lora_up.weight", "lora_mid.weight"],
    &["lora_A.weight", "lora_B.weight", "lora_B.bias"],
    &["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"],
    &[
        "hada_w1_a",
        "hada_w1_b",
        "hada_w2_a",
        "hada_w2_b",
        "hada_t1",
        "hada_t2",
    ],
    &["lokr_w1", "lokr_w2"],
    &["lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b", "lokr_t2"],
    &["diff", "diff_b"],
    &["weight", "on_input"],
    &["a1.weight", "a2.weight", "b1.weight", "b2.weight"],
    &["oft_blocks", "rescale"],
    &["oft_diag"],
    &["oft_R.weight"],
];
const EXTRAS: [&str; 6] = [
    "alpha",
    "scale",
    "dora_scale",
    "lora_magnitude_vector",
    "b_norm",
    "w_norm",
];

/// The tensors of a module of some kind, of shapes that fit the layer now and then.
fn module() -> impl Strategy<Value = Vec<(String, Vec<usize>, f32)>> {
    let leaves = prop::sample::select(KINDS.to_vec())
        .prop_flat_map(|kind| (Just(kind), prop::sample::subsequence(EXTRAS.to_vec(), 0..2)));
    let tensor = (shape(), -2f32..2.0);
    (leaves, prop::collection::vec(tensor, 8)).prop_map(|((kind, extras), tensors)| {
        let leaves = kind
            .iter()
            .chain(&extras)
            .map(|leaf| format!("lora_unet_conv_in.{leaf}"));
        leaves
            .zip(tensors)
            .map(|(leaf, (shape, value))| (leaf, shape, value))
            .collect()
    })
}

fn shape() -> impl Strategy<Value = Vec<usize>> {
    let size = prop::sample::select(vec![1usize, 1, 2, 2, 2, 2, 4, 4, 4, 3, 0]);
    prop_oneof![6 => prop::collection::vec(size.clone(), 2), 1 => prop::collection::vec(size, 0..5)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any tensors under any endings: an error, or a change that can be made, and never a panic.
    #[test]
    fn any_module_is_read_or_refused(
        tensors in module(),
        weight in shape(),
    ) {
        let model = [vec!["conv_in.weight".to_owned()], vec!["conv_in.bias".to_owned()]];
        let model = ModelNames::from_networks(model.iter().map(|names| (Network::Unet, names.as_slice())));
        if let Ok(adapter) = try_file(&tensors).and_then(|file| file.bind(&model, &Strengths::both(0.5))) {
            for name in ["conv_in.weight", "conv_in.bias"] {
                let mut values = vec![0.5f32; weight.iter().product()];
                let fits = adapter.check_in(Network::Unet, name, &weight);
                let applied = adapter.apply_in(Network::Unet, name, &weight, &mut values);
                prop_assert!(fits.is_ok() || applied.is_err());
                prop_assert!(applied.is_err() || values.iter().all(|x| x.is_finite()));
            }
        }
    }

    /// Any keys at all: opened and examined without a panic.
    #[test]
    fn any_keys_are_examined(keys in prop::collection::btree_set("\\PC{0,40}|(lora_unet|unet|bundle_emb)[._a-z0-9]{0,30}", 0..6)) {
        let tensors: Vec<_> = keys.into_iter().map(|key| (key, vec![2, 2], 1.0)).collect();
        if let Ok(file) = try_file(&tensors) {
            let found = sd_lora::doctor(&file, None).unwrap();
            prop_assert!(!found.to_string().is_empty());
        }
    }
}
