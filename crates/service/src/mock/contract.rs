//! The answers that the contract documents, ready to be given.
//!
//! Knows nothing of HTTP requests, and checks nothing: a test holds every answer against its schema.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::prefer::Preferences;
use super::sample::sample;

/// What each operation may answer, by `operationId`.
#[derive(Debug)]
pub(crate) struct Contract(BTreeMap<String, Operation>);

/// By status.
#[derive(Debug)]
pub(crate) struct Operation(BTreeMap<u16, Vec<Example>>);

/// An answer, as the generated code reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Example {
    pub(crate) name: String,
    pub(crate) answer: Value,
}

impl Contract {
    /// Reads a document.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_str(text)?;
        let items = document.paths.values();
        let operations = items.flat_map(PathItem::operations).map(|operation| {
            let answers = operation.responses.iter().filter_map(|(status, response)| {
                let response = response.in_components(&document.components.responses)?;
                // A class of statuses or `default` cannot be requested by number.
                let status = status.parse().ok()?;
                Some((status, document.components.examples(response)))
            });
            (operation.operation_id.clone(), Operation(answers.collect()))
        });
        Ok(Self(operations.collect()))
    }

    /// What an operation may answer.
    pub(crate) fn operation(&self, id: &str) -> Option<&Operation> {
        self.0.get(id)
    }
}

impl Operation {
    /// The requested answer, or by default the first example of the first success. The error lists the choices and
    /// does not quote the request.
    pub(crate) fn choose(&self, asked: &Preferences) -> Result<(u16, &Example), String> {
        let candidates: Vec<u16> = match (&asked.code, &asked.example) {
            (Some(code), _) => {
                let is_asked = |status: &&u16| status.to_string() == *code;
                self.0.keys().filter(is_asked).copied().collect()
            }
            // An example is found whatever its status.
            (None, Some(_)) => self.0.keys().copied().collect(),
            (None, None) => self.0.keys().take(1).copied().collect(),
        };
        if candidates.is_empty() {
            let statuses = list(self.0.keys());
            return Err(format!(
                "`code` is none of the documented statuses: {statuses}"
            ));
        }
        let mut examples = candidates
            .iter()
            .flat_map(|status| self.0[status].iter().map(|example| (*status, example)));
        let found = examples.clone().find(|(_, example)| {
            asked
                .example
                .as_ref()
                .is_none_or(|name| *name == example.name)
        });
        found.ok_or_else(|| {
            let names = list(examples.by_ref().map(|(_, example)| &example.name));
            format!("`example` is none of those that are documented: {names}")
        })
    }
}

fn list(items: impl Iterator<Item = impl fmt::Display>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    items.join(", ")
}

/// As much of a document as answers need.
#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, PathItem>,
    components: Components,
}

#[derive(Deserialize)]
struct PathItem {
    get: Option<OperationObject>,
    put: Option<OperationObject>,
    post: Option<OperationObject>,
    delete: Option<OperationObject>,
    patch: Option<OperationObject>,
}

