use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn_tensor::{DType, Tensor, TensorData};
use goldens::{Refs, formula};
use safetensors::tensor::TensorView;

use super::{
    super::{Checkpoint, Configs, inspect},
    *,
};
use crate::{
    Device, Dtype,
    config::{
        Part, SchedulerConfig, sd1_text_encoder, sd1_vae, sd2_text_encoder, sd2_unet, sdxl_text_encoder,
        sdxl_text_encoder_2, sdxl_unet, sdxl_vae,
    },
    models::{ClipTextModel, UNet, UnetInput, Vae, guidance_embedding},
    weights::{
        PartWeights, Target, TensorFile,
        names::{Diffusers, Ldm, Names},
        parameters,
    },
};

fn cpu() -> Target {
    Target::new(Device::from_name("cpu").unwrap(), Dtype::F32)
}

/// Levels by channels and depths of the way down; `up` has those of the way up, from the smallest resolution.
fn levels(down: &[(usize, &[usize])], up: &[&[usize]]) -> Vec<UnetLevel> {
    let levels = down.iter().zip(up.iter().rev());
    let level = |(&(channels, down), up): (&(usize, &[usize]), &&[usize])| UnetLevel {
        channels,
        heads: channels / 64,
        down: down.to_vec(),
        up: up.to_vec(),
    };
    levels.map(level).collect()
}

/// The published models, as ComfyUI's table of structures has them, and diffusers' configurations of them.
fn published() -> Vec<(Family, UnetConfig, usize)> {
    let xl = |down: [&[usize]; 3], up: [&[usize]; 3], middle| UnetConfig {
        levels: levels(&[(320, down[0]), (640, down[1]), (1280, down[2])], &up),
        middle,
        ..sdxl_unet()
    };
    let transformer = |depth, heads| Some(UnetMiddle::Transformer { depth, heads });
    let small = |depths: &[usize], middle| UnetConfig {
        levels: [320, 640, 1280, 1280]
            .into_iter()
            .zip(depths)
            .map(|(channels, &depth)| UnetLevel::even(channels, 8, 1, depth))
            .collect(),
        middle,
        ..sd1_unet(4)
    };
    // With the number of tensors of each, where its publisher's file is known.
    vec![
        (Family::Sd1, sd1_unet(4), 686),
        (Family::Sd1, sd1_unet(9), 686),
        (
            Family::Sd1,
            UnetConfig {
                time_cond_proj_dim: Some(256),
                ..sd1_unet(4)
            },
            687,
        ),
        (Family::Sd2, sd2_unet(4), 686),
        (Family::Sdxl, sdxl_unet(), 1680),
        (
            Family::Ssd1b,
            xl(
                [&[0, 0], &[2, 2], &[4, 4]],
                [&[4, 4, 10], &[2, 1, 1], &[0, 0, 0]],
                Some(UnetMiddle::Residual),
            ),
            0,
        ),
        (
            Family::Vega,
            xl(
                [&[0, 0], &[1, 1], &[2, 2]],
                [&[2, 2, 2], &[1, 1, 1], &[0, 0, 0]],
                Some(UnetMiddle::Residual),
            ),
            0,
        ),
        (
            Family::Koala700m,
            xl([&[0], &[2], &[5]], [&[5, 5], &[2, 2], &[0, 0]], None),
            0,
        ),
        (
            Family::Koala1b,
            xl(
                [&[0], &[2], &[6]],
                [&[6, 6], &[2, 2], &[0, 0]],
                transformer(6, 20),
            ),
            0,
        ),
        (Family::Sd1Small, small(&[1, 1, 1, 0], transformer(1, 8)), 0),
        (Family::Sd1Tiny, small(&[1, 1, 1], None), 0),
    ]
}

#[test]
fn published_models_are_read_off_their_names() {
    let target = cpu();
    for (family, config, count) in published() {
        let parameters = parameters::<UNet>(&config, Part::Unet, &target);
        assert!(count == 0 || parameters.len() == count, "{family}");
        let diffusers = Shapes(
            parameters
                .iter()
                .map(|(name, shape)| (&name[..], &shape[..]))
                .collect(),
        );
        assert_eq!(diffusers.config(family).as_ref(), Some(&config), "{family}");

        let names = Ldm::unet(&config);
        let spelt: Vec<(String, &[usize])> = parameters
            .iter()
            .map(|(name, shape)| (names.spellings(name).swap_remove(0).name, &shape[..]))
            .collect();
        let ldm: HashMap<&str, &[usize]> = spelt
            .iter()
            .map(|(name, shape)| (name.strip_prefix(UNET_PREFIX).unwrap(), *shape))
            .collect();
        assert_eq!(
            Shapes(ldm.clone()).config(family).as_ref(),
            Some(&config),
            "{family}"
        );

        // Of a part of them nothing is read.
        for missing in [
            "input_blocks.1.0.in_layers.2.weight",
            "output_blocks.1.0.in_layers.2.weight",
        ] {
            let mut part = ldm.clone();
            part.remove(missing).unwrap();
            assert_eq!(Shapes(part).config(family), None, "{family}");
        }
    }
}

