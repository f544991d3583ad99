//! The intermediate representation: a document that was understood.
//!
//! Inert, resolved and fully named. Types, trait, lowered document and client are functions of it, so they agree by
//! construction. Nothing here refers back to the document, except for the places of clashes that `analyze` reports.

use crate::diagnostic::Location;

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) version: String,
    pub(crate) servers: Vec<Server>,
    pub(crate) tags: Vec<Tag>,
    /// By name.
    pub(crate) types: Vec<TypeDef>,
    /// In the document's order.
    pub(crate) operations: Vec<Operation>,
    /// The schemes that some operation accepts, in the document's order.
    pub(crate) schemes: Vec<Scheme>,
    /// The one type of every JSON answer from 400 upwards, if there is one.
    pub(crate) error_type: Option<String>,
    /// What the operations return for an error; without it each returns an enum of all its answers.
    pub(crate) shared_errors: Option<SharedErrors>,
}

impl Api {
    /// What a named type is.
    pub(crate) fn kind_of(&self, name: &str) -> Option<&TypeKind> {
        self.named(name).map(|def| &def.kind)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&TypeDef> {
        let found = self
            .types
            .binary_search_by(|def| def.name.as_str().cmp(name));
        found.ok().and_then(|index| self.types.get(index))
    }
}

/// What the error answers of all operations have in common. Every one of them has a body of `Api::error_type`, and every
/// operation has a success.
#[derive(Debug)]
pub(crate) struct SharedErrors {
    /// The error codes, if the document lists them for every error answer and each has one status.
    pub(crate) codes: Vec<ErrorCode>,
    /// The headers that have to be given with some of the answers, each once.
    pub(crate) headers: Vec<Header>,
}

#[derive(Debug)]
pub(crate) struct ErrorCode {
    pub(crate) wire: String,
    /// The variant.
    pub(crate) name: String,
    pub(crate) status: u16,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
}

/// A named type. `name` is its name in Rust and in the lowered document.
#[derive(Clone, Debug)]
pub(crate) struct TypeDef {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: TypeKind,
    /// What else a value must match, in 2020-12: the schema of the document, where the type says less.
    pub(crate) valid: Option<serde_json::Value>,
    pub(crate) at: Location,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TypeKind {
    Struct(Struct),
    /// A string that is one of these.
    Enum(Vec<EnumValue>),
    /// One of several, told apart by their JSON type or by a property that has another literal in each.
    Union(Vec<Variant>),
    Alias(Schema),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Struct {
    pub(crate) fields: Vec<Field>,
    pub(crate) additional: Additional,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
}

/// What happens to keys that have no field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Additional {
    Ignored,
    Refused,
    /// Kept, and each matches this schema.
    Kept(Schema),
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The name on the wire.
    pub(crate) wire: String,
    /// The name in Rust.
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
    pub(crate) required: bool,
    /// What an absent value stands for.
    pub(crate) default: Option<serde_json::Value>,
    /// Never printed by `Debug`.
    pub(crate) secret: bool,
    /// The type contains itself through this field.
    pub(crate) boxed: bool,
}

impl PartialEq for Field {
    /// Descriptions do not make another type.
    fn eq(&self, other: &Self) -> bool {
        self.wire == other.wire
            && self.schema == other.schema
            && self.required == other.required
            && self.default == other.default
            && self.secret == other.secret
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EnumValue {
    pub(crate) wire: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) schema: Schema,
    pub(crate) boxed: bool,
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.schema == other.schema
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Schema {
    Any,
    Null,
    Boolean,
    Integer {
        format: IntegerFormat,
        limits: Limits,
    },
    Number {
        limits: Limits,
    },
    String {
        format: Option<String>,
        min_length: Option<u64>,
        max_length: Option<u64>,
        pattern: Option<String>,
    },
    Array {
        items: Box<Schema>,
        min_items: Option<u64>,
        max_items: Option<u64>,
        unique: bool,
    },
    Map {
        values: Box<Schema>,
        min_properties: Option<u64>,
        max_properties: Option<u64>,
    },
    Nullable(Box<Schema>),
    Ref(String),
    /// A body that is not text.
    Bytes,
}

impl Schema {
    /// Any string.
    pub(crate) const TEXT: Self = Self::String {
        format: None,
        min_length: None,
        max_length: None,
        pattern: None,
    };
}

/// What a body without another media type is.
pub(crate) const JSON: &str = "application/json";
/// What a body is of which nothing more is known.
pub(crate) const OCTETS: &str = "application/octet-stream";
/// The fields of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// How a body is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Codec {
    Json,
    /// Of a request only. The properties in `deep` have brackets for what they contain.
    Form {
        deep: Vec<String>,
    },
    Text,
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum IntegerFormat {
    I32,
    I64,
    U32,
    U64,
}

impl IntegerFormat {
    /// Whether the Rust type has this value.
    pub(crate) fn holds(self, number: &serde_json::Number) -> bool {
        match self {
            Self::I32 => number.as_i64().is_some_and(|of| i32::try_from(of).is_ok()),
            Self::I64 => number.is_i64(),
            Self::U32 => number.as_u64().is_some_and(|of| u32::try_from(of).is_ok()),
            Self::U64 => number.is_u64(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) minimum: Option<serde_json::Number>,
    pub(crate) maximum: Option<serde_json::Number>,
    pub(crate) exclusive_minimum: Option<serde_json::Number>,
    pub(crate) exclusive_maximum: Option<serde_json::Number>,
    pub(crate) multiple_of: Option<serde_json::Number>,
}

#[derive(Debug)]
pub(crate) struct Operation {
    /// The operationId as the document writes it.
    pub(crate) id: String,
    /// The method of trait and client.
    pub(crate) name: String,
    /// The stem of the operation's own types.
    pub(crate) type_name: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) tags: Vec<String>,
    pub(crate) summary: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) deprecated: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Body>,
    /// By status, ranges behind the statuses, `default` last.
    pub(crate) answers: Vec<Answer>,
    pub(crate) security: Security,
}

/// Who may call an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// Of which one is needed, those of most schemes first; none means that anyone may call.
    pub(crate) alternatives: Vec<Requirement>,
    /// Whether a request without credentials is one without a caller.
    pub(crate) is_optional: bool,
}

/// Schemes that are needed together, in the document's order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) schemes: Vec<Needed>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Needed {
    /// The scheme's key under `securitySchemes`.
    pub(crate) key: String,
    /// The scopes or roles.
    pub(crate) scopes: Vec<String>,
}

impl Security {
    /// Whether operations get no caller.
    pub(crate) fn is_public(&self) -> bool {
        self.alternatives.is_empty()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        let needed = self.alternatives.iter().flat_map(|of| &of.schemes);
        needed.map(|needed| &needed.key)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Method {
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
}

impl Status {
    /// Whether it reports an error; `default` does, as ogen reads it.
    pub(crate) fn is_error(self) -> bool {
        match self {
            Self::Exact(status) => status >= 400,
            Self::Range(class) => class >= 4,
            Self::Default => true,
        }
    }
}

impl Method {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("delete", Self::Delete),
        ("get", Self::Get),
        ("head", Self::Head),
        ("options", Self::Options),
        ("patch", Self::Patch),
        ("post", Self::Post),
        ("put", Self::Put),
    ];

    /// As a key of a path item.
    pub(crate) fn key(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, method)| *method == self)
            .map_or("", |(key, _)| key)
    }

