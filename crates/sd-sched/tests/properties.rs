//! The properties of every sampler: finite, deterministic, resumable, and no panic whatever is asked.

mod common;

use std::cell::Cell;

use common::{START, denoise, denoise_uncond, noise};
use proptest::prelude::*;
use sd_sched::{
    Denoised, Dialect, Error, Latent, ModelSampling, Plan, PlanOptions, Prediction, Request, Sampler,
    Schedule, Start, Stepper, StepperState, drive, drive_together, plan, sample,
};

fn model() -> ModelSampling {
    ModelSampling::stable_diffusion(Prediction::V)
}

/// Answers one request; false at the end.
fn answer(s: &mut Stepper<Vec<f64>>, draws: &mut usize) -> bool {
    match s.request() {
        Request::Done(_) => return false,
        Request::Noise { .. } => {
            *draws += 1;
            s.provide_noise(noise(*draws)).expect("noise");
        }
        Request::Denoise { x, sigma, .. } => {
            let (a, b) = (denoise(x, sigma), denoise_uncond(x, sigma));
            s.provide_denoised_with_uncond(a, b).expect("denoised");
        }
        _ => unreachable!(),
    }
    true
}

fn start(plan: &Plan) -> Vec<f64> {
    START
        .iter()
        .map(|v| v * plan.noise_scale() + 0.1 * plan.image_scale())
        .collect()
}

fn straight(plan: &Plan) -> Vec<f64> {
    let mut s = Stepper::new(plan.clone(), start(plan));
    let mut draws = 0;
    while answer(&mut s, &mut draws) {}
    s.finish().expect("the end")
}

/// Several steppers at once come to what each comes to alone, each with noise of its own; those of one plan share every call.
#[test]
fn steppers_go_together() {
    for sampler in Sampler::ALL {
        let options = PlanOptions::default();
        let plan = plan(*sampler, Schedule::Automatic, 7, &model(), &options).expect("a plan");
        let begin = |place: usize| -> Vec<f64> {
            let shift = 0.3 * place as f64 * plan.noise_scale();
            start(&plan).iter().map(|v| v + shift).collect()
        };
        let answer = |x: &Vec<f64>, sigma| Denoised {
            denoised: denoise(x, sigma),
            uncond: Some(denoise_uncond(x, sigma)),
        };
        let draw = |place: usize, draws: &Cell<usize>| {
            draws.set(draws.get() + 1);
            noise(100 * place + draws.get())
        };
        let alone = (0..3).map(|place| {
            let (mut steps, draws) = (Vec::new(), Cell::new(0));
            let end = drive(
                Stepper::new(plan.clone(), begin(place)),
                |x, call| Ok::<_, Error>(answer(x, call.sigma)),
                |_| Ok(draw(place, &draws)),
                |_, step| {
                    steps.push(step);
                    Ok(())
                },
            );
            (end.expect("the end"), steps)
        });
        let alone: Vec<(Vec<f64>, Vec<usize>)> = alone.collect();
        let (mut steps, draws) = (vec![Vec::new(); 3], vec![Cell::new(0); 3]);
        let mut shared = true;
        let ends = drive_together(
            (0..3)
                .map(|place| Stepper::new(plan.clone(), begin(place)))
                .collect(),
            |latents, call| {
                shared &= latents.len() == 3;
                let answers = latents.iter().map(|(_, x)| answer(x, call.sigma));
                Ok::<_, Error>(answers.collect::<Vec<_>>())
            },
            |place, _| Ok(draw(place, &draws[place])),
            |place, _, step| {
                steps[place].push(step);
                Ok(())
            },
        )
        .expect("the ends");
        let together: Vec<(Vec<f64>, Vec<usize>)> = ends.into_iter().zip(steps).collect();
        assert_eq!(together, alone, "{sampler}");
        assert!(shared || plan.is_adaptive(), "{sampler}");
    }
    let plan = plan(
        Sampler::Euler,
        Schedule::Automatic,
        2,
        &model(),
        &PlanOptions::default(),
    );
    let steppers = vec![Stepper::new(plan.expect("a plan"), vec![0f64; 2])];
    let few = |_: &[(usize, &Vec<f64>)], _| Ok::<_, Error>(Vec::<Vec<f64>>::new());
    let ended = drive_together(steppers, few, |_, _| unreachable!(), |_, _, _| Ok(()));
    assert!(matches!(ended, Err(Error::OutOfTurn { .. })));
}

