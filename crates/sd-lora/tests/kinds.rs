//! Every kind of adapter against the packages that train it: the weights that their own forward passes act with.

use goldens::Refs;
use safetensors::tensor::{Dtype as Stored, TensorView};
use sd_core::{checkpoint::Checkpoint, config::Part, weights::TensorFile};
use sd_lora::{Adapter, AdapterFile, Kind, ModelNames, Network, Strengths};

/// The layers that the files in `goldens/lora` change, under their names alone.
fn names(base: &Refs) -> ModelNames {
    let parameters: Vec<Vec<String>> = base.names().into_iter().map(|name| vec![name]).collect();
    ModelNames::from_networks(parameters.iter().map(|names| (Network::Unet, names.as_slice())))
}

fn open(case: &str) -> AdapterFile {
    let path = match case {
        "peft" => "lora/peft.safetensors".to_owned(),
        "peft_folder" => "lora/peft".to_owned(),
        _ if goldens::root().join("lora").join(case).is_dir() => format!("lora/{case}"),
        _ => format!("lora/{case}.safetensors"),
    };
    AdapterFile::open(&goldens::root().join(path)).unwrap()
}

fn bind(case: &str, base: &Refs, strength: f64) -> Adapter {
    open(case).bind(&names(base), &Strengths::both(strength)).unwrap()
}

/// A layer's parameter with an adapter on it.
fn changed(adapter: &Adapter, base: &Refs, name: &str) -> Vec<f32> {
    let (shape, mut values) = (base.shape(name), base.f32s(name));
    adapter.check_in(Network::Unet, name, &shape).unwrap();
    adapter
        .apply_in(Network::Unet, name, &shape, &mut values)
        .unwrap();
    values
}

/// The tolerance for f32: rotations and norms round more than sums.
fn tolerance(case: &str) -> f64 {
    match case.contains("oft") || case.contains("dora") {
        true => 1e-5,
        false => 1e-6,
    }
}

#[test]
fn agree_with_lycoris_and_peft() {
    let (base, merged) = (
        Refs::open("lora/base.safetensors"),
        Refs::open("lora/merged.safetensors"),
    );
    let mut cases = std::collections::BTreeSet::new();
    for key in merged.names() {
        let (case, parameter) = key.split_once('/').unwrap();
        let (case, strength) = case.split_once('@').unwrap();
        if case == "diffusers" {
            continue;
        }
        cases.insert(case.to_owned());
        let adapter = bind(case, &base, strength.parse().unwrap());
        let (got, expected, plain) = (
            changed(&adapter, &base, parameter),
            merged.f32s(&key),
            base.f32s(parameter),
        );
        goldens::assert_close(&key, &got, &expected, tolerance(case));
        // The change alone, since it may be small beside the weight.
        let change = |values: &[f32]| {
            values
                .iter()
                .zip(&plain)
                .map(|(a, b)| a - b)
                .collect::<Vec<f32>>()
        };
        let touched = adapter.touches_in(Network::Unet, parameter);
        if touched {
            goldens::assert_close(&format!("{key}, change"), &change(&got), &change(&expected), 1e-4);
        } else {
            assert_eq!(got, plain);
        }
    }
    assert_eq!(cases.len(), 36);
}

/// The rotations themselves, as LyCORIS kept them before, and GLoRA with its matrices in the order it had before.
#[test]
fn older_dialects_say_the_same() {
    let (base, merged) = (
        Refs::open("lora/base.safetensors"),
        Refs::open("lora/merged.safetensors"),
    );
    let old = bind("oft_diag", &base, 1.0);
    for name in base
        .names()
        .iter()
        .filter(|name| old.touches_in(Network::Unet, name))
    {
        merged.assert_close(&format!("oft@1.0/{name}"), &changed(&old, &base, name), 1e-5);
    }

    let bytes = std::fs::read(goldens::root().join("lora/glora.safetensors")).unwrap();
    let new = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let views = new
        .iter()
        .filter(|(name, _)| !name.ends_with("alpha"))
        .map(|(name, view)| {
            let swapped = match name.rsplit_once('.').and_then(|(name, _)| name.rsplit_once('.')) {
                Some((module, "a1")) => format!("{module}.a2.weight"),
                Some((module, "a2")) => format!("{module}.a1.weight"),
                Some((module, "b1")) => format!("{module}.b2.weight"),
                Some((module, "b2")) => format!("{module}.b1.weight"),
                _ => panic!("{name}"),
            };
            (swapped, view)
        });
    let file = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    let file = AdapterFile::from_tensors(TensorFile::from_bytes("x", file).unwrap()).unwrap();
    // No scale in this dialect: LyCORIS' alpha of 2 over its rank of 3 becomes the strength.
    let old = file.bind(&names(&base), &Strengths::both(2.0 / 3.0)).unwrap();
    for name in base
        .names()
        .iter()
        .filter(|name| old.touches_in(Network::Unet, name))
    {
        merged.assert_close(&format!("glora@1.0/{name}"), &changed(&old, &base, name), 1e-6);
    }
}

/// kohya's names as diffusers' converter writes them, with a dot left in the names of magnitudes.
#[test]
fn converted_dora_is_the_same() {
    let (base, merged) = (
        Refs::open("lora/base.safetensors"),
        Refs::open("lora/merged.safetensors"),
    );
    for case in ["kohya_dora", "kohya_dora_bare"] {
        let adapter = bind(case, &base, 1.0);
        let names = base.names();
        let touched: Vec<&String> = names
            .iter()
            .filter(|name| adapter.touches_in(Network::Unet, name))
            .collect();
        assert_eq!(touched.len(), 3, "{case}");
        for name in touched {
            merged.assert_close(
                &format!("peft_dora@1.0/{name}"),
                &changed(&adapter, &base, name),
                1e-5,
            );
        }
    }
}

