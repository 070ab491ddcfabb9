//! Samplers against k-diffusion.

mod common;

use std::collections::BTreeMap;

use common::{START, denoise, denoise_uncond, floats, golden, noise, relative, relative_elementwise};
use sd_sched::{
    BetaSchedule, Denoised, Dialect, Error, ModelSampling, Plan, PlanOptions, Prediction, Sampler, Schedule,
    Start, plan, plan_for_calls, sample,
};
use serde_json::Value;

fn model() -> ModelSampling {
    ModelSampling::stable_diffusion(Prediction::Epsilon)
}

/// Runs a plan from `x` on the analytic denoiser; returns the latent, the calls and the noise draws.
fn run(plan: Plan, x: Vec<f64>) -> (Vec<f64>, usize, usize) {
    let (mut calls, mut draws) = (0, 0);
    let result = sample(
        plan,
        x,
        |x, call| {
            calls += 1;
            let uncond = call.needs_uncond.then(|| denoise_uncond(x, call.sigma));
            Ok(Denoised {
                denoised: denoise(x, call.sigma),
                uncond,
            })
        },
        |_| {
            draws += 1;
            Ok::<_, Error>(noise(draws))
        },
        |_| Ok(()),
    );
    (result.expect("the run"), calls, draws)
}

fn options(case: &Value) -> PlanOptions {
    let mut o = PlanOptions::default();
    for (key, v) in case["options"].as_object().expect("options") {
        let v = v.as_f64().expect("a number");
        match key.as_str() {
            "s_churn" => o.s_churn = v,
            "s_tmin" => o.s_tmin = v,
            "s_tmax" => o.s_tmax = v,
            "s_noise" => o.s_noise = v,
            "eta" => o.eta = Some(v),
            "order" => o.order = Some(v as usize),
            "rtol" => o.adaptive.rtol = v,
            "atol" => o.adaptive.atol = v,
            "pcoeff" => o.adaptive.pcoeff = v,
            "dcoeff" => o.adaptive.dcoeff = v,
            other => panic!("unknown option {other}"),
        }
    }
    o
}

#[test]
fn k_diffusion() {
    let g = golden("k_samplers.json");
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for case in g["cases"].as_array().expect("cases") {
        let name = case["sampler"].as_str().expect("a name");
        let Ok(sampler) = name.parse::<Sampler>() else {
            continue;
        };
        let mut o = options(case);
        o.sigmas = case["sigmas"].as_str().map(|s| floats(&g["sigmas"][s]));
        let steps = case["steps"].as_u64().unwrap_or(10) as usize;
        let plan = plan(sampler, Schedule::Automatic, steps, &model(), &o).expect("a plan");
        let start = START.iter().map(|v| v * plan.noise_scale()).collect();
        let (x, calls, draws) = run(plan.clone(), start);
        let error = relative(&x, &floats(&case["x"]));
        assert!(error < 1e-6, "{name} {}: {error:e}", case["sigmas"]);
        assert_eq!(calls as u64, case["calls"].as_u64().expect("calls"), "{name}");
        assert!(plan.is_adaptive() || plan.calls() == calls, "{name}");
        // The reference draws noise that it then multiplies by 0.
        if draws > 0 {
            assert_eq!(
                draws as u64,
                case["draws"].as_u64().expect("draws"),
                "{name} {:?}",
                case["options"]
            );
        }
        let w = worst.entry(name.to_owned()).or_default();
        *w = w.max(error);
    }
    println!("{worst:#?}");
    assert_eq!(worst.len(), 14);
}