/// A call belongs to the step behind those that are done, and calls are counted without a gap.
#[test]
fn calls_know_their_place() {
    for sampler in Sampler::ALL {
        let options = PlanOptions::default();
        let plan = plan(*sampler, Schedule::Automatic, 7, &model(), &options).expect("a plan");
        let (mut draws, mut calls) = (0, 0);
        let mut s = Stepper::new(plan.clone(), start(&plan));
        while !s.is_done() {
            if let Request::Denoise { step, call, .. } = s.request() {
                assert_eq!((step, call), (s.steps_done(), calls), "{sampler}");
                calls += 1;
            }
            answer(&mut s, &mut draws);
        }
    }
}

/// A latent that is put in a step's place is what the rest of the run goes on from.
#[test]
fn a_step_is_replaced() {
    let plan_of =
        |sampler| plan(sampler, Schedule::Karras, 7, &model(), &PlanOptions::default()).expect("a plan");
    let run = |plan: &Plan, by: fn(f64) -> f64| {
        let mut refused = 0;
        let end = drive(
            Stepper::new(plan.clone(), start(plan)),
            |x: &Vec<f64>, call| {
                Ok(Denoised {
                    denoised: denoise(x, call.sigma),
                    uncond: call.needs_uncond.then(|| denoise_uncond(x, call.sigma)),
                })
            },
            |way| Ok::<_, Error>(noise(way.step)),
            |stepper, step| {
                let x = stepper.progress(step).expect("a step").x.iter();
                let replaced = x.map(|x| by(*x)).collect();
                refused += usize::from(stepper.replace_step(replaced).is_err());
                Ok(())
            },
        );
        (end.expect("the end"), refused)
    };
    for sampler in Sampler::ALL {
        let plan = plan_of(*sampler);
        let (same, _) = run(&plan, |x| x);
        let plain = sample(
            plan.clone(),
            start(&plan),
            |x: &Vec<f64>, call| {
                Ok(Denoised {
                    denoised: denoise(x, call.sigma),
                    uncond: call.needs_uncond.then(|| denoise_uncond(x, call.sigma)),
                })
            },
            |way| Ok::<_, Error>(noise(way.step)),
            |_| Ok(()),
        );
        assert_eq!(same, plain.expect("the end"), "{sampler}");
    }
    // k-diffusion's Euler, by hand.
    let plan = plan_of(Sampler::Euler);
    let sigmas = plan.sigmas().to_vec();
    let mut x = start(&plan);
    for pair in sigmas.windows(2) {
        let denoised = denoise(&x, pair[0]);
        let next = |(x, d): (&f64, &f64)| x + (x - d) / pair[0] * (pair[1] - pair[0]);
        x = x.iter().zip(&denoised).map(next).map(|x| 0.9 * x + 0.1).collect();
    }
    let (halved, refused) = run(&plan, |x| 0.9 * x + 0.1);
    assert_eq!(refused, 0);
    for (a, b) in halved.iter().zip(&x) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
    let mut stepper = Stepper::new(plan.clone(), start(&plan));
    assert!(matches!(
        stepper.replace_step(vec![0.0; 3]),
        Err(Error::OutOfTurn { .. })
    ));
    let mut draws = 0;
    answer(&mut stepper, &mut draws);
    assert!(matches!(
        stepper.replace_step(vec![0.0; 3]),
        Err(Error::ShapeMismatch { .. })
    ));
}

