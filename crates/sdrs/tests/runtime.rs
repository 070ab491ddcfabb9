//! The surroundings of a run: threads, the log, previews, latents. On the tiny model of `goldens/tiny-sd1`.

use std::sync::{Arc, Mutex};

use sdrs::{ErrorCode, LogLevel, Pipeline, PipelineBuilder, PreviewMethod, Request, Sampler};

fn builder() -> PipelineBuilder {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(goldens::root().join("tiny-sd1"))
        .device("cpu")
}

fn request(pipeline: &Pipeline) -> Request<'_> {
    let request = pipeline
        .txt2img("a red circle above a blue square")
        .seed(7)
        .steps(3);
    request.width(64).height(48).sampler(Sampler::EulerAncestral)
}

fn picture(pipeline: &Pipeline) -> Vec<u8> {
    request(pipeline).run().unwrap().images.swap_remove(0).rgb
}

#[test]
fn pictures_do_not_depend_on_threads() {
    let expected = picture(&builder().build().unwrap());
    for threads in [1, 2, 3, 7] {
        let pipeline = builder().threads(threads).build().unwrap();
        assert_eq!(picture(&pipeline), expected, "{threads} threads");
    }
    for threads in [0, 1025, usize::MAX] {
        let error = builder().threads(threads).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("threads: must be 1 to 1024, not {threads}")
        );
    }
}

#[test]
fn a_callback_stays_in_the_thread_of_its_run() {
    let pipeline = builder().threads(2).build().unwrap();
    let here = std::thread::current().id();
    let mut elsewhere = 0;
    let watched =
        request(&pipeline).on_progress(|_| elsewhere += usize::from(std::thread::current().id() != here));
    watched.run().unwrap();
    assert_eq!(elsewhere, 0);
}

#[test]
fn the_log_tells_of_files_parts_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.pt"), b"nothing").unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    let log = move |level, line: &str| to.lock().unwrap().push((level, line.to_owned()));
    let pipeline = builder().embedding(folder.path()).on_log(log).build().unwrap();
    let silent = picture(&builder().build().unwrap());
    assert_eq!(picture(&pipeline), silent);
    let lines = lines.lock().unwrap();
    let has = |level, words: &str| lines.iter().any(|(l, line)| *l == level && line.contains(words));
    for words in [
        "diffusers' layout, context width 16",
        "loaded the U-Net: ",
        "on cpu in f32",
        "sampled picture 1 of 1: ",
    ] {
        assert!(has(LogLevel::Info, words), "{words}: {lines:#?}");
    }
    assert!(has(LogLevel::Warning, "bad.pt"), "{lines:#?}");
}

#[test]
fn previews_change_nothing_and_come_as_often_as_asked() {
    let tiny_vae = goldens::root().join("tiny-vae/diffusion_pytorch_model.safetensors");
    let pipeline = builder().taesd(tiny_vae).build().unwrap();
    let expected = picture(&builder().build().unwrap());
    for (method, size) in [
        (PreviewMethod::Approximate, [8, 6]),
        (PreviewMethod::Full, [64, 48]),
        (PreviewMethod::Taesd, [64, 48]),
    ] {
        let mut sizes = Vec::new();
        let watched = request(&pipeline).previews(method, 2).on_progress(|p| {
            sizes.push(p.preview.map(|preview| {
                assert_eq!(preview.rgb.len(), 3 * (preview.width * preview.height) as usize);
                [preview.width, preview.height]
            }));
        });
        assert_eq!(watched.run().unwrap().images[0].rgb, expected);
        assert_eq!(sizes, [None, Some(size), None], "{method:?}");
    }
    let upscaler = goldens::root().join("upscalers/compact-x2.safetensors");
    let message = builder().taesd(upscaler).build().err().unwrap().to_string();
    assert!(message.contains("no tiny autoencoder (TAESD)"), "{message}");
    let plain = builder().build().unwrap();
    let without = request(&plain).previews(PreviewMethod::Taesd, 1).run();
    let message = without.unwrap_err().to_string();
    assert!(
        message.starts_with("previews: a preview by TAESD wants its file"),
        "{message}"
    );
    let never = request(&pipeline).previews(PreviewMethod::Full, 0).run();
    assert_eq!(
        never.unwrap_err().to_string(),
        "preview_every: must be 1 or more, not 0"
    );
}

#[test]
fn latents_are_what_a_run_decodes() {
    let pipeline = builder().build().unwrap();
    let made = request(&pipeline).batch_size(2).latents().unwrap();
    assert_eq!(made.latents.shape, [2, 4, 6, 8]);
    let drawn = request(&pipeline).batch_size(2).run().unwrap().images;
    assert_eq!(made.seeds, [7, 8]);
    for (i, image) in drawn.iter().enumerate() {
        assert_eq!(made.infotexts[i], image.infotext);
        let latent = &made.latents.values[i * 4 * 6 * 8..][..4 * 6 * 8];
        let decoded = pipeline.vae_decode(latent, [1, 4, 6, 8]).unwrap().values;
        let n = decoded.len() / 3;
        let byte = |v: f32| (((v + 1.0) / 2.0).clamp(0.0, 1.0) * 255.0) as u8;
        let rgb: Vec<u8> = (0..n)
            .flat_map(|i| [0, 1, 2].map(|c| byte(decoded[c * n + i])))
            .collect();
        assert_eq!(rgb, image.rgb);
    }
    let token = sdrs::CancelToken::new();
    token.cancel();
    let stopped = request(&pipeline).cancel_token(&token).latents();
    assert_eq!(stopped.unwrap_err().code(), ErrorCode::Cancelled);
}
