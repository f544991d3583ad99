//! No input makes the generator or the comparison panic: broken and mutilated documents, and, where there is one, a corpus of real ones.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use arklow_codegen::{Code, Options, Refused, Unsupported, compare, generate};

use super::{entries, folder, options};

/// Every line left out, every line doubled, and every word replaced by values of other kinds.
#[test]
fn mutilated_documents_are_carried_or_refused() {
    let mut count = 0;
    for case in entries(&folder("cases")) {
        let text = fs::read_to_string(case.join("openapi.yaml")).expect("the case has a document");
        let lines: Vec<&str> = text.lines().collect();
        // The time grows with the square of the length, so of a long document some lines are enough.
        let step = 1 + lines.len() * lines.len() / 50_000;
        for index in (0..lines.len()).step_by(step) {
            let mut without = lines.clone();
            let line = without.remove(index);
            let mut doubled = lines.clone();
            doubled.insert(index, line);
            let truncated = &lines[..index];
            judge_skipping(&without.join("\n"));
            for mutant in [without.as_slice(), doubled.as_slice(), truncated] {
                judge(&mutant.join("\n"));
                judge_compared(&text, &mutant.join("\n"));
                count += 1;
            }
            for word in [
                "null",
                "[]",
                "{}",
                "17",
                "-0.5",
                "''",
                "$ref",
                "'#/components/schemas/Nope'",
                "true",
                "😀",
            ] {
                if let Some((key, _)) = line.split_once(": ") {
                    let replaced = format!("{key}: {word}");
                    let mut mutant = lines.clone();
                    mutant[index] = &replaced;
                    judge(&mutant.join("\n"));
                    judge_compared(&text, &mutant.join("\n"));
                    count += 1;
                }
            }
        }
    }
    assert!(count > 1500, "only {count} mutants");
}

#[test]
fn odd_texts_are_refused() {
    let deep = "{\"a\":".repeat(100_000);
    for text in [
        "",
        " ",
        "\u{feff}",
        "null",
        "[]",
        "openapi: 3.1.0",
        "openapi: 2.0",
        "\0",
        "&a [*a]",
        "%YAML 9",
        "{",
        "- - -",
        &deep,
    ] {
        let refusals = generate(text, &options()).expect_err("is refused").refusals;
        assert!(!refusals.is_empty());
        assert!(
            refusals
                .iter()
                .all(|refusal| !refusal.message.is_empty() && refusal.at.line > 0)
        );
    }
}

/// As deep as a document may be, in every way in which schemas nest.
#[test]
fn deep_schemas_are_carried_or_refused() {
    let ways = [
        ("{ type: array, items: ", " }"),
        ("{ anyOf: [", ", { type: 'null' }] }"),
        ("{ anyOf: [", ", { type: string }] }"),
        ("{ type: object, properties: { a: ", " } }"),
        ("{ allOf: [", "] }"),
        ("{ type: object, additionalProperties: ", " }"),
    ];
    for (before, after) in ways {
        for depth in [10, 30, 60, 90] {
            let schema = before.repeat(depth) + "{ type: integer }" + &after.repeat(depth);
            judge(&format!(
                "openapi: 3.1.0\ninfo: {{ title: T, version: 1 }}\npaths: {{}}\ncomponents: {{ schemas: {{ Deep: {schema} }} }}"
            ));
        }
    }
}

