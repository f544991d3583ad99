//! What Progenitor's code does wrong, put right in its tokens.
//!
//! - A path value such as `..` leaves its segment, because a URL parser folds it: another operation is called.
//! - A time in a path or header is written as chrono shows it, which is not RFC 3339.
//! - `reqwest` has no method for OPTIONS.
//! - Progenitor always sends a header `api-version`, also if the document has a parameter of this name.
//! - The mocks use a path as a regular expression without escaping it.
//! - The mocks pass a number or a text that is a whole body by value, where a reference is required.

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use quote::quote;

use crate::ir::{Api, In, Parameter, Schema, Style, TypeKind};

/// The client, in which every value is the text that the server reads.
pub(super) fn client(api: &Api, tokens: TokenStream) -> TokenStream {
    let has = |place| parameters(api).any(|(of, _)| of == place);
    let mut headers = all(api).filter(|of| of.place == In::Header);
    let has_times = headers.any(|of| of.style == Style::BySchema || is_time(api, &of.field.schema));
    let mended = rewrite(tokens, &|before, rest| {
        path_value(rest)
            .or_else(|| version_header(rest))
            .or_else(|| has_times.then(|| header_value(rest)).flatten())
            .or_else(|| options(before, rest))
    });
    let text = (has(In::Path) || has_times || mocks_times(api)).then(parameter_text);
    let segment = has(In::Path).then(path_segment);
    quote! {
        #mended
        #segment
        #text
    }
}

/// The mocks, which look for what the client sends.
pub(super) fn mock(api: &Api, tokens: TokenStream) -> TokenStream {
    let has_times = mocks_times(api);
    let has_plain_bodies = bodies(api).any(|body| {
        !matches!(
            body,
            Schema::Any | Schema::Array { .. } | Schema::Map { .. } | Schema::Ref(_)
        )
    });
    rewrite(tokens, &|_, rest| {
        pattern(rest)
            .or_else(|| has_times.then(|| mocked_value(rest)).flatten())
            .or_else(|| has_plain_bodies.then(|| mocked_body(rest)).flatten())
    })
}

fn bodies(api: &Api) -> impl Iterator<Item = &Schema> {
    api.operations.iter().flat_map(|operation| {
        let body = operation.body.iter().map(|body| &body.schema);
        body.chain(operation.answers.iter().filter_map(|of| of.body.as_ref()))
    })
}

fn all(api: &Api) -> impl Iterator<Item = &Parameter> {
    let operations = api.operations.iter();
    operations.flat_map(|operation| &operation.parameters)
}

fn parameters(api: &Api) -> impl Iterator<Item = (In, &Schema)> {
    all(api).map(|parameter| (parameter.place, &parameter.field.schema))
}

fn mocks_times(api: &Api) -> bool {
    parameters(api).any(|(_, schema)| is_time(api, schema))
}

fn is_time(api: &Api, schema: &Schema) -> bool {
    match schema {
        Schema::String { format, .. } => format.as_deref() == Some("date-time"),
        Schema::Nullable(inner) => is_time(api, inner),
        Schema::Ref(name) => match api.kind_of(name) {
            Some(TypeKind::Alias(inner)) => is_time(api, inner),
            _ => false,
        },
        _ => false,
    }
}

fn path_segment() -> TokenStream {
    quote! {
        /// A path variable as a segment of a path.
        ///
        /// # Errors
        ///
        /// Values that URL parsers take for another path: nothing is sent.
        fn path_segment<E>(
            name: &str,
            value: &impl ::serde::Serialize,
        ) -> Result<String, Error<E>> {
            let text = parameter_text(value);
            if text.is_empty() || text == "." || text == ".." || text.contains('\\') {
                return Err(Error::InvalidRequest(format!(
                    "the path variable `{name}` is empty, `.` or `..`, or contains a backslash"
                )));
            }
            Ok(encode_path(&text))
        }
    }
}

fn parameter_text() -> TokenStream {
    quote! {
        /// A parameter as text: strings, times among them, as they stand in JSON.
        fn parameter_text(value: &impl ::serde::Serialize) -> String {
            match ::serde_json::to_value(value) {
                Ok(::serde_json::Value::String(text)) => text,
                Ok(other) => other.to_string(),
                Err(_) => String::new(),
            }
        }
    }
}

/// What stands at the beginning of the tokens, and how many of them it replaces.
type Replacement = Option<(TokenStream, usize)>;

/// The tokens with all replacements that `find` makes; it is given what stands before and what begins there.
pub(super) fn rewrite(
    tokens: TokenStream,
    find: &dyn Fn(&[TokenTree], &[TokenTree]) -> Replacement,
) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut output = TokenStream::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let (before, rest) = tokens.split_at(index);
        if let Some((replacement, length)) = find(before, rest) {
            output.extend(replacement);
            index += length;
            continue;
        }
        output.extend([match token {
            TokenTree::Group(group) => {
                TokenTree::Group(Group::new(group.delimiter(), rewrite(group.stream(), find)))
            }
            other => other.clone(),
        }]);
        index += 1;
    }
    output
}

