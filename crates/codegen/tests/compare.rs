//! `compare` is shown what each of these changes does to `compare.yaml`.

use arklow_codegen::{Break, Level, Version, compare};

const DOCUMENT: &str = include_str!("compare.yaml");

/// A change of the document, and what it breaks.
struct Mutation {
    what: &'static str,
    /// Replaced, once, after the first of which the text begins with `below`.
    below: &'static str,
    from: &'static str,
    to: &'static str,
    expected: &'static [Expected],
}

/// Level, kind, and the beginning of the line, in the old document if something is gone.
type Expected = (Level, &'static str, Version, &'static str);

use Level::{Source, Wire};
use Version::{New, Old};

impl Mutation {
    fn document(&self) -> String {
        let at = DOCUMENT.find(self.below).expect("a place");
        let (before, after) = DOCUMENT.split_at(at);
        assert!(
            after.contains(self.from),
            "{}: nothing to change",
            self.what
        );
        format!("{before}{}", after.replacen(self.from, self.to, 1))
    }

    fn breaks(&self) -> Vec<Break> {
        compare(DOCUMENT, &self.document()).expect(self.what)
    }
}

macro_rules! mutation {
    ($what:literal, $below:literal, $from:literal => $to:literal, $($expected:expr),*) => {
        Mutation { what: $what, below: $below, from: $from, to: $to, expected: &[$($expected),*] }
    };
}

/// The eleven that tools were measured with: eight that break, and three that do not.
const MEASURED: &[Mutation] = &[
    mutation!(
        "an answer loses a property",
        "    Device:",
        "        owner:\n          $ref: '#/components/schemas/Owner'\n"
            => "",
        (Wire, "response-property-removed", Old, "        owner:")
    ),
    mutation!(
        "a property of a body must be given",
        "    NewDevice:",
        "        - name\n"
            => "        - name\n        - kind\n",
        (Wire, "request-property-required", New, "        - kind")
    ),
    mutation!(
        "a property of an answer may be null",
        "    Device:",
        "          type: string\n          maxLength: 60\n"
            => "          type: [string, 'null']\n          maxLength: 60\n",
        (Wire, "response-null-allowed", New, "        name:\n          type: [")
    ),
    mutation!(
        "a body gets a limit",
        "    ByCode:",
        "        code:\n          type: string\n"
            => "        code:\n          type: string\n          maxLength: 9\n",
        (Wire, "request-maxLength-changed", New, "          maxLength: 9")
    ),
    mutation!(
        "an answer gets another value",
        "    Kind:\n      anyOf",
        "            - webauthn\n"
            => "            - webauthn\n            - sms\n",
        (Wire, "response-value-added", New, "            - sms")
    ),
    mutation!(
        "a path is gone",
        "  /v1/devices/{id}:",
        "  /v1/devices/{id}:"
            => "  /v2/devices/{id}:",
        (Wire, "operation-removed", Old, "    delete:")
    ),
    mutation!(
        "credentials are not required",
        "security:",
        "security:\n  - key: []\n"
            => "",
        (Wire, "security-removed", Old, "security:")
    ),
    mutation!(
        "an operation is renamed",
        "    post:",
        "operationId: create_device"
            => "operationId: add_device",
        (Source, "operation-renamed", New, "      operationId: add_device")
    ),
    mutation!(
        "a parameter that may be given is new",
        "paths:",
        "        - $ref: '#/components/parameters/Kind'\n"
            => "        - $ref: '#/components/parameters/Kind'\n        - { name: q, in: query, schema: { type: string } }\n",
    ),
    mutation!(
        "a property that may be given is new in a body",
        "    NewDevice:",
        "        note:\n"
            => "        color: { type: string }\n        note:\n",
    ),
    mutation!(
        "an operation is new",
        "paths:\n",
        "paths:\n"
            => "paths:\n  /v1/ping: { get: { operationId: ping, responses: { '204': { description: d } } } }\n",
    ),
];

