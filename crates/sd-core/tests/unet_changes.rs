//! FreeU, perturbed self-attention and what the middle's attention looks at, against diffusers.

use burn_tensor::{DType, Tensor, TensorData};
use goldens::Refs;
use sd_core::{
    Device, Dtype,
    checkpoint::Checkpoint,
    config::Part,
    models::{DeepCache, FreeU, FreeUVersion, Perturbation, SelfAttentionLayers, UNet, UnetInput},
    weights::Target,
};
use sd_kernels::Axes;

const CASES: [&str; 2] = ["b1_16x16", "b1_24x17"];

const FREE_U: FreeU = FreeU {
    backbone: [1.3, 1.4],
    skip: [0.9, 0.2],
    version: FreeUVersion::One,
};

struct Setup {
    unet: UNet,
    refs: Refs,
}

impl Setup {
    fn new() -> Self {
        Self::of(Dtype::F32)
    }

    fn of(dtype: Dtype) -> Self {
        let target = Target::new(Device::from_name("cpu").unwrap(), dtype);
        let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
        let (config, weights) = (&checkpoint.configs().unet, checkpoint.weights(Part::Unet));
        Self {
            unet: UNet::load(config, weights, &target).unwrap(),
            refs: Refs::open("tiny-sd1/refs/unet_changes.safetensors"),
        }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let shape: [usize; D] = self.refs.shape(name).try_into().unwrap();
        let device = Device::from_name("cpu").unwrap();
        let data = TensorData::new(self.refs.f32s(name), shape);
        Tensor::from_data(data, (device.burn(), DType::F32))
    }

