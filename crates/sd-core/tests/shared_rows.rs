//! Texts that share latents: what comes before the text is computed once, and the output is that of a row of latents for each text.

mod common;

use burn_tensor::{DType, Tensor, TensorData};
use common::{cpu, tiny};
use sd_core::{
    Dtype, Quantization,
    checkpoint::Checkpoint,
    config::{Part, UnetConfig},
    models::{
        CrossAttentionCache, DeepCache, FreeU, FreeUVersion, MergedParts, Perturbation, SelfAttentionLayers,
        UNet, UnetEncoder, UnetFeatures, UnetInput,
    },
    weights::{PartWeights, Target},
};
use sd_kernels::{Axes, Workspace};

/// Height and width, of which one is odd at the second level.
const SIZE: [usize; 2] = [18, 10];

fn config() -> UnetConfig {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    checkpoint.configs().unet.clone()
}

fn unet(config: &UnetConfig, dtype: Dtype, quantization: Quantization) -> UNet {
    let target = Target {
        dtype,
        quantization,
        ..cpu()
    };
    let weights = PartWeights::synthetic::<UNet>(config, Part::Unet).unwrap();
    UNet::load(config, &weights, &target).unwrap()
}

/// Numbers about as large as latents.
fn numbers<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values =
        (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.7).sin() + (i as f32 * 0.013).cos());
    let data = TensorData::new(values.collect::<Vec<_>>(), shape);
    Tensor::from_data(data, (cpu().device.burn(), DType::F32))
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.cast(DType::F32).into_data().try_to_vec().unwrap()
}

/// Everything about an evaluation but its latents.
#[derive(Clone, Copy, Default)]
struct Case<'a> {
    token_merging: f64,
    merged_parts: MergedParts,
    perturbed: Option<(Perturbation, &'a SelfAttentionLayers)>,
    free_u: Option<FreeU>,
    watch_middle: bool,
    wrap: Axes,
    residuals: Option<&'a UnetFeatures>,
}

impl Case<'_> {
    /// An input with latents, and all that belongs to them, in so many rows, which are the same.
    fn input<'a>(
        &'a self,
        config: &UnetConfig,
        text: &'a CrossAttentionCache,
        timesteps: &'a [f64],
    ) -> UnetInput<'a> {
        let ([h, w], rows) = (SIZE, timesteps.len());
        let concat = config.in_channels - config.out_channels;
        let added = config.added_width.map(|width| numbers([2, width]));
        UnetInput {
            added,
            guidance: (config.time_cond_proj_dim).map(|width| numbers([1, width]).repeat_dim(0, rows)),
            concat: (concat > 0).then(|| (numbers([1, concat, h, w]) * 0.5).repeat_dim(0, rows)),
            residuals: self.residuals,
            token_merging: self.token_merging,
            merged_parts: self.merged_parts,
            perturbed: self.perturbed,
            free_u: self.free_u,
            watch_middle: self.watch_middle,
            wrap: self.wrap,
            ..UnetInput::new(
                numbers([1, config.out_channels, h, w]).repeat_dim(0, rows),
                timesteps,
                text,
            )
        }
    }

    /// Compares latents in one row with latents in a row for each text, in all that an evaluation can give.
    fn compare(&self, what: &str, unet: &UNet) {
        let config = unet.config();
        let context = numbers([2, 7, config.cross_attention_dim]);
        let text = unet.cross_attention_cache(context).unwrap();
        let call = |timesteps: &[f64], deep: &DeepCache| {
            let output = unet
                .forward_cached(&self.input(config, &text, timesteps), deep)
                .unwrap();
            let deep = output.deep.map(|deep| values(deep.parts().1.clone()));
            (values(output.prediction), deep, output.received.map(values))
        };
        let compared = |deep: &DeepCache| {
            let (one, each) = (call(&[500.0], deep), call(&[500.0; 2], deep));
            assert!(one == each, "{what}");
            one.0
        };
        let whole = compared(&DeepCache::Off);
        let (first, second) = whole.split_at(whole.len() / 2);
        let texts_matter = config.blocks().iter().any(|block| block.transformer.is_some());
        assert_eq!(
            first != second,
            texts_matter || config.added_width.is_some(),
            "{what}"
        );
        for branch in [0, 1, 3, unet.branches() - 1] {
            let keep = DeepCache::Keep { branch };
            assert!(compared(&keep) == whole, "{what}, branch {branch}");
            let kept = unet.forward_cached(&self.input(config, &text, &[520.0; 2]), &keep);
            compared(&DeepCache::Reuse(kept.unwrap().deep.unwrap()));
        }
    }
}

