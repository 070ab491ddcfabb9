//! The demo model on a GPU by Vulkan: Mesa's software driver will do (`cargo xtask gpu`). Without any such device tests say so and pass.

#![cfg(all(feature = "vulkan", feature = "demo"))]

use sdrs::{DeviceClass, Dtype, Image, Pipeline, Sampler};

/// A software driver, which computes as a GPU does, or else a GPU.
fn device() -> Option<String> {
    let devices = sdrs::devices();
    let vulkan = || devices.iter().filter(|it| it.name.starts_with("vulkan"));
    let software = vulkan().find(|it| it.class == DeviceClass::SoftwareGpu);
    let found = software.or_else(|| vulkan().next());
    if found.is_none() {
        println!("left out: this machine has no Vulkan device");
    }
    found.map(|it| it.name.clone())
}

fn pipeline(device: &str, dtype: Dtype) -> Pipeline {
    let builder = Pipeline::builder().demo().device(device);
    builder.dtype(dtype).build().unwrap()
}

/// Peak signal-to-noise ratio in decibels.
fn likeness(a: &Image, b: &Image) -> f64 {
    let squares = a
        .rgb
        .iter()
        .zip(&b.rgb)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    let mean = squares.sum::<f64>() / a.rgb.len() as f64;
    10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
}

/// The picture of a few steps, on a device against the CPU in f32.
fn compared(dtype: Dtype, least: f64) {
    let Some(device) = device() else { return };
    let draw = |pipeline: &Pipeline| {
        let run = pipeline.txt2img("a red circle above a blue square").seed(1);
        run.steps(6).run().unwrap().images.swap_remove(0)
    };
    let (cpu, gpu) = (pipeline("cpu", Dtype::F32), pipeline(&device, dtype));
    let likeness = likeness(&draw(&gpu), &draw(&cpu));
    println!("{dtype}: {likeness:.1} dB");
    assert!(likeness >= least, "{dtype}: {likeness:.1} dB");
}

#[test]
fn pictures_are_the_cpus() {
    compared(Dtype::F32, 60.0);
}

/// Burn's operations, which software drivers are left to, keep sums in half types: 37 dB. Kernels of our own are asked for 40.
#[test]
fn pictures_in_half_are_nearly_the_cpus() {
    let software = |it: &sdrs::DeviceInfo| it.class == DeviceClass::SoftwareGpu;
    if sdrs::devices().iter().any(software) && std::env::var_os("SDRS_SOFTWARE_VULKAN").is_none() {
        println!("left out: a software driver runs no kernels of our own");
        return;
    }
    compared(Dtype::F16, 40.0);
}

/// Pictures of a batch go through the network together, each as it would alone.
#[test]
fn a_batch_is_its_pictures() {
    let Some(device) = device() else { return };
    let pipeline = pipeline(&device, Dtype::F32);
    for sampler in [Sampler::EulerAncestral, Sampler::DpmPp2mSde] {
        let ask = || {
            let run = pipeline.txt2img("a star").negative_prompt("a heart").seed(7);
            run.sampler(sampler).steps(4)
        };
        let alone: Vec<Vec<f32>> = (7..10)
            .map(|seed| ask().seed(seed).latents().unwrap().latents.values)
            .collect();
        let mut seen = Vec::new();
        let run = ask().batch_size(3);
        let run = run.on_progress(|progress| seen.push((progress.step, progress.image)));
        let together = run.latents().unwrap().latents.values;
        let expected: Vec<_> = (1..=4)
            .flat_map(|step| [0, 1, 2].map(|image| (step, image)))
            .collect();
        assert_eq!(seen, expected, "{sampler}");
        for (together, alone) in together.chunks(alone[0].len()).zip(&alone) {
            let difference = together.iter().zip(alone).map(|(a, b)| f64::from(a - b).powi(2));
            let size = alone.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let error = (difference.sum::<f64>() / size).sqrt();
            println!("{sampler}: {error:.1e}");
            assert!(error < 1e-4, "{sampler}: {error:e}");
        }
        let exact = ask().batch_size(3).batch_per_call(1).latents().unwrap();
        assert!(exact.latents.values == alone.concat(), "{sampler}");
    }
}

/// A GPU and the processor share a batch: each picture is what its device gives.
#[test]
fn devices_share_a_batch() {
    let Some(device) = device() else { return };
    let drawn = |devices: &str| -> Vec<Vec<u8>> {
        let pipeline = pipeline(devices, Dtype::F32);
        let run = pipeline.txt2img("a star").seed(7).steps(4).batch_size(4);
        let images = run.batch_per_call(1).run().unwrap().images;
        images.into_iter().map(|image| image.rgb).collect()
    };
    let (gpu, cpu) = (drawn(&device), drawn("cpu"));
    let both = drawn(&format!("{device},cpu"));
    assert!(both[..2] == gpu[..2] && both[2..] == cpu[2..]);
}

/// What a device tells is what "device" takes, and a type that it lacks is refused.
#[test]
fn devices_are_told() {
    let Some(device) = device() else { return };
    let all = sdrs::devices();
    let told = all.iter().find(|it| it.name == device).unwrap();
    assert!(
        !told.title.is_empty() && told.dtypes.contains(&Dtype::F32),
        "{told:?}"
    );
    assert!(told.memory.is_some_and(|bytes| bytes > 1 << 20), "{told:?}");
    assert!(told.dtypes.contains(&told.default_dtype), "{told:?}");
    if told.class == DeviceClass::SoftwareGpu {
        assert!(!told.is_default);
        let named = Pipeline::builder().demo().device("vulkan:cpu").build();
        assert!(named.is_ok());
    }
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let built = Pipeline::builder().demo().device(&device).dtype(dtype).build();
        match (told.dtypes.contains(&dtype), built) {
            (true, built) => assert!(built.is_ok()),
            (false, built) => {
                let message = built.err().unwrap().to_string();
                assert!(message.contains("doesn't compute in"), "{message}");
            }
        }
    }
}
