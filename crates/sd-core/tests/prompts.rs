//! Prompts against goldens/prompts, and properties of every text.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sd_core::{
    ClipTokenizer,
    prompt::{
        ChunkOptions, EmbeddingNames, Emphasis, Excerpt, Fragment, Prompt, PromptDialect, PromptOptions,
        Side, Steps, TimeRule, Tree, attention, chunks, comfy_weights, encoder_inputs,
    },
};

#[derive(serde::Deserialize)]
struct Case {
    prompt: String,
    tags: Vec<(String, String)>,
    parts: Vec<(String, String)>,
    steps: usize,
    hires: Option<usize>,
    old: bool,
    variants: Vec<Vec<(usize, String)>>,
    attention: Vec<(String, String)>,
}

fn weights(pairs: &[(String, String)]) -> Vec<(String, f64)> {
    pairs
        .iter()
        .map(|(text, weight)| (text.clone(), weight.parse().unwrap()))
        .collect()
}

fn pairs(fragments: &[Fragment]) -> Vec<(String, f64)> {
    fragments
        .iter()
        .map(|f| (f.text.as_str().to_owned(), f.weight))
        .collect()
}

#[test]
fn the_language_is_the_webuis() {
    let text = std::fs::read_to_string(goldens::root().join("prompts/language.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 400);
    let mut wrong = Vec::new();
    for case in &cases {
        let prompt = Prompt::parse(&case.prompt, Side::Positive, &PromptOptions::default());
        let steps = Steps {
            base: case.steps,
            hires: case.hires,
            rule: if case.old {
                TimeRule::Before16
            } else {
                TimeRule::Current
            },
        };
        let tags: Vec<_> = prompt
            .tags
            .iter()
            .map(|tag| (tag.kind.clone(), &case.prompt[tag.span.clone()]))
            .collect();
        let expected: Vec<_> = case
            .tags
            .iter()
            .map(|(kind, inside)| (kind.clone(), format!("<{kind}:{inside}>")))
            .collect();
        let mut check = |what: &str, got: String, expected: String| {
            if got != expected {
                wrong.push(format!(
                    "{:?}: {what}\n  got      {got}\n  expected {expected}",
                    case.prompt
                ));
            }
        };
        check("tags", format!("{tags:?}"), format!("{expected:?}"));
        let parts: Vec<_> = prompt
            .parts
            .iter()
            .map(|p| (p.tree.text().as_str().to_owned(), p.weight))
            .collect();
        check(
            "parts",
            format!("{parts:?}"),
            format!("{:?}", weights(&case.parts)),
        );
        let variants = |part: &sd_core::prompt::Part| {
            let variants = part.tree.variants(&steps);
            variants
                .map(|v| (v.end, v.text.as_str().to_owned()))
                .collect::<Vec<_>>()
        };
        let variants: Vec<_> = prompt.parts.iter().map(variants).collect();
        check(
            "variants",
            format!("{variants:?}"),
            format!("{:?}", case.variants),
        );
        let fragments = pairs(&attention(&Excerpt::new(&*case.prompt)));
        check(
            "attention",
            format!("{fragments:?}"),
            format!("{:?}", weights(&case.attention)),
        );
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn lora_tags() {
    let read = |text: &str| {
        let prompt = Prompt::parse(text, Side::Positive, &PromptOptions::default());
        prompt.tags[0]
            .lora()
            .map(|lora| lora.map(|l| (l.name, l.text_encoder, l.unet, l.dynamic_rank)))
    };
    assert_eq!(read("<lora:a>"), Some(Ok(("a".into(), 1.0, 1.0, None))));
    assert_eq!(read("<lora:a b:0.8>"), Some(Ok(("a b".into(), 0.8, 0.8, None))));
    assert_eq!(read("<lora:a:0.8:0.5>"), Some(Ok(("a".into(), 0.8, 0.5, None))));
    assert_eq!(read("<lora:a:unet=0.5>"), Some(Ok(("a".into(), 1.0, 0.5, None))));
    assert_eq!(
        read("<lora:a:0.3:te=0.7:dyn=4>"),
        Some(Ok(("a".into(), 0.7, 0.7, Some(4))))
    );
    assert_eq!(read("<lora:a:much>"), Some(Err("'much' is no number".into())));
    assert_eq!(read("<lora:a:nan>"), Some(Err("'nan' is no number".into())));
    assert_eq!(read("<hypernet:a:1>"), None);
    let course = |text: &str| {
        let prompt = Prompt::parse(text, Side::Positive, &PromptOptions::default());
        let lora = prompt.tags[0].lora().unwrap();
        lora.map(|l| (l.text_encoder, l.unet, l.course, (l.start, l.stop), l.blocks))
    };
    let none = (None, None);
    // As loractl's own tests read them: one list for both networks, sorted by moment, with a moment of 1 where there is none.
    assert_eq!(
        course("<lora:a:1@0.5;0.2@0,0.5>"),
        Ok((0.2, 0.2, vec![(0.2, 0.0), (1.0, 0.5), (0.5, 1.0)], none, None))
    );
    assert_eq!(
        course("<lora:a:te=0.7:unet=0@5,1@6>"),
        Ok((0.7, 0.0, vec![(0.0, 5.0), (1.0, 6.0)], none, None))
    );
    assert_eq!(course("<lora:a:0.4@0.5>"), Ok((0.4, 0.4, vec![], none, None)));
    assert_eq!(
        course("<lora:a:0.4:lbw=OUTALL:start=0.25:stop=10>"),
        Ok((0.4, 0.4, vec![], (Some(0.25), Some(10.0)), Some("OUTALL".into())))
    );
    assert_eq!(
        course("<lora:a:step=5-10>"),
        Ok((1.0, 1.0, vec![], (Some(5.0), Some(10.0)), None))
    );
    for (tag, wrong) in [
        ("0@x", "x"),
        ("1:y@0,1@1", "y"),
        ("1:stop=late", "late"),
        ("1:step=a-b", "a"),
    ] {
        assert_eq!(
            course(&format!("<lora:a:{tag}>")),
            Err(format!("'{wrong}' is no number"))
        );
    }
    // In the negative prompt tags and AND are text.
    let negative = Prompt::parse("<lora:a:1> AND b :2", Side::Negative, &PromptOptions::default());
    assert_eq!(
        (
            negative.tags.len(),
            negative.parts.len(),
            negative.parts[0].weight
        ),
        (0, 1, 1.0)
    );
    assert_eq!(negative.parts[0].tree.text().as_str(), "<lora:a:1> AND b :2");
}

/// Expected by hand from ComfyUI's rules: a number replaces what stands around it, square brackets are text.
#[test]
fn comfy_weights_replace() {
    let read = |text: &str| pairs(&comfy_weights(&Excerpt::new(text)));
    let cases: &[(&str, &[(&str, f64)])] = &[
        ("a (b) c", &[("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
        ("(a:1.3)", &[("a", 1.3)]),
        ("((a:1.3) b:0.5)", &[("a", 1.3), (" b", 0.5)]),
        ("((a) b)", &[("a", 1.1 * 1.1), (" b", 1.1)]),
        ("[a] \\(b\\)", &[("[a] (b)", 1.0)]),
        ("(a:b)", &[("a:b", 1.1)]),
        ("(:2)", &[(":2", 1.1)]),
        ("(a:1e-1)", &[("a", 0.1)]),
        ("(a: 1.5 )", &[("a", 1.5)]),
        ("(a:nan)", &[("a:nan", 1.1)]),
        ("a) (b)", &[("a) (b)", 1.0)]),
        ("(a (b", &[("(a (b", 1.0)]),
        ("(a (b)", &[("a ", 1.1), ("(b", 1.1)]),
        ("", &[]),
    ];
    for (text, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|(t, w)| ((*t).to_owned(), *w)).collect();
        assert_eq!(read(text), expected, "{text:?}");
    }
}

fn tokens(
    text: &str,
    tokenizer: &ClipTokenizer,
    embeddings: &EmbeddingNames,
    options: &PromptOptions,
) -> Vec<String> {
    let chunks = encoder_inputs(&Excerpt::new(text), tokenizer, embeddings, 75, options).unwrap();
    let shown = |chunk: &sd_core::prompt::Chunk| {
        assert_eq!(
            (chunk.tokens.len(), chunk.weights.len(), chunk.spans.len()),
            (77, 77, 77)
        );
        let mut words: Vec<String> = Vec::new();
        for span in chunk.spans.iter().flatten() {
            words.push(text[span.clone()].to_owned());
        }
        format!("{} {}", words.len(), words.first().cloned().unwrap_or_default())
    };
    chunks.iter().map(shown).collect()
}

#[test]
fn chunks_end_at_commas_and_breaks() {
    let tokenizer = ClipTokenizer::embedded();
    let none = EmbeddingNames::default();
    let default = PromptOptions::default();
    let tokens = |text: &str| tokens(text, &tokenizer, &none, &default);
    assert_eq!(tokens(""), ["0 "]);
    assert_eq!(tokens("a BREAK"), ["1 a"]);
    assert_eq!(tokens("BREAK a"), ["0 ", "1 a"]);
    assert_eq!(tokens("a BREAK b BREAK c"), ["1 a", "1 b", "1 c"]);
    let a = |n: usize| "a ".repeat(n);
    assert_eq!(tokens(&a(75)), ["75 a"]);
    assert_eq!(tokens(&a(76)), ["75 a", "1 a"]);
    // The comma is the 60th token: 16 after it, and with it 75 or more.
    assert_eq!(
        tokens(&format!("{}, {}", a(59), "b ".repeat(20))),
        ["60 a", "20 b"]
    );
    // It is the 55th: 20 places from the 75th, the farthest that counts; one further doesn't.
    assert_eq!(
        tokens(&format!("{}, {}", a(55), "b ".repeat(30))),
        ["56 a", "30 b"]
    );
    assert_eq!(
        tokens(&format!("{}, {}", a(54), "b ".repeat(30))),
        ["75 a", "10 b"]
    );
    // A comma that would be the 76th goes to the next chunk, and doesn't count there.
    assert_eq!(
        tokens(&format!("{}, {}", a(75), "b ".repeat(80))),
        ["75 a", "75 ,", "6 b"]
    );
}

#[test]
fn embeddings_stay_whole() {
    let tokenizer = ClipTokenizer::embedded();
    let mut embeddings = EmbeddingNames::default();
    embeddings.add("bad", 2, &tokenizer).unwrap();
    embeddings.add("bad hands", 10, &tokenizer).unwrap();
    let options = ChunkOptions {
        length: 75,
        comma_backtrack: 20,
        text_as_is: false,
    };
    let run =
        |text: &str| chunks(&attention(&Excerpt::new(text)), &tokenizer, &embeddings, &options).unwrap();
    let placed = |text: &str| -> Vec<Vec<(usize, usize, usize)>> {
        let chunks = run(text).into_iter();
        chunks
            .map(|c| c.embeddings.iter().map(|e| (e.at, e.vectors, e.index)).collect())
            .collect()
    };
    assert_eq!(placed("a (bad hands:1.2), bad x"), [[(2, 10, 1), (13, 2, 0)]]);
    let chunk = &run("a (bad hands:1.2)")[0];
    assert_eq!(chunk.spans[2], Some(3..12));
    assert_eq!(
        (
            chunk.weights[1],
            chunk.weights[2],
            chunk.weights[11],
            chunk.weights[12]
        ),
        (1.0, 1.2, 1.2, 1.0)
    );
    assert_eq!(&chunk.tokens[2..12], [0; 10]);
    assert_eq!(
        placed(&format!("{}bad hands", "a ".repeat(66))),
        [vec![], vec![(1, 10, 1)]]
    );
    assert_eq!(placed(&format!("{}bad hands", "a ".repeat(65))), [[(66, 10, 1)]]);
    // After a comma it moves to the next chunk with the words around it.
    let moved = format!("{}, c bad {}", "a ".repeat(60), "b ".repeat(20));
    assert_eq!(placed(&moved), [vec![], vec![(2, 2, 0)]]);
}

#[test]
fn emphasis_can_be_text() {
    let tokenizer = ClipTokenizer::embedded();
    let mut options = PromptOptions::default();
    options.emphasis = Emphasis::None;
    let inputs = encoder_inputs(
        &Excerpt::new("(a:1.3) BREAK b"),
        &tokenizer,
        &EmbeddingNames::default(),
        75,
        &options,
    )
    .unwrap();
    assert_eq!(inputs.len(), 1);
    assert!(inputs[0].weights.iter().all(|&w| w == 1.0));
    assert_eq!(
        inputs[0].used(),
        tokenizer.encode("(a:1.3) BREAK b").unwrap().len()
    );
}

/// A hundred thousand brackets, in milliseconds and without recursion.
#[test]
fn long_prompts_are_read_at_once() {
    const N: usize = 100_000;
    let prompts = [
        "(".repeat(N),
        "[".repeat(N),
        ")".repeat(N),
        format!("{}{}", "(".repeat(N / 2), ")".repeat(N / 2)),
        format!("{}a{}", "[".repeat(N / 2), "]".repeat(N / 2)),
        format!("{}a{}", "[".repeat(N / 4), "|b]".repeat(N / 4)),
        format!("{}a{}", "[".repeat(N / 4), ":b:3]".repeat(N / 4)),
        "(a)".repeat(N / 2),
        "[a:b:3]".repeat(N / 2),
        "(a".repeat(N),
        "<lora:".repeat(N),
        "<a:>".repeat(N),
        "a AND b :".repeat(N / 4),
        format!("a:{}", " ".repeat(N)),
        "[ : ".repeat(N),
        ": ".repeat(N),
        "\\".repeat(N + 1),
        "BREAK ".repeat(N / 2),
    ];
    for prompt in prompts {
        let start = Instant::now();
        let read = Prompt::parse(&prompt, Side::Positive, &PromptOptions::default());
        for part in &read.parts {
            let at = part.tree.at(3, &Steps::new(20));
            if read.parts.len() == 1 {
                attention(&at);
            }
        }
        let taken = start.elapsed();
        // Some ten milliseconds each; time enough for a busy machine.
        assert!(
            taken < Duration::from_secs(2),
            "{:?}...: {taken:?}",
            &prompt[..12]
        );
    }
}

/// Prompts made of what has a meaning.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        r"[\[\]():|\\]",
        "[a-c ,]{1,3}",
        Just("AND".to_owned()),
        Just(" BREAK ".to_owned()),
        Just("<lora:a:1>".to_owned()),
        Just(":1.2)".to_owned()),
        Just(":0.5]".to_owned()),
        Just("猫".to_owned()),
        "\\PC",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_print_what_was_read(text in texts()) {
        let prompt = Prompt::parse(&text, Side::Positive, &PromptOptions::default());
        for part in &prompt.parts {
            prop_assert_eq!(part.tree.to_string(), part.tree.text().as_str());
        }
        let whole = Prompt::parse(&text, Side::Negative, &PromptOptions::default());
        prop_assert_eq!(&whole.parts[0].tree.to_string(), &text);
        // Items follow one another without a gap, and groups point at what is theirs.
        let tree = &whole.parts[0].tree;
        let mut at = 0;
        for item in tree.items() {
            prop_assert_eq!(item.span.start, at);
            at = item.span.end;
        }
        prop_assert_eq!(at, text.len());
        for group in tree.groups() {
            prop_assert!(group.open < group.close && group.separators.iter().all(|s| group.open < *s && *s < group.close));
        }
    }

    #[test]
    fn spans_point_at_what_is_said(text in texts(), step in 1usize..20) {
        let prompt = Prompt::parse(&text, Side::Positive, &PromptOptions::default());
        for part in &prompt.parts {
            for fragment in attention(&part.tree.at(step, &Steps::new(20))) {
                for (at, c) in fragment.text.as_str().char_indices() {
                    let span = fragment.text.span(at..at + c.len_utf8());
                    prop_assert_eq!(&text[span], c.to_string());
                }
            }
        }
    }

    #[test]
    fn every_text_becomes_chunks(text in texts(), comfy in any::<bool>(), backtrack in 0usize..80) {
        let tokenizer = TOKENIZER.get_or_init(ClipTokenizer::embedded);
        let mut options = PromptOptions::default();
        options.dialect = if comfy { PromptDialect::Comfy } else { PromptDialect::WebUi };
        options.comma_backtrack = backtrack;
        let prompt = Prompt::parse(&text, Side::Positive, &options);
        for part in &prompt.parts {
            for variant in part.tree.variants(&Steps::new(4)) {
                for chunk in encoder_inputs(&variant.text, tokenizer, &EmbeddingNames::default(), 75, &options).unwrap() {
                    prop_assert_eq!((chunk.tokens.len(), chunk.weights.len(), chunk.spans.len()), (77, 77, 77));
                    prop_assert!(chunk.spans.iter().flatten().all(|span| text.get(span.clone()).is_some()));
                }
            }
        }
    }
}

static TOKENIZER: std::sync::OnceLock<ClipTokenizer> = std::sync::OnceLock::new();

#[test]
fn plain_trees_have_no_groups() {
    let tree = Tree::plain(Excerpt::new("[a:b:3]"));
    assert_eq!(tree.variants(&Steps::new(5)).count(), 1);
    assert_eq!(tree.at(5, &Steps::new(5)).as_str(), "[a:b:3]");
}
