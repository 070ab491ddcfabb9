//! Distilled models: a U-Net that takes cfg_scale itself, the usual settings of turbo models, and SDXL's tables of noise levels.

mod common;

use std::sync::{Arc, Mutex};

use goldens::{Refs, formula};
use safetensors::{SafeTensors, tensor::TensorView};
use sd_sched::{
    Latent, PlanOptions, Request, Stepper, plan,
    rng::{BatchNoise, NoiseOptions, Shape},
};
use sdrs::{Pipeline, Sampler, Schedule};

/// The width of the guidance's embedding.
const WIDTH: usize = 256;
/// The tiny model, whose U-Net has one layer more.
fn folder() -> tempfile::TempDir {
    let folder = common::put_together(&[(
        "tiny-sd1",
        &[
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
            "unet/config.json",
        ],
    )]);
    let config = folder.path().join("unet/config.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    json["time_cond_proj_dim"] = WIDTH.into();
    std::fs::write(&config, json.to_string()).unwrap();

    let name = "unet/diffusion_pytorch_model.safetensors";
    let bytes = std::fs::read(common::folder().join(name)).unwrap();
    let layer = "time_embedding.cond_proj.weight";
    let values = formula::tensor(layer, &[32, WIDTH]);
    let values: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    let added = TensorView::new(safetensors::Dtype::F32, vec![32, WIDTH], &values).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.push((layer.into(), added));
    std::fs::write(
        folder.path().join(name),
        safetensors::serialize(tensors, None).unwrap(),
    )
    .unwrap();
    folder
}

fn latents(pipeline: &Pipeline, cfg_scale: f64, prompt: &str, negative: &str) -> Vec<f32> {
    let request = pipeline
        .txt2img(prompt)
        .negative_prompt(negative)
        .width(128)
        .height(128);
    let request = request
        .sampler(Sampler::Euler)
        .schedule(Schedule::Uniform)
        .steps(4);
    request
        .cfg_scale(cfg_scale)
        .seed(42)
        .latents()
        .unwrap()
        .latents
        .values
}

#[test]
fn the_scale_goes_into_the_network() {
    let folder = folder();
    let pipeline = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder.path())
        .device("cpu")
        .build()
        .unwrap();
    let refs = Refs::open("distilled/lcm_runs.safetensors");
    let prompt = "a red circle above a blue square";
    for (name, cfg_scale) in [("cfg_1", 1.0), ("cfg_8", 8.0)] {
        let drawn = latents(&pipeline, cfg_scale, prompt, "");
        refs.assert_close(name, &drawn, 1e-4);
        // A negative prompt has no part in it.
        assert_eq!(latents(&pipeline, cfg_scale, prompt, "blurry"), drawn);
    }

    // A single file says the same, under LDM's name of the layer.
    let file = folder.path().join("lcm.safetensors");
    pipeline.save_file(&file, sdrs::Dtype::F32).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    assert!(
        stored
            .tensor("model.diffusion_model.time_embed.cond_proj.weight")
            .is_ok()
    );
    let single = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(&file)
        .device("cpu")
        .build()
        .unwrap();
    assert_eq!(
        latents(&single, 8.0, prompt, ""),
        latents(&pipeline, 8.0, prompt, "")
    );
}

/// What would change the way from the negative prompt to the prompt has nothing to act on.
#[test]
fn methods_of_guidance_without_a_use_are_told() {
    let folder = folder();
    let told = |path: &std::path::Path, change: &dyn Fn(sdrs::Request<'_>) -> sdrs::Request<'_>| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = lines.clone();
        let builder = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(path)
            .device("cpu");
        let builder = builder.on_log(move |level, line| {
            if level == sdrs::LogLevel::Warning {
                log.lock().unwrap().push(line.to_owned());
            }
        });
        let pipeline = builder.build().unwrap();
        let request = pipeline
            .txt2img("a red circle")
            .width(64)
            .height(64)
            .steps(2)
            .seed(1);
        let drawn = change(request).latents().unwrap().latents.values;
        let lines: Vec<String> = lines.lock().unwrap().clone();
        (lines, drawn)
    };
    let (none, plain) = told(folder.path(), &|request| request);
    assert_eq!(none, [""; 0]);
    let (lines, drawn) = told(folder.path(), &|request| {
        let request = request
            .ngms(2.0)
            .guidance_rescale(0.5)
            .mimic_scale(3.0)
            .skimming_scale(4.0);
        request.apg_eta(0.5).cfg_zero_star(true).perp_neg_scale(1.0)
    });
    assert!(drawn == plain);
    let names = lines
        .iter()
        .filter_map(|line| line.split_once(" is not used: this model's U-Net takes cfg_scale"));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "ngms",
            "guidance_rescale",
            "mimic_scale",
            "skimming_scale",
            "apg_eta",
            "cfg_zero_star",
            "perp_neg_scale"
        ]
    );
    // And what only shapes another setting, without that one.
    let (lines, _) = told(&common::folder(), &|request| {
        let request = request.threshold_percentile(90.0).full_skim_negative(true);
        request.disable_flipping_filter(true).sag_threshold(2.0)
    });
    assert_eq!(
        lines,
        [
            "threshold_percentile is not used: there is no dynamic thresholding without mimic_scale",
            "full_skim_negative is not used: nothing is skimmed without skimming_scale",
            "disable_flipping_filter is not used: nothing is skimmed without skimming_scale",
            "sag_threshold is not used: there is no self-attention guidance without sag_scale",
        ]
    );
}