fn any_sampler() -> impl Strategy<Value = Sampler> {
    prop::sample::select(Sampler::ALL)
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    prop::sample::select(Schedule::ALL)
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(&[Dialect::WebUi, Dialect::Comfy, Dialect::Diffusers][..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Finite in, finite out; twice the same; and from any place the same as straight through, bit for bit.
    #[test]
    fn runs(sampler in any_sampler(), schedule in any_schedule(), dialect in any_dialect(), steps in 1usize..40,
            strength in prop::option::of(0.05f64..=1.0), eta in prop::option::of(0.0f64..=1.0), churn in 0.0f64..10.0,
            stop in 0usize..60) {
        let begin = strength.map_or(Start::Noise, |strength| Start::Image { strength, exact_steps: false });
        let o = PlanOptions { dialect, start: begin, eta, s_churn: churn, ..PlanOptions::default() };
        let plan = match plan(sampler, schedule, steps, &model(), &o) {
            Ok(plan) => plan,
            Err(Error::InvalidParameter { .. }) => return Ok(()),
            Err(e) => panic!("{e}"),
        };
        let whole = straight(&plan);
        prop_assert!(whole.iter().all(|v| v.is_finite()), "{sampler} {schedule} {dialect:?} {steps}: {whole:?}");
        prop_assert_eq!(&whole, &straight(&plan));

        let mut first = Stepper::new(plan.clone(), start(&plan));
        let mut draws = 0;
        for _ in 0..stop {
            answer(&mut first, &mut draws);
        }
        let bytes = first.state().to_bytes(|x, out| x.iter().for_each(|v| out.extend(v.to_le_bytes())));
        let decode = |b: &[u8]| Some(b.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect());
        let state = StepperState::from_bytes(&bytes, decode).expect("the bytes just made");
        prop_assert_eq!(&state, &first.state());
        let mut second = Stepper::resume(plan.clone(), state).expect("the state just saved");
        prop_assert_eq!(first.request(), second.request());
        prop_assert_eq!((first.steps_done(), first.calls_done()), (second.steps_done(), second.calls_done()));
        prop_assert_eq!(first.last_step(), second.last_step());
        let mut branch = first.clone();
        let mut draws_too = draws;
        while answer(&mut second, &mut draws) {}
        prop_assert_eq!(&second.finish().expect("the end"), &whole);
        while answer(&mut branch, &mut draws_too) {}
        prop_assert_eq!(&branch.finish().expect("the end"), &whole);
        prop_assert!((0.0..=1.0).contains(&first.fraction_done()));
    }

    /// Any numbers at all: a plan or an error, never a panic.
    #[test]
    fn no_panic(sampler in any_sampler(), schedule in any_schedule(), dialect in any_dialect(), steps in 0usize..2000,
                strength in any::<f64>(), eta in any::<f64>(), churn in any::<f64>(), min in any::<f64>(),
                max in any::<f64>(), rho in any::<f64>(), exact in any::<bool>(), order in prop::option::of(0usize..9)) {
        let mut o = PlanOptions { dialect, eta: Some(eta), s_churn: churn, order, ..PlanOptions::default() };
        let _ = plan(sampler, schedule, steps, &model(), &o);
        o.eta = None;
        o.s_churn = 0.0;
        o.order = None;
        o.start = Start::Image { strength: strength.abs().fract(), exact_steps: exact };
        let _ = plan(sampler, schedule, steps.min(300), &model(), &o);
        o.start = Start::Later { skipped: (strength.abs().fract() * 40.0) as usize };
        let _ = plan(sampler, schedule, steps.min(30), &model(), &o);
        o.schedule.sigma_min = Some(min);
        o.schedule.sigma_max = Some(max);
        o.schedule.rho = Some(rho);
        let _ = plan(sampler, schedule, steps.min(300), &model(), &o);
    }

    #[test]
    fn no_name_panics(name in ".{0,60}") {
        let _ = sd_sched::parse_sampler(&name);
        let _ = name.parse::<Schedule>();
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), keep in any::<bool>()) {
        let head: &[u8] = if keep { b"sdsched\x01" } else { b"" };
        let _ = StepperState::<Vec<u8>>::from_bytes(&[head, &bytes].concat(), |b| Some(b.to_vec()));
    }
}

/// One bad parameter each, found before any work and named.
#[test]
fn errors_name_the_parameter() {
    let image = |strength| Start::Image {
        strength,
        exact_steps: false,
    };
    let d = PlanOptions::default;
    let with = |f: &dyn Fn(&mut PlanOptions)| {
        let mut o = d();
        f(&mut o);
        o
    };
    let cases: Vec<(&str, usize, PlanOptions)> = vec![
        ("steps", 0, d()),
        ("steps", usize::MAX, d()),
        ("strength", 20, with(&|o| o.start = image(1.01))),
        ("strength", 20, with(&|o| o.start = image(-0.1))),
        ("strength", 20, with(&|o| o.start = image(f64::NAN))),
        (
            "skipped_steps",
            20,
            with(&|o| o.start = Start::Later { skipped: 1 }),
        ),
        (
            "skipped_steps",
            20,
            with(&|o| (o.dialect, o.start) = (Dialect::Diffusers, Start::Later { skipped: 20 })),
        ),
        ("eta", 20, with(&|o| o.eta = Some(-0.1))),
        ("eta", 20, with(&|o| o.eta = Some(f64::NAN))),
        ("s_churn", 20, with(&|o| o.s_churn = f64::INFINITY)),
        ("s_noise", 20, with(&|o| o.s_noise = -1.0)),
        ("sigmas", 20, with(&|o| o.sigmas = Some(vec![1.0, 2.0, 0.0]))),
        ("sigmas", 20, with(&|o| o.sigmas = Some(vec![2.0, f64::NAN, 0.0]))),
        ("sigmas", 20, with(&|o| o.sigmas = Some(vec![2.0, 1.0, 1.0]))),
        ("sigmas", 20, with(&|o| o.sigmas = Some(vec![2.0]))),
        ("sigmas", 20, with(&|o| o.sigmas = Some(vec![2.0, -1.0]))),
        ("sigma_min", 20, with(&|o| o.schedule.sigma_min = Some(0.0))),
        ("sigma_max", 20, with(&|o| o.schedule.sigma_max = Some(0.01))),
        ("rho", 20, with(&|o| o.schedule.rho = Some(0.0))),
        ("order", 20, with(&|o| o.order = Some(5))),
    ];
    for (name, steps, o) in cases {
        match plan(Sampler::Euler, Schedule::Karras, steps, &model(), &o) {
            Err(Error::InvalidParameter { name: found, reason }) => assert_eq!(found, name, "{reason}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn answers_out_of_turn_are_refused() {
    let plan = |s: Sampler| plan(s, Schedule::Karras, 3, &model(), &PlanOptions::default()).expect("a plan");
    let mut s = Stepper::new(plan(Sampler::EulerAncestral), START.to_vec());
    assert!(matches!(s.provide_noise(noise(1)), Err(Error::OutOfTurn { .. })));
    assert!(matches!(
        s.provide_denoised(vec![0.0; 3]),
        Err(Error::ShapeMismatch { .. })
    ));
    s.provide_denoised(START.to_vec()).expect("a denoised latent");
    assert!(matches!(
        s.provide_denoised(START.to_vec()),
        Err(Error::OutOfTurn { .. })
    ));
    assert!(matches!(
        s.provide_noise(vec![0.0; 3]),
        Err(Error::ShapeMismatch { .. })
    ));
    assert!(matches!(s.clone().finish(), Err(Error::OutOfTurn { .. })));
    let other = plan(Sampler::Euler);
    assert!(matches!(
        Stepper::resume(other, s.state()),
        Err(Error::BadState { .. })
    ));
    let mut state = s.state();
    state.latents.clear();
    assert!(matches!(
        Stepper::resume(plan(Sampler::EulerAncestral), state),
        Err(Error::BadState { .. })
    ));
    let mut s = Stepper::new(plan(Sampler::EulerCfgPp), START.to_vec());
    assert!(matches!(
        s.provide_denoised(START.to_vec()),
        Err(Error::OutOfTurn { .. })
    ));
}

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// A latent that counts how often one is made anew.
#[derive(Clone)]
struct Counted(Vec<f32>);

impl Latent for Counted {
    fn lincomb(terms: &[(f64, &Self)]) -> Self {
        let mut out = Self::fresh(0);
        Self::lincomb_into(&mut out, terms);
        out
    }

    fn lincomb_into(out: &mut Self, terms: &[(f64, &Self)]) {
        let inner: Vec<(f64, &Vec<f32>)> = terms.iter().map(|t| (t.0, &t.1.0)).collect();
        Latent::lincomb_into(&mut out.0, &inner);
    }
}

impl Counted {
    fn fresh(n: usize) -> Self {
        ALLOCATIONS.with(|a| a.set(a.get() + 1));
        Self(vec![0.0; n])
    }
}

/// Once each sort of step has been seen, nothing is allocated any more.
#[test]
fn buffers_are_used_again() {
    for &sampler in Sampler::ALL.iter().filter(|s| **s != Sampler::DpmAdaptive) {
        // Restart's second stretch begins with noise, its first without: without the second.
        let steps = if sampler == Sampler::Restart { 19 } else { 40 };
        let plan = plan(
            sampler,
            Schedule::Karras,
            steps,
            &model(),
            &PlanOptions::default(),
        )
        .expect("a plan");
        let mut s = Stepper::new(plan, Counted(vec![1.0; 64]));
        let mut early = None;
        while !s.is_done() {
            if s.steps_done() >= 12 && early.is_none() {
                early = Some(ALLOCATIONS.with(Cell::get));
            }
            let fresh = |s: &mut Stepper<Counted>| s.take_spare().unwrap_or_else(|| Counted::fresh(64));
            match s.request() {
                Request::Noise { .. } => {
                    let n = fresh(&mut s);
                    s.provide_noise(n).expect("noise");
                }
                Request::Denoise {
                    needs_uncond: true, ..
                } => {
                    let (a, b) = (fresh(&mut s), fresh(&mut s));
                    s.provide_denoised_with_uncond(a, b).expect("denoised");
                }
                _ => {
                    let d = fresh(&mut s);
                    s.provide_denoised(d).expect("denoised");
                }
            }
        }
        assert_eq!(
            early.unwrap_or(0),
            ALLOCATIONS.with(Cell::get),
            "{sampler} allocates after 12 steps"
        );
    }
}

/// Every sampler goes with every schedule, and arrives among the data.
#[test]
fn every_sampler_with_every_schedule() {
    for &sampler in Sampler::ALL {
        for &schedule in Schedule::ALL {
            let plan = plan(sampler, schedule, 20, &model(), &PlanOptions::default())
                .unwrap_or_else(|e| panic!("{sampler} {schedule}: {e}"));
            let x = straight(&plan);
            let top = x.iter().fold(0f64, |m, v| m.max(v.abs()));
            // iPNDM-v extrapolates over steps as uneven as these beyond any data, in the original as well.
            let known = (sampler, schedule) == (Sampler::IpndmV, Schedule::LinearQuadratic);
            assert!(top < 6.0 || known, "{sampler} {schedule}: {top}");
        }
    }
}

/// The timesteps that the network sees, from the WebUI's and ComfyUI's own rules.
#[test]
fn timesteps() {
    let of = |sampler, dialect| -> Vec<f64> {
        let o = PlanOptions {
            dialect,
            ..PlanOptions::default()
        };
        let plan = plan(sampler, Schedule::Uniform, 20, &model(), &o).expect("a plan");
        plan.evaluations().map(|e| e.1).collect()
    };
    // range(0, 1000, 50) + 1 without the first, which is only a destination: 19 calls.
    let ddim = of(Sampler::Ddim, Dialect::WebUi);
    assert_eq!((ddim.len(), ddim[0], ddim[1], ddim[18]), (19, 951.0, 901.0, 51.0));
    let unipc = of(Sampler::UniPc, Dialect::WebUi);
    assert_eq!((unipc.len(), unipc[0]), (20, 999.0));
    assert!((unipc[1] - 999.0 * 19.0 / 20.0).abs() < 1e-9);
    let euler = of(Sampler::Euler, Dialect::WebUi);
    assert!((euler[1] - 999.0 * 18.0 / 19.0).abs() < 1e-6, "not rounded");
    assert!(
        of(Sampler::Euler, Dialect::Comfy)
            .iter()
            .all(|t| t.fract() == 0.0),
        "rounded"
    );
    assert_eq!(of(Sampler::Lcm, Dialect::WebUi)[0], 999.0);
    assert!(of(Sampler::Lcm, Dialect::WebUi).iter().all(|t| t % 20.0 == 19.0));
}

/// DDIM's schedule has more sigmas than steps, or fewer.
#[test]
fn schedules_of_other_lengths() {
    let o = PlanOptions {
        dialect: Dialect::Diffusers,
        ..PlanOptions::default()
    };
    for steps in [300, 1000] {
        let plan = plan(Sampler::SaSolver, Schedule::Ddim, steps, &model(), &o).expect("a plan");
        assert_eq!(plan.sigmas().last(), Some(&model().sigma_min()), "{steps}");
    }
}
