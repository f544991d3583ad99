//! Documents of which only a part is carried: what is generated of them, and what the report says.

use arklow_codegen::{
    AllowList, Code, Generated, Options, Outcome, Refused, Unsupported, generate,
};

use super::options;

/// `get_a` and `get_b` are carried; the others are not, each for another reason.
const PARTS: &str = "\
openapi: 3.1.0
info: { title: Parts, version: 1 }
webhooks: { changed: {} }
paths:
  /a:
    get:
      operationId: get_a
      callbacks: { done: {} }
      responses: { '200': { description: d, content: { application/json: { schema: { $ref: '#/components/schemas/Good' } } } } }
    post:
      operationId: post_a
      requestBody: { content: { application/xml: { schema: { type: string } } } }
      responses: { '204': { description: d } }
  /a/{id}:
    get:
      operationId: get_a_id
      parameters: [{ name: id, in: path, required: true, schema: { type: string } }]
      responses: { '200': { description: d, content: { application/json: { schema: { $ref: '#/components/schemas/Outer' } } } } }
  /a/{other}:
    get:
      operationId: get_b
      parameters: [{ name: other, in: path, required: true, schema: { type: string } }]
      responses: { '204': { description: d } }
components:
  schemas:
    Good: { type: object, properties: { name: { type: string } } }
    Outer: { type: object, properties: { inner: { $ref: '#/components/schemas/Inner' } } }
    Inner: { type: string, pattern: '(' }
    Lonely: { type: object, properties: { a: { type: string, pattern: '(' } } }
";

fn with(unsupported: Unsupported) -> Options {
    Options {
        unsupported,
        ..options()
    }
}

fn allowing(list: &str) -> Result<Generated, Refused> {
    let list = AllowList::parse(list).expect("a list");
    generate(PARTS, &with(Unsupported::Allow(list)))
}

fn server(generated: &Generated) -> &str {
    let mut files = generated.files.iter();
    let file = files.find(|file| file.path == "api/src/generated/server.rs");
    &file.expect("the trait").contents
}

#[test]
fn operations_that_are_not_carried_are_left_out_and_reported() {
    let generated = generate(PARTS, &with(Unsupported::Skip)).expect("a part is carried");
    let the_trait = server(&generated);
    for (method, is_there) in [
        ("get_a", true),
        ("get_b", true),
        ("post_a", false),
        ("get_a_id", false),
    ] {
        assert_eq!(
            the_trait.contains(&format!("fn {method}(")),
            is_there,
            "{method}"
        );
    }
    let outcomes: Vec<_> = generated
        .report
        .operations
        .iter()
        .map(|of| {
            let why: Vec<String> = of
                .why
                .iter()
                .map(|why| format!("{} {}", why.code, why.owner))
                .collect();
            (format!("{} {}", of.method, of.path), of.outcome, why)
        })
        .collect();
    let expected = [
        ("GET /a", Outcome::Adapted, vec![]),
        ("POST /a", Outcome::Skipped, vec!["media-type POST /a"]),
        (
            "GET /a/{id}",
            Outcome::Skipped,
            vec![
                "route-conflict GET /a/{id}",
                "pattern components/schemas/Inner",
            ],
        ),
        ("GET /a/{other}", Outcome::Carried, vec![]),
    ];
    for (outcome, expected) in outcomes.iter().zip(&expected) {
        let why: Vec<&str> = outcome.2.iter().map(String::as_str).collect();
        assert_eq!(
            (outcome.0.as_str(), outcome.1, &why),
            (expected.0, expected.1, &expected.2)
        );
    }
    assert_eq!(outcomes.len(), expected.len());
    let typed: Vec<_> = generated
        .report
        .schemas
        .iter()
        .map(|of| (of.key.as_str(), of.type_name.as_deref(), of.typed))
        .collect();
    assert_eq!(
        typed,
        [
            ("Good", Some("Good"), true),
            ("Outer", None, false),
            ("Inner", None, false),
            ("Lonely", None, false)
        ]
    );
    let notes: Vec<String> = generated.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.contains(&"the webhook `changed` is read past".to_owned()),
        "{notes:?}"
    );
    assert!(
        notes.contains(&"get_a: the callback `done` is read past".to_owned()),
        "{notes:?}"
    );
}

