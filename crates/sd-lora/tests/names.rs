//! Names of SD1, SD2 and SDXL in every dialect.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::tensor::{Dtype as Stored, TensorView};
use sd_core::{
    checkpoint::Checkpoint,
    config::{Family, Part},
    weights::TensorFile,
};
use sd_lora::{Adapter, AdapterFile, ModelNames, Network, Strengths, family_parameters};

const FAMILIES: [Family; 3] = [Family::Sd1, Family::Sd2, Family::Sdxl];

/// The parameters that a file with one-value differences for these modules touches.
fn bind(modules: &[String], model: &ModelNames) -> sd_lora::Result<Adapter> {
    let zero = [0u8; 4];
    let views = modules.iter().map(|module| {
        (
            format!("{module}.diff"),
            TensorView::new(Stored::F32, vec![1], &zero).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    AdapterFile::from_tensors(TensorFile::from_bytes("x", bytes)?)?.bind(model, &Strengths::default())
}

/// diffusers' count of parameters, which the file of names can't get wrong without being noticed here.
#[test]
fn families_have_all_their_parameters() {
    for (family, network, tensors, values) in [
        (Family::Sd1, Network::Unet, 686, 859_520_964usize),
        (Family::Sd2, Network::Unet, 686, 865_910_724),
        (Family::Sdxl, Network::Unet, 1680, 2_567_463_684),
        (Family::Sd1, Network::TextEncoder, 196, 123_060_480),
    ] {
        let found = family_parameters(family)
            .into_iter()
            .filter(|p| p.network == network);
        let shapes: Vec<usize> = found.map(|p| p.shape.iter().product()).collect();
        assert_eq!(
            (shapes.len(), shapes.iter().sum()),
            (tensors, values),
            "{family} {network:?}"
        );
    }
    assert!(ModelNames::of_family(Family::Other).is_none());
}

/// SD1's names are those that sd-core's own tables give for a model of that structure.
#[test]
fn sd1_is_what_its_networks_ask_for() {
    let checkpoint = Checkpoint::open(&goldens::root().join("tiny-sd1")).unwrap();
    let unet = |spellings: &Vec<String>| spellings.iter().cloned().collect::<BTreeSet<_>>();
    let own: BTreeSet<_> = checkpoint
        .parameters()
        .unwrap()
        .iter()
        .filter(|(part, _)| *part == Part::Unet)
        .map(|(_, spellings)| unet(spellings))
        .collect();
    let listed: BTreeSet<_> = family_parameters(Family::Sd1)
        .iter()
        .filter(|p| p.network == Network::Unet)
        .map(|p| unet(&p.spellings))
        .collect();
    // Which blocks need a shortcut depends on the widths, which the tiny model has others of.
    let rest = |a: &BTreeSet<BTreeSet<String>>, b| -> Vec<BTreeSet<String>> {
        let rest = a.difference(b).cloned();
        rest.filter(|names| !names.iter().any(|name| name.contains("conv_shortcut")))
            .collect()
    };
    assert_eq!(rest(&own, &listed), rest(&listed, &own));
    assert_eq!(rest(&own, &listed), Vec::<BTreeSet<String>>::new());
}

/// A name in a dialect, made from a network, a layer's canonical name and its name in LDM.
type Dialect = fn(Network, &str, Option<&str>) -> Option<String>;

fn kohya_prefix(network: Network, family: Family) -> &'static str {
    match (network, family) {
        (Network::Unet, _) => "lora_unet",
        (Network::TextEncoder2, _) => "lora_te2",
        (_, Family::Sdxl) => "lora_te1",
        _ => "lora_te",
    }
}

/// Every layer is found under its name in each dialect, and no two layers share one.
#[test]
fn every_layer_is_found_under_every_name() {
    let dialects: [(&str, Dialect); 5] = [
        ("diffusers", |network, layer, _| {
            Some(format!("{}.{layer}", network.name()))
        }),
        ("PEFT", |network, layer, _| {
            Some(format!("{}.base_model.model.{layer}", network.name()))
        }),
        ("LDM's own prefix", |network, _, ldm| {
            (network == Network::Unet).then(|| format!("model.diffusion_model.{}", ldm.unwrap()))
        }),
        ("ComfyUI", |network, layer, ldm| {
            Some(match network {
                Network::Unet => format!("diffusion_model.{}", ldm?),
                Network::TextEncoder => format!("text_encoders.clip_l.transformer.{layer}"),
                _ => format!("text_encoders.clip_g.transformer.{layer}"),
            })
        }),
        ("LyCORIS' wrapper", |network, layer, _| {
            (network == Network::Unet).then(|| format!("lycoris_{}", layer.replace('.', "_")))
        }),
    ];
    for family in FAMILIES {
        let model = ModelNames::of_family(family).unwrap();
        let parameters = family_parameters(family);
        let layers: Vec<_> = parameters
            .iter()
            .filter_map(|p| {
                let stem = |name: &String| name.strip_suffix(".weight").map(str::to_owned);
                Some((
                    p.network,
                    stem(&p.spellings[0])?,
                    p.spellings.get(1).and_then(stem),
                ))
            })
            .collect();
        assert!(layers.len() > 300);
        let kohya = |network: Network, name: &str| {
            Some(format!(
                "{}_{}",
                kohya_prefix(network, family),
                name.replace('.', "_")
            ))
        };
        let mut named: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        for (network, layer, ldm) in &layers {
            let mut add = |dialect: &str, name| named.entry(dialect.to_owned()).or_default().push(name);
            add("kohya", kohya(*network, layer));
            add("kohya, LDM", ldm.as_deref().and_then(|ldm| kohya(*network, ldm)));
            for (dialect, name) in &dialects {
                add(dialect, name(*network, layer, ldm.as_deref()));
            }
        }
        for (dialect, modules) in named {
            let (modules, expected): (Vec<String>, Vec<_>) = modules
                .into_iter()
                .zip(&layers)
                .filter_map(|(module, (network, layer, _))| Some((module?, (*network, layer.as_str()))))
                .unzip();
            assert!(modules.len() > 250, "{family} {dialect}");
            // Binding fails if a name is unknown, or two are one layer's.
            let adapter = bind(&modules, &model).unwrap_or_else(|e| panic!("{family} {dialect}: {e}"));
            for (network, layer) in expected {
                assert!(
                    adapter.touches_in(network, &format!("{layer}.weight")),
                    "{family} {dialect} {layer}"
                );
            }
        }
    }
}

/// Names that diffusers wrote before it used PEFT.
#[test]
fn names_of_old_attention_processors() {
    let model = ModelNames::of_family(Family::Sd1).unwrap();
    let block = "up_blocks.1.attentions.2.transformer_blocks.0.attn2";
    let zero = [0u8; 64];
    let keys = ["to_q", "to_k", "to_v", "to_out"].map(|layer| format!("unet.{block}.processor.{layer}_lora"));
    let tensor = || TensorView::new(Stored::F32, vec![1, 1], &zero[..4]).unwrap();
    let views = keys.iter().flat_map(|key| {
        [
            (format!("{key}.down.weight"), tensor()),
            (format!("{key}.up.weight"), tensor()),
        ]
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    let file = AdapterFile::from_tensors(TensorFile::from_bytes("x", bytes).unwrap()).unwrap();
    let adapter = file.bind(&model, &Strengths::default()).unwrap();
    for layer in ["to_q", "to_k", "to_v", "to_out.0"] {
        assert!(
            adapter.touches_in(Network::Unet, &format!("{block}.{layer}.weight")),
            "{layer}"
        );
    }
}

/// An adapter of another family is told from what it says of itself.
#[test]
fn the_wrong_family_is_told() {
    let down = "lora_unet_input_blocks_7_1_transformer_blocks_9_attn2_to_k";
    let zero = vec![0u8; 4 * 2048];
    let views = [
        (
            format!("{down}.lora_down.weight"),
            TensorView::new(Stored::F32, vec![1, 2048], &zero).unwrap(),
        ),
        (
            format!("{down}.lora_up.weight"),
            TensorView::new(Stored::F32, vec![1280, 1], &zero[..5120]).unwrap(),
        ),
    ];
    let bytes = safetensors::serialize(views, None).unwrap();
    let file = AdapterFile::from_tensors(TensorFile::from_bytes("xl.safetensors", bytes).unwrap()).unwrap();
    assert_eq!(file.family(), Family::Sdxl);
    let sdxl = ModelNames::of_family(Family::Sdxl).unwrap();
    assert!(file.bind(&sdxl, &Strengths::default()).is_ok());
    let sd1 = ModelNames::of_family(Family::Sd1).unwrap();
    let error = file.bind(&sd1, &Strengths::default()).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "xl.safetensors: 1 of 1 modules have no place in this model (it was made for SDXL): lora_unet_"
        ),
        "{error}"
    );
    let lenient = Strengths {
        allow_unmatched: true,
        ..Strengths::default()
    };
    let adapter = file.bind(&sd1, &lenient).unwrap();
    assert_eq!(adapter.unmatched().len(), 1);
}
