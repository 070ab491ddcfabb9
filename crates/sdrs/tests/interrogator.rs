//! Interrogation on tiny random models: captions, vectors, phrases, what is kept, and what is refused.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use sdrs::{
    AestheticPredictor, CancelToken, CaptionParams, Dtype, Error, ErrorCode, InterrogateMode, Interrogator,
    InterrogatorBuilder, Phrases, Picture,
};

fn path(name: &str) -> PathBuf {
    goldens::root().join("interrogation").join(name)
}

fn clip() -> InterrogatorBuilder {
    Interrogator::builder()
        .device("cpu")
        .clip(path("clip"))
        .clip_tokenizer(goldens::root().join("../models/demo/base/tokenizer"))
}

fn both() -> InterrogatorBuilder {
    clip().blip(path("blip"))
}

fn phrases() -> Phrases {
    Phrases::of([
        ("artists", vec!["Ada", "Bea", "Cid"]),
        ("mediums", vec!["a photo", "an oil painting"]),
        ("movements", vec!["cubism", "op art", "pop art"]),
        (
            "flavors.top3",
            vec!["red", "blue", "green", "a circle", "a square", "dark"],
        ),
        ("sites", vec!["Flickr"]),
        ("negative", vec!["blurry", "bad"]),
    ])
    .unwrap()
}

/// Squares of colours.
fn picture(seed: u32) -> Picture {
    let pixels = (0..41 * 33u32).flat_map(|at| {
        let (x, y) = (at % 41 / 7, at / 41 / 7);
        let hash = (x * 31 + y * 17 + seed * 101).wrapping_mul(2_654_435_761);
        [(hash >> 8) as u8, (hash >> 16) as u8, (hash >> 24) as u8]
    });
    Picture::from_rgb(41, 33, &pixels.collect::<Vec<_>>()).unwrap()
}

fn message<T>(made: Result<T, Error>) -> String {
    made.err().expect("it is refused").to_string()
}

#[test]
fn every_mode_gives_a_prompt() {
    let interrogator = both().phrases(phrases()).build().unwrap();
    let picture = picture(1);
    let caption = interrogator.caption(&picture).unwrap();
    for mode in InterrogateMode::ALL {
        assert_eq!(InterrogateMode::from_name(mode.name()), Some(mode));
        let mut told = Vec::new();
        let found = interrogator
            .interrogate(&picture)
            .mode(mode)
            .max_flavors(3)
            .on_progress(|progress| told.push(progress))
            .run()
            .unwrap();
        assert!(
            !told.is_empty() && told.iter().all(|p| p.done <= p.total),
            "{mode:?}"
        );
        // Every run says the same.
        let again = interrogator
            .interrogate(&picture)
            .mode(mode)
            .max_flavors(3)
            .run()
            .unwrap();
        assert_eq!(found, again);
        match mode {
            InterrogateMode::Caption => assert_eq!(found.text, caption),
            InterrogateMode::Negative => assert_eq!(found.caption, None),
            InterrogateMode::WebUi => {
                assert_eq!(found.ranks.len(), 1 + 3 + 1 + 1 + 1);
                let sum: f32 = found.ranks.iter().map(|rank| rank.score).sum();
                assert!(sum > 0.0 && found.ranks.iter().all(|rank| (0.0..=1.0).contains(&rank.score)));
                let ranked = interrogator
                    .interrogate(&picture)
                    .mode(mode)
                    .ranks(true)
                    .run()
                    .unwrap();
                let first = &ranked.ranks[0];
                assert!(
                    ranked
                        .text
                        .contains(&format!(", ({}:{:.3})", first.phrase, first.score))
                );
            }
            InterrogateMode::Classic => assert_eq!(found.ranks.len(), 4 + 3),
            _ => assert!(found.text.starts_with(&caption)),
        }
    }
    let given = interrogator
        .interrogate(&picture)
        .mode(InterrogateMode::Fast)
        .caption("a red circle")
        .run()
        .unwrap();
    assert!(given.text.starts_with("a red circle, "), "{}", given.text);
}

