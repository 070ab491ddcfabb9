//! Schedules against their reference programs.

mod common;

use common::{floats, golden, relative_elementwise};
use sd_sched::{Dialect, ModelSampling, Prediction, Schedule, ScheduleOptions};

/// What the golden script keeps of a list: first, middle and last values.
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