/// The WebUI's samplers over timesteps; the plan's scales turn its variance-exploding latents into their start.
#[test]
fn webui_timesteps() {
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for case in golden("webui_timesteps.json").as_array().expect("cases") {
        let name = case["sampler"].as_str().expect("a name");
        let Ok(sampler) = name.parse::<Sampler>() else {
            continue;
        };
        let start = case["strength"].as_f64().map_or(Start::Noise, |s| Start::Image {
            strength: s,
            exact_steps: false,
        });
        let o = PlanOptions {
            eta: case["eta"].as_f64(),
            start,
            ..PlanOptions::default()
        };
        let steps = case["steps"].as_u64().expect("steps") as usize;
        let plan = plan(sampler, Schedule::Karras, steps, &model(), &o).expect("a plan");
        let (i, n) = (plan.image_scale(), plan.noise_scale());
        let image = (0..8).map(|k| -1.0 + 2.0 * f64::from(k) / 7.0);
        let x = image
            .zip(START)
            .map(|(image, noise)| i * image + n * noise)
            .collect();
        let (x, calls, draws) = run(plan.clone(), x);
        let error = relative(&x, &floats(&case["x"]));
        assert!(error < 1e-6, "{name} {steps} {start:?}: {error:e}");
        assert_eq!(
            (calls as u64, draws as u64),
            (case["calls"].as_u64().unwrap(), case["draws"].as_u64().unwrap())
        );
        let w = worst.entry(name.to_owned()).or_default();
        *w = w.max(error);
    }
    println!("{worst:#?}");
}

#[test]
fn comfy_and_forge() {
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    for case in golden("comfy_forge.json").as_array().expect("cases") {
        let name = case["sampler"].as_str().expect("a name");
        let schedule: Schedule = case["schedule"]
            .as_str()
            .expect("a name")
            .parse()
            .expect("a schedule");
        let dialect = if case["dialect"] == "comfy" {
            Dialect::Comfy
        } else {
            Dialect::WebUi
        };
        let o = PlanOptions {
            dialect,
            eta: case["eta"].as_f64(),
            ..PlanOptions::default()
        };
        let steps = case["steps"].as_u64().expect("steps") as usize;
        let plan = plan(name.parse().expect("a sampler"), schedule, steps, &model(), &o).expect("a plan");
        if !case["sigmas"].is_null() {
            assert!(relative(plan.sigmas(), &floats(&case["sigmas"])) < 1e-9, "{name}");
        }
        let x = START.iter().map(|v| v * plan.noise_scale()).collect();
        let (x, calls, draws) = run(plan.clone(), x);
        let error = relative(&x, &floats(&case["x"]));
        println!("{name} {dialect:?} {} {steps}: {error:e}", case["schedule"]);
        let w = worst.entry(name.to_owned()).or_default();
        *w = w.max(error);
        assert_eq!(
            (calls, draws as u64),
            (plan.calls(), case["draws"].as_u64().expect("draws")),
            "{name}"
        );
        if let Some(want) = case["calls"].as_u64() {
            assert_eq!(calls as u64, want, "{name}");
        }
    }
    println!("{worst:#?}");
    assert!(worst.values().all(|e| *e < 1e-6));
}

fn diffusers_model(prediction: Prediction) -> ModelSampling {
    ModelSampling::from_betas(
        BetaSchedule::STABLE_DIFFUSION,
        1000,
        prediction,
        Dialect::Diffusers,
    )
    .expect("a model")
}

#[test]
fn diffusers() {
    against_diffusers("diffusers.json", &diffusers_model(Prediction::Epsilon));
}

/// Zero terminal SNR: each scheduler has its own last noise level, or none.
#[test]
fn diffusers_with_zero_terminal_snr() {
    let model = diffusers_model(Prediction::V).with_zero_terminal_snr();
    against_diffusers("diffusers_zero_snr.json", &model);
    // A pipeline's table, rounded as the WebUI's, is diffusers' own there.
    let model = ModelSampling::stable_diffusion(Prediction::V).with_zero_terminal_snr();
    against_diffusers("diffusers_zero_snr.json", &model);
}