#[test]
fn ranks_and_scores_are_cosines_of_vectors() {
    let interrogator = clip().build().unwrap();
    let (picture, texts) = (
        picture(2),
        ["a red circle", "", "a blue square above a green triangle"],
    );
    // Texts that begin alike, as a chain's do.
    let chain = ["", ", a star", ", small, at night", ", a star above a ring"];
    let chain = chain.map(|end| format!("a blue square above a green triangle{end}"));
    // Such that end before they end.
    let ended = ["a star", "a ring"].map(|end| format!("a blue square above<|endoftext|> {end}"));
    for texts in [&chain[..], &ended[..]] {
        let together = interrogator.embed_texts(texts).unwrap();
        for (text, vector) in texts.iter().zip(&together) {
            let alone = interrogator.embed_text(text).unwrap();
            assert!(alone.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
    let image = interrogator.embed_image(&picture).unwrap();
    let vectors = interrogator.embed_texts(&texts).unwrap();
    let ranks = interrogator.rank(&picture, &texts).unwrap();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert_eq!(image.len(), 20);
    assert!((dot(&image, &image) - 1.0).abs() < 1e-5);
    for (text, (vector, rank)) in texts.iter().zip(vectors.iter().zip(&ranks)) {
        assert!((dot(vector, vector) - 1.0).abs() < 1e-5);
        assert!((dot(vector, &image) - rank).abs() < 1e-5);
        // One by one they are the same.
        let alone = interrogator.embed_text(text).unwrap();
        assert!(alone.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-5));
        let score = interrogator.clip_score(&picture, text).unwrap();
        assert!((score - (100.0 * rank).max(0.0)).abs() < 1e-3);
    }
    assert_eq!(
        interrogator.rank(&picture, &[] as &[&str]).unwrap(),
        Vec::<f32>::new()
    );
    // Texts that are too long are cut.
    let long = "red ".repeat(400);
    let cut = "red ".repeat(75);
    let both = interrogator.embed_texts(&[long, cut]).unwrap();
    assert!(both[0].iter().zip(&both[1]).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn vectors_of_phrases_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("inner/kept");
    let run = || {
        let interrogator = clip().phrases(phrases()).cache(&kept).build().unwrap();
        let mut stages = 0;
        let found = interrogator
            .interrogate(&picture(3))
            .mode(InterrogateMode::WebUi)
            .caption("a")
            .on_progress(|_| stages += 1)
            .run()
            .unwrap();
        (found, stages)
    };
    let (first, stages) = run();
    assert!(stages > 0);
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    };
    assert_eq!(files().len(), 5);
    let (again, stages) = run();
    assert_eq!((&again, stages), (&first, 0));
    // What isn't whole is made anew.
    for damage in [&b""[..], &b"x"[..], &[0xff; 300][..]] {
        std::fs::write(&files()[0], damage).unwrap();
        let (again, stages) = run();
        assert_eq!(again, first);
        assert!(stages > 0);
    }
    // Another type, or another tokenizer, makes other vectors.
    let seen = picture(3);
    let count = |builder: InterrogatorBuilder| {
        let phrases = Phrases::of([("\u{e4}".repeat(300), ["red"])]).unwrap();
        let interrogator = builder.phrases(phrases).cache(&kept).build().unwrap();
        let request = interrogator.interrogate(&seen).caption("a");
        request.mode(InterrogateMode::WebUi).run().unwrap();
        files().len()
    };
    let tokens = folder.path().join("tokenizer");
    std::fs::create_dir(&tokens).unwrap();
    for entry in std::fs::read_dir(goldens::root().join("../models/demo/base/tokenizer")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), tokens.join(entry.file_name())).unwrap();
    }
    assert_eq!(count(clip()), 6);
    assert_eq!(count(clip().clip_tokenizer(&tokens)), 6);
    assert_eq!(count(clip().dtype(Dtype::Bf16)), 7);
    let merges = std::fs::read_to_string(tokens.join("merges.txt")).unwrap();
    let (fewer, _) = merges.trim_end().rsplit_once('\n').unwrap();
    std::fs::write(tokens.join("merges.txt"), fewer).unwrap();
    assert_eq!(count(clip().clip_tokenizer(&tokens)), 8);
    // A folder that is none is known before the work.
    let interrogator = clip().phrases(phrases()).cache(&files()[0]).build().unwrap();
    let mut told = 0;
    let request = interrogator.interrogate(&seen).caption("a");
    let refused = request
        .mode(InterrogateMode::WebUi)
        .on_progress(|_| told += 1)
        .run();
    assert!(refused.is_err() && told == 0, "{told}");
}