const OPERATIONS: &[Mutation] = &[
    mutation!(
        "a method is gone",
        "    post:",
        "    post:"
            => "    put:",
        (Wire, "operation-removed", Old, "    post:")
    ),
    mutation!(
        "a tag is renamed",
        "    post:",
        "tags: [devices]"
            => "tags: [things]",
        (Source, "tag-changed", New, "      tags: [things]")
    ),
    mutation!(
        "a variable of a path is renamed",
        "  /v1/devices/{id}:",
        "{id}:\n    parameters:\n      - name: id"
            => "{device}:\n    parameters:\n      - name: device",
        (Source, "path-variable-renamed", New, "    delete:")
    ),
    mutation!(
        "a server is another",
        "servers:",
        "https://api.example.com"
            => "https://example.com",
        (Wire, "server-removed", Old, "  - url:")
    ),
    mutation!(
        "a parameter must be given",
        "        - name: take",
        "in: query\n"
            => "in: query\n          required: true\n",
        (Wire, "parameter-required", New, "        - name: take")
    ),
    mutation!(
        "a parameter is gone",
        "      parameters:\n        - name: take",
        "        - $ref: '#/components/parameters/Kind'\n"
            => "",
        (Wire, "parameter-removed", Old, "        - $ref: '#/components/parameters/Kind'")
    ),
    mutation!(
        "a parameter is new and must be given",
        "paths:",
        "        - $ref: '#/components/parameters/Kind'\n"
            => "        - $ref: '#/components/parameters/Kind'\n        - { name: q, in: query, required: true, schema: { type: string } }\n",
        (Wire, "parameter-added", New, "        - { name: q")
    ),
    mutation!(
        "a parameter is written another way",
        "        - name: take",
        "in: query\n"
            => "in: query\n          explode: false\n",
        (Wire, "parameter-form-changed", New, "        - name: take")
    ),
    mutation!(
        "a limit of a parameter is lower",
        "        - name: take",
        "maximum: 50"
            => "maximum: 10",
        (Wire, "request-maximum-changed", New, "            maximum: 10")
    ),
    mutation!(
        "a limit of a parameter is higher",
        "        - name: take",
        "maximum: 50"
            => "maximum: 100",
    ),
    mutation!(
        "a parameter has another default",
        "        - name: take",
        "default: 20"
            => "default: 10",
        (Wire, "request-default-changed", New, "            default: 10")
    ),
    mutation!(
        "a body must be sent",
        "  /v1/devices/{id}:",
        "      requestBody:\n"
            => "      requestBody:\n        required: true\n",
        (Wire, "request-body-required", New, "      requestBody:\n        required: true\n        content:\n          application/json:\n            schema: {")
    ),
    mutation!(
        "a body is not read",
        "    post:",
        "      requestBody:\n        required: true\n        content:\n          application/json:\n            schema:\n              $ref: '#/components/schemas/NewDevice'\n"
            => "",
        (Wire, "request-body-removed", Old, "      requestBody:\n        required")
    ),
    mutation!(
        "a body has another media type",
        "    post:",
        "          application/json:\n"
            => "          application/xml:\n",
        (Wire, "request-media-type-removed", Old, "          application/json:\n            schema:\n              $ref")
    ),
    mutation!(
        "an answer has another media type",
        "    get:",
        "application/json:"
            => "text/plain:",
        (Wire, "response-media-type-removed", Old, "            application/json:")
    ),
    mutation!(
        "success has another status",
        "  /v1/devices/{id}:",
        "        '204':"
            => "        '202':",
        (Wire, "response-added", New, "        '202':"
    ),
        (Wire, "response-removed", Old, "        '204':")),
    mutation!(
        "a failure is gone",
        "paths:",
        "        '409': { $ref: '#/components/responses/Fault' }\n"
            => "",
    ),
    mutation!(
        "a failure is new",
        "paths:",
        "        '409':"
            => "        '429': { $ref: '#/components/responses/Fault' }\n        '409':",
    ),
    mutation!(
        "a header is not promised any more",
        "paths:",
        "          headers:\n            Cache-Control: { $ref: '#/components/headers/NoStore' }\n"
            => "",
        (Wire, "response-header-removed", Old, "            Cache-Control:")
    ),
    mutation!(
        "a header may be missing",
        "    NoStore:",
        "      required: true\n"
            => "",
        (Wire, "response-header-optional", New, "    NoStore:")
    ),
    mutation!(
        "a header has another value",
        "    NoStore:",
        "          - no-store\n"
            => "          - no-store\n          - private\n",
        (Wire, "response-value-added", New, "          - private")
    ),
    mutation!(
        "an operation asks for credentials",
        "    delete:",
        "      security: []\n"
            => "",
        (Wire, "security-added", Old, "      security: []")
    ),
    mutation!(
        "credentials are sent in another header",
        "  securitySchemes:",
        "name: x-key"
            => "name: x-token",
        (Wire, "security-scheme-changed", New, "      name: x-token")
    ),
    mutation!(
        "credentials have a second way",
        "security:",
        "  - key: []\n"
            => "  - key: []\n  - other: []\n",
    ),
];

