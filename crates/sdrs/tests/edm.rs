//! Continuous noise levels (Playground v2.5, CosXL) and latents with a mean and a deviation, against diffusers' schedulers.

mod common;

use goldens::Refs;
use safetensors::{SafeTensors, tensor::TensorView};
use sdrs::{Dtype, ErrorCode, Pipeline, Sampler, Schedule};
use serde_json::{Value, json};

const REFS: &str = "distilled/edm.safetensors";

/// The tiny model with another scheduler, and Playground v2.5's latents.
fn folder(scheduler: &Value) -> tempfile::TempDir {
    let folder = common::put_together(&[(
        "tiny-sd1",
        &[
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
            "scheduler/scheduler_config.json",
        ],
    )]);
    let put = |name: &str, json: &Value| std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    put("scheduler/scheduler_config.json", scheduler);
    let vae = std::fs::read_to_string(folder.path().join("vae/config.json")).unwrap();
    let mut vae: Value = serde_json::from_str(&vae).unwrap();
    vae["scaling_factor"] = json!(0.5);
    vae["latents_mean"] = json!([-1.6574, 1.886, -1.383, 2.5155]);
    vae["latents_std"] = json!([8.4927, 5.9022, 6.5498, 5.2299]);
    put("vae/config.json", &vae);
    folder
}

fn pipeline(path: &std::path::Path) -> Pipeline {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(path)
        .device("cpu")
        .build()
        .unwrap()
}

fn latents(pipeline: &Pipeline, sampler: Sampler, schedule: Schedule) -> Vec<f32> {
    let request = pipeline
        .txt2img("a red circle above a blue square")
        .negative_prompt("blurry");
    let request = request
        .sampler(sampler)
        .schedule(schedule)
        .steps(10)
        .cfg_scale(3.0);
    let request = request.width(128).height(128).seed(42);
    request.latents().unwrap().latents.values
}

fn playground(prediction: &str) -> Value {
    json!({
        "_class_name": "EDMDPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "dynamic_thresholding_ratio": 0.995,
        "euler_at_final": false, "final_sigmas_type": "zero", "lower_order_final": true, "num_train_timesteps": 1000,
        "prediction_type": prediction, "rho": 7.0, "sample_max_value": 1.0, "sigma_data": 0.5, "sigma_max": 80.0,
        "sigma_min": 0.002, "sigma_schedule": "karras", "solver_order": 2, "solver_type": "midpoint", "thresholding": false,
    })
}

#[test]
fn runs_are_diffusers() {
    let refs = Refs::open(REFS);
    let continuous = json!({
        "_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction", "timestep_type": "continuous",
        "sigma_min": 0.002, "sigma_max": 80.0,
    });
    for (scheduler, sampler, schedule, name) in [
        (
            playground("epsilon"),
            Sampler::Euler,
            Schedule::Karras,
            "euler_karras",
        ),
        (
            playground("epsilon"),
            Sampler::Euler,
            Schedule::Exponential,
            "euler_exponential",
        ),
        (
            playground("epsilon"),
            Sampler::DpmPp2m,
            Schedule::Karras,
            "dpmpp_2m_karras",
        ),
        (
            playground("v_prediction"),
            Sampler::Euler,
            Schedule::Karras,
            "euler_karras_v",
        ),
        (continuous, Sampler::Euler, Schedule::Karras, "continuous_v"),
    ] {
        let folder = folder(&scheduler);
        refs.assert_close(name, &latents(&pipeline(folder.path()), sampler, schedule), 1e-4);
    }
}

#[test]
fn latents_have_a_mean_and_a_deviation() {
    let folder = folder(&playground("epsilon"));
    let pipeline = pipeline(folder.path());
    let refs = Refs::open(REFS);
    let shape = |name: &str| -> [usize; 4] { refs.shape(name).try_into().unwrap() };
    let decoded = pipeline
        .vae_decode(&refs.f32s("latents"), shape("latents"))
        .unwrap();
    refs.assert_close("decoded", &decoded.values, 1e-5);
    let encoded = pipeline
        .vae_encode(&refs.f32s("picture"), shape("picture"))
        .unwrap();
    refs.assert_close("mean", &encoded.mean.values, 1e-5);
    refs.assert_close("std", &encoded.std.values, 1e-5);
}

/// Every schedule gives a plan, and samplers over timesteps say why they give none.
#[test]
fn samplers_and_schedules() {
    let folder = folder(&playground("epsilon"));
    let pipeline = pipeline(folder.path());
    let request = |sampler, schedule| {
        let request = pipeline
            .txt2img("")
            .width(16)
            .height(16)
            .steps(3)
            .seed(1)
            .cfg_scale(1.0);
        request.sampler(sampler).schedule(schedule).latents()
    };
    for &schedule in Schedule::ALL {
        let drawn = request(Sampler::Euler, schedule).unwrap().latents.values;
        assert!(drawn.iter().all(|value| value.is_finite()), "{schedule}");
    }
    let error = request(Sampler::Ddim, Schedule::Automatic).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidParameter);
    assert!(error.to_string().contains("works over timesteps"), "{error}");
}

/// What is saved is read again, and a file without configurations of scheduler and VAE says the same by its tensors.
#[test]
fn single_files() {
    let folder = folder(&playground("epsilon"));
    let own = pipeline(folder.path());
    let file = folder.path().join("edm.safetensors");
    own.save_file(&file, Dtype::F32).unwrap();
    let drawn = |pipeline: &Pipeline| {
        let latents = latents(pipeline, Sampler::DpmPp2m, Schedule::Karras);
        let picture = pipeline.vae_decode(&latents, [1, 4, 16, 16]).unwrap();
        (latents, picture.values)
    };
    let expected = drawn(&own);
    assert!(drawn(&pipeline(&file)) == expected);

    let bytes = std::fs::read(&file).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let with = |rows: [[f32; 4]; 2], keep_vae: bool| {
        let kept = |key: &String| !key.contains("scheduler") && (keep_vae || !key.contains("vae"));
        let metadata = metadata.clone().into_iter().filter(|(key, _)| kept(key));
        let rows = rows.map(|row| row.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>());
        let view = |row| TensorView::new(safetensors::Dtype::F32, vec![4], row).unwrap();
        let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        tensors.push(("edm_mean".into(), view(&rows[0])));
        tensors.push(("edm_std".into(), view(&rows[1])));
        safetensors::serialize(tensors, Some(metadata.collect())).unwrap()
    };
    let mean = [-1.6574, 1.886, -1.383, 2.5155];
    let marked = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint_bytes("x", with([mean, [8.4927, 5.9022, 6.5498, 5.2299]], true));
    assert!(drawn(&marked.device("cpu").build().unwrap()) == expected);
    // Without the VAE's own configuration the tensors are read, and checked.
    let wrong = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint_bytes("x", with([mean, [0.0; 4]], false));
    let error = wrong.device("cpu").build().map(drop).unwrap_err();
    assert!(error.to_string().contains("latents_std"), "{error}");
}