impl PathItem {
    fn operations(&self) -> impl Iterator<Item = &OperationObject> {
        let all = [&self.get, &self.put, &self.post, &self.delete, &self.patch];
        all.into_iter().flatten()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OperationObject {
    operation_id: String,
    responses: BTreeMap<String, OrRef<Response>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Components {
    responses: BTreeMap<String, Response>,
    headers: BTreeMap<String, Header>,
    examples: BTreeMap<String, ExampleObject>,
    schemas: Map<String, Value>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    headers: BTreeMap<String, OrRef<Header>>,
    #[serde(default)]
    content: BTreeMap<String, MediaType>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    schema: Value,
}

#[derive(Deserialize)]
struct MediaType {
    #[serde(default)]
    schema: Value,
    example: Option<Value>,
    #[serde(default)]
    examples: InOrder<OrRef<ExampleObject>>,
}

#[derive(Deserialize)]
struct ExampleObject {
    value: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OrRef<T> {
    Ref {
        #[serde(rename = "$ref")]
        path: String,
    },
    Here(T),
}

impl<T> OrRef<T> {
    /// What it is or refers to; components are referred to by the last part of the path.
    fn in_components<'a>(&'a self, components: &'a BTreeMap<String, T>) -> Option<&'a T> {
        match self {
            Self::Here(here) => Some(here),
            Self::Ref { path } => components.get(path.rsplit('/').next()?),
        }
    }
}

impl Components {
    /// A response with each of its examples, or with a value of its schema.
    fn examples(&self, response: &Response) -> Vec<Example> {
        let headers = self.free_headers(response);
        let example = |name: &str, body: Value| Example {
            name: name.to_owned(),
            answer: match headers.is_empty() {
                true => body,
                false => {
                    let mut fields = headers.clone();
                    fields.insert("body".to_owned(), body);
                    Value::Object(fields)
                }
            },
        };
        let Some(media) = response.content.get("application/json") else {
            return vec![example("empty", Value::Null)];
        };
        let named = media.examples.0.iter().filter_map(|(name, object)| {
            let object = object.in_components(&self.examples)?;
            Some(example(name, object.value.clone()))
        });
        let mut examples: Vec<Example> = named.collect();
        if examples.is_empty() {
            let body = media.example.clone();
            let body = body.unwrap_or_else(|| sample(&media.schema, &self.schemas));
            examples.push(example("example", body));
        }
        examples
    }

    /// The headers that have to be given: of those that can have one value only, the adapter knows it.
    fn free_headers(&self, response: &Response) -> Map<String, Value> {
        let headers = response.headers.iter().filter_map(|(name, header)| {
            let schema = &header.in_components(&self.headers)?.schema;
            let has_one_value = !schema["const"].is_null()
                || schema["enum"]
                    .as_array()
                    .is_some_and(|values| values.len() == 1);
            (!has_one_value).then(|| (name.to_ascii_lowercase(), sample(schema, &self.schemas)))
        });
        headers.collect()
    }
}

/// The entries of a map as the document orders them: the first example is the one that is given unasked.
struct InOrder<T>(Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }

        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DOCUMENT: &str = r##"{
        "paths": { "/things": { "parameters": [], "get": {
            "operationId": "things",
            "responses": {
                "200": { "content": { "application/json": { "schema": {
                    "type": "object",
                    "required": ["count"],
                    "properties": { "count": { "type": "integer", "minimum": 3 } }
                } } } },
                "404": { "content": { "application/json": { "examples": {
                    "zebra": { "value": { "code": "Z" } },
                    "ape": { "$ref": "#/components/examples/Ape" }
                } } } },
                "429": { "$ref": "#/components/responses/Limited" },
                "default": { "description": "x" }
            }
        } } },
        "components": {
            "examples": { "Ape": { "value": { "code": "A" } } },
            "headers": { "Wait": { "schema": { "type": "integer", "minimum": 7 } } },
            "responses": { "Limited": {
                "headers": {
                    "Retry-After": { "$ref": "#/components/headers/Wait" },
                    "Cache-Control": { "schema": { "enum": ["no-store"] } }
                },
                "content": { "application/json": { "example": { "code": "L" } } }
            } }
        }
    }"##;

    fn chosen(code: Option<&str>, example: Option<&str>) -> Result<(u16, Value), String> {
        let contract = Contract::read(DOCUMENT).unwrap();
        let asked = Preferences {
            code: code.map(str::to_owned),
            example: example.map(str::to_owned),
        };
        let (status, example) = contract.operation("things").unwrap().choose(&asked)?;
        Ok((status, example.answer.clone()))
    }

    #[test]
    fn success_is_answered_unless_something_else_is_asked_for() {
        assert_eq!(chosen(None, None), Ok((200, json!({ "count": 3 }))));
    }

    #[test]
    fn first_example_is_the_first_of_the_document() {
        assert_eq!(chosen(Some("404"), None), Ok((404, json!({ "code": "Z" }))));
        let ape = Ok((404, json!({ "code": "A" })));
        assert_eq!(chosen(Some("404"), Some("ape")), ape);
        assert_eq!(chosen(None, Some("ape")), ape);
    }

    #[test]
    fn headers_are_made_of_their_schemas_but_for_those_with_one_value() {
        let limited = json!({ "body": { "code": "L" }, "retry-after": 7 });
        assert_eq!(chosen(Some("429"), None), Ok((429, limited)));
    }

    #[test]
    fn what_is_not_documented_is_answered_with_what_is() {
        for code in ["418", "", "4XX", "0404", "default"] {
            let said = chosen(Some(code), None).unwrap_err();
            assert_eq!(
                said,
                "`code` is none of the documented statuses: 200, 404, 429"
            );
        }
        let said = chosen(Some("404"), Some("bear")).unwrap_err();
        assert_eq!(
            said,
            "`example` is none of those that are documented: zebra, ape"
        );
        let said = chosen(None, Some("bear")).unwrap_err();
        assert!(said.ends_with("example, zebra, ape, example"), "{said}");
    }
}