const SCHEMAS: &[Mutation] = &[
    mutation!(
        "a property of an answer may be missing",
        "    Device:",
        "        - count\n"
            => "",
        (Wire, "response-property-optional", Old, "        - count")
    ),
    mutation!(
        "a property of a body may be missing",
        "    ByCode:",
        "      required: [code]\n"
            => "",
    ),
    mutation!(
        "a body loses a property",
        "    NewDevice:",
        "        kind:\n          $ref: '#/components/schemas/Kind'\n"
            => "",
        (Wire, "request-property-removed", Old, "        kind:\n          $ref: '#/components/schemas/Kind'\n        note:")
    ),
    mutation!(
        "an answer that lists all its properties gets another",
        "    Device:",
        "        owner:\n"
            => "        color: { type: string }\n        owner:\n",
        (Wire, "response-property-added", New, "        color:")
    ),
    mutation!(
        "an answer that may have more gets another",
        "    Owner:",
        "        id:\n"
            => "        mail: { type: string }\n        id:\n",
    ),
    mutation!(
        "an answer may have more properties",
        "    Device:",
        "      additionalProperties: false\n"
            => "",
        (Wire, "response-properties-opened", Old, "      additionalProperties: false")
    ),
    mutation!(
        "a body may not have more properties",
        "    ByCode:",
        "      type: object\n"
            => "      type: object\n      additionalProperties: false\n",
        (Wire, "request-properties-closed", New, "      additionalProperties: false\n      required: [code]")
    ),
    mutation!(
        "a property of an answer has another type",
        "    Owner:",
        "          type: string\n"
            => "          type: integer\n",
        (Wire, "response-type-changed", New, "          type: integer\n    Kind")
    ),
    mutation!(
        "an integer of an answer becomes a number",
        "        count:",
        "          type: integer\n"
            => "          type: number\n",
        (Wire, "response-type-changed", New, "          type: number")
    ),
    mutation!(
        "an answer is never null any more",
        "        seen:",
        "            - type: 'null'\n"
            => "",
    ),
    mutation!(
        "a body may not be null any more",
        "        note:",
        "            - type: 'null'\n"
            => "",
        (Wire, "request-null-refused", New, "        note:")
    ),
    mutation!(
        "a pattern of a body is another",
        "        note:",
        "pattern: ^[a-z]*$"
            => "pattern: ^[a-y]*$",
        (Wire, "request-pattern-changed", New, "              pattern: ^[a-y]")
    ),
    mutation!(
        "a pattern of a body is gone",
        "        note:",
        "              pattern: ^[a-z]*$\n"
            => "",
    ),
    mutation!(
        "a format of an answer is gone",
        "        seen:",
        "              format: date-time\n"
            => "",
        (Wire, "response-format-changed", Old, "              format: date-time")
    ),
    mutation!(
        "a limit of an answer is higher",
        "    Device:",
        "maxLength: 60"
            => "maxLength: 64",
        (Wire, "response-maxLength-changed", New, "          maxLength: 64\n        kind:\n          $ref: '#/components/schemas/Kind'\n        seen:")
    ),
    mutation!(
        "a limit of an answer is lower",
        "    Device:",
        "maxLength: 60"
            => "maxLength: 10",
    ),
    mutation!(
        "a value is gone that bodies may have",
        "    Kind:\n      anyOf",
        "            - webauthn\n"
            => "",
        (Wire, "request-value-removed", Old, "            - webauthn")
    ),
    mutation!(
        "a text of a body may only be one of these",
        "    ByCode:",
        "        code:\n          type: string\n"
            => "        code:\n          type: string\n          enum: [a]\n",
        (Wire, "request-values-listed", New, "        code:\n          type: string\n          enum")
    ),
    mutation!(
        "a value is not known any more",
        "    Fault:",
        "                  - CONFLICT\n"
            => "",
        (Wire, "response-known-value-removed", Old, "                  - CONFLICT")
    ),
    mutation!(
        "a value is new that had been announced",
        "    Fault:",
        "                  - CONFLICT\n"
            => "                  - CONFLICT\n                  - GONE\n",
    ),
    mutation!(
        "an alternative of a body is gone",
        "    Removal:",
        "        - $ref: '#/components/schemas/ByOwner'\n"
            => "",
        (Wire, "request-alternative-removed", Old, "        - $ref: '#/components/schemas/ByOwner'")
    ),
    mutation!(
        "alternatives are distinguished by a property",
        "    Removal:",
        "      oneOf:\n"
            => "      discriminator: { propertyName: kind }\n      oneOf:\n",
        (Wire, "request-discriminator-changed", New, "      discriminator:")
    ),
    mutation!(
        "an answer may be anything",
        "    post:",
        "              schema: { $ref: '#/components/schemas/Device' }\n"
            => "              example: 1\n",
        (Wire, "response-schema-removed", Old, "              schema: { $ref: '#/components/schemas/Device' }")
    ),
    mutation!(
        "an alternative of a body is new",
        "    Removal:",
        "        - $ref: '#/components/schemas/ByOwner'\n"
            => "        - $ref: '#/components/schemas/ByOwner'\n        - type: string\n",
    ),
    mutation!(
        "an unknown keyword is new",
        "    ByCode:",
        "      type: object\n"
            => "      type: object\n      dependentRequired: { code: [owner] }\n",
        (Wire, "request-dependentRequired-changed", New, "      dependentRequired")
    ),
    mutation!(
        "a description is new",
        "    Owner:",
        "      type: object\n"
            => "      description: The owner.\n      type: object\n",
    ),
    mutation!(
        "a union of one is written without it",
        "    Kind:\n      anyOf",
        "      anyOf:\n        - type: string\n          enum:\n            - totp\n            - webauthn\n"
            => "      type: string\n      enum: [totp, webauthn]\n",
    ),
    mutation!(
        "null is written another way",
        "        seen:",
        "          anyOf:\n            - type: string\n              format: date-time\n            - type: 'null'\n"
            => "          type: [string, 'null']\n          format: date-time\n",
    ),
];