/// Limits, formats and defaults in every place where a schema can stand without a name: Progenitor makes no type of them.
#[test]
fn schemas_without_a_name_are_carried_or_refused() {
    let schemas = [
        "{ type: string, format: uuid }",
        "{ type: string, format: uuid, minLength: 1, maxLength: 40, pattern: '^[0-9a-f-]+$' }",
        "{ type: string, format: ipv4 }",
        "{ type: string, format: ip }",
        "{ type: string, format: binary }",
        "{ type: string, format: date }",
        "{ type: string, format: date-time, minLength: 20 }",
        "{ type: string, enum: [a, '', '<', '>'] }",
        "{ type: [string, 'null'], format: uuid, maxLength: 3 }",
        "{ const: only }",
        "{ type: 'null' }",
        "{ type: integer, minimum: 1 }",
        "{ type: integer, format: int32, minimum: 1.0, maximum: 1e2, multipleOf: 2.0 }",
        "{ type: integer, format: uint8, exclusiveMinimum: -0.5 }",
        "{ type: [integer, 'null'], format: uint64, maximum: 18446744073709551615 }",
        "{ type: number, format: float, minimum: -0.0, exclusiveMaximum: 1e300 }",
        "{ type: boolean }",
        "{}",
        "{ type: array, minItems: 2, maxItems: 2, items: { type: string, format: uuid } }",
        "{ type: array, uniqueItems: true, items: { type: array, items: { type: integer, minimum: 1 } } }",
        "{ type: object, additionalProperties: { type: string, format: uuid }, maxProperties: 1 }",
        "{ type: object, additionalProperties: { type: [integer, 'null'], minimum: 1 } }",
        "{ type: object, properties: { a: { type: string, format: uuid } } }",
        "{ anyOf: [{ type: string, format: uuid }, { type: integer, minimum: 1 }] }",
        "{ $ref: '#/components/schemas/Limited' }",
    ];
    let mut carried = 0;
    for schema in schemas {
        let places = [
            format!("parameters: [{{ name: q, in: query, schema: {schema} }}],"),
            format!("parameters: [{{ name: x-q, in: header, schema: {schema} }}],"),
            format!("requestBody: {{ content: {{ application/json: {{ schema: {schema} }} }} }},"),
            format!(
                "requestBody: {{ content: {{ application/json: {{ schema: {{ type: array, items: {schema} }} }} }} }},"
            ),
        ];
        for (index, place) in places.iter().enumerate() {
            for answer in [schema, "{ type: object, additionalProperties: %s }"] {
                let answer = answer.replace("%s", schema);
                let text = format!(
                    "openapi: 3.1.0\ninfo: {{ title: T, version: 1 }}\npaths:\n  /a:\n    put: {{ operationId: a, {place} responses: {{ '200': {{ description: d, content: {{ application/json: {{ schema: {answer} }} }} }}, '400': {{ description: d, content: {{ application/json: {{ schema: {schema} }} }} }} }} }}\ncomponents: {{ schemas: {{ Limited: {{ type: string, minLength: 1, format: uuid }} }} }}"
                );
                match generate(&text, &options()) {
                    Ok(generated) => {
                        let client = "client/src/generated/mod.rs";
                        let client = generated.files.iter().find(|file| file.path == client);
                        let client = &client.expect("there is a client").contents;
                        for foreign in ["uuid::", "NonZero", "std::net", "; 2usize]"] {
                            assert!(!client.contains(foreign), "{foreign}\n{text}");
                        }
                        carried += 1;
                    }
                    // A body can be anything; a parameter is one value.
                    Err(Refused { refusals, .. }) => {
                        let is_refused =
                            |of: &arklow_codegen::Diagnostic| of.code == Code::ParameterType;
                        let is_expected = index < 2 && refusals.iter().all(is_refused);
                        assert!(is_expected, "{refusals:?}\n{text}");
                    }
                }
            }
        }
    }
    assert!(carried > 150, "only {carried} were carried");
}

/// `CODEGEN_CORPUS` names a folder of documents; each is carried or refused.
#[test]
fn corpus_is_carried_or_refused() {
    let Some(corpus) = std::env::var_os("CODEGEN_CORPUS") else {
        // No failure on CI, which may have no corpus. Not by `eprintln!`: of a test that passes
        // libtest shows nothing that is printed so.
        let skipped = "skipped: corpus_is_carried_or_refused: CODEGEN_CORPUS names no folder";
        writeln!(std::io::stderr(), "{skipped}").expect("stderr is open");
        return;
    };
    let (mut carried, mut refused) = (0, 0);
    let mut open = vec![PathBuf::from(corpus)];
    while let Some(folder) = open.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            // Whose parameters are given twice, say, those may differ from each other.
            let is_wrong = path.to_string_lossy().contains("negative");
            if let Ok(breaks) = compare(&text, &text) {
                assert!(
                    breaks.is_empty() || is_wrong,
                    "{}: {breaks:?}",
                    path.display()
                );
            }
            // `cargo xtask corpus` generates from the large ones, which takes minutes.
            if text.len() > 400 * 1024 {
                continue;
            }
            match generate(&text, &options()) {
                Ok(_) => carried += 1,
                Err(Refused { refusals, .. }) => {
                    let fault = refusals
                        .iter()
                        .find(|refusal| refusal.message.contains("the generator failed"));
                    assert_eq!(fault, None, "{}", path.display());
                    refused += 1;
                }
            }
        }
    }
    eprintln!("corpus: {carried} carried, {refused} refused");
    assert!(carried > 0, "the folder holds documents");
}

/// A document and a mutant of it, in either order.
fn judge_compared(text: &str, mutant: &str) {
    for (old, new) in [(text, mutant), (mutant, text)] {
        let outcome = std::panic::catch_unwind(|| compare(old, new));
        assert!(outcome.is_ok(), "panicked comparing with\n{mutant}");
    }
}

/// Both outcomes are fine; a panic or a fault of the generator is not.
fn judge(text: &str) {
    judge_with(text, &options());
}

/// As [`judge`], where what is not carried is left out.
fn judge_skipping(text: &str) {
    let options = Options {
        unsupported: Unsupported::Skip,
        ..options()
    };
    judge_with(text, &options);
}

fn judge_with(text: &str, options: &Options) {
    let outcome = std::panic::catch_unwind(|| generate(text, options));
    if let Err(Refused { refusals, .. }) = outcome.unwrap_or_else(|_| panic!("panicked on\n{text}"))
    {
        assert!(!refusals.is_empty());
        for refusal in refusals {
            assert!(
                !refusal.message.contains("the generator failed"),
                "{refusal:?}\n{text}"
            );
        }
    }
}