/// The numbers that diffusers' script `convert_diffusers_to_original_stable_diffusion.py` gives whatever it converts, three for each level.
fn spaced(name: &str) -> String {
    let words: Vec<&str> = name.split('.').collect();
    let number = |word: &str| word.parse::<usize>().unwrap();
    let rest = |from: usize| words[from..].join(".");
    match words[..] {
        ["down_blocks", i, "resnets", j, ..] => {
            format!("input_blocks.{}.0.{}", 3 * number(i) + number(j) + 1, rest(4))
        }
        ["down_blocks", i, "attentions", j, ..] => {
            format!("input_blocks.{}.1.{}", 3 * number(i) + number(j) + 1, rest(4))
        }
        ["down_blocks", i, "downsamplers", ..] => {
            format!("input_blocks.{}.0.op.{}", 3 * (number(i) + 1), rest(5))
        }
        ["up_blocks", i, "resnets", j, ..] => {
            format!("output_blocks.{}.0.{}", 3 * number(i) + number(j), rest(4))
        }
        ["up_blocks", i, "attentions", j, ..] => {
            format!("output_blocks.{}.1.{}", 3 * number(i) + number(j), rest(4))
        }
        ["up_blocks", i, "upsamplers", ..] => {
            let member = if i == "0" { 1 } else { 2 };
            format!("output_blocks.{}.{member}.conv.{}", 3 * number(i) + 2, rest(5))
        }
        _ => String::new(),
    }
}

#[test]
fn distilled_models_by_diffusers_script() {
    for (family, config, _) in published() {
        if !matches!(family, Family::Sd1Small | Family::Sd1Tiny | Family::Koala700m) {
            continue;
        }
        let parameters = parameters::<UNet>(&config, Part::Unet, &cpu());
        // What is renamed inside a block is the same in both numberings.
        let natural = Ldm::unet(&config);
        let leaf = |name: &str| {
            let spelt = natural.spellings(name).swap_remove(0).name;
            let spelt = spelt.strip_prefix(UNET_PREFIX).unwrap().to_owned();
            match spaced(name) {
                group if group.is_empty() => spelt,
                group => {
                    let words: Vec<&str> = group.split('.').take(3).collect();
                    let inner: Vec<&str> = spelt.split('.').skip(3).collect();
                    [words, inner].concat().join(".")
                }
            }
        };
        let stored: Vec<(String, &[usize])> = parameters
            .iter()
            .map(|(name, shape)| (format!("{UNET_PREFIX}{}", leaf(name)), &shape[..]))
            .collect();
        let shapes = stored
            .iter()
            .map(|(name, shape)| (name.strip_prefix(UNET_PREFIX).unwrap(), *shape));
        assert_eq!(
            Shapes(shapes.collect()).config(family).as_ref(),
            Some(&config),
            "{family}"
        );
        let names = Ldm::unet_among(&config, stored.iter().map(|(name, _)| name.as_str()));
        for ((name, _), (stored, _)) in parameters.iter().zip(&stored) {
            assert_eq!(names.spellings(name)[0].name, *stored, "{family}");
        }
        assert!(
            stored
                .iter()
                .any(|(name, _)| name.ends_with(".output_blocks.2.1.conv.weight"))
        );
        assert!(
            stored
                .iter()
                .any(|(name, _)| name.ends_with(".output_blocks.5.2.conv.weight"))
        );
    }
}

