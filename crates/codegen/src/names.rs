//! Names: from the document's words to Rust's.
//!
//! Knows no IR; says nothing about collisions, which `analyze` refuses.

use heck::ToSnakeCase;

/// `createIngressVariantAction`, `get_v1_self` → a type name such as `GetV1Self`.
pub(crate) fn type_name(text: &str) -> String {
    let name = type_part(text);
    if RESERVED_TYPES.contains(&name.as_str()) {
        name + "Type"
    } else {
        name
    }
}

/// An operation's method, such as `get_v1_self`; the stem of its types is [`type_name`] of it.
///
/// What the code around operations needs itself gets a word behind it: not an underscore, which Progenitor drops.
pub(crate) fn operation_name(id: &str) -> String {
    let name = value_name(id);
    let name = name.trim_end_matches('_');
    let needed =
        RESERVED_TYPES.contains(&type_part(name).as_str()) || RESERVED_OPERATIONS.contains(&name);
    if needed || is_keyword(name) {
        format!("{name}_operation")
    } else {
        name.to_owned()
    }
}

/// What stands for an `operationId` that is missing: `get_v1_pets_pet_id` for `GET /v1/pets/{petId}`.
pub(crate) fn derived_id(verb: &str, path: &str) -> String {
    words(&format!("{} {path}", verb.to_ascii_lowercase())).join("_")
}

/// A method or field name such as `get_v1_self`.
pub(crate) fn value_name(text: &str) -> String {
    let name = digit_safe(words(text).join("_"), "n");
    if is_keyword(&name) { name + "_" } else { name }
}

/// Whether the client's builders have a method, or their code a variable, of this name.
pub(crate) fn is_needed_by_builders(name: &str) -> bool {
    ["header_map", "new", "send"].contains(&name)
}

/// The name that Progenitor derives from a parameter's name, by its rules.
pub(crate) fn progenitor_name(wire: &str) -> String {
    let text = match wire {
        "+1" => "plus1".to_owned(),
        "-1" => "minus1".to_owned(),
        other => other
            .replace('\'', "")
            .replace(|c: char| !(c.is_alphanumeric() || c == '_'), "-")
            .to_snake_case(),
    };
    let text = if text.is_empty() { "x" } else { &text };
    if text.starts_with(|first: char| first.is_numeric()) {
        format!("_{text}")
    } else if is_keyword(text) {
        format!("{text}_")
    } else {
        text.to_owned()
    }
}

/// Whether a header can have this name: a token of RFC 9110 §5.6.2.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// An enum variant for a literal value; signs keep their meaning.
pub(crate) fn variant_name(value: &str) -> String {
    let spelled = match value.strip_prefix(['+', '-']) {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => {
            format!(
                "{} {rest}",
                if value.starts_with('+') {
                    "plus"
                } else {
                    "minus"
                }
            )
        }
        _ => value.to_owned(),
    };
    let name: String = words(&spelled)
        .iter()
        .map(|word| capitalised(word))
        .collect();
    let name = if name.is_empty() {
        "Empty".to_owned()
    } else {
        digit_safe(name, "N")
    };
    if name == "Self" { name + "_" } else { name }
}

/// A package name such as `arklow`.
pub(crate) fn package_name(title: &str) -> String {
    let name = words(title).join("-");
    match name.bytes().next() {
        None => "api".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("api-{name}"),
        Some(_) => name,
    }
}

/// A part of a longer type name.
pub(crate) fn type_part(text: &str) -> String {
    digit_safe(
        words(text).iter().map(|word| capitalised(word)).collect(),
        "N",
    )
}

/// Lower-case words: split at anything but ASCII letters and digits, and where lower case turns to upper.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut inside = false;
    let mut previous_lower = false;
    for character in text.chars() {
        if !character.is_ascii_alphanumeric() {
            inside = false;
            continue;
        }
        let starts_word = !inside || (previous_lower && character.is_ascii_uppercase());
        if starts_word {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(character.to_ascii_lowercase());
        }
        inside = true;
        previous_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
    }
    if words.is_empty() {
        // `>=` and `ユーザー` have no such word; their characters' numbers tell them apart.
        words.extend(
            text.chars()
                .map(|character| format!("u{:x}", u32::from(character))),
        );
    }
    words
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(characters)
        .collect()
}