fn against_diffusers(file: &str, model: &ModelSampling) {
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    let mut bad = 0;
    for case in golden(file).as_array().expect("cases") {
        let name = case["sampler"].as_str().expect("a name");
        let sampler: Sampler = name.parse().expect("a sampler");
        let spacing = case["spacing"].as_str().expect("a spacing");
        let mut o = PlanOptions {
            dialect: Dialect::Diffusers,
            eta: case["eta"].as_f64(),
            order: case["order"]
                .as_u64()
                .map(|o| o as usize)
                .filter(|_| !name.starts_with("DPM++ 2M")),
            set_alpha_to_one: case["set_alpha_to_one"].as_bool().expect("a flag"),
            ..PlanOptions::default()
        };
        if name == "DPM++ 2M SDE" {
            o.eta = Some(1.0);
        }
        let sigmas = (!case["sigmas"].is_null()).then(|| floats(&case["sigmas"]));
        if case["own_sigmas"] == true {
            o.sigmas = sigmas.clone();
        }
        let steps = case["steps"].as_u64().expect("steps") as usize;
        let bent = case["bent"].as_str();
        let exploding = case["exploding"] == true;
        if let (Some(_), true, Some(sigmas)) = (bent, exploding, &sigmas) {
            // These are bent between the ends of their spacing.
            (o.schedule.sigma_max, o.schedule.sigma_min) = (Some(sigmas[0]), Some(sigmas[steps - 1]));
        }
        let schedule = bent.unwrap_or(spacing).parse().expect("a schedule");
        let plan = plan(sampler, schedule, steps, model, &o).expect("a plan");
        if let Some(want) = &sigmas {
            let error = relative_elementwise(plan.sigmas(), want);
            if error > 1e-6 {
                bad += 1;
                println!("{name} {bent:?} {spacing} {steps} sigmas: {error:e}");
            }
        }
        // The first noise is the spacing's, bent or not.
        let scale = if exploding && spacing != "leading" {
            plan.sigmas()[0]
        } else {
            plan.noise_scale()
        };
        let x = START.iter().map(|v| v * scale).collect();
        let (x, calls, _) = run(plan.clone(), x);
        let error = relative(&x, &floats(&case["x"]));
        println!("{name} {bent:?} {spacing} {steps}: {error:e}");
        assert_eq!(calls as u64, case["calls"].as_u64().expect("calls"), "{name}");
        let times: Vec<f64> = plan.evaluations().map(|e| e.1).collect();
        for (a, b) in times.iter().zip(floats(&case["timesteps"])) {
            if (a - b).abs() > 1e-3 {
                bad += 1;
                println!("{name} {bent:?} {spacing} {steps}: timestep {a} for {b}");
            }
        }
        let w = worst.entry(name.to_owned()).or_default();
        *w = w.max(error);
    }
    println!("{worst:#?}");
    assert_eq!(bad, 0);
    assert!(worst.values().all(|e| *e < 1e-5));
}

/// The prediction where nothing is left of the signal has to be the picture; nothing becomes infinite there.
#[test]
fn no_signal_at_all() {
    let options = PlanOptions {
        dialect: Dialect::Diffusers,
        ..PlanOptions::default()
    };
    let of = |prediction, sampler: Sampler, spacing| {
        let model = diffusers_model(prediction).with_zero_terminal_snr();
        plan(sampler, spacing, 5, &model, &options)
    };
    for &sampler in &[Sampler::Ddim, Sampler::Ddpm, Sampler::Tcd, Sampler::Lcm] {
        let e = of(Prediction::Epsilon, sampler, Schedule::Trailing).unwrap_err();
        assert!(
            e.to_string().starts_with("prediction epsilon says nothing"),
            "{e}"
        );
        let plan = of(Prediction::V, sampler, Schedule::Trailing).expect("a plan");
        assert_eq!(plan.sigmas()[0], 2f64.powi(32), "{sampler}");
        let start = START.iter().map(|v| v * plan.noise_scale()).collect();
        let (x, ..) = run(plan, start);
        assert!(x.iter().all(|v| v.abs() < 100.0), "{sampler}: {x:?}");
    }
    assert!(of(Prediction::Epsilon, Sampler::Ddim, Schedule::Leading).is_ok());
    assert!(of(Prediction::Epsilon, Sampler::Euler, Schedule::Trailing).is_ok());
}

#[test]
fn plans_for_a_number_of_calls() {
    let o = PlanOptions::default();
    let steps =
        |s, calls| plan_for_calls(s, Schedule::Karras, calls, &model(), &o).map(|p| (p.steps(), p.calls()));
    assert_eq!(steps(Sampler::Euler, 20), Ok((20, 20)));
    assert_eq!(steps(Sampler::Heun, 20), Ok((10, 19)));
    assert_eq!(steps(Sampler::Euler, 1), Ok((1, 1)));
    assert_eq!(steps(Sampler::HeunPp2, 20).map(|s| s.1 <= 20), Ok(true));
    assert!(steps(Sampler::Euler, 0).is_err());
    assert!(steps(Sampler::DpmAdaptive, 20).is_err());
}