    fn input(&self, case: &str) -> UnetInput<'static> {
        let context = self.tensor::<3>(&format!("{case}.encoder_hidden_states"));
        UnetInput::new(self.tensor(&format!("{case}.sample")), &[500.0], context)
    }

    fn output(&self, input: &UnetInput) -> Vec<f32> {
        values(self.unet.forward(input).unwrap())
    }

    fn layers(&self, names: &str) -> SelfAttentionLayers {
        SelfAttentionLayers::named(names, self.unet.config()).unwrap()
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn free_u_is_diffusers_and_comfyuis() {
    let setup = Setup::new();
    for case in CASES {
        for (name, version) in [("1", FreeUVersion::One), ("2", FreeUVersion::Two)] {
            let input = UnetInput {
                free_u: Some(FreeU { version, ..FREE_U }),
                ..setup.input(case)
            };
            let output = setup.output(&input);
            setup
                .refs
                .assert_close(&format!("{case}.free_u_{name}"), &output, 1e-5);
        }
        // Factors of 1 are none.
        let neutral = FreeU {
            backbone: [1.0; 2],
            skip: [1.0; 2],
            ..FREE_U
        };
        let input = UnetInput {
            free_u: Some(neutral),
            ..setup.input(case)
        };
        let plain = setup.output(&setup.input(case));
        goldens::assert_close("neutral", &setup.output(&input), &plain, 1e-6);
    }
}

/// Deep features are kept behind what FreeU did to them.
#[test]
fn free_u_keeps_its_stages_with_deep_features() {
    let setup = Setup::new();
    let input = UnetInput {
        free_u: Some(FREE_U),
        ..setup.input(CASES[0])
    };
    for branch in [0, 4, 8, 11] {
        let kept = setup
            .unet
            .forward_cached(&input, &DeepCache::Keep { branch })
            .unwrap();
        let reused = DeepCache::Reuse(kept.deep.unwrap());
        let reused = setup.unet.forward_cached(&input, &reused).unwrap();
        setup
            .refs
            .assert_close("b1_16x16.free_u_1", &values(kept.prediction), 1e-5);
        setup
            .refs
            .assert_close("b1_16x16.free_u_1", &values(reused.prediction), 1e-5);
    }
}

#[test]
fn perturbed_attention_is_diffusers() {
    let setup = Setup::new();
    let mut compared = 0;
    for (layers, names) in [
        ("mid", "mid"),
        ("some", "down_blocks.1.attentions.0, up_blocks.2"),
    ] {
        let chosen = setup.layers(names);
        for (name, perturbation) in [
            ("pag", Perturbation::Identity),
            ("seg", Perturbation::BlurredQueries { sigma: 1.5 }),
            ("seg", Perturbation::BlurredQueries { sigma: f64::INFINITY }),
        ] {
            for case in CASES {
                let sigma = match perturbation {
                    Perturbation::BlurredQueries { sigma } => format!("_{sigma}"),
                    Perturbation::Identity => String::new(),
                };
                let name = format!("{case}.{name}_{layers}{sigma}");
                if !setup.refs.names().contains(&name) {
                    continue;
                }
                // Elsewhere tokens may be merged; here none is.
                let input = UnetInput {
                    perturbed: Some((perturbation, &chosen)),
                    ..setup.input(case)
                };
                setup.refs.assert_close(&name, &setup.output(&input), 1e-5);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn the_middle_is_watched() {
    let setup = Setup::new();
    for case in CASES {
        let input = UnetInput {
            watch_middle: true,
            ..setup.input(case)
        };
        let output = setup.unet.forward_cached(&input, &DeepCache::Off).unwrap();
        let received = output.received.unwrap();
        let shape = setup.refs.shape(&format!("{case}.received"));
        assert_eq!(received.dims().to_vec(), shape);
        setup
            .refs
            .assert_close(&format!("{case}.received"), &values(received), 1e-5);
        let plain = setup
            .unet
            .forward_cached(&setup.input(case), &DeepCache::Off)
            .unwrap();
        assert!(plain.received.is_none() && values(plain.prediction) == values(output.prediction));
    }
}

#[test]
fn layers_have_names() {
    let setup = Setup::new();
    let all = setup.layers("down up mid");
    assert_eq!(all, setup.layers(" down_blocks,mid_block , up_blocks,"));
    assert_ne!(all, setup.layers("down up"));
    let one = setup.layers("up_blocks.1.attentions.0.transformer_blocks.0.attn1");
    assert_eq!(one, setup.layers("up_blocks.1.attentions.0"));
    assert!(setup.layers("").is_empty());
    let unknown = SelfAttentionLayers::named("mid, down_blocks.3, up_blocks.10, m", setup.unet.config());
    assert_eq!(unknown.unwrap_err(), ["down_blocks.3", "up_blocks.10", "m"]);
}

/// In narrower types they lose no more than the network itself may.
#[test]
fn narrow_types_do_the_same() {
    for (dtype, tolerance) in [(Dtype::Bf16, 5e-2), (Dtype::F16, 7e-3)] {
        let setup = Setup::of(dtype);
        let (case, layers) = (CASES[1], setup.layers("mid"));
        let plain = || setup.input(case);
        let compare = |name: &str, input: UnetInput| {
            let output = setup.unet.forward_cached(&input, &DeepCache::Off).unwrap();
            assert_eq!(output.received.is_some(), input.watch_middle);
            let output = values(output.prediction);
            setup
                .refs
                .assert_close(&format!("{case}.{name}"), &output, tolerance);
        };
        for (name, version) in [("free_u_1", FreeUVersion::One), ("free_u_2", FreeUVersion::Two)] {
            let free_u = Some(FreeU { version, ..FREE_U });
            compare(name, UnetInput { free_u, ..plain() });
        }
        let sigma = f64::INFINITY;
        for (name, perturbation) in [
            ("pag_mid", Perturbation::Identity),
            ("seg_mid_inf", Perturbation::BlurredQueries { sigma }),
        ] {
            let input = UnetInput {
                perturbed: Some((perturbation, &layers)),
                watch_middle: true,
                ..plain()
            };
            compare(name, input);
        }
        for (name, rows, columns) in [
            ("tiled_xy", true, true),
            ("tiled_x", false, true),
            ("tiled_y", true, false),
        ] {
            let wrap = Axes { rows, columns };
            compare(name, UnetInput { wrap, ..plain() });
        }
    }
}
