//! Against two readers of such pictures (tools/goldens/foreign_infotexts.py), and for what they don't read by hand.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::infotext::{Infotext, of_file, parse};

fn cases() -> Map<String, Value> {
    let text = std::fs::read_to_string(goldens::root().join("infotexts/foreign.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The infotext of a case, as it is found in a file.
fn text(case: &Value) -> String {
    let texts = case["texts"].as_object().unwrap();
    let find = |keyword: &str| texts.get(keyword).map(|text| text.as_str().unwrap().to_owned());
    match find("parameters") {
        Some(text) => of_comment(text).unwrap(),
        None => {
            let all = |keywords: &[&str]| Ok(keywords.iter().map(|keyword| find(keyword)).collect());
            of_png([64, 96], all).unwrap().unwrap()
        }
    }
}

fn of(name: &str) -> Infotext {
    parse(&text(&cases()[name])).unwrap()
}

fn rest<'a>(infotext: &'a Infotext, key: &str) -> &'a str {
    let found = infotext.rest.iter().find(|(known, _)| known == key);
    found.map_or("", |(_, value)| value)
}

#[test]
fn readers_agree() {
    let cases = cases();
    assert_eq!(cases.len(), 13);
    let mut compared = 0;
    for (name, case) in &cases {
        let found = parse(&text(case)).unwrap();
        let params = &found.params;
        // The first sampler is the first pass's.
        let Some(read) = case["read"].get(0) else { continue };
        let known = |key: &str| number(read.get(key)).map(|text| text.parse::<f64>().unwrap());
        for (key, own) in [
            ("steps", params.sampling.steps as f64),
            ("cfg", params.guidance.cfg_scale),
        ] {
            if let Some(value) = known(key) {
                assert_eq!(own, value, "{name}: {key}");
                compared += 1;
            }
        }
        if let Some(seed) = number(read.get("seed")) {
            assert_eq!(params.noise.seed.to_string(), seed, "{name}");
        }
        if let Some(size) = words(read.get("size")) {
            let [width, height] = [params.size.width, params.size.height].map(Option::unwrap);
            assert_eq!(format!("{width}x{height}"), size, "{name}");
        }
        if let Some(model) = words(read.get("model")).filter(|_| name != "novelai") {
            assert_eq!(found.model.as_deref(), Some(stem(&model)), "{name}");
        }
        // A prompt's own form of weights is changed, and Fooocus' has a style around it.
        let plain = !["invokeai", "novelai", "fooocus"].contains(&name.as_str());
        for (key, own) in [
            ("prompts", &params.text.prompt),
            ("negative_prompts", &params.text.negative_prompt),
        ] {
            if let Some(prompt) = words(read[key].get(0)).filter(|_| plain) {
                assert_eq!(*own, prompt, "{name}: {key}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 40, "{compared}");
}

#[test]
fn a_graph_becomes_an_infotext() {
    assert_eq!(
        text(&cases()["comfy"]),
        "a lighthouse at dawn, (storm:1.2), [sea]\nNegative prompt: blurry, low quality\nPrompt dialect: comfy, Steps: 20, Sampler: DPM++ 2M, \
         Schedule type: Karras, CFG scale: 8, Seed: 156680208700286, RNG: CPU, Model: coast_v2, Size: 512x768, Source: ComfyUI"
    );
    let loras = of("comfy-loras");
    assert_eq!(rest(&loras, LORAS), "ink:0.6:0.8");
    assert_eq!((rest(&loras, "VAE"), loras.params.text.clip_skip), ("kl-f8", 2));
    let network = &loras.params.network;
    assert_eq!(
        (network.freeu_version, network.freeu_b1, network.freeu_s2),
        (2, 1.3, 0.2)
    );
    assert_eq!(
        (rest(&loras, LEFT), loras.model.as_deref()),
        ("", Some("coast_v2"))
    );

    let second = of("comfy-second-pass");
    let hires = &second.params.hires;
    assert_eq!((hires.hires_scale, hires.hires_steps), (Some(1.5), 14));
    assert_eq!(hires.hires_upscaler, "Latent (nearest-exact)");
    assert_eq!(hires.hires_sampler, Some(sd_sched::Sampler::Euler));
    assert_eq!(
        (hires.hires_cfg_scale, second.params.image.strength),
        (Some(7.0), Some(0.5))
    );
    assert_eq!(
        (hires.hires_prompt.as_str(), rest(&second, LEFT)),
        ("", "the second pass's own seed 7")
    );

    let image = of("comfy-img2img");
    assert_eq!(
        (image.params.image.strength, image.params.size.width),
        (Some(0.6), None)
    );
    assert_eq!(rest(&image, LEFT), "ControlNetApply (node 32)");

    let refined = of("comfy-refiner");
    assert_eq!(refined.refiner.as_deref(), Some("fine"));
    assert_eq!(refined.params.sampling.refiner_switch_at, 0.8);
    assert_eq!(
        refined.params.text.prompt,
        "a lighthouse at dawn, (storm:1.2), [sea]"
    );
    assert_eq!(rest(&refined, LEFT), "");

    let custom = of("comfy-custom").params;
    assert_eq!(
        (
            custom.noise.seed,
            custom.sampling.steps,
            custom.guidance.cfg_scale
        ),
        (99, 18, 5.5)
    );
    assert_eq!(custom.sampling.sampler, sd_sched::Sampler::DpmPp2mSde);
    assert_eq!(custom.sampling.schedule, sd_sched::Schedule::Karras);
}

#[test]
fn other_programs_weights_are_ours() {
    let invoke = of("invokeai");
    let (prompts, noise) = (&invoke.params.text, &invoke.params.noise);
    assert_eq!(prompts.prompt, "a (lighthouse:1.21) at (early dawn:1.3)");
    assert_eq!(prompts.negative_prompt, "(blurry:1.1), (noise:0.81)");
    assert_eq!(
        (invoke.params.sampling.schedule, noise.rng),
        (sd_sched::Schedule::Karras, crate::Rng::Cpu)
    );
    assert_eq!(
        (rest(&invoke, LORAS), rest(&invoke, "VAE"), rest(&invoke, LEFT)),
        ("ink:0.75", "sdxl-vae", "ipAdapters")
    );
    assert_eq!(invoke.params.guidance.guidance_rescale, 0.7);

    let novelai = of("novelai");
    assert_eq!(
        novelai.params.text.prompt,
        "a (lighthouse:1.1025) at (dawn:0.952381), \\(sea\\)"
    );
    assert_eq!(
        (novelai.params.size.width, novelai.params.size.height),
        (Some(64), Some(96))
    );
    assert_eq!(
        (novelai.params.sampling.steps, rest(&novelai, LEFT)),
        (28, "sm true")
    );

    let fooocus = of("fooocus");
    assert!(
        fooocus
            .params
            .text
            .prompt
            .starts_with("cinematic still a lighthouse")
    );
    assert_eq!(
        (fooocus.params.size.width, fooocus.params.size.height),
        (Some(896), Some(1152))
    );
    assert_eq!(
        (rest(&fooocus, LORAS), fooocus.model_hash.as_deref()),
        ("sd_xl_offset:0.1", Some("aeb7e9e689"))
    );
    assert!(rest(&fooocus, LEFT).contains("sharpness 2"));

    let draw_things = of("draw-things");
    assert_eq!(rest(&draw_things, LORAS), "ink_lora:0.6");
    assert_eq!(draw_things.params.image.strength, None);
    assert!(rest(&of("swarm"), LEFT).contains("refinerupscale 1.5"));
    assert!(rest(&of("invokeai-1"), LEFT).contains("an upscaler"));
    assert_eq!(rest(&of("invokeai-2"), LEFT), "codeformer");
}

#[test]
fn in_other_kinds_of_files() {
    let path = |name: &str| goldens::root().join("infotexts").join(name);
    assert_eq!(of_file(path("comfy.webp")).unwrap(), text(&cases()["comfy"]));
    assert_eq!(of_file(path("fooocus.jpg")).unwrap(), text(&cases()["fooocus"]));
}

#[test]
fn graphs_that_lie() {
    let translate = |graph: &str| of_graph(graph);
    for (graph, reason) in [
        ("{", "can't be read as JSON"),
        ("[]", "is no JSON object"),
        ("{}", "no sampler that is known here"),
        (
            r#"{"1": 3, "2": {"class_type": "SaveImage", "inputs": []}}"#,
            "no sampler",
        ),
        // A circle.
        (
            r#"{"1": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}"#,
            "no sampler",
        ),
    ] {
        let error = translate(graph).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    // Links in circles, and to nodes that are not there.
    let text = translate(
        r#"{"1": {"class_type": "KSampler", "inputs": {"steps": ["9", 0], "cfg": ["1", 0], "seed": "x", "sampler_name": "no such one",
            "scheduler": 3, "model": ["1", 0], "positive": ["1", 0], "negative": ["8", 0], "latent_image": ["1", 0]}}}"#,
    )
    .unwrap();
    assert!(text.contains("sampler no such one"), "{text}");
    assert!(
        of_comment("{\"a\": 1}".into())
            .unwrap_err()
            .contains("no program that is known")
    );
    assert_eq!(of_comment("{a|b} and more".into()).unwrap(), "{a|b} and more");
}

#[test]
fn weights_take_time_by_length() {
    let weighed = |prompt: &str| invoke::dream(prompt).prompt;
    assert_eq!(weighed("a+-+ b-"), "(a:1.089) (b:0.9)");
    assert_eq!(weighed("t-shirt a++-b ++"), "t-shirt a++-b (+:1.1)");
    assert_eq!(weighed("((a b)c)- (d (e)1.2)"), "(a bc:0.9) d (e:1.2)");
    assert_eq!(weighed("(a (b) \\( c) )+ (d"), "a b \\( c \\) (d");
    let n = 1 << 18;
    for hostile in [
        format!("a{}", "+-".repeat(n)),
        format!("a{}b", "+".repeat(n)),
        format!("{}a{}", "(".repeat(n), ")".repeat(n)),
        format!("{}{}", "(".repeat(n), "a)b+,".repeat(n)),
    ] {
        assert!(!weighed(&hostile).is_empty());
    }
    let xmp = format!(
        "<exif:UserComment><rdf:li>{}</rdf:li></exif:UserComment>",
        "&".repeat(n)
    );
    assert_eq!(draw_things::comment(&xmp).unwrap().len(), n);
}

#[test]
fn few_settings_are_no_part_of_the_prompt() {
    for (found, left) in [
        (invoke::dream("a cat"), "other settings"),
        (invoke::dream("\"a cat\" -s 20"), "other settings"),
        (invoke::dream("\"a cat\" -U 2"), "an upscaler"),
        (invoke::dream("\"a cat\" -s 20 -S 3"), ""),
    ] {
        let read = parse(&found.infotext()).unwrap();
        assert_eq!(
            (read.params.text.prompt.as_str(), rest(&read, LEFT)),
            ("a cat", left)
        );
        assert_eq!(rest(&read, "Source"), "InvokeAI");
    }
}

#[test]
fn xmp_that_lies() {
    let comment =
        |inner: &str| draw_things::comment(&format!("<exif:UserComment>{inner}</exif:UserComment>"));
    assert_eq!(comment("<rdf:li</rdf:li>"), None);
    assert_eq!(comment("<rdf:li>a"), None);
    assert_eq!(
        comment("</rdf:li><rdf:li> a &lt;&#x62;&#99; &;&no;</rdf:li>").unwrap(),
        "a <bc &;&no;"
    );
}

proptest! {
    #[test]
    fn weights_never_panic(prompt in "[a-c(){}\\[\\]+\\-0-9.,\\\\ äß]{0,40}") {
        let comment = object(&format!("{{\"uc\": {}}}", Value::from(prompt.as_str()))).unwrap();
        let metadata = object(&format!("{{\"positive_prompt\": {}}}", Value::from(prompt.as_str()))).unwrap();
        for found in [
            novelai::translate(Some(&prompt), &comment, [8, 8]),
            invoke::translate(&metadata),
            invoke::dream(&prompt),
        ] {
            let program = found.program;
            let read = parse(&found.infotext()).unwrap();
            prop_assert_eq!(rest(&read, "Source"), program);
        }
        draw_things::comment(&format!("<exif:UserComment><rdf:li>{prompt}</rdf:li></exif:UserComment>"));
    }

    #[test]
    fn xmp_never_panics(parts in prop::collection::vec(0usize..8, 0..12)) {
        let tags = ["<exif:UserComment", "</exif:UserComment>", "<rdf:li", "</rdf:li>", ">", "&amp;", "&", "ä"];
        let xmp: String = parts.into_iter().map(|part| tags[part]).collect();
        draw_things::comment(&xmp);
    }

    /// Whatever the inputs of a graph are.
    #[test]
    fn graphs_never_panic(links in prop::collection::vec((0usize..8, 0usize..8, 0usize..12), 0..30), classes in prop::collection::vec(0usize..8, 8)) {
        let names = ["KSampler", "SaveImage", "VAEDecode", "LatentUpscale", "CLIPTextEncode", "LoraLoader", "VAEEncode", "KSamplerAdvanced"];
        let inputs = ["images", "samples", "latent_image", "positive", "negative", "model", "clip", "text", "guider", "sigmas", "pixels", "conditioning"];
        let mut graph = Map::new();
        for (id, class) in classes.iter().enumerate() {
            graph.insert(id.to_string(), serde_json::json!({"class_type": names[*class], "inputs": {}}));
        }
        for (from, to, input) in links {
            graph[&to.to_string()]["inputs"][inputs[input]] = serde_json::json!([from.to_string(), 0]);
        }
        if let Ok(found) = comfy::translate(&graph) {
            let _ = parse(&found.infotext());
        }
    }
}