/// The low-level call takes the scale too.
#[test]
fn the_scale_by_hand() {
    let folder = folder();
    let open = |path: &std::path::Path| {
        let builder = Pipeline::builder().dtype(sdrs::Dtype::F32).device("cpu");
        builder.checkpoint(path).build().unwrap()
    };
    let pipeline = open(folder.path());
    let refs = Refs::open("distilled/lcm_runs.safetensors");
    let context = pipeline
        .encode_prompt("a red circle above a blue square", 1)
        .unwrap();
    let context = (&context.values[..], [1, context.shape[0], context.shape[1]]);
    let options = PlanOptions::default();
    for (name, cfg_scale) in [("cfg_1", 1.0), ("cfg_8", 8.0)] {
        let plan = plan(
            Sampler::Euler,
            Schedule::Uniform,
            4,
            pipeline.sampling(),
            &options,
        )
        .unwrap();
        let shape = Shape {
            channels: 4,
            height: 16,
            width: 16,
        };
        let mut noise = BatchNoise::new(NoiseOptions::new(42, shape)).unwrap();
        let x = Vec::lincomb(&[(plan.noise_scale(), &noise.first().swap_remove(0))]);
        let mut stepper = Stepper::new(plan, x);
        while let Request::Denoise {
            x, sigma, timestep, ..
        } = stepper.request()
        {
            let s = pipeline.sampling().scalings(sigma);
            let input: Vec<f32> = Vec::lincomb(&[(s.c_in, x)]);
            let output =
                pipeline.unet_guided((&input, [1, 4, 16, 16]), &[timestep], context, None, cfg_scale);
            let denoised = Vec::lincomb(&[(s.c_skip, x), (s.c_out, &output.unwrap().values)]);
            stepper.provide_denoised(denoised).unwrap();
        }
        refs.assert_close(name, &stepper.finish().unwrap(), 1e-4);
    }
    let call = |pipeline: &Pipeline, scale| {
        pipeline.unet_guided((&[0.5; 4 * 64], [1, 4, 8, 8]), &[1.0], context, None, scale)
    };
    let fails = |result: Result<sdrs::Array, sdrs::Error>, words: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("cfg_scale") && error.contains(words), "{error}");
    };
    fails(call(&pipeline, f64::NAN), "not finite");
    fails(call(&open(&common::folder()), 8.0), "takes no scale of guidance");
}

/// The sigmas that the steps of a run begin at.
fn sigmas(pipeline: &Pipeline, sampler: Sampler, schedule: Schedule, steps: usize) -> Vec<f64> {
    let mut sigmas = Vec::new();
    let request = pipeline
        .txt2img("a red circle")
        .width(64)
        .height(64)
        .seed(1)
        .cfg_scale(1.0);
    let request = request.sampler(sampler).schedule(schedule).steps(steps);
    let drawn = request
        .on_progress(|progress| sigmas.push(progress.sigma))
        .latents()
        .unwrap();
    assert!(drawn.latents.values.iter().all(|value| value.is_finite()));
    sigmas
}

/// What the publishers of turbo models ask for: as checkpoints they are like others, and few steps begin at the last timestep.
#[test]
fn usual_settings_of_turbo_models() {
    let folder = common::sdxl_folder();
    for path in [common::folder(), folder.path().to_owned()] {
        let pipeline = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(&path)
            .device("cpu")
            .build()
            .unwrap();
        let first = pipeline.sampling().sigma_max();
        for (sampler, schedule, steps) in [
            // SD-Turbo and SDXL-Turbo.
            (Sampler::EulerAncestral, Schedule::Trailing, 1),
            (Sampler::EulerAncestral, Schedule::Turbo, 4),
            // Lightning.
            (Sampler::Euler, Schedule::SgmUniform, 4),
            (Sampler::Euler, Schedule::Trailing, 8),
            // Hyper-SD.
            (Sampler::Tcd, Schedule::Trailing, 8),
            (Sampler::Tcd, Schedule::SgmUniform, 4),
            // LCM and DMD2.
            (Sampler::Lcm, Schedule::Automatic, 4),
            (Sampler::Lcm, Schedule::SgmUniform, 4),
        ] {
            let sigmas = sigmas(&pipeline, sampler, schedule, steps);
            assert_eq!(sigmas.len(), steps, "{sampler} {schedule}");
            assert!(
                (sigmas[0] - first).abs() < 1e-3 * first,
                "{sampler} {schedule}: {sigmas:?}"
            );
        }
    }
    // SDXL-Lightning of one step predicts the clean latents.
    let builder = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(folder.path())
        .device("cpu");
    let one = builder.prediction(sdrs::Prediction::Sample).build().unwrap();
    assert_eq!(sigmas(&one, Sampler::Euler, Schedule::Trailing, 1).len(), 1);
}

/// Align Your Steps has other noise levels for SDXL (Sabour et al. 2024, arXiv:2404.14507), as in the WebUI.
#[test]
fn tables_are_the_familys() {
    let folder = common::sdxl_folder();
    let sd1 = [
        14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029,
    ];
    let sdxl = [
        14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029,
    ];
    for (path, expected) in [(common::folder(), sd1), (folder.path().to_owned(), sdxl)] {
        let pipeline = Pipeline::builder()
            .dtype(sdrs::Dtype::F32)
            .checkpoint(&path)
            .device("cpu")
            .build()
            .unwrap();
        let sigmas = sigmas(&pipeline, Sampler::Euler, Schedule::AlignYourSteps, 11);
        assert_eq!(sigmas, expected);
    }
}