/// The line, from one, on which a text begins.
fn line_of(document: &str, text: &str) -> usize {
    let at = document.find(text).unwrap_or_else(|| panic!("{text}"));
    document[..at].matches('\n').count() + 1
}

fn assert_found(mutation: &Mutation) {
    let document = mutation.document();
    let mut expected: Vec<_> = mutation
        .expected
        .iter()
        .map(|(level, kind, version, text)| {
            let document = if *version == Old { DOCUMENT } else { &document };
            (
                *level,
                (*kind).to_owned(),
                *version,
                line_of(document, text),
            )
        })
        .collect();
    let breaks = mutation.breaks();
    let found = breaks.iter();
    let mut found: Vec<_> = found
        .map(|found| {
            (
                found.level,
                found.kind.clone(),
                found.version,
                found.at.line,
            )
        })
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{}: {breaks:#?}", mutation.what);
}

#[test]
fn breaks_that_tools_were_measured_with_are_found_where_they_are() {
    assert_eq!(MEASURED.len(), 11);
    MEASURED.iter().for_each(assert_found);
}

#[test]
fn breaks_of_operations_are_found_where_they_are() {
    OPERATIONS.iter().for_each(assert_found);
}

#[test]
fn breaks_of_schemas_are_found_where_they_are() {
    SCHEMAS.iter().for_each(assert_found);
}

/// Level, version, line and id of each.
fn found(new: &str) -> Vec<String> {
    let breaks = compare(DOCUMENT, new).expect("documents");
    let found = breaks.iter().map(|found| {
        let version = if found.version == Old { "old:" } else { "" };
        let operations: Vec<&str> = found.operations.iter().map(String::as_str).collect();
        let Break { level, at, id, .. } = found;
        format!(
            "{version}{} {level} {id} ({})",
            at.line,
            operations.join(", ")
        )
    });
    found.collect()
}

#[test]
fn component_that_is_renamed_everywhere_breaks_sources_only() {
    let new = DOCUMENT
        .replace("schemas/Owner", "schemas/Person")
        .replace("    Owner:", "    Person:");
    let line = line_of(&new, "    Person:");
    assert_eq!(
        found(&new),
        [format!(
            "{line} source component-renamed #/components/schemas/Owner ()"
        )]
    );
}

#[test]
fn component_that_is_written_inline_breaks_sources_only() {
    let (before, component) = DOCUMENT.split_once("    Owner:\n").expect("a component");
    let (_, after) = component
        .split_once("    Kind:\n")
        .expect("the next component");
    let inline = "{ type: object, properties: { id: { type: string } } }";
    let before = before.replace(
        "        owner:\n          $ref: '#/components/schemas/Owner'",
        &format!("        owner: {inline}"),
    );
    let line = line_of(DOCUMENT, "    Owner:");
    assert_eq!(
        found(&format!("{before}    Kind:\n{after}")),
        [format!(
            "old:{line} source component-removed #/components/schemas/Owner ()"
        )]
    );
}

#[test]
fn break_of_a_component_is_found_once_in_each_direction_with_the_operations_that_use_it() {
    let new = DOCUMENT.replace("            - webauthn\n", "            - sms\n");
    let (old_line, line) = (
        line_of(DOCUMENT, "            - webauthn"),
        line_of(&new, "            - sms"),
    );
    let kind = "#/components/schemas/Kind/anyOf/0";
    assert_eq!(
        found(&new),
        [
            format!("{line} wire response-value-added {kind}/sms (create_device, list_devices)"),
            format!(
                "old:{old_line} wire request-value-removed {kind}/webauthn (create_device, list_devices)"
            ),
        ]
    );
}

#[test]
fn several_breaks_are_all_found() {
    let new = DOCUMENT
        .replace("operationId: create_device", "operationId: make_device")
        .replace("maximum: 50", "maximum: 5");
    assert_eq!(found(&new).len(), 2, "{:#?}", found(&new));
}

#[test]
fn document_breaks_nothing_of_itself() {
    assert_eq!(found(DOCUMENT), [""; 0]);
    let json = compare(DOCUMENT, &DOCUMENT.replace('\n', "\r\n"));
    assert_eq!(json, Ok(Vec::new()), "line ends say nothing");
}

#[test]
fn text_that_is_no_document_is_told_with_its_version_and_place() {
    let told = |old: &str, new: &str| {
        let fault = compare(old, new).expect_err("incomparable");
        (fault.version, fault.diagnostic.display("x").to_string())
    };
    assert_eq!(told("a: [", DOCUMENT).0, Old);
    assert_eq!(told(DOCUMENT, "").1, "x:1:1: the document is empty");
    assert_eq!(
        told("info: {}", DOCUMENT).1,
        "x:1:1: the document has no `paths`"
    );
    let dangling = DOCUMENT.replace("schemas/Owner'", "schemas/Nobody'");
    let line = line_of(DOCUMENT, "          $ref: '#/components/schemas/Owner'");
    assert_eq!(
        told(DOCUMENT, &dangling),
        (
            New,
            format!(
                "x:{line}:11: `$ref: #/components/schemas/Nobody` leads to nothing in this document\n  hint: write what it refers to under `components`"
            )
        )
    );
    for reference in ["other.yaml#/a", "#/components/schemas/Loop"] {
        let text = format!(
            "paths: {{}}\ncomponents: {{ schemas: {{ Loop: {{ $ref: '{reference}' }} }} }}"
        );
        assert!(
            told(&text, DOCUMENT).1.contains("leads to nothing"),
            "{reference}"
        );
    }
}