/// Names of the published files, as ComfyUI looks for them.
#[test]
fn pruned_models_under_ldm_names() {
    let target = cpu();
    let names_of = |wanted: Family| -> Vec<String> {
        let all = published();
        let (_, config, _) = all.iter().find(|(family, ..)| *family == wanted).unwrap();
        let names = Ldm::unet(config);
        let parameters = parameters::<UNet>(config, Part::Unet, &target);
        let spelt = parameters
            .iter()
            .map(|(name, _)| names.spellings(name).swap_remove(0).name);
        spelt.collect()
    };
    let has = |names: &[String], name: &str| {
        let known = format!("{UNET_PREFIX}{name}");
        names.iter().any(|name| name.starts_with(&known))
    };
    let ssd = names_of(Family::Ssd1b);
    assert!(has(&ssd, "middle_block.0.in_layers.0.weight"));
    assert!(!has(&ssd, "middle_block.1."));
    assert!(has(&ssd, "output_blocks.2.1.transformer_blocks.9."));
    assert!(has(&ssd, "output_blocks.2.2.conv.weight"));
    let koala = names_of(Family::Koala700m);
    assert!(!has(&koala, "middle_block."));
    assert!(has(&koala, "input_blocks.5.1.transformer_blocks.4."));
    assert!(has(&koala, "output_blocks.3.2.conv.weight"));
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    let data = TensorData::new(values, shape);
    Tensor::from_data(data, (cpu().device.burn(), DType::F32))
}

