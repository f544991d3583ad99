//! Matches paths that Dropshot's router cannot tell apart: a literal and a variable in one place, variables of several names in
//! one place, and segments that are variables in part.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// A path of the document.
pub(super) struct Template {
    /// As the document writes it.
    pub(super) path: &'static str,
    pub(super) segments: Vec<Segment>,
}

/// A segment of a [`Template`].
pub(super) struct Segment {
    /// As the document writes it.
    pub(super) text: &'static str,
    parts: Vec<Part>,
}

enum Part {
    Literal(&'static str),
    Variable(&'static str),
}

/// What a segment matches: less comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Literal,
    /// A variable with so much literal text around it.
    Mixed(Reverse<usize>),
    Variable,
}

impl Template {
    pub(super) fn new(path: &'static str) -> Self {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        Self {
            path,
            segments: segments.map(Segment::new).collect(),
        }
    }

    /// The path without the names of its variables: what is equal matches the same requests.
    pub(super) fn shape(&self) -> Vec<String> {
        self.segments.iter().map(Segment::shape).collect()
    }

    /// Templates of lower ranks are tried first (OpenAPI 3.1, "Path Templating Matching").
    pub(super) fn ranks(&self) -> Vec<Rank> {
        self.segments.iter().map(Segment::rank).collect()
    }

    /// The values of the variables, if the segments of a request match.
    pub(super) fn variables(&self, segments: &[String]) -> Option<Map<String, Value>> {
        let mut variables = Map::new();
        let is_match = self.segments.len() == segments.len()
            && self
                .segments
                .iter()
                .zip(segments)
                .all(|(segment, text)| matches(&segment.parts, text, &mut variables));
        is_match.then_some(variables)
    }
}

impl Segment {
    fn new(text: &'static str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let variable = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (part, behind) = match variable {
                Some((name, behind)) => (Part::Variable(name), behind),
                None => {
                    let begin = rest.find('{').filter(|at| *at > 0);
                    let (literal, behind) = rest.split_at(begin.unwrap_or(rest.len()));
                    (Part::Literal(literal), behind)
                }
            };
            parts.push(part);
            rest = behind;
        }
        Self { text, parts }
    }

    pub(super) fn rank(&self) -> Rank {
        match self.parts.as_slice() {
            [Part::Literal(_)] => Rank::Literal,
            [Part::Variable(_)] => Rank::Variable,
            parts => {
                let literals = parts.iter().map(|part| match part {
                    Part::Literal(text) => text.len(),
                    Part::Variable(_) => 0,
                });
                Rank::Mixed(Reverse(literals.sum()))
            }
        }
    }

    fn shape(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text,
            Part::Variable(_) => "{}",
        });
        parts.collect()
    }
}

/// Fills in the variables; each takes at least a character, and up to the first place at which the text behind it stands.
/// So there is nothing to try twice, whatever a client sends.
fn matches(parts: &[Part], text: &str, variables: &mut Map<String, Value>) -> bool {
    let (parts, text) = match parts {
        [Part::Literal(only)] => return text == *only,
        [parts @ .., Part::Literal(end)] => match text.strip_suffix(end) {
            Some(text) => (parts, text),
            None => return false,
        },
        parts => (parts, text),
    };
    let (mut parts, mut text) = match parts {
        [Part::Literal(begin), parts @ ..] => match text.strip_prefix(begin) {
            Some(text) => (parts, text),
            None => return false,
        },
        parts => (parts, text),
    };
    while let [Part::Variable(name), rest @ ..] = parts {
        let first = text.chars().next().map_or(0, char::len_utf8);
        let (value, behind, after) = match rest {
            [Part::Literal(literal), after @ ..] => {
                let Some(at) = text[first..].find(literal).map(|at| at + first) else {
                    return false;
                };
                (&text[..at], &text[at + literal.len()..], after)
            }
            [] => (text, "", rest),
            _ => (&text[..first], &text[first..], rest),
        };
        if value.is_empty() {
            return false;
        }
        variables.insert((*name).to_owned(), value.into());
        (parts, text) = (after, behind);
    }
    text.is_empty()
}

/// The segments of the path of a request, as Dropshot reads them; nothing if one is not UTF-8.
pub(super) fn segments_of(path: &str) -> Option<Vec<String>> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| Some(percent_decode_str(segment).decode_utf8().ok()?.into_owned()))
        .collect()
}

