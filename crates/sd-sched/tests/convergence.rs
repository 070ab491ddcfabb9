//! Orders of convergence and reached distributions, on a mixture whose exact flow is known.

mod common;
#[path = "common/mixture.rs"]
mod mixture;

use sd_sched::rng::TorchCpuRng;
use sd_sched::{Error, ModelSampling, Plan, PlanOptions, Prediction, Sampler, Schedule, plan, sample};

fn model() -> ModelSampling {
    ModelSampling::stable_diffusion(Prediction::Epsilon)
}

fn run(plan: Plan, x: Vec<f64>, rng: &mut TorchCpuRng) -> Vec<f64> {
    let n = x.len();
    let denoise = |x: &Vec<f64>, s: f64| -> Vec<f64> { x.iter().map(|v| mixture::denoise(*v, s)).collect() };
    let result = sample(
        plan,
        x,
        |x, call| {
            let d = denoise(x, call.sigma);
            Ok(sd_sched::Denoised {
                uncond: call.needs_uncond.then(|| d.clone()),
                denoised: d,
            })
        },
        |_| Ok::<_, Error>(rng.normal_f32(n).into_iter().map(f64::from).collect()),
        |_| Ok(()),
    );
    result.expect("the run")
}

/// The largest error at sigma 0.1 of a run from sigma 10 over steps even in `ln(sigma)` (or in sigma).
fn error(sampler: Sampler, steps: usize, even: bool) -> f64 {
    let at = |i: usize| {
        let w = i as f64 / steps as f64;
        if even {
            10.0 - 9.9 * w
        } else {
            10.0 * 0.01f64.powf(w)
        }
    };
    let sigmas = (0..=steps).map(at).collect();
    let o = PlanOptions {
        sigmas: Some(sigmas),
        eta: Some(0.0),
        ..PlanOptions::default()
    };
    let plan = plan(sampler, Schedule::Karras, steps, &model(), &o).expect("a plan");
    let x: Vec<f64> = (-12..=12).map(|i| f64::from(i) * 1.3 + 0.11).collect();
    let exact: Vec<f64> = x.iter().map(|x| mixture::flow(*x, 10.0, 0.1)).collect();
    let got = run(plan, x, &mut TorchCpuRng::new(0));
    got.iter()
        .zip(exact)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

/// The slope of the error against the number of steps, between `n` and `2 n` steps.
fn slope(sampler: Sampler, n: usize, even: bool) -> f64 {
    (error(sampler, n, even) / error(sampler, 2 * n, even)).log2()
}

/// Steps even in `ln(sigma)`. Multistep methods begin with a step of order 1 whose own error is of order 2, which is all that
/// remains in the limit: their order is seen where steps are even in sigma, and their first step costs nothing.
#[test]
fn orders() {
    use Sampler as S;
    let cases = [
        (S::Euler, 256, false, 1.0),
        (S::EulerAncestral, 256, false, 1.0),
        (S::EulerCfgPp, 256, false, 1.0),
        (S::EulerAncestralCfgPp, 256, false, 1.0),
        (S::DpmPp2mCfgPp, 256, false, 2.0),
        (S::ResMultistepCfgPp, 256, false, 2.0),
        (S::HeunPp2, 256, false, 1.0),
        (S::Heun, 256, false, 2.0),
        (S::Dpm2, 256, false, 2.0),
        (S::Dpm2Ancestral, 256, false, 2.0),
        (S::DpmPp2sAncestral, 256, false, 2.0),
        (S::DpmPpSde, 256, false, 2.0),
        (S::DpmPp2m, 256, false, 2.0),
        (S::DpmPp2mSde, 256, false, 2.0),
        (S::DpmPp2mSdeHeun, 256, false, 2.0),
        (S::DpmPp3mSde, 256, false, 2.0),
        (S::ResMultistep, 256, false, 2.0),
        (S::UniPc, 256, false, 2.0),
        (S::UniPcBh2, 256, false, 2.0),
        (S::Ipndm, 256, false, 2.0),
        (S::SaSolver, 64, false, 4.0),
        (S::Lms, 256, true, 4.0),
        (S::Ipndm, 256, true, 4.0),
        (S::Deis, 512, true, 3.0),
    ];
    for (sampler, n, even, theory) in cases {
        let measured = slope(sampler, n, even);
        println!(
            "{sampler} {}: {measured:.2} (theory {theory})",
            if even {
                "even in sigma"
            } else {
                "even in ln(sigma)"
            }
        );
        assert!(
            (measured - theory).abs() < 0.2,
            "{sampler}: {measured} for {theory}"
        );
    }
    // The published coefficients of iPNDM-v are not quite those of its polynomial: somewhere over order 2.
    assert!(slope(S::IpndmV, 256, false) > 1.8);
}

/// DPM fast: calls that leave a last step of order 2, so that the order is 3.
#[test]
fn order_of_dpm_fast() {
    let e = |m: usize| error(Sampler::DpmFast, 3 * m - 1, false);
    let measured = (e(48) / e(96)).log2();
    println!("DPM fast: {measured:.2} (theory 3)");
    assert!((measured - 3.0).abs() < 0.2, "{measured}");
}

/// DPM adaptive keeps what it promises: a tenth of the tolerance, about a tenth of the error.
#[test]
fn tolerance_of_dpm_adaptive() {
    let error = |tolerance: f64| {
        let mut o = PlanOptions {
            sigmas: Some(vec![10.0, 0.1]),
            eta: Some(0.0),
            ..PlanOptions::default()
        };
        (o.adaptive.rtol, o.adaptive.atol) = (tolerance, tolerance);
        let plan = plan(Sampler::DpmAdaptive, Schedule::Karras, 1, &model(), &o).expect("a plan");
        let got = run(plan, vec![3.3], &mut TorchCpuRng::new(0));
        (got[0] - mixture::flow(3.3, 10.0, 0.1)).abs()
    };
    let (loose, tight) = (error(1e-2), error(1e-5));
    println!("DPM adaptive: {loose:e} at 1e-2, {tight:e} at 1e-5");
    assert!(tight < 1e-5 && tight < loose / 100.0);
}

/// Samplers that add noise: the distribution they reach, from 30,000 draws.
#[test]
fn distributions() {
    use Sampler as S;
    let samplers = [
        S::EulerAncestral,
        S::Dpm2Ancestral,
        S::DpmPp2sAncestral,
        S::DpmPpSde,
        S::DpmPp2mSde,
        S::DpmPp2mSdeHeun,
        S::DpmPp3mSde,
        S::Ddpm,
        S::SaSolver,
        S::EulerAncestralCfgPp,
        S::Restart,
        S::DpmFast,
        S::DpmAdaptive,
    ];
    let n = 30_000;
    for sampler in samplers {
        let slow = matches!(
            sampler,
            S::Ddpm | S::EulerAncestral | S::EulerAncestralCfgPp | S::DpmPpSde
        );
        let steps = if slow { 200 } else { 60 };
        let plan = plan(
            sampler,
            Schedule::Karras,
            steps,
            &model(),
            &PlanOptions::default(),
        )
        .expect("a plan");
        let mut rng = TorchCpuRng::new(1);
        let x = rng
            .normal_f32(n)
            .into_iter()
            .map(|v| f64::from(v) * plan.noise_scale())
            .collect();
        let x = run(plan, x, &mut rng);
        let mean = x.iter().sum::<f64>() / n as f64;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        let (m, v) = (mixture::MEAN, mixture::variance());
        println!("{sampler}: mean {mean:.4} (true {m:.4}), variance {variance:.4} (true {v:.4})");
        // Four standard errors of the mean (and the prior's variance is not quite infinite); 3% for the variance.
        assert!(
            (mean - m).abs() < 4.0 * (v / n as f64).sqrt() + 0.005,
            "{sampler}: mean {mean}"
        );
        assert!(
            (variance / v - 1.0).abs() < 0.03,
            "{sampler}: variance {variance} for {v}"
        );
    }
}