#[test]
fn without_leave_the_same_document_is_refused_whole_with_the_same_report() {
    let refused = generate(PARTS, &options()).expect_err("it is refused");
    let skipped = generate(PARTS, &with(Unsupported::Skip)).expect("a part is carried");
    assert_eq!(refused.report.refusals, skipped.report.refusals);
    // And what may be reached by a part that was not looked at.
    let lonely = &refused.report.unreached;
    assert_eq!(
        refused.refusals.len(),
        skipped.report.refusals.len() + lonely.len()
    );
    assert!(lonely.iter().all(|of| refused.refusals.contains(of)) && lonely.len() == 1);
    assert_eq!(refused.report.count(Outcome::Skipped), 2);
}

#[test]
fn component_that_nothing_reaches_refuses_nothing() {
    let reached = PARTS.replace("$ref: '#/components/schemas/Outer'", "type: string");
    let document = reached
        .replace("  /a/{other}:", "  /b/{other}:")
        .replace("application/xml", "application/json");
    let generated = generate(&document, &options()).expect("it is carried");
    let unreached: Vec<&str> = generated
        .report
        .unreached
        .iter()
        .map(|of| of.code.name())
        .collect();
    assert_eq!(unreached, ["pattern", "pattern"]);
    let types = generated
        .files
        .iter()
        .find(|file| file.path.ends_with("types.rs"));
    let types = &types.expect("the types").contents;
    assert!(types.contains("struct Good") && !types.contains("Inner") && !types.contains("Outer"));

    // A fault of the document is refused even there.
    let broken = document.replace("Lonely: {", "Lonely: 7\n    Other: {");
    let refused = generate(&broken, &options()).expect_err("it is refused");
    assert!(
        refused.refusals.iter().all(|of| of.code == Code::Malformed),
        "{:?}",
        refused.refusals
    );
}

#[test]
fn allow_list_accepts_what_it_names_and_complains_of_what_it_no_longer_needs() {
    let list = "# What we live without.\nmedia-type POST /a # an old client\n\nroute-conflict\npattern components/schemas/Inner\n";
    let generated = allowing(list).expect("it is allowed");
    assert_eq!(generated.report.count(Outcome::Skipped), 2);

    let refused = allowing("route-conflict\npattern").expect_err("one is not allowed");
    let codes: Vec<Code> = refused.refusals.iter().map(|of| of.code).collect();
    assert_eq!((codes, refused.unneeded.len()), (vec![Code::MediaType], 0));

    let refused =
        allowing(&format!("{list}all-of\nmedia-type GET /a\n")).expect_err("two lines too many");
    let unneeded: Vec<_> = refused
        .unneeded
        .iter()
        .map(|of| (of.at.line, of.to_string()))
        .collect();
    let expected = [
        (6, "all-of".to_owned()),
        (7, "media-type GET /a".to_owned()),
    ];
    assert_eq!(
        (refused.refusals.len(), unneeded.as_slice()),
        (0, expected.as_slice())
    );

    let fault = AllowList::parse("all-of\nmedia types\n").expect_err("no such code");
    assert!(
        fault
            .display("allow.txt")
            .to_string()
            .starts_with("allow.txt:2:1: `media`")
    );
}

#[test]
fn document_of_which_nothing_is_left_is_refused() {
    let none = PARTS
        .replace("/200", "/100")
        .replace("'200'", "'100'")
        .replace("'204'", "'100'");
    let refused = generate(&none, &with(Unsupported::Skip)).expect_err("nothing is left");
    assert!(!refused.refusals.is_empty());
    let text = "openapi: 2.0\npaths: {}\ninfo: { title: T, version: 1 }\n";
    let refused = generate(text, &with(Unsupported::Skip)).expect_err("another version");
    assert_eq!(refused.refusals[0].code, Code::Version);
}

#[test]
fn every_code_has_a_name_and_an_explanation_of_its_own() {
    for code in Code::ALL {
        let alike = |other: &&Code| other.name() == code.name() || other.about() == code.about();
        assert_eq!(Code::ALL.iter().filter(alike).count(), 1, "{code}");
        assert!(
            code.about().ends_with('.') && code.about().len() > 20,
            "{code}"
        );
    }
}

#[test]
fn every_code_stands_in_the_documentation() {
    let page = include_str!("../../../docs/generator.md");
    let rows: String = Code::ALL
        .iter()
        .map(|code| format!("| `{code}` | {} |\n", code.about().replace('|', "\\|")))
        .collect();
    assert!(
        page.contains(&rows),
        "docs/generator.md should have\n{rows}"
    );
}
