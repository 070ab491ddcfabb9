//! The time to apply adapters over all of SD1.5: `cargo run --release -p benches --bin apply_adapters`.
//!
//! Files of random halves are made in memory, one for each kind, with modules for every linear layer and convolution of the U-Net and
//! the text encoder; the time is that of `apply_in` over all parameters, which reads, multiplies, adds and checks.

use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, TensorView};
use sd_core::{config::Family, weights::TensorFile};
use sd_lora::{AdapterFile, FamilyParameter, ModelNames, Strengths, family_parameters};

const RANK: usize = 32;

/// A module's tensors: their endings and shapes.
type Shapes = Vec<(&'static str, Vec<usize>)>;
/// A case that is measured: its name, the layers, and the tensors of each.
type Measured<'a> = (&'static str, &'a [&'a FamilyParameter], fn(&[usize]) -> Shapes);

fn lora(shape: &[usize]) -> Shapes {
    let up = [&[shape[0], RANK], &vec![1; shape.len() - 2][..]].concat();
    let down = [&[RANK], &shape[1..]].concat();
    vec![("lora_up.weight", up), ("lora_down.weight", down)]
}

fn loha(shape: &[usize]) -> Shapes {
    let columns = shape[1..].iter().product();
    let (a, b) = (vec![shape[0], RANK], vec![RANK, columns]);
    vec![
        ("hada_w1_a", a.clone()),
        ("hada_w1_b", b.clone()),
        ("hada_w2_a", a),
        ("hada_w2_b", b),
    ]
}

fn lokr(shape: &[usize]) -> Shapes {
    let factor = |n: usize| {
        [16, 8, 4, 2, 1]
            .into_iter()
            .find(|f| n.is_multiple_of(*f))
            .unwrap_or(1)
    };
    let (a, c) = (factor(shape[0]), factor(shape[1]));
    let second = [&[shape[0] / a, shape[1] / c], &shape[2..]].concat();
    vec![("lokr_w1", vec![a, c]), ("lokr_w2", second)]
}

fn dora(shape: &[usize]) -> Shapes {
    let mut shapes = lora(shape);
    shapes.push((
        "dora_scale",
        [&[shape[0]], &vec![1; shape.len() - 1][..]].concat(),
    ));
    shapes
}

fn oft(shape: &[usize]) -> Shapes {
    let size = [64, 40, 32, 4, 1]
        .into_iter()
        .find(|size| shape[0].is_multiple_of(*size))
        .unwrap_or(1);
    vec![("oft_blocks", vec![shape[0] / size, size, size])]
}

fn file(layers: &[&FamilyParameter], shapes: fn(&[usize]) -> Shapes) -> AdapterFile {
    let mut state = 1u64;
    let mut halves = |n: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Halves from 1/64 to 1/32, of either sign.
            ((state >> 33) as u16 & 0x83ff | 0x2400).to_le_bytes()
        };
        (0..n).flat_map(|_| next()).collect()
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = layers
        .iter()
        .flat_map(|layer| {
            let name = layer.spellings[0].trim_end_matches(".weight");
            let module = format!("{}.{name}", layer.network.name());
            shapes(&layer.shape)
                .into_iter()
                .map(move |(leaf, shape)| (format!("{module}.{leaf}"), shape))
        })
        .map(|(name, shape)| {
            let bytes = halves(shape.iter().product());
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::F16, shape.clone(), bytes).expect("as long as said"),
        )
    });
    let bytes = safetensors::serialize(views, None).expect("in memory");
    println!("{:>5} MB", bytes.len() / 1_000_000);
    AdapterFile::from_tensors(TensorFile::from_bytes("random", bytes).expect("just written"))
        .expect("an adapter")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parameters = family_parameters(Family::Sd1);
    let names = ModelNames::of_family(Family::Sd1).ok_or("SD1 is known")?;
    let layers: Vec<&FamilyParameter> = parameters
        .iter()
        .filter(|p| {
            p.spellings[0].ends_with(".weight") && p.shape.len() > 1 && !p.spellings[0].contains("embeddings")
        })
        .collect();
    let attention: Vec<&FamilyParameter> = layers
        .iter()
        .filter(|p| {
            let name = &p.spellings[0];
            name.contains("attentions") || name.contains("encoder.layers")
        })
        .copied()
        .collect();
    let kinds: [Measured; 6] = [
        ("LoRA on transformers", &attention, lora),
        ("LoRA on all layers", &layers, lora),
        ("DoRA on all layers", &layers, dora),
        ("LoHa on all layers", &layers, loha),
        ("LoKr on all layers", &layers, lokr),
        ("OFT on all layers", &layers, oft),
    ];
    for (kind, layers, shapes) in kinds {
        let file = file(layers, shapes);
        let start = Instant::now();
        let adapter = file.bind(&names, &Strengths::both(0.8))?;
        let bound = start.elapsed();
        let mut spent = Duration::ZERO;
        for layer in layers {
            let mut weight = vec![0.01f32; layer.shape.iter().product()];
            let start = Instant::now();
            adapter.apply_in(layer.network, &layer.spellings[0], &layer.shape, &mut weight)?;
            spent += start.elapsed();
        }
        println!(
            "{kind}, rank {RANK}: {} modules, bound in {bound:.1?}, applied in {spent:.2?}",
            layers.len()
        );
    }
    Ok(())
}