/// The shortest beginnings of these paths below which Dropshot cannot route.
pub(super) fn conflicts<'a>(
    templates: impl IntoIterator<Item = &'a Template>,
) -> Vec<Vec<&'static str>> {
    let mut below: BTreeMap<Vec<&str>, BTreeMap<&str, Rank>> = BTreeMap::new();
    let mut spellings: BTreeMap<Vec<&str>, BTreeSet<&str>> = BTreeMap::new();
    for template in templates {
        let mut begin = Vec::new();
        for segment in &template.segments {
            let children = below.entry(begin.clone()).or_default();
            children.insert(segment.text, segment.rank());
            begin.push(segment.text);
        }
        spellings.entry(begin).or_default().insert(template.path);
    }
    let below = below.into_iter().filter(|(_, children)| {
        let mut ranks = children.values();
        ranks.clone().any(|rank| matches!(rank, Rank::Mixed(_)))
            || children.len() > 1 && ranks.any(|rank| *rank == Rank::Variable)
    });
    // With and without the slash at the end.
    let spellings = spellings.into_iter().filter(|(_, paths)| paths.len() > 1);
    let found: BTreeSet<Vec<&str>> = below
        .map(|(begin, _)| begin)
        .chain(spellings.map(|(begin, _)| begin))
        .collect();
    let is_shortest = |begin: &&Vec<&str>| {
        let mut shorter = (0..begin.len()).map(|length| &begin[..length]);
        !shorter.any(|shorter| found.contains(shorter))
    };
    found.iter().filter(is_shortest).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &'static str, request: &str) -> Option<Value> {
        let segments = segments_of(request)?;
        Template::new(path).variables(&segments).map(Value::Object)
    }

    #[test]
    fn segments_match_whole_in_part_and_decoded() {
        assert_eq!(found("/a/{id}", "/a/x%2Fy"), Some(json!({ "id": "x/y" })));
        assert_eq!(found("/a/{id}", "/a"), None);
        assert_eq!(found("/a/{id}", "/a/x/y"), None);
        assert_eq!(found("/a/{id}", "/a/%ff"), None);
        assert_eq!(
            found("/{id}.json", "/1.2.json"),
            Some(json!({ "id": "1.2" }))
        );
        assert_eq!(found("/{id}.json", "/.json"), None);
        assert_eq!(
            found("/{base}...{head}", "/a..b...c"),
            Some(json!({ "base": "a..b", "head": "c" }))
        );
        assert_eq!(found("/x{id}y", "/xäy"), Some(json!({ "id": "ä" })));
        assert_eq!(found("/x{id}y", "/xy"), None);
        assert_eq!(found("/", "/"), Some(json!({})));
    }

    #[test]
    fn long_segment_is_matched_in_time_that_grows_with_its_length_alone() {
        let request = format!("/{}", "-".repeat(60_000));
        let started = std::time::Instant::now();
        assert_eq!(found("/{a}-{b}-{c}-{d}.json", &request), None);
        assert_eq!(found("/{a}-{b}-{c}-{d}x{e}", &request), None);
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn literals_come_before_mixed_segments_and_those_before_variables() {
        let mut paths = [
            "/a/{id}",
            "/{x}/b",
            "/a/b",
            "/a/{id}.json",
            "/a/{id}.tar.json",
        ];
        paths.sort_by_key(|path| Template::new(path).ranks());
        let expected = [
            "/a/b",
            "/a/{id}.tar.json",
            "/a/{id}.json",
            "/a/{id}",
            "/{x}/b",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn conflicts_are_the_shortest_beginnings_that_cannot_be_routed() {
        let of = |paths: &[&'static str]| {
            let templates: Vec<Template> = paths.iter().map(|path| Template::new(path)).collect();
            let found = conflicts(&templates);
            found
                .iter()
                .map(|prefix| prefix.join("/"))
                .collect::<Vec<_>>()
        };
        assert!(of(&["/a/{id}", "/a/{id}/b", "/b/c", "/b", "/"]).is_empty());
        assert_eq!(
            of(&["/a/{id}", "/a/me", "/b/{x}/{y}", "/b/{x}/z"]),
            ["a", "b/{x}"]
        );
        assert_eq!(of(&["/a/{id}", "/a/{name}/b/{c}", "/a/{name}/b/d"]), ["a"]);
        assert_eq!(of(&["/a/b/{id}.json"]), ["a/b"]);
        assert_eq!(of(&["/a/b", "/a/b/"]), ["a/b"]);
        assert_eq!(of(&["/{a}", "/b/{c}/d", "/b/{e}/d"]), [""]);
    }
}
