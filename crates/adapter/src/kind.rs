//! How the text of a parameter is read.

use serde_json::Value;

/// What the text of a parameter means.
pub enum Kind {
    /// As a string.
    Text,
    /// As a number.
    Number,
    /// As `true` or `false`.
    Boolean,
    /// As a list of such values.
    List(&'static Self, Separator),
    /// As whatever its schema allows.
    BySchema,
    /// As an object of which each property is a parameter of the query: `a=1&b=2`.
    Exploded,
    /// As an object of which each property stands in brackets behind the name: `name[a]=1`.
    Deep,
}

/// What stands between the items of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// The parameter is repeated for each item: `a=1&a=2`.
    Repeated,
    /// A comma.
    Comma,
    /// A space.
    Space,
    /// A vertical bar.
    Pipe,
}

impl Kind {
    /// The value of all texts that are given for a parameter; nothing if one is meant and several are given.
    pub(super) fn read_all(&self, texts: &[String]) -> Option<Value> {
        let Self::List(item, separator) = self else {
            return match texts {
                [text] => Some(self.read(text)),
                _ => None,
            };
        };
        let mark = match separator {
            Separator::Repeated => None,
            Separator::Comma => Some(','),
            Separator::Space => Some(' '),
            Separator::Pipe => Some('|'),
        };
        // Clients repeat the name where they could write a list, and the meaning is the same.
        let items = texts.iter().flat_map(|text| match mark {
            None => vec![text.as_str()],
            Some(_) if text.is_empty() => Vec::new(),
            Some(mark) => text.split(mark).collect(),
        });
        Some(items.map(|text| item.read(text.trim())).collect())
    }

    /// A text that does not mean such a value stays text, which the schema refuses.
    pub(super) fn read(&self, text: &str) -> Value {
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::List(..) | Self::BySchema | Self::Exploded | Self::Deep => plain(),
            Self::Boolean => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => plain(),
            },
            Self::Number => read_number(text).unwrap_or_else(plain),
        }
    }
}

/// The number that a text is in JSON.
pub(super) fn read_number(text: &str) -> Option<Value> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if !text.contains(char::is_whitespace) => {
            Some(match number.as_f64().filter(|_| number.is_f64()) {
                Some(value) => whole(value),
                None => Value::Number(number),
            })
        }
        _ => None,
    }
}

/// A number, which is an integer if it has no fraction, whether it was written `3`, `3.0` or `3e0` (JSON Schema
/// 2020-12 §4.2.3); serde reads integers from integers only.
pub(super) fn whole(value: f64) -> Value {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-END..END).contains(&value) {
        // Exact within this range.
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}