    /// As HTTP writes it.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) place: In,
    pub(crate) field: Field,
    pub(crate) style: Style,
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As one text.
    Plain,
    /// As a list.
    List(Separator),
    /// As one text or several, which mean what the schema allows.
    BySchema,
    /// As an object of which each property is a parameter of the query.
    Exploded,
    /// As an object of which each property stands in brackets behind the name.
    Deep,
}

/// What stands between the items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    /// The parameter is repeated for each item.
    Repeated,
    Comma,
    Space,
    Pipe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum In {
    Path,
    Query,
    Header,
}

impl In {
    pub(crate) const ALL: [Self; 3] = [Self::Path, Self::Query, Self::Header];

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) description: Option<String>,
    pub(crate) schema: Schema,
    /// Of bytes it may be a range, such as `image/*`.
    pub(crate) media_type: String,
    pub(crate) codec: Codec,
    pub(crate) required: bool,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// The variant of the operation's answer.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) body: Option<Schema>,
    /// Of the body.
    pub(crate) media_type: String,
    pub(crate) codec: Codec,
    pub(crate) headers: Vec<Header>,
    /// What `x-error-codes` lists.
    pub(crate) codes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Exact(u16),
    /// `4XX` is `Range(4)`.
    Range(u16),
    Default,
}

#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The name on the wire.
    pub(crate) wire: String,
    /// The field of the answer.
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) required: bool,
    pub(crate) value: HeaderValue,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HeaderValue {
    /// The schema allows only this value, so an implementation does not pass it.
    Fixed(String),
    Text,
    Integer,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scheme {
    /// Its key under `securitySchemes`.
    pub(crate) key: String,
    /// The variant of the credentials.
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: SchemeKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum KeyPlace {
    Header,
    Query,
    Cookie,
}

impl KeyPlace {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
            Self::Cookie => "cookie",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SchemeKind {
    /// The whole value of this header, query parameter or cookie.
    ApiKey { place: KeyPlace, name: String },
    /// What follows `Bearer` in `Authorization`; of OAuth 2.0 and OpenID Connect, too.
    Bearer,
    /// What follows `Basic` in `Authorization`.
    Basic,
}
