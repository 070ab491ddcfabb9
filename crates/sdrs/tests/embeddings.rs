//! Textual inversions in a pipeline, on the tiny model of `goldens/tiny-sd1`, whose text encoder is 16 wide.

use std::{fs, path::Path};

use safetensors::{Dtype, tensor::TensorView};
use sdrs::{ErrorCode, GenerateParams, Pipeline, PipelineBuilder};

/// A file in diffusers' form.
fn file(vectors: usize, width: usize, value: f32) -> Vec<u8> {
    let values: Vec<u8> = (0..vectors * width)
        .flat_map(|i| (value * (i as f32).sin()).to_le_bytes())
        .collect();
    let view = TensorView::new(Dtype::F32, vec![vectors, width], &values).unwrap();
    safetensors::serialize([("<style>", view)], None).unwrap()
}

fn builder() -> PipelineBuilder {
    Pipeline::builder()
        .dtype(sdrs::Dtype::F32)
        .checkpoint(goldens::root().join("tiny-sd1"))
        .device("cpu")
}

fn picture(pipeline: &Pipeline, prompt: &str, negative: &str) -> Vec<u8> {
    let request = pipeline.txt2img(prompt).negative_prompt(negative);
    let output = request.width(32).height(32).steps(2).seed(1).run().unwrap();
    output.images.into_iter().next().unwrap().rgb
}

#[test]
fn are_found_by_name_in_both_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("styles");
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join("ink.safetensors"), file(2, 16, 1.0)).unwrap();
    fs::write(inner.join("bad hands.safetensors"), file(3, 16, 0.7)).unwrap();
    fs::write(folder.path().join("other-model.safetensors"), file(1, 24, 1.0)).unwrap();
    fs::write(folder.path().join("broken.pt"), b"PK nothing").unwrap();
    fs::write(folder.path().join("readme.txt"), "not an embedding").unwrap();
    let pipeline = builder().embedding(folder.path()).build().unwrap();
    assert_eq!(pipeline.embeddings().collect::<Vec<_>>(), ["ink", "bad hands"]);
    let skipped = pipeline.skipped_embeddings().join("\n");
    assert_eq!(pipeline.skipped_embeddings().len(), 2, "{skipped}");
    assert!(skipped.contains("broken.pt"), "{skipped}");
    assert!(
        skipped.contains(
            "other-model.safetensors: its vectors have 24 values, and this model's text encoder has 16"
        ),
        "{skipped}"
    );

    let plain = builder().build().unwrap();
    assert!(picture(&pipeline, "a cat", "") == picture(&plain, "a cat", ""));
    assert!(picture(&pipeline, "a cat, ink", "") != picture(&plain, "a cat, ink", ""));
    assert!(picture(&pipeline, "a cat", "bad hands") != picture(&plain, "a cat", "bad hands"));
    assert!(picture(&pipeline, "a cat, (ink:1.5)", "") != picture(&pipeline, "a cat, ink", ""));

    let mut params = GenerateParams::default();
    params.text.prompt = "a cat, INK".into();
    params.text.negative_prompt = "bad hands".into();
    let plan = pipeline.plan_prompts(&params).unwrap();
    let names = |part: &sdrs::PlannedPart| -> Vec<Option<String>> {
        let tokens = part.texts[0].chunks[0].iter();
        tokens.map(|token| token.embedding.clone()).collect()
    };
    let ink = Some("ink".to_owned());
    assert_eq!(names(&plan.prompt[0]), [None, None, None, ink.clone(), ink]);
    assert_eq!(
        names(&plan.negative_prompt),
        vec![Some("bad hands".to_owned()); 3]
    );
}

#[test]
fn comfyui_names_them() {
    let pipeline = builder()
        .embedding_bytes("ink", file(2, 16, 1.0))
        .build()
        .unwrap();
    let mut params = GenerateParams::default();
    params.text.prompt = "a cat, embedding:ink, ink (embedding:none:1.2)".into();
    params.text.prompt_dialect = sdrs::PromptDialect::Comfy;
    let plan = pipeline.plan_prompts(&params).unwrap();
    let tokens: Vec<(&str, bool)> = plan.prompt[0].texts[0].chunks[0]
        .iter()
        .map(|token| (token.text.as_str(), token.embedding.is_some()))
        .collect();
    let named = ("embedding:ink", true);
    let (a, cat, comma, ink) = (("a", false), ("cat", false), (",", false), ("ink", false));
    assert_eq!(tokens, [a, cat, comma, named, named, comma, ink]);
}

#[test]
fn faults_of_a_named_file_are_told() {
    let message = |builder: PipelineBuilder| {
        let error = builder.build().unwrap_err();
        (error.code(), error.to_string())
    };
    let wide = message(builder().embedding_bytes("ink", file(1, 768, 1.0)));
    assert_eq!(
        wide,
        (
            ErrorCode::InvalidFile,
            "ink: its vectors have 768 values, and this model's text encoder has 16: it is for another kind of model"
                .into()
        )
    );
    let long = message(builder().embedding_bytes("ink", file(76, 16, 1.0)));
    assert_eq!(long.0, ErrorCode::InvalidFile);
    assert!(
        long.1.contains("its 76 vectors don't fit into the 75 places"),
        "{}",
        long.1
    );
    let twice = builder().embedding_bytes("ink", file(1, 16, 1.0));
    let twice = message(twice.embedding_bytes("ink", file(1, 16, 0.5)));
    assert_eq!(twice.0, ErrorCode::InvalidParameter);
    assert!(
        twice.1.contains("there is another embedding named 'ink' already"),
        "{}",
        twice.1
    );
    let missing = message(builder().embedding(Path::new("no/such.pt")));
    assert_eq!(missing.0, ErrorCode::Io);
    let infinite = message(builder().embedding_bytes("ink", file(1, 16, f32::INFINITY)));
    assert_eq!(infinite.0, ErrorCode::InvalidFile);
}
