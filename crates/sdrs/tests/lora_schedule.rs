//! LoRAs that come, go and change while a picture is drawn.

mod common;

use common::{builder, by_hand, lora_file};
use sdrs::{ErrorCode, Latents, Lora, LoraSchedule, Pipeline, Sampler};

fn latents(pipeline: &Pipeline, prompt: &str, sampler: Sampler) -> Latents {
    let request = pipeline.txt2img(prompt).width(48).height(64).steps(4).seed(7);
    request.sampler(sampler).batch_size(2).latents().unwrap()
}

#[test]
fn a_constant_schedule_is_none() {
    let plain = builder().build().unwrap();
    let lora = Lora::file(lora_file());
    let drawn = |lora: Lora| {
        latents(
            &plain.with_loras([lora]).unwrap(),
            "a cat",
            Sampler::EulerAncestral,
        )
        .latents
    };
    let always = drawn(lora.clone());
    assert_eq!(
        drawn(lora.clone().schedule(LoraSchedule::between(0.0, 1.0))),
        always
    );
    assert_eq!(
        drawn(lora.clone().schedule(LoraSchedule::linear([(0, 1.0)]))),
        always
    );
    // Half of 1 is 0.5; and never is a LoRA on the text alone.
    let half = lora.clone().schedule(LoraSchedule::hold([(0.0, 0.5)]));
    assert_eq!(drawn(half), drawn(lora.clone().unet(0.5)));
    let never = lora.clone().schedule(LoraSchedule::between(0, 0));
    assert_eq!(drawn(never), drawn(lora.clone().unet(0.0)));
    assert_ne!(always, drawn(lora.unet(0.0)));
}

/// Samplers with two calls a step among them: a step's calls have one U-Net.
fn every_step_has_its_own_unet(plain: &Pipeline, lora: &Lora) {
    let prompt = "a red circle";
    for sampler in [Sampler::EulerAncestral, Sampler::Heun, Sampler::DpmPp2m] {
        for (schedule, factors) in [
            ("0.5-1", [0.0, 0.0, 1.0, 1.0]),
            ("0.25@0,1@2,0@3", [0.25, 0.625, 1.0, 0.0]),
        ] {
            let loras = |factor| [lora.clone().unet(factor)];
            let siblings = factors.map(|factor| plain.with_loras(loras(factor)).unwrap());
            let (expected, _) = by_hand(&|step| &siblings[step], prompt, sampler, 4, 7);
            let scheduled = plain
                .with_loras([lora.clone().schedule(schedule.parse().unwrap())])
                .unwrap();
            let request = scheduled
                .txt2img(prompt)
                .width(48)
                .height(64)
                .steps(4)
                .seed(7)
                .cfg_scale(5.0);
            let drawn = request.sampler(sampler).latents().unwrap().latents.values;
            assert!(drawn == expected, "{sampler}, {schedule}");
        }
    }
}

#[test]
fn every_step_has_its_own_unet_tiny() {
    every_step_has_its_own_unet(&builder().build().unwrap(), &Lora::file(lora_file()));
}

#[cfg(feature = "demo")]
#[test]
fn every_step_has_its_own_unet_demo() {
    let plain = Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .weight_dtype(sdrs::WeightDtype::F32)
        .demo()
        .device("cpu")
        .build()
        .unwrap();
    let chalk = goldens::root().join("../models/demo/chalk-lora.safetensors");
    every_step_has_its_own_unet(&plain, &Lora::file(chalk));
}

#[test]
fn tags_may_have_a_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    std::fs::copy(lora_file(), &path).unwrap();
    let pipeline = builder().lora_dir(folder.path()).build().unwrap();
    let plain = builder().build().unwrap();
    let tagged = |tag: &str| latents(&pipeline, &format!("a cat<lora:one:{tag}>"), Sampler::Euler).latents;
    let scheduled = |lora: Lora, schedule: &str| {
        let lora = lora.schedule(schedule.parse().unwrap());
        latents(&plain.with_loras([lora]).unwrap(), "a cat", Sampler::Euler).latents
    };
    let one = || Lora::file(&path);
    assert!(tagged("0.5:0@0,0.8@1") == scheduled(one().text_encoder(0.5), "0@0,0.8@1"));
    assert!(tagged("0.25@0,1@1") == scheduled(one().text_encoder(0.25), "0.25@0,1@1"));
    assert!(tagged("0.5:start=2") == scheduled(one().weight(0.5), "2-4"));
    assert!(tagged("0.5:stop=0.25") == scheduled(one().weight(0.5), "0-0.25"));
    assert!(tagged("0.5:step=1-3") == scheduled(one().weight(0.5), "1-3"));
    assert!(tagged("0.5:step=1-3") != tagged("0.5"));
    for (tag, told) in [
        ("0@0,1@x", "'x' is no number, in its <lora:..> tag at byte 5"),
        (
            "1@0.5,1@2.5",
            "its tag for the LoRA 'one': 2.5 is no step, which is a whole number from 0",
        ),
        ("1:start=-1", "its tag for the LoRA 'one': -1 is no fraction"),
        (
            "0@0,2000@1",
            "one.safetensors: unet must be a number from -1000 to 1000, not 2000",
        ),
    ] {
        let run = pipeline
            .txt2img(format!("a cat<lora:one:{tag}>"))
            .width(48)
            .height(64)
            .steps(4)
            .run();
        let error = run.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidParameter);
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_sampler_without_known_steps_has_no_schedule() {
    let lora = Lora::file(lora_file()).schedule(LoraSchedule::between(0.0, 0.5));
    let pipeline = builder().loras([lora]).build().unwrap();
    let request = pipeline
        .txt2img("a cat")
        .width(48)
        .height(64)
        .sampler(Sampler::DpmAdaptive);
    let error = request.run().unwrap_err().to_string();
    assert!(
        error.starts_with("sampler: it finds its steps on the way"),
        "{error}"
    );
}
