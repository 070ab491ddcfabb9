//! The modes of interrogation against clip-interrogator's own code and restatements of its algorithms and the WebUI's: the same texts, on a
//! tiny random CLIP and 300 phrases.

use std::collections::BTreeMap;

use sdrs::{Interrogate, InterrogateMode, Interrogator, Phrases, Picture};

#[derive(serde::Deserialize)]
struct Modes {
    chunk_size: usize,
    intermediate_count: usize,
    limit: usize,
    phrases: BTreeMap<String, Vec<String>>,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    picture: String,
    caption: String,
    right: BTreeMap<String, String>,
    original: BTreeMap<String, String>,
    webui: WebUi,
}

#[derive(serde::Deserialize)]
struct WebUi {
    text: String,
    scores: BTreeMap<String, f32>,
    ranks: String,
    limited: String,
    original: String,
}

fn interrogator(phrases: Phrases) -> Interrogator {
    Interrogator::builder()
        .device("cpu")
        .clip(goldens::root().join("interrogation/clip"))
        .clip_tokenizer(goldens::root().join("../models/demo/base/tokenizer"))
        .phrases(phrases)
        .build()
        .unwrap()
}

#[test]
fn texts_are_the_originals() {
    let folder = goldens::root().join("interrogation/modes");
    let modes: Modes =
        serde_json::from_str(&std::fs::read_to_string(folder.join("modes.json")).unwrap()).unwrap();
    let with = interrogator(Phrases::of(modes.phrases.iter().map(|(k, v)| (k.as_str(), v))).unwrap());
    // The WebUI has these files.
    let files = [
        ("artists", "artists"),
        ("flavors.top3", "flavors"),
        ("mediums", "mediums"),
        ("movements", "movements"),
    ];
    let of_webui = interrogator(Phrases::of(files.map(|(name, list)| (name, &modes.phrases[list]))).unwrap());
    assert_eq!(modes.cases.len(), 3);
    for case in &modes.cases {
        let picture = Picture::open(folder.join(&case.picture)).unwrap();
        for (original, expected) in [(false, &case.right), (true, &case.original)] {
            for (name, text) in expected {
                let found = with
                    .interrogate(&picture)
                    .mode(InterrogateMode::from_name(name).unwrap())
                    .caption(&case.caption)
                    .chunk_size(modes.chunk_size)
                    .intermediate_count(modes.intermediate_count)
                    .original(original)
                    .run()
                    .unwrap();
                assert_eq!(&found.text, text, "{} {name} {original}", case.picture);
            }
        }
        let webui = |change: &dyn Fn(Interrogate<'_>) -> Interrogate<'_>| {
            let request = of_webui
                .interrogate(&picture)
                .mode(InterrogateMode::WebUi)
                .caption(&case.caption);
            change(request).run().unwrap()
        };
        let plain = webui(&|request| request.limit(0));
        assert_eq!(plain.text, case.webui.text);
        assert_eq!(plain.ranks.len(), case.webui.scores.len());
        for rank in &plain.ranks {
            let expected = case.webui.scores[&rank.phrase];
            assert!(
                (rank.score - expected).abs() < 1e-4 * expected,
                "{rank:?}: {expected}"
            );
        }
        assert_eq!(
            webui(&|request| request.limit(0).ranks(true)).text,
            case.webui.ranks
        );
        assert_eq!(
            webui(&|request| request.limit(modes.limit)).text,
            case.webui.limited
        );
        assert_eq!(webui(&|request| request.original(true)).text, case.webui.original);
    }
}