#[test]
fn captions_are_as_they_are_asked_for() {
    let interrogator = both().build().unwrap();
    let picture = picture(4);
    let with = |change: &dyn Fn(&mut CaptionParams)| {
        let mut params = CaptionParams::default();
        change(&mut params);
        interrogator
            .interrogate(&picture)
            .mode(InterrogateMode::Caption)
            .caption_params(params)
            .run()
    };
    assert!(with(&|p| p.beams = Some(3)).is_ok());
    assert!(with(&|p| p.prompt = Some("a picture of".into())).is_ok());
    for (change, says) in [
        (
            &(|p: &mut CaptionParams| p.beams = Some(0)) as &dyn Fn(&mut CaptionParams),
            "beams",
        ),
        (&|p| p.max_length = Some(41), "max_length"),
        (&|p| p.max_length = Some(1), "max_length"),
        (
            &|p| {
                p.min_length = Some(9);
                p.max_length = Some(8);
            },
            "min_length",
        ),
        (&|p| p.length_penalty = Some(f64::NAN), "length_penalty"),
        (&|p| p.repetition_penalty = Some(0.0), "repetition_penalty"),
        (
            &|p| p.prompt = Some("the ".repeat(60)),
            "caption_prompt: its 61 tokens",
        ),
        (
            &|p| {
                p.prompt = Some("the ".repeat(60));
                p.max_length = Some(40);
            },
            "caption_prompt: its 61 tokens",
        ),
    ] {
        let told = message(with(change));
        assert!(told.starts_with(says), "{told}");
    }
}

#[test]
fn what_is_missing_is_said() {
    assert!(message(Interrogator::builder().build()).contains("a CLIP, a BLIP or both"));
    let alone = clip().build().unwrap();
    assert!(message(alone.caption(&picture(5))).starts_with("blip: "));
    let alone = Interrogator::builder()
        .device("cpu")
        .blip(path("blip"))
        .build()
        .unwrap();
    assert!(alone.caption(&picture(5)).is_ok());
    assert!(message(alone.rank(&picture(5), &["a"])).starts_with("clip: "));
    let told = message(clip().clip_activation("relu").build());
    assert!(told.contains("quick_gelu"), "{told}");
    // What files say counts, and what they don't is taken as it is given.
    let told = message(clip().clip_activation("gelu").build());
    assert!(
        told.starts_with("clip_activation: ") && told.contains("say another one"),
        "{told}"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        path("clip/model.safetensors"),
        folder.path().join("model.safetensors"),
    )
    .unwrap();
    let config = std::fs::read_to_string(path("clip/config.json")).unwrap();
    let config = config.replace("\"hidden_act\": \"quick_gelu\",", "");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let [said, quick, exact] = [
        clip(),
        clip().clip(folder.path()).clip_activation("quick_gelu"),
        clip().clip(folder.path()).clip_activation("gelu"),
    ]
    .map(|builder| builder.build().unwrap().embed_text("a red circle").unwrap());
    assert!(said == quick && said != exact);
    // A vocabulary counts wherever BLIP comes from.
    let read = |name: &str| -> (String, Arc<[u8]>) {
        (
            name.to_owned(),
            std::fs::read(path("blip").join(name)).unwrap().into(),
        )
    };
    let files = ["config.json", "model.safetensors"].map(read);
    let blip = || {
        Interrogator::builder()
            .device("cpu")
            .blip_files("memory", HashMap::from(files.clone()))
    };
    assert!(message(blip().build()).contains("vocab.txt"));
    assert!(message(blip().vocabulary("absent").build()).contains("absent"));
    assert!(blip().vocabulary(path("blip/vocab.txt")).build().is_ok());
    #[cfg(feature = "demo")]
    {
        let demo = Interrogator::builder().device("cpu").demo();
        let told = message(demo.vocabulary(path("blip/vocab.txt")).build());
        assert!(told.starts_with("vocabulary: the demo has its own"), "{told}");
    }
    let told = message(Interrogator::builder().device("cpu").clip("absent").build());
    assert!(told.contains("absent"), "{told}");
    let interrogator = both().build().unwrap();
    for (request, says) in [
        (
            interrogator.interrogate(&picture(5)).max_flavors(1001),
            "max_flavors",
        ),
        (
            interrogator.interrogate(&picture(5)).min_flavors(1001),
            "min_flavors",
        ),
        (
            interrogator.interrogate(&picture(5)).intermediate_count(0),
            "intermediate_count",
        ),
        (interrogator.interrogate(&picture(5)).chunk_size(0), "chunk_size"),
    ] {
        assert!(message(request.run()).starts_with(says));
    }
    let token = CancelToken::new();
    token.cancel();
    let cancelled = interrogator.interrogate(&picture(5)).cancel_token(&token).run();
    assert_eq!(cancelled.unwrap_err().code(), ErrorCode::Cancelled);
}