/// kohya's limit of 0 lets nothing turn; LyCORIS' is none.
#[test]
fn a_limit_of_nothing() {
    let base = Refs::open("lora/base.safetensors");
    let layer = "down_blocks.0.attentions.0.proj_in";
    let blocks: Vec<u8> = (0..4 * 4 * 4)
        .flat_map(|i| (i as f32).sin().to_le_bytes())
        .collect();
    for (prefix, turns) in [("oft_unet_", false), ("lora_unet_", true)] {
        let module = format!("{prefix}{}", layer.replace('.', "_"));
        let view = |shape: Vec<usize>, bytes| TensorView::new(Stored::F32, shape, bytes).unwrap();
        let tensors = [
            (format!("{module}.oft_blocks"), view(vec![4, 4, 4], &blocks)),
            (format!("{module}.alpha"), view(vec![], &[0; 4])),
        ];
        let bytes = safetensors::serialize(tensors, None).unwrap();
        let file = AdapterFile::from_tensors(TensorFile::from_bytes("x", bytes).unwrap()).unwrap();
        let adapter = file.bind(&names(&base), &Strengths::both(1.0)).unwrap();
        let name = format!("{layer}.weight");
        let difference = goldens::relative_error(&changed(&adapter, &base, &name), &base.f32s(&name));
        assert_eq!(difference > 1e-6, turns, "{prefix}: {difference}");
    }
}

/// Where LyCORIS and PEFT take strengths otherwise, the WebUI's meaning holds: so much of the whole change.
#[test]
fn strengths_are_shares_of_the_whole_change() {
    let (base, merged) = (
        Refs::open("lora/base.safetensors"),
        Refs::open("lora/merged.safetensors"),
    );
    for case in [
        "dora",
        "dora_input",
        "loha_dora",
        "lokr_dora",
        "oft_rescale",
        "boft",
        "boft_rescale",
        "peft_dora",
    ] {
        for strength in [0.4f32, -1.5] {
            let adapter = bind(case, &base, f64::from(strength));
            for name in base
                .names()
                .iter()
                .filter(|name| adapter.touches_in(Network::Unet, name))
            {
                let whole = merged.f32s(&format!("{case}@1.0/{name}"));
                let share = base.f32s(name).into_iter().zip(whole);
                let expected: Vec<f32> = share
                    .map(|(base, whole)| base + strength * (whole - base))
                    .collect();
                goldens::assert_close(case, &changed(&adapter, &base, name), &expected, 1e-5);
            }
        }
    }
}

/// A file that diffusers saved, with PEFT's alphas in the header, on the tiny model.
#[test]
fn agrees_with_diffusers_files() {
    let merged = Refs::open("lora/merged.safetensors");
    let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
    let names = ModelNames::new(&checkpoint.parameters().unwrap());
    let adapter = open("diffusers").bind(&names, &Strengths::both(0.8)).unwrap();
    let mut seen = 0;
    for key in merged.names().iter().filter(|key| key.starts_with("diffusers@")) {
        let (_, parameter) = key.split_once('/').unwrap();
        let (part, name) = parameter.split_once('.').unwrap();
        let (part, network) = match part {
            "unet" => (Part::Unet, Network::Unet),
            _ => (Part::TextEncoder, Network::TextEncoder),
        };
        let file = &checkpoint.weights(part).files[0];
        let mut values = file.values_f32(name).unwrap();
        let shape = file.info(name).unwrap().shape.clone();
        assert!(adapter.touches_in(network, name));
        adapter.apply_in(network, name, &shape, &mut values).unwrap();
        merged.assert_close(key, &values, 1e-6);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// PEFT passes over patterns that are for nothing; so do we, and say it.
#[test]
fn idle_patterns_are_told() {
    let file = open("peft_patterns");
    let expected =
        ["nothing.here", "roj_in"].map(|key| format!("alpha_pattern: '{key}' is no layer's name here"));
    assert_eq!(file.notes(), expected);
    let page = sd_lora::doctor(&file, None).unwrap().to_string();
    assert!(page.contains("note         alpha_pattern: 'roj_in'"), "{page}");
    assert!(open("peft_folder").notes().is_empty());
    assert!(open("diffusers").notes().is_empty());
}

#[test]
fn kinds_are_told_by_their_tensors() {
    for (case, kind) in [
        ("lora", Kind::Lora),
        ("locon", Kind::Locon),
        ("locon_tucker", Kind::Locon),
        ("dora", Kind::Lora),
        ("loha_tucker", Kind::Loha),
        ("lokr_both", Kind::Lokr),
        ("ia3_input", Kind::Ia3),
        ("full", Kind::Full),
        ("norm", Kind::Norm),
        ("glora", Kind::Glora),
        ("oft_rescale", Kind::Oft),
        ("oft_diag", Kind::Oft),
        ("boft", Kind::Boft),
        ("peft_dora", Kind::Lora),
        ("peft_oft", Kind::Oft),
        ("peft_lokr", Kind::Lokr),
        ("peft_loha", Kind::Loha),
        ("kohya_oft", Kind::Oft),
        ("kohya_dora", Kind::Lora),
    ] {
        assert!(
            open(case).kinds().contains_key(&kind),
            "{case}: {:?}",
            open(case).kinds()
        );
    }
}