#[test]
fn one_row_of_latents_is_one_for_each_text() {
    let config = config();
    let layers = SelfAttentionLayers::named("down_blocks.0 mid", &config).unwrap();
    let free_u = |version| FreeU {
        backbone: [1.3, 1.4],
        skip: [0.9, 0.2],
        version,
    };
    for (dtype, quantization) in [
        (Dtype::F32, Quantization::None),
        (Dtype::Bf16, Quantization::None),
        (Dtype::F16, Quantization::None),
        (Dtype::F32, Quantization::Int8),
        (Dtype::Bf16, Quantization::Int8),
    ] {
        let unet = unet(&config, dtype, quantization);
        let compare =
            |what: &str, case: Case| case.compare(&format!("{what}, {dtype} {quantization:?}"), &unet);
        compare("plain", Case::default());
        for (cross_attention, feed_forward) in [(false, false), (true, false), (false, true), (true, true)] {
            let merged_parts = MergedParts {
                cross_attention,
                feed_forward,
            };
            compare(
                "merging",
                Case {
                    token_merging: 0.5,
                    merged_parts,
                    ..Case::default()
                },
            );
        }
        for perturbation in [
            Perturbation::Identity,
            Perturbation::BlurredQueries { sigma: f64::INFINITY },
            Perturbation::BlurredQueries { sigma: 1.0 },
        ] {
            let perturbed = Some((perturbation, &layers));
            compare(
                "perturbed",
                Case {
                    perturbed,
                    ..Case::default()
                },
            );
        }
        for version in [FreeUVersion::One, FreeUVersion::Two] {
            let free_u = Some(free_u(version));
            compare(
                "FreeU",
                Case {
                    free_u,
                    ..Case::default()
                },
            );
        }
        compare(
            "watched",
            Case {
                watch_middle: true,
                ..Case::default()
            },
        );
        let wrap = Axes {
            rows: true,
            columns: true,
        };
        compare(
            "wrapped",
            Case {
                wrap,
                token_merging: 0.3,
                ..Case::default()
            },
        );
    }
}

/// Networks of other inputs, and with transformers in other places.
#[test]
fn in_every_network() {
    type Change = fn(&mut UnetConfig);
    let all: [(&str, Change); 7] = [
        ("inpainting", |c| c.in_channels = 9),
        ("guided", |c| c.time_cond_proj_dim = Some(24)),
        ("SDXL's vector", |c| c.added_width = Some(40)),
        ("SDXL's levels", |c| {
            c.added_width = Some(40);
            (c.levels[0].down, c.levels[0].up) = (vec![0; 2], vec![0; 3]);
            c.levels[1].down = vec![2; 2];
        }),
        ("transformers from the second level on", |c| {
            (c.levels[0].down, c.levels[0].up) = (vec![0; 2], vec![0; 3]);
        }),
        ("without a middle", |c| c.middle = None),
        ("transformers on the way up alone", |c| {
            c.levels.iter_mut().for_each(|level| level.down.fill(0));
            c.middle = None;
        }),
    ];
    for (name, change) in all {
        let mut config = config();
        change(&mut config);
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let unet = unet(&config, dtype, Quantization::None);
            Case::default().compare(name, &unet);
        }
    }
}

/// The encoder's features have a row for each text, and residuals are added to each.
#[test]
fn residuals_have_a_row_for_each_text() {
    let (config, target) = (config(), cpu());
    let weights = PartWeights {
        allow_unexpected: true,
        ..PartWeights::synthetic::<UNet>(&config, Part::Unet).unwrap()
    };
    let encoder = UnetEncoder::load(&config, &weights, &target).unwrap();
    let text = encoder
        .cross_attention_cache(numbers([2, 7, config.cross_attention_dim]))
        .unwrap();
    let features = |timesteps: &[f64]| {
        encoder
            .forward(&Case::default().input(&config, &text, timesteps))
            .unwrap()
    };
    let (one, each) = (features(&[500.0]), features(&[500.0; 2]));
    assert_eq!(one.skips.len(), each.skips.len());
    for (one, each) in one
        .skips
        .iter()
        .chain([&one.middle])
        .zip(each.skips.iter().chain([&each.middle]))
    {
        assert_eq!(one.dims(), each.dims());
        assert!(values(one.clone()) == values(each.clone()));
    }
    let residuals = Some(&one);
    Case {
        residuals,
        ..Case::default()
    }
    .compare("controlled", &unet(&config, Dtype::F32, Quantization::None));
}