pub(super) fn is_word(token: Option<&TokenTree>, word: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == word)
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// What stands in these parentheses.
pub(super) fn arguments(token: Option<&TokenTree>) -> Option<Vec<TokenTree>> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            Some(group.stream().into_iter().collect())
        }
        _ => None,
    }
}

/// `NAME.to_string()`: the name.
fn shown(tokens: &[TokenTree]) -> Option<&TokenTree> {
    let name = tokens
        .first()
        .filter(|token| matches!(token, TokenTree::Ident(_)))?;
    let is_shown = is_mark(tokens.get(1), '.')
        && is_word(tokens.get(2), "to_string")
        && arguments(tokens.get(3)).is_some_and(|inside| inside.is_empty());
    is_shown.then_some(name)
}

/// `encode_path(&NAME.to_string())`
fn path_value(rest: &[TokenTree]) -> Replacement {
    if !is_word(rest.first(), "encode_path") {
        return None;
    }
    let inside = arguments(rest.get(1))?;
    let name = shown(inside.get(1..)?).filter(|_| is_mark(inside.first(), '&'))?;
    let label = name.to_string();
    Some((quote! { super::path_segment(#label, &#name)? }, 2))
}

/// `header_map.append("NAME", VALUE.to_string().try_into()?)`
fn header_value(rest: &[TokenTree]) -> Replacement {
    let inside = appended(rest)?;
    let (name, value) = (inside.first()?, shown(inside.get(2..)?)?);
    let text = quote! { super::parameter_text(&#value) };
    Some((quote! { header_map.append(#name, #text.try_into()?) }, 4))
}

/// The arguments of `header_map.append(…)`.
fn appended(rest: &[TokenTree]) -> Option<Vec<TokenTree>> {
    let is_call = is_word(rest.first(), "header_map")
        && is_mark(rest.get(1), '.')
        && is_word(rest.get(2), "append");
    arguments(rest.get(3)).filter(|_| is_call)
}

/// `header_map.append(HeaderName::from_static("api-version"), …);`, where a parameter has this name.
fn version_header(rest: &[TokenTree]) -> Replacement {
    let inside = appended(rest)?;
    let is_own = inside
        .iter()
        .any(|token| is_word(Some(token), "HeaderName"));
    let (own, behind) = rest.split_at_checked(5)?;
    (is_own && is_mark(own.last(), ';') && names_version(behind)).then(|| (TokenStream::new(), 5))
}

fn names_version(tokens: &[TokenTree]) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Literal(literal) => literal.to_string().eq_ignore_ascii_case("\"api-version\""),
        TokenTree::Group(group) => names_version(&group.stream().into_iter().collect::<Vec<_>>()),
        _ => false,
    })
}

/// `client.options(url)`
fn options(before: &[TokenTree], rest: &[TokenTree]) -> Replacement {
    let is_call = is_word(rest.first(), "options")
        && is_mark(before.last(), '.')
        && is_word(before.iter().rev().nth(1), "client");
    let inside = arguments(rest.get(1)).filter(|_| is_call)?;
    let [url] = inside.as_slice() else {
        return None;
    };
    Some((quote! { request(::reqwest::Method::OPTIONS, #url) }, 2))
}

/// `Regex::new("^/path$")` and `format!("^/path/{}$", …)`, where the path has characters that mean something there.
fn pattern(rest: &[TokenTree]) -> Replacement {
    let Some(TokenTree::Literal(literal)) = rest.first() else {
        return None;
    };
    let text = syn::parse_str::<syn::LitStr>(&literal.to_string())
        .ok()?
        .value();
    let path = text.strip_prefix("^/")?.strip_suffix('$')?;
    let segments: Vec<String> = path
        .replace(VARIABLE, STAND_IN)
        .split('/')
        .map(|segment| match segment {
            ".*" => segment.to_owned(),
            // A variable of `format!`, or one of the expression, may be a part of a segment.
            _ => segment
                .split("{}")
                .map(escaped)
                .collect::<Vec<_>>()
                .join("{}"),
        })
        .collect();
    let mended = format!("^/{}$", segments.join("/")).replace(STAND_IN, VARIABLE);
    (mended != text).then(|| (TokenTree::Literal(Literal::string(&mended)).into(), 1))
}

/// What Progenitor puts for a path variable, and a character that no path has.
const VARIABLE: &str = "[^/]*";
const STAND_IN: &str = "\0";

/// A text as a regular expression that matches it.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let is_special = r"\.+*?()|[]{}^$".contains(character);
            is_special.then_some('\\').into_iter().chain([character])
        })
        .collect()
}

/// `value.to_string()`
fn mocked_value(rest: &[TokenTree]) -> Replacement {
    let name = shown(rest).filter(|name| is_word(Some(name), "value"))?;
    Some((quote! { super::super::parameter_text(&#name) }, 4))
}

/// `json_body_obj(value)`
fn mocked_body(rest: &[TokenTree]) -> Replacement {
    let inside = arguments(rest.get(1)).filter(|_| is_word(rest.first(), "json_body_obj"))?;
    let [value] = inside.as_slice() else {
        return None;
    };
    Some((quote! { json_body_obj(&#value) }, 2))
}
