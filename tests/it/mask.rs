//! The SDK's JSON scanner as it runs in production: compiled for WebAssembly, with vector instructions, in the plugin
//! `mask`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use wasmill::batch::Batch;
use wasmill::plugin::Compiler;
use wasmill::plugin::Engine;
use wasmill::plugin::Grants;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wasmill::record::TopicPartition;
use wasmill::secret::Hidden;
use wasmill::secret::Secret;

use crate::support::random::Random;

const BATCH: usize = 128;

/// The expected result of `mask` as a tree; the error message if the value isn't JSON.
fn masked(value: &[u8]) -> Result<Value, String> {
    std::str::from_utf8(value).map_err(|error| error.to_string())?;
    let mut value: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    hide(&mut value);
    Ok(value)
}

/// Hides the personal fields at any depth.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if ["email", "phone", "name"].contains(&name.as_str()) {
                    *value = "***".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Documents in which a string ends or an escape occurs at every position of a block of 64 bytes, and of the last block.
fn documents() -> Vec<Vec<u8>> {
    let mut documents: Vec<Vec<u8>> = Vec::new();
    for length in 0..330 {
        let x = "x".repeat(length);
        for text in [
            format!(r#"{{"a":"{x}","email":"{x}","b":[{length},-1.5e3]}}"#),
            format!(r#"{{"a":"{x}\"\\","em\u0061il":"{x}\n","b":{{"name":"\u00e9"}}}}"#),
            format!(
                "{{\n  \"{x}\" : \"\u{e9}{x}\",\r\n\t\"phone\": null, \"b\" : [ {{ \"\" : true }} , [ ] , false ]\n}}"
            ),
            format!("\"{x}\""),
            format!("[\"{x}\\\\\",\"{x}\"]"),
        ] {
            documents.push(text.into_bytes());
        }
    }
    documents
}

#[test]
fn mask_accepts_the_same_documents_as_serde_json() {
    let wasm = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/wasm/mask.wasm");
    let settings = Settings {
        name: "mask".into(),
        wasm,
        settings: Secret("{}".into()),
        allow: Grants::default(),
        ports: vec!["main".into()],
        timeout: Duration::from_secs(60).into(),
        memory_bytes: 64 << 20,
        batch_records: BATCH,
        outputs_per_record: 1_000_000,
        output_bytes_per_record: 64 << 20,
        demands: Vec::new(),
        hidden: Hidden::default(),
    };
    let engine = Engine::new(Compiler::Here).unwrap();
    let mut instance = Step::load(&engine, settings).unwrap().instantiate().unwrap();

    let mut random = Random::seeded("mask");
    let mut below = |bound: usize| usize::try_from(random.below(bound.try_into().unwrap())).unwrap();
    let alphabet = b"{}[]\",:\\ \n\t0123456789.eE+-truefalsn\x00\x1f\x7f/u\xc3\xa9\xff";
    let whole = documents();
    let damaged: Vec<Vec<u8>> = (0..30_000)
        .map(|round| {
            let mut document = whole[round % whole.len()].clone();
            for _ in 0..=below(3) {
                let at = below(document.len());
                match below(3) {
                    0 => document[at] = alphabet[below(alphabet.len())],
                    1 => document.insert(at, alphabet[below(alphabet.len())]),
                    // Never empty: each document has at least two quotes, and at most three bytes are removed.
                    _ if document.len() > 3 => drop(document.remove(at)),
                    _ => {}
                }
            }
            document
        })
        .collect();

    let mut taken = BTreeMap::new();
    for documents in whole.chunks(BATCH).chain(damaged.chunks(BATCH)) {
        let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
        for (offset, document) in (0..).zip(documents) {
            batch.push(offset, 0, 0, None, Some(document), std::iter::empty());
        }
        let outcome = instance.process(&batch.view()).unwrap();
        let failed: BTreeMap<_, _> = outcome.failed.iter().map(|failed| (failed.index, &failed.failure)).collect();
        let mut outputs = (0..outcome.outputs.len()).map(|index| outcome.outputs.resolve(index, &batch, 0));
        for (index, document) in documents.iter().enumerate() {
            let shown = String::from_utf8_lossy(document);
            let ours = match failed.get(&index) {
                Some(failure) => Err(failure.reason.clone()),
                None => {
                    let output = outputs.next().unwrap();
                    assert_eq!(output.parent, index);
                    Ok(output.value.unwrap().to_vec())
                }
            };
            let theirs = masked(document);
            *taken.entry(theirs.is_ok()).or_insert(0) += 1;
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(serde_json::from_slice::<Value>(&ours).ok(), Some(theirs), "{shown}");
                    let is_changed = [&b"mail"[..], b"\\u0061il", b"phone", b"name"]
                        .iter()
                        .any(|name| document.windows(name.len()).any(|window| window == *name));
                    assert!(is_changed || ours == *document, "{shown}");
                }
                (Err(_), Err(_)) => {}
                (ours, theirs) => panic!("{shown}: {ours:?} and {theirs:?}"),
            }
        }
    }
    assert!(taken[&true] > 3000 && taken[&false] > 3000, "{taken:?} of the documents were JSON");
}