#[test]
fn lists_that_are_none_are_refused() {
    for (name, bytes, says) in [
        ("a.txt", &b"red\nbl\xfce\n"[..], "line 2 is not UTF-8"),
        ("a.txt", b"\xff\xfer\0e\0d\0", "UTF-16"),
        ("a.txt", b"\n  \n", "holds no phrase"),
        ("a.txt", b"", "no phrases"),
        ("a.csv", b"red", "no phrases"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let told = message(Phrases::open(folder.path()));
        assert!(told.contains(says), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("long.txt"), "x".repeat(10 << 20)).unwrap();
    assert!(message(Phrases::open(folder.path())).contains("line 1 has 10485760 bytes"));
    assert!(message(Phrases::open("absent")).contains("absent"));
    assert!(message(Phrases::of([("a", vec!["", " "])])).contains("holds no phrase"));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.txt"), "\u{feff}red\r\n red \nblue\n").unwrap();
    std::fs::write(folder.path().join("a.top2.txt"), "x\ny\nz").unwrap();
    let phrases = Phrases::open(folder.path()).unwrap();
    let names: Vec<_> = phrases
        .categories()
        .iter()
        .map(|c| (c.name.as_str(), c.phrases.len()))
        .collect();
    assert_eq!(names, [("a.top2", 3), ("b", 2)]);
    assert_eq!(phrases.categories()[1].phrases, ["red", "blue"]);
}

#[test]
fn ratings_are_rows_of_linear_layers() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, tensors: &[(&str, Vec<usize>, Vec<f32>)]| {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(.., values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            (*name, view.unwrap())
        });
        let path = folder.path().join(name);
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        path
    };
    let linear = write(
        "linear",
        &[
            ("weight", vec![1, 3], vec![1.0, 2.0, 3.0]),
            ("bias", vec![1], vec![0.5]),
        ],
    );
    let linear = AestheticPredictor::open(linear).unwrap();
    assert_eq!((linear.width(), linear.rate(&[1.0, 1.0, 2.0]).unwrap()), (3, 9.5));
    assert!(message(linear.rate(&[1.0])).contains("vectors of 3"));
    let deep = write(
        "deep",
        &[
            ("layers.10.weight", vec![1, 2], vec![2.0, -1.0]),
            ("layers.10.bias", vec![1], vec![1.0]),
            ("layers.2.weight", vec![2, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
            ("layers.2.bias", vec![2], vec![0.0, 10.0]),
        ],
    );
    let deep = AestheticPredictor::open(deep).unwrap();
    assert_eq!(deep.rate(&[3.0, 1.0, 1.0]).unwrap(), 6.0 - 12.0 + 1.0);
    for (name, tensors) in [
        ("other", vec![("x", vec![1], vec![1.0])]),
        ("empty", vec![]),
        (
            "two",
            vec![
                ("weight", vec![2, 1], vec![1.0, 1.0]),
                ("bias", vec![2], vec![0.0, 0.0]),
            ],
        ),
        (
            "nan",
            vec![
                ("weight", vec![1, 1], vec![f32::NAN]),
                ("bias", vec![1], vec![0.0]),
            ],
        ),
        ("alone", vec![("weight", vec![1, 1], vec![1.0])]),
    ] {
        let told = message(AestheticPredictor::open(write(name, &tensors)));
        assert!(told.contains(name), "{told}");
    }
}
