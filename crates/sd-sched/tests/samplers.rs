//! Samplers against k-diffusion.

mod common;

use std::collections::BTreeMap;

use common::{START, denoise, denoise_uncond, floats, golden, noise, relative, relative_elementwise};
use sd_sched::{
    BetaSchedule, Control, Denoised, Dialect, ModelSampling, Plan, PlanOptions, Prediction, Sampler,
    Schedule, Start, plan, plan_for_calls, sample,
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
            Ok(noise(draws))
        },
        |_| Control::Continue,
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

#[test]
fn diffusers() {
    let model = ModelSampling::from_betas(
        BetaSchedule::STABLE_DIFFUSION,
        1000,
        Prediction::Epsilon,
        Dialect::Diffusers,
    )
    .expect("a model");
    let mut worst: BTreeMap<String, f64> = BTreeMap::new();
    let mut bad = 0;
    for case in golden("diffusers.json").as_array().expect("cases") {
        let name = case["sampler"].as_str().expect("a name");
        let spacing = case["spacing"].as_str().expect("a spacing");
        let o = PlanOptions {
            dialect: Dialect::Diffusers,
            eta: case["eta"].as_f64(),
            order: case["order"]
                .as_u64()
                .map(|o| o as usize)
                .filter(|_| name != "DPM++ 2M"),
            set_alpha_to_one: case["set_alpha_to_one"].as_bool().expect("a flag"),
            ..PlanOptions::default()
        };
        let o = if name == "DPM++ 2M SDE" {
            PlanOptions { eta: Some(1.0), ..o }
        } else {
            o
        };
        let own = case["own_sigmas"] == true;
        let o = if own {
            PlanOptions {
                sigmas: Some(floats(&case["sigmas"])),
                ..o
            }
        } else {
            o
        };
        let steps = case["steps"].as_u64().expect("steps") as usize;
        let schedule = spacing.parse().expect("a spacing");
        let plan = plan(name.parse().expect("a sampler"), schedule, steps, &model, &o).expect("a plan");
        if !case["sigmas"].is_null() {
            let want = floats(&case["sigmas"]);
            let error = relative_elementwise(plan.sigmas(), &want);
            if error > 1e-6 {
                bad += 1;
                println!("{name} {spacing} {steps} sigmas: {error:e}");
            }
        }
        let x = START.iter().map(|v| v * plan.noise_scale()).collect();
        let (x, calls, _) = run(plan.clone(), x);
        let error = relative(&x, &floats(&case["x"]));
        println!("{name} {spacing} {steps}: {error:e}");
        assert_eq!(calls as u64, case["calls"].as_u64().expect("calls"), "{name}");
        let times: Vec<f64> = plan.evaluations().map(|e| e.1).collect();
        for (a, b) in times.iter().zip(floats(&case["timesteps"])) {
            if (a - b).abs() > 1e-3 {
                bad += 1;
                println!("{name} {spacing} {steps}: timestep {a} for {b}");
            }
        }
        let w = worst.entry(name.to_owned()).or_default();
        *w = w.max(error);
    }
    println!("{worst:#?}");
    assert_eq!(bad, 0);
    assert!(worst.values().all(|e| *e < 1e-5));
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