/// Arithmetic before the first text is half as much.
#[test]
fn it_saves_arithmetic() {
    let config = config();
    let unet = unet(&config, Dtype::F32, Quantization::None);
    let text = unet
        .cross_attention_cache(numbers([2, 7, config.cross_attention_dim]))
        .unwrap();
    let flops = |timesteps: &[f64]| {
        let workspace = Workspace::with_account();
        let case = Case::default();
        workspace.enter(|| drop(unet.forward(&case.input(&config, &text, timesteps)).unwrap()));
        workspace.account().iter().map(|entry| entry.flops).sum::<f64>()
    };
    let saved = 1.0 - flops(&[500.0]) / flops(&[500.0; 2]);
    assert!((0.03..0.15).contains(&saved), "{saved}");
}

#[test]
fn other_rows_are_refused() {
    let config = config();
    let unet = unet(&config, Dtype::F32, Quantization::None);
    let text = unet
        .cross_attention_cache(numbers([2, 7, config.cross_attention_dim]))
        .unwrap();
    let case = Case::default();
    let refused = unet
        .forward(&case.input(&config, &text, &[500.0; 3]))
        .unwrap_err();
    assert!(refused.to_string().contains("3 rows"), "{refused}");
    let timesteps = UnetInput {
        timesteps: &[500.0; 2],
        ..case.input(&config, &text, &[500.0])
    };
    assert!(
        unet.forward(&timesteps)
            .unwrap_err()
            .to_string()
            .contains("timesteps")
    );
}

/// Pictures that share texts: each row is what that picture gives with that text alone.
#[test]
fn several_pictures_share_texts() {
    type Change = fn(&mut UnetConfig);
    let all: [(&str, Change); 5] = [
        ("plain", |_| {}),
        ("inpainting", |c| c.in_channels = 9),
        ("guided", |c| c.time_cond_proj_dim = Some(24)),
        ("SDXL's vector", |c| c.added_width = Some(40)),
        ("transformers on the way up alone", |c| {
            c.levels.iter_mut().for_each(|level| level.down.fill(0));
            c.middle = None;
        }),
    ];
    for (name, change) in all {
        let mut config = config();
        change(&mut config);
        let unet = unet(&config, Dtype::F32, Quantization::None);
        let text = unet
            .cross_attention_cache(numbers([2, 7, config.cross_attention_dim]))
            .unwrap();
        let case = Case {
            watch_middle: true,
            token_merging: 0.3,
            ..Case::default()
        };
        let [h, w] = SIZE;
        // Each picture is a multiple of another.
        let pictures = 3;
        let scaled = |scale: f64| numbers([1, config.out_channels, h, w]) * scale;
        let scales = [1.0, -0.5, 0.25];
        let input = |scales: &[f64], timesteps| UnetInput {
            latents: Tensor::cat(scales.iter().map(|scale| scaled(*scale)).collect(), 0),
            pictures: scales.len(),
            ..case.input(&config, &text, timesteps)
        };
        let (times, one_time) = ([500.0; 3], [500.0]);
        let keep = DeepCache::Keep { branch: 1 };
        let together = unet.forward_cached(&input(&scales, &times), &keep).unwrap();
        let (each, received) = (values(together.prediction), together.received.map(values));
        let deep = values(together.deep.unwrap().parts().1.clone());
        for (picture, scale) in scales.into_iter().enumerate() {
            let alone = unet.forward_cached(&input(&[scale], &one_time), &keep).unwrap();
            let compare = |what: &str, together: &[f32], alone: &[f32]| {
                let row = alone.len() / 2;
                for (text, alone) in alone.chunks(row).enumerate() {
                    let together = &together[(text * pictures + picture) * row..][..row];
                    let error = goldens::relative_error(together, alone);
                    assert!(error < 1e-5, "{name}, {what}, picture {picture}: {error:e}");
                }
            };
            compare("prediction", &each, &values(alone.prediction));
            compare(
                "deep features",
                &deep,
                &values(alone.deep.unwrap().parts().1.clone()),
            );
            if let (Some(together), Some(alone)) = (&received, alone.received) {
                compare("received", together, &values(alone));
            }
        }
        // A row for each text with each picture is the same; other numbers of rows are none.
        let twice = [scales, scales].concat();
        let whole = UnetInput {
            pictures,
            ..input(&twice, &[500.0; 6])
        };
        let whole = values(unet.forward_cached(&whole, &keep).unwrap().prediction);
        assert!(goldens::relative_error(&whole, &each) < 1e-5, "{name}");
        let few = UnetInput {
            pictures,
            ..input(&scales[..2], &[500.0; 2])
        };
        assert!(unet.forward(&few).unwrap_err().to_string().contains("2 rows"));
    }
}
