//! What goes between host and device in a call.

use goldens::Refs;

use super::*;
use crate::{Pipeline, TiledDiffusion, model::traffic, text::Timeline};

const SHAPE: [usize; 4] = [1, 4, 16, 16];

/// Three conds, of which one is twice as long as the others, and uncond.
fn conditioning(refs: &Refs) -> Conditioning {
    let [cond, uncond] = ["cond", "uncond"].map(|name| refs.f32s(name));
    let texts = [
        cond.clone(),
        uncond.clone(),
        [cond.clone(), uncond.clone()].concat(),
    ];
    Conditioning {
        conds: texts.map(|text| (1.0, Timeline::fixed(text))).into(),
        uncond: Timeline::fixed(uncond),
        empty: None,
        width: refs.shape("cond")[2],
        padding: None,
        sizes: None,
    }
}

/// Some texts' answers at a step, and the reads and writes that they took.
fn predicted(
    predictor: &mut Predictor<'_>,
    latents: &[Vec<f32>],
    step: usize,
    parts: Range<usize>,
) -> (Vec<Vec<Predicted>>, [usize; 2]) {
    let latents: Vec<(usize, &Vec<f32>)> = latents.iter().enumerate().collect();
    let call = DenoiseCall {
        sigma: 3.0,
        timestep: 500.0 - step as f64,
        step,
        call: step,
        needs_uncond: true,
    };
    let batch = Batch {
        latents: &latents,
        call: &call,
    };
    let unet = predictor.model.unet.clone();
    let mut predicted = Vec::new();
    let traffic = traffic::of(|| {
        predicted = predictor
            .predict(batch, &unet, parts, Variant::default())
            .unwrap();
    });
    (predicted, traffic)
}

/// However many texts of whatever lengths a call has, the device is waited for once, for each tile if there are some, and after the first call
/// nothing is brought there but latents.
#[test]
fn a_call_waits_once() {
    let builder = Pipeline::builder().checkpoint(goldens::root().join("tiny-sd1"));
    let pipeline = builder.device("cpu").dtype(sd_core::Dtype::F32).build().unwrap();
    let refs = Refs::open("tiny-sd1/refs/samplers.safetensors");
    let conditioning = conditioning(&refs);
    let mut params = GenerateParams::default();
    params.tiles.tiled_diffusion = TiledDiffusion::MultiDiffusion;
    (params.tiles.tile_width, params.tiles.tile_height) = (8, 16);
    params.tiles.tile_overlap = 0;
    let tiles = Tiles::new(&params, [SHAPE[2], SHAPE[3]]).unwrap();
    let count = SHAPE.iter().product::<usize>();
    let latents = |scale: f32| -> Vec<f32> { (0..count).map(|i| scale * (i as f32 * 0.7).sin()).collect() };
    let latents = [latents(3.0), latents(2.0)];
    for (tiles, times) in [(None, 1), (Some(&tiles), tiles.count())] {
        let predictor = || Predictor {
            model: &pipeline.components().model,
            runtime: &pipeline.components().runtime,
            conditioning: &conditioning,
            changes: Changes::default(),
            guidance: None,
            shape: SHAPE,
            concat: None,
            tiles,
            cancelled: &|| false,
            cache: UnetCache::default(),
            steady: Steady::default(),
        };
        let mut together = predictor();
        let (all, [reads, _]) = predicted(&mut together, &latents, 0, 0..4);
        assert_eq!(reads, times);
        let (_, traffic) = predicted(&mut together, &latents, 1, 0..4);
        assert_eq!(traffic, [times, times]);
        // Each picture has each text's answer, in their order.
        for (picture, (x, all)) in latents.iter().zip(&all).enumerate() {
            for (part, answer) in all.iter().enumerate() {
                let (alone, _) = predicted(&mut predictor(), std::slice::from_ref(x), 0, part..part + 1);
                let what = format!("picture {picture}, text {part}");
                goldens::assert_close(&what, &answer.denoised, &alone[0][0].denoised, 1e-5);
            }
            assert_eq!(all.len(), 4);
        }
    }
}