/// Identifiers cannot be empty or begin with a digit.
fn digit_safe(name: String, prefix: &str) -> String {
    match name.bytes().next() {
        None => format!("{prefix}one"),
        Some(first) if first.is_ascii_digit() => format!("{prefix}{name}"),
        Some(_) => name,
    }
}

fn is_keyword(name: &str) -> bool {
    syn::parse_str::<syn::Ident>(name).is_err()
}

/// Names that generated code, ours and Progenitor's, takes from elsewhere; a type of such a name gets `Type` behind it.
const RESERVED_TYPES: &[&str] = &[
    "Box",
    "ByteStream",
    "ClientHooks",
    "ClientInfo",
    "Clone",
    "Debug",
    "Default",
    "Display",
    "Err",
    "Error",
    "From",
    "Into",
    "None",
    "Ok",
    "OperationInfo",
    "Option",
    "PartialEq",
    "RequestBuilderExt",
    "ResponseValue",
    "Result",
    "Self",
    "Some",
    "String",
    "TryInto",
    "Vec",
];

/// Methods that the trait or the client has already.
const RESERVED_OPERATIONS: &[&str] = &[
    "api_version",
    "authenticate",
    "baseurl",
    "client",
    "error",
    "exec",
    "fallback",
    "inner",
    "into",
    "new",
    "new_with_client",
    "post",
    "pre",
    "request_error",
    "try_into",
];

/// A text that is valid in a Rust comment: without lone carriage returns, and without marks that change the direction of
/// writing.
pub(crate) fn readable(text: &str) -> String {
    let is_odd = |character: char| {
        let is_turn = matches!(character, '\u{061c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        is_turn || (character.is_control() && !matches!(character, '\n' | '\t'))
    };
    text.replace("\r\n", "\n")
        .chars()
        .map(|character| if is_odd(character) { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_like_rust() {
        assert_eq!(type_name("post_v1_self_mfa"), "PostV1SelfMfa");
        assert_eq!(
            type_name("createIngressVariantAction"),
            "CreateIngressVariantAction"
        );
        assert_eq!(type_name("foo.bar-Baz"), "FooBarBaz");
        assert_eq!(type_name("Option"), "OptionType");
        assert_eq!(operation_name("getThing"), "get_thing");
        assert_eq!(operation_name("result"), "result_operation");
        assert_eq!(operation_name("fn"), "fn_operation");
        assert_eq!(value_name("x-request-id"), "x_request_id");
        assert_eq!(value_name("type"), "type_");
        assert_eq!(value_name("countOnly"), "count_only");
        assert_eq!(variant_name("+1"), "Plus1");
        assert_eq!(variant_name("-1"), "Minus1");
        assert_eq!(variant_name("aws_sqs"), "AwsSqs");
        assert_eq!(variant_name(""), "Empty");
        assert_eq!(variant_name(">="), "U3eU3d");
        assert_eq!(type_name("ユーザー"), "U30e6U30fcU30b6U30fc");
        assert_eq!(package_name("Arklow"), "arklow");
        assert_eq!(package_name("Größe 2.0"), "gr-e-2-0");
    }

    #[test]
    fn every_name_is_an_identifier() {
        for text in [
            "", "1", "12_34", "fn", "self", "Self", "_", "😀", "a b", "2FA", "crate", "-", "async",
        ] {
            for name in [
                type_name(text),
                value_name(text),
                variant_name(text),
                operation_name(text),
            ] {
                assert!(
                    syn::parse_str::<syn::Ident>(&name).is_ok(),
                    "{text:?} became {name:?}"
                );
            }
        }
    }
}
