//! Diagnostics about a document: the place, whose it is, the problem, and a hint.

use std::fmt;

use serde::{Serialize, Serializer};

/// A place in the document; both numbers count from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// The part of a document that a diagnostic concerns: without it, the rest could be generated.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// All of it.
    #[default]
    Document,
    /// The operations of a path.
    Path(String),
    /// An operation.
    Operation {
        /// As HTTP writes it.
        method: &'static str,
        /// As the document writes it.
        path: String,
    },
    /// The operations that reach a component.
    Component {
        /// Such as `schemas`.
        section: &'static str,
        /// As the document writes it.
        key: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("document"),
            Self::Path(path) => f.write_str(path),
            Self::Operation { method, path } => write!(f, "{method} {path}"),
            Self::Component { section, key } => write!(f, "components/{section}/{key}"),
        }
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing in the document that the generator cannot carry faithfully.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Diagnostic {
    /// Where the thing begins.
    #[serde(flatten)]
    pub at: Location,
    /// What it is, in lower case and without a full stop.
    pub message: String,
    /// What the author of the document can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What kind of thing it is.
    pub code: Code,
    /// What it keeps from being generated.
    pub owner: Owner,
}

impl Diagnostic {
    /// About the document as a whole, until [`owned`](Self::owned).
    pub(crate) fn new(code: Code, at: Location, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            hint: None,
            code,
            owner: Owner::Document,
        }
    }

    pub(crate) fn owned(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The diagnostic as a line of `file:line:column: message` and, where there is one, a line with the hint.
    pub fn display(&self, file: &str) -> impl fmt::Display {
        let Location { line, column } = self.at;
        let mut text = format!("{file}:{line}:{column}: {}", self.message);
        if let Some(hint) = &self.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text
    }
}

/// Defines [`Code`] with the name and the explanation of each, which reports, allow lists and the documentation share.
macro_rules! codes {
    ($($code:ident = $name:literal: $about:literal,)*) => {
        /// A kind of thing that is refused. Its name is what reports and allow lists call it, and does not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $about] $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// Its name, in lower case with hyphens.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// What is refused, in a sentence.
            pub fn about(self) -> &'static str {
                match self { $(Self::$code => $about,)* }
            }
        }
    };
}

codes! {
    Syntax = "syntax": "A text that is neither YAML nor JSON, or has what both allow and OpenAPI does not, such as a key twice.",
    Version = "version": "A version of OpenAPI other than 3.0 and 3.1.",
    Malformed = "malformed": "A part that OpenAPI does not allow: a required key is missing, a value has another JSON type, a name is used twice.",
    Key = "key": "A key outside of schemas that changes what is generated and is not carried.",
    Reference = "reference": "A `$ref` to something that does not exist, to itself, or to another place than an entry of `components`.",
    NameClash = "name-clash": "Two things that would have one name in Rust.",
    Path = "path": "A path that Dropshot's router does not take.",
    RouteConflict = "route-conflict": "An operation whose method and path, but for the names of variables, another one has.",
    PathVariable = "path-variable": "A variable of a path and its parameter that do not fit together.",
    ParameterPlace = "parameter-place": "A parameter in another place than path, query and headers.",
    ParameterStyle = "parameter-style": "A parameter `style`, or the style of a property of a form, that is not carried.",
    ParameterType = "parameter-type": "A parameter in a path, a header or a list with separators that is not a string, number, boolean or enum, or a list of those.",
    ReservedParameter = "reserved-parameter": "A parameter with the name of a method of the client.",
    BodyMethod = "body-method": "A request body on GET or HEAD; an optional one is left out.",
    MediaType = "media-type": "A body or an answer that is multipart, XML or a stream, or has several media types.",
    Status = "status": "A key of `responses` that is neither a status from 200, nor a class, nor `default`.",
    NoSuccess = "no-success": "An operation without a success answer, or without any.",
    BodilessStatus = "bodiless-status": "A body on a status that has none.",
    AnswerHeader = "answer-header": "An answer header that is not a string or integer.",
    HeaderName = "header-name": "The name of a header that HTTP does not allow.",
    SecurityScheme = "security-scheme": "A security scheme that is unknown or of a kind that is not carried.",
    Keyword = "keyword": "A keyword of a schema that is not carried where it stands.",
    Depth = "depth": "Schemas nested too deep.",
    FalseSchema = "false-schema": "The schema `false`, which no value satisfies.",
    SeveralTypes = "several-types": "A schema of several JSON types.",
    Untyped = "untyped": "A schema whose keywords say something, but not the JSON type.",
    AllOf = "all-of": "`allOf` of several schemas.",
    AmbiguousUnion = "ambiguous-union": "A union whose branches nothing tells apart.",
    EnumValue = "enum-value": "An enum value that is not a string.",
    Pattern = "pattern": "A `pattern` that is not an ECMAScript regular expression.",
    RequiredUnknown = "required-unknown": "A required property that has no schema.",
    Default = "default": "A default that is not carried, or that its own schema refuses.",
    Circle = "circle": "A schema that is defined by itself alone.",
    Generator = "generator": "A fault of the generator.",
}

impl Code {
    /// Whether the document breaks a rule of OpenAPI, rather than asking for what is not carried.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Syntax | Self::Version | Self::Malformed | Self::Reference
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
