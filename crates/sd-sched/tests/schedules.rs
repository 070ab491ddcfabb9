//! Schedules against their reference programs.

mod common;

use common::{floats, golden, relative_elementwise};
use sd_sched::{BetaSchedule, Dialect, ModelSampling, Prediction, Sampler, Schedule, ScheduleOptions};

/// The values of a list that the golden script keeps: first, middle and last.
fn thin(s: &[f64]) -> Vec<f64> {
    match s.len() {
        0..=12 => s.to_vec(),
        n => s[..3]
            .iter()
            .chain([&s[n / 2]])
            .chain(&s[n - 4..])
            .copied()
            .collect(),
    }
}

#[test]
fn k_diffusion() {
    let model = ModelSampling::stable_diffusion(Prediction::Epsilon);
    let g = golden("k_schedules.json");
    for (name, by_steps) in g["schedules"].as_object().expect("schedules") {
        let (name, rho) = match name.split_once(" rho ") {
            Some((name, rho)) => (name, Some(rho.parse().expect("a number"))),
            None => (name.as_str(), None),
        };
        let schedule: Schedule = name.parse().expect("a schedule");
        let mut worst = 0f64;
        for (steps, want) in by_steps.as_object().expect("steps") {
            let o = ScheduleOptions {
                rho,
                ..ScheduleOptions::default()
            };
            let n = steps.parse().expect("a number");
            let got = schedule.sigmas(n, &model, Dialect::WebUi, &o).expect("sigmas");
            assert_eq!(got.len(), n + 1);
            let error = relative_elementwise(&thin(&got), &floats(want));
            assert!(error < 1e-6, "{name} {rho:?} at {steps}: {error:e}");
            worst = worst.max(error);
        }
        println!("{name} {rho:?}: {worst:e}");
    }
    let sigmas: Vec<f64> = model.sigmas().iter().step_by(37).copied().collect();
    assert!(relative_elementwise(&sigmas, &floats(&g["table"]["sigmas"])) < 1e-6);
    for (sigma, t) in floats(&g["table"]["of"]).iter().zip(floats(&g["table"]["t"])) {
        assert!((model.timestep(*sigma) - t).abs() < 1e-6 * t.max(1.0), "{sigma}");
    }
}

#[test]
fn k_diffusion_over_a_table_in_half() {
    let model = ModelSampling::stable_diffusion(Prediction::Epsilon)
        .with_half_alphas()
        .expect("a table");
    let g = golden("half_alphas.json");
    let sigmas: Vec<f64> = model.sigmas().iter().step_by(37).copied().collect();
    assert!(relative_elementwise(&sigmas, &floats(&g["table"]["sigmas"])) < 1e-8);
    for (name, by_steps) in g["schedules"].as_object().expect("schedules") {
        let schedule: Schedule = name.parse().expect("a schedule");
        for (steps, want) in by_steps.as_object().expect("steps") {
            let n = steps.parse().expect("a number");
            let got = schedule
                .sigmas(n, &model, Dialect::WebUi, &ScheduleOptions::default())
                .expect("sigmas");
            let error = relative_elementwise(&got, &floats(want));
            assert!(error < 2e-6, "{name} at {steps}: {error:e}");
        }
    }
    for (sigma, t) in floats(&g["table"]["of"]).iter().zip(floats(&g["table"]["t"])) {
        assert!((model.timestep(*sigma) - t).abs() < 2e-3, "{sigma}");
    }
}

#[test]
fn the_other_programs() {
    let ldm = ModelSampling::stable_diffusion(Prediction::Epsilon);
    let hf = ModelSampling::from_betas(
        BetaSchedule::STABLE_DIFFUSION,
        1000,
        Prediction::Epsilon,
        Dialect::Diffusers,
    )
    .expect("a model");
    let mut failed = 0;
    for row in golden("more_schedules.json").as_array().expect("rows") {
        let schedule: Schedule = row["schedule"]
            .as_str()
            .expect("a name")
            .parse()
            .expect("a schedule");
        let (dialect, model) = match row["dialect"].as_str() {
            Some("comfy") => (Dialect::Comfy, &ldm),
            Some("diffusers") => (Dialect::Diffusers, &hf),
            _ => (Dialect::WebUi, &ldm),
        };
        let o = ScheduleOptions {
            sdxl: row["sdxl"] == true,
            ..ScheduleOptions::default()
        };
        let (mut worst, mut at) = (0f64, 0);
        for (steps, want) in row["sigmas"].as_object().expect("steps") {
            let n: usize = steps.parse().expect("a number");
            let got = schedule
                .sigmas(n, model, dialect, &o)
                .unwrap_or_else(|e| panic!("{schedule} {n}: {e}"));
            assert_eq!(
                got.len() as u64,
                row["lengths"][steps].as_u64().expect("a length"),
                "{schedule} {n}"
            );
            let error = relative_elementwise(&thin(&got), &floats(want));
            if error > worst {
                (worst, at) = (error, n);
            }
        }
        failed += usize::from(worst > 1e-6);
        println!("{schedule} {dialect:?} {}: {worst:e} at {at}", row["sdxl"]);
    }
    assert_eq!(failed, 0);
}

#[test]
fn betas() {
    let g = golden("betas.json");
    let pick = floats(&g["pick"]);
    for row in g["rows"].as_array().expect("rows") {
        let betas = match row["betas"].as_str() {
            Some("linear") => BetaSchedule::Linear {
                start: 0.0001,
                end: 0.02,
            },
            Some("squaredcos_cap_v2") => BetaSchedule::Cosine,
            _ => BetaSchedule::STABLE_DIFFUSION,
        };
        let dialect = match row["dialect"].as_str() {
            Some("comfy") => Dialect::Comfy,
            Some("diffusers") => Dialect::Diffusers,
            _ => Dialect::WebUi,
        };
        let mut model = ModelSampling::from_betas(betas, 1000, Prediction::V, dialect).expect("a model");
        if row["zero_snr"] == true {
            model = model.with_zero_terminal_snr();
        }
        let sampler = row["sampler"].as_str().unwrap_or("none");
        let model = match sampler.parse::<Sampler>() {
            Ok(sampler) => sampler.noise_levels(&model, dialect).into_owned(),
            Err(_) => model,
        };
        let want = floats(&row["alphas_cumprod"]);
        let got: Vec<f64> = pick
            .iter()
            .take(want.len())
            .map(|&t| model.alphas_cumprod()[t as usize])
            .collect();
        let error = relative_elementwise(&got, &want);
        println!(
            "{} {dialect:?} {} {sampler}: {error:e}",
            row["betas"], row["zero_snr"]
        );
        assert!(error < 1e-6, "{row}");
    }
    assert!(
        BetaSchedule::Linear { start: 0.0, end: 0.1 }
            .alphas_cumprod(1000, Dialect::WebUi)
            .is_err()
    );
    assert!(
        BetaSchedule::Linear {
            start: 0.1,
            end: f64::NAN
        }
        .alphas_cumprod(1000, Dialect::WebUi)
        .is_err()
    );
    assert!(
        BetaSchedule::STABLE_DIFFUSION
            .alphas_cumprod(usize::MAX, Dialect::WebUi)
            .is_err()
    );
}