/// A file of a U-Net with the formula's weights, under these names.
fn file(config: &UnetConfig, names: &dyn Names) -> TensorFile {
    let parameters = parameters::<UNet>(config, Part::Unet, &cpu());
    let tensors = parameters.iter().map(|(name, shape)| {
        let values = formula::tensor(name, shape).into_iter();
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        (names.spellings(name).swap_remove(0).name, shape.clone(), bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    TensorFile::from_bytes("x", safetensors::serialize(views, None).unwrap()).unwrap()
}

/// The structures of distilled models at small widths, in both layouts, against diffusers' U-Net.
#[test]
fn distilled_models_agree_with_diffusers() {
    let refs = Refs::open("distilled/refs.safetensors");
    for (model, family) in [
        ("ssd-1b", Family::Ssd1b),
        ("vega", Family::Vega),
        ("koala-700m", Family::Koala700m),
        ("koala-1b", Family::Koala1b),
        ("small-sd", Family::Sd1Small),
        ("tiny-sd", Family::Sd1Tiny),
        ("uneven", Family::Sd1),
        ("lcm", Family::Sd1),
    ] {
        let path = goldens::root().join(format!("distilled/{model}.json"));
        let json = std::fs::read_to_string(path).unwrap();
        let config = UnetConfig::from_json(&json, model).unwrap();
        let parameters = parameters::<UNet>(&config, Part::Unet, &cpu());
        let counted = refs.i64s(&format!("{model}.parameters"));
        assert_eq!(parameters.len() as i64, counted[0], "{model}");

        let layouts: [Arc<dyn Names>; 2] = [
            Arc::new(Diffusers { part: Part::Unet }),
            Arc::new(Ldm::unet(&config)),
        ];
        for names in layouts {
            let file = file(&config, &*names);
            // Nothing tells the width of heads, the norms' groups and the size of pictures.
            let read = unet_config(&Tensors(&[&file]), family).unwrap();
            let read = UnetConfig {
                norm_num_groups: config.norm_num_groups,
                sample_size: config.sample_size,
                ..read
            };
            assert_eq!(read, config, "{model}");
            let weights = PartWeights {
                origin: model.into(),
                files: vec![file.into()],
                names,
                part: Part::Unet,
                patches: Vec::new(),
                allow_unexpected: false,
            };
            let unet = UNet::load(&read, &weights, &cpu()).unwrap();
            let (shape, width) = ([1, 4, 10, 12], config.cross_attention_dim);
            let thrice = |name: &str, shape: &[usize]| -> Vec<f32> {
                let values = formula::tensor(name, shape).into_iter();
                values.map(|value| value * 3.0).collect()
            };
            let context = tensor(thrice("context", &[1, 7, width]), [1, 7, width]);
            let added = config
                .added_width
                .map(|n| tensor(thrice("added", &[1, n]), [1, n]));
            let guidance = config.time_cond_proj_dim.map(|n| {
                let embedding = guidance_embedding(8.0, n);
                refs.assert_close("guidance", &embedding, 1e-5);
                tensor(embedding, [1, n])
            });
            let input = UnetInput {
                added,
                guidance,
                ..UnetInput::new(tensor(thrice("sample", &shape), shape), &[801.0], context)
            };
            let output = unet.forward(&input).unwrap().into_data();
            refs.assert_close(model, &output.try_to_vec::<f32>().unwrap(), 1e-5);
        }
    }
}

/// A vector of guidance is for networks that take one, of their width.
#[test]
fn wrong_guidance_is_refused() {
    let config = UnetConfig {
        time_cond_proj_dim: None,
        ..UnetConfig::from_json(
            &std::fs::read_to_string(goldens::root().join("distilled/lcm.json")).unwrap(),
            "lcm",
        )
        .unwrap()
    };
    for (width, words) in [(None, "none"), (Some(256), "[1, 256]")] {
        let config = UnetConfig {
            time_cond_proj_dim: width,
            ..config.clone()
        };
        let names = Diffusers { part: Part::Unet };
        let weights = PartWeights {
            origin: "lcm".into(),
            files: vec![file(&config, &names).into()],
            names: Arc::new(names),
            part: Part::Unet,
            patches: Vec::new(),
            allow_unexpected: false,
        };
        let unet = UNet::load(&config, &weights, &cpu()).unwrap();
        let (n, latents) = (config.cross_attention_dim, tensor(vec![0.0; 64], [1, 4, 4, 4]));
        let input = UnetInput {
            guidance: Some(tensor(vec![0.0; 8], [1, 8])),
            ..UnetInput::new(latents, &[1.0], tensor(vec![0.0; n], [1, 1, n]))
        };
        let error = unet.forward(&input).map(drop).unwrap_err().to_string();
        assert!(
            error.contains("guidance embedding") && error.contains(words),
            "{error}"
        );
    }
}

/// All configurations of a family with this U-Net.
fn configs(family: Family, unet: UnetConfig) -> Configs {
    let (first, second) = (Part::TextEncoder, Part::TextEncoder2);
    let (text_encoders, vae) = match family.base() {
        Family::Sd1 => (vec![(first, sd1_text_encoder())], sd1_vae()),
        Family::Sd2 => (vec![(first, sd2_text_encoder())], sd1_vae()),
        _ => (
            vec![(first, sdxl_text_encoder()), (second, sdxl_text_encoder_2())],
            sdxl_vae(),
        ),
    };
    Configs {
        text_encoders: text_encoders.into_iter().collect(),
        unet,
        vae,
        scheduler: SchedulerConfig::default(),
    }
}

/// Writes a single file of full size whose tensors are a hole, so that it takes no place: only names and shapes are read of it.
fn put_hollow(path: &Path, configs: &Configs) {
    let mut tensors: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for part in configs.parts() {
        let parameters = match part {
            Part::Unet => parameters::<UNet>(&configs.unet, part, &cpu()),
            Part::Vae => parameters::<Vae>(&configs.vae, part, &cpu()),
            text => parameters::<ClipTextModel>(&configs.text_encoders[&text], part, &cpu()),
        };
        let names = configs.of(part).ldm();
        for (name, shape) in parameters {
            let spelling = names.spellings(&name).swap_remove(0);
            tensors.insert(spelling.name, spelling.view.stored_shape(&shape));
        }
    }
    let mut end = 0;
    let header = tensors.into_iter().map(|(name, shape)| {
        let start = end;
        end += shape.iter().product::<usize>();
        let info = serde_json::json!({"dtype": "F8_E4M3", "shape": shape, "data_offsets": [start, end]});
        (name, info)
    });
    let header = Value::Object(header.collect()).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(path, &bytes).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((bytes.len() + end) as u64).unwrap();
}

/// Single files of the published sizes open by their names and shapes alone, with a place for every tensor.
#[test]
fn single_files_of_full_size_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = |family: Family| folder.path().join(format!("{family}.safetensors"));
    for (family, config, _) in published() {
        let path = path(family);
        put_hollow(&path, &configs(family, config.clone()));
        assert_eq!(inspect(&path).unwrap().family, family);
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.configs().unet, config, "{family}");
        assert_eq!(checkpoint.passed_over().unwrap(), [""; 0], "{family}");
    }
    // A U-Net takes the place of its family's, with its own blocks; not of another's.
    for (of, family) in [
        (Family::Sdxl, Family::Ssd1b),
        (Family::Koala1b, Family::Sdxl),
        (Family::Sd1Tiny, Family::Sd1),
    ] {
        let mut checkpoint = Checkpoint::open(&path(of)).unwrap();
        checkpoint.replace_part(Part::Unet, &path(family)).unwrap();
        let own = Checkpoint::open(&path(family)).unwrap();
        assert_eq!(checkpoint.configs().unet, own.configs().unet, "{family}");
        assert_eq!(checkpoint.passed_over().unwrap(), [""; 0], "{family}");
    }
    let mut checkpoint = Checkpoint::open(&path(Family::Vega)).unwrap();
    let error = checkpoint
        .replace_part(Part::Unet, &path(Family::Sd1Small))
        .unwrap_err();
    let words = "a U-Net of family SD1, distilled (small) for a checkpoint of family Segmind Vega";
    assert!(error.to_string().contains(words), "{error}");
}
