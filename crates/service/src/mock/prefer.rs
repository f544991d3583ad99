//! The preferences of a request (RFC 7240) that the mock supports.

/// Which of the documented answers a request wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// `code=429`: the status.
    pub(crate) code: Option<String>,
    /// `example=NAME`: the example.
    pub(crate) example: Option<String>,
}

impl Preferences {
    /// Reads the values of the `Prefer` headers. Of a preference that is given twice the first counts, and one that is not
    /// known is none, as the RFC says.
    pub(crate) fn read(headers: &[String]) -> Self {
        let mut read = Self::default();
        for preference in headers.iter().flat_map(|header| split(header, ',')) {
            // What stands behind a `;` are parameters, which neither of the two has.
            let preference = split(preference, ';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let place = match name.trim() {
                name if name.eq_ignore_ascii_case("code") => &mut read.code,
                name if name.eq_ignore_ascii_case("example") => &mut read.example,
                _ => continue,
            };
            place.get_or_insert_with(|| unquoted(value.trim()));
        }
        read
    }
}

/// The parts between separators that are not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let was_escaped = std::mem::take(&mut escaped);
        match character {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        character == separator && !quoted
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return value.to_owned();
    };
    let mut escaped = false;
    let kept = inner.chars().filter(|character| {
        escaped = *character == '\\' && !escaped;
        !escaped
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        for (headers, code, example) in [
            (&[][..], None, None),
            (&["code=429"], Some("429"), None),
            (
                &["Code = 429 ; q=1, example=invalid"],
                Some("429"),
                Some("invalid"),
            ),
            (&["respond-async, wait=10", "code=503"], Some("503"), None),
            (&["code=401, code=500", "code=503"], Some("401"), None),
            (
                &[r#"code="429", example="a, b; \"c\"""#],
                Some("429"),
                Some(r#"a, b; "c""#),
            ),
            (&[r#"handling="x, code=500""#], None, None),
            (&["code"], Some(""), None),
            (&["code=\"429"], Some("\"429"), None),
            (&["", ",;,=,\"", "="], None, None),
        ] {
            let headers: Vec<String> = headers.iter().map(|text| (*text).to_owned()).collect();
            let expected = Preferences {
                code: code.map(str::to_owned),
                example: example.map(str::to_owned),
            };
            assert_eq!(Preferences::read(&headers), expected, "{headers:?}");
        }
    }
}
