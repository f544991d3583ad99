//! The wire types: one file that server and client share.

use proc_macro2::TokenStream;
use quote::quote;

use super::{doc, ident, rust_type};
use crate::ir::{
    Additional, Api, EnumValue, ErrorCode, Field, Operation, Schema, Struct, TypeDef, TypeKind,
    Variant,
};

pub(crate) fn emit(api: &Api) -> TokenStream {
    let nullables = Nullables { api };
    let definitions = api.types.iter().map(|def| definition(def, &nullables));
    let helpers = helpers(api, &nullables);
    let codes = api
        .shared_errors
        .as_ref()
        .map(|errors| error_codes(&errors.codes));
    quote! {
        #(#definitions)*
        #codes
        #helpers
    }
}

fn error_codes(codes: &[ErrorCode]) -> TokenStream {
    if codes.is_empty() {
        return quote! {};
    }
    let names: Vec<_> = codes.iter().map(|code| ident(&code.name)).collect();
    let texts = codes.iter().map(|code| &code.wire);
    let docs = codes
        .iter()
        .map(|code| doc(&format!("`{}`, with status {}.", code.wire, code.status)));
    let statuses = codes
        .chunk_by(|one, other| one.status == other.status)
        .map(|same| {
            let names = same.iter().map(|code| ident(&code.name));
            let status = proc_macro2::Literal::u16_unsuffixed(same[0].status);
            quote! { #(Self::#names)|* => #status, }
        });
    quote! {
        /// The error codes of the operations. Later versions of the document may have more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            #(#docs #names,)*
        }

        impl ErrorCode {
            /// All of them, by status.
            pub const ALL: &'static [Self] = &[#(Self::#names),*];

            /// The code as it is written in answers.
            pub const fn as_str(self) -> &'static str {
                match self {
                    #(Self::#names => #texts,)*
                }
            }

            /// The status of the answers that have it.
            pub const fn status(self) -> u16 {
                match self {
                    #(#statuses)*
                }
            }

            /// Finds a code by its text; `None` for one that is newer than this code.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }

        impl ::std::fmt::Display for ErrorCode {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    }
}

/// Which schemas admit null, seen through aliases.
pub(super) struct Nullables<'a> {
    pub(super) api: &'a Api,
}

impl Nullables<'_> {
    fn admits_null(&self, schema: &Schema) -> bool {
        match schema {
            Schema::Nullable(_) => true,
            Schema::Ref(name) => match self.api.kind_of(name) {
                Some(TypeKind::Alias(inner)) => self.admits_null(inner),
                _ => false,
            },
            _ => false,
        }
    }
}

/// How presence and null of a field are kept apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Always present; its type decides whether null is a value.
    Required,
    /// Always there and nullable: serde would take an absent `Option` for null.
    RequiredNullable,
    /// May be absent and stands for a default then.
    Defaulted,
    /// May be absent; null is no value.
    Optional,
    /// May be absent, null or a value: an `Option` within an `Option`.
    OptionalNullable,
}

fn presence(field: &Field, nullables: &Nullables<'_>) -> Presence {
    match (field.required, nullables.admits_null(&field.schema)) {
        (true, true) => Presence::RequiredNullable,
        (true, false) => Presence::Required,
        (false, _) if field.default.is_some() => Presence::Defaulted,
        (false, true) => Presence::OptionalNullable,
        (false, false) => Presence::Optional,
    }
}

fn definition(def: &TypeDef, nullables: &Nullables<'_>) -> TokenStream {
    let name = ident(&def.name);
    let docs = match &def.description {
        Some(text) => doc(text),
        None => doc(&format!("`{}` of the document.", def.name)),
    };
    match &def.kind {
        TypeKind::Struct(shape) => structure(&def.name, &docs, shape, nullables, &quote! {}),
        TypeKind::Enum(values) => enumeration(&name, &docs, values),
        TypeKind::Union(variants) => union(&name, &docs, variants),
        TypeKind::Alias(schema) => {
            let target = rust_type(schema, &quote! {});
            quote! {
                #docs
                pub type #name = #target;
            }
        }
    }
}

/// A struct with its serde attributes; named types are found under `path`.
pub(super) fn structure(
    type_name: &str,
    docs: &TokenStream,
    shape: &Struct,
    nullables: &Nullables<'_>,
    path: &TokenStream,
) -> TokenStream {
    let name = ident(type_name);
    let has_secret = shape.fields.iter().any(|field| field.secret);
    let debug = if has_secret {
        quote! {}
    } else {
        quote! { Debug, }
    };
    let fields = shape
        .fields
        .iter()
        .map(|field| structure_field(type_name, field, nullables, path));
    let additional = match &shape.additional {
        Additional::Ignored | Additional::Refused => quote! {},
        Additional::Kept(values) => {
            let values = rust_type(values, path);
            quote! {
                /// Keys without a field.
                #[serde(flatten)]
                pub additional_properties: ::std::collections::BTreeMap<String, #values>,
            }
        }
    };
    let redacted = if has_secret {
        redacted_debug(type_name, shape)
    } else {
        quote! {}
    };
    let defaults: Vec<TokenStream> = shape
        .fields
        .iter()
        .filter_map(|field| default_function(field, path))
        .collect();
    // Methods, because names joined from a type's and a field's can be equal for two of them.
    let defaults = (!defaults.is_empty()).then(|| quote! { impl #name { #(#defaults)* } });
    quote! {
        #docs
        #[derive(Clone, #debug PartialEq, ::serde::Deserialize, ::serde::Serialize)]
        pub struct #name {
            #(#fields)*
            #additional
        }
        #redacted
        #defaults
    }
}

pub(super) fn structure_field(
    type_name: &str,
    field: &Field,
    nullables: &Nullables<'_>,
    path: &TokenStream,
) -> TokenStream {
    let name = ident(&field.name);
    let docs = match &field.description {
        Some(text) => doc(text),
        None => doc(&format!("`{}` on the wire.", field.wire)),
    };
    let rename = (field.name != field.wire).then(|| {
        let wire = &field.wire;
        quote! { #[serde(rename = #wire)] }
    });
    let plain = rust_type(&field.schema, path);
    let plain = if field.boxed {
        boxed(&field.schema, &plain, path)
    } else {
        plain
    };
    let (serde, of) = match presence(field, nullables) {
        Presence::Required => (quote! {}, plain),
        Presence::RequiredNullable => (
            quote! { #[serde(deserialize_with = "required_nullable")] },
            plain,
        ),
        Presence::Defaulted => {
            let function = format!("{type_name}::{}", default_name(field));
            (quote! { #[serde(default = #function)] }, plain)
        }
        Presence::Optional => (
            quote! { #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")] },
            quote! { Option<#plain> },
        ),
        Presence::OptionalNullable => (
            quote! { #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")] },
            quote! { Option<#plain> },
        ),
    };
    quote! {
        #docs
        #rename
        #serde
        pub #name: #of,
    }
}

/// `Box` goes inside `Option`, where a reader expects it.
fn boxed(schema: &Schema, plain: &TokenStream, path: &TokenStream) -> TokenStream {
    match schema {
        Schema::Nullable(inner) => {
            let inner = rust_type(inner, path);
            quote! { Option<Box<#inner>> }
        }
        _ => quote! { Box<#plain> },
    }
}

fn default_name(field: &Field) -> String {
    format!("default_{}", field.name)
}

fn default_function(field: &Field, path: &TokenStream) -> Option<TokenStream> {
    let default = field.default.as_ref()?;
    let function = ident(&default_name(field));
    let of = rust_type(&field.schema, path);
    let value = match (default, &field.schema) {
        (serde_json::Value::String(text), Schema::Ref(name)) => {
            let name = ident(name);
            let variant = ident(&crate::names::variant_name(text));
            quote! { #path #name::#variant }
        }
        (serde_json::Value::String(text), _) => quote! { #text.to_owned() },
        (serde_json::Value::Bool(value), _) => quote! { #value },
        (serde_json::Value::Number(number), Schema::Integer { .. }) => {
            let number: TokenStream = number.to_string().parse().unwrap_or_default();
            quote! { #number }
        }
        (number, _) => {
            let number = number.as_f64().unwrap_or_default();
            quote! { #number }
        }
    };
    Some(quote! {
        fn #function() -> #of {
            #value
        }
    })
}

fn redacted_debug(type_name: &str, shape: &Struct) -> TokenStream {
    let name = ident(type_name);
    let fields = shape.fields.iter().map(|field| {
        let label = &field.name;
        let field_name = ident(&field.name);
        if field.secret {
            quote! { .field(#label, &format_args!("[redacted]")) }
        } else {
            quote! { .field(#label, &self.#field_name) }
        }
    });
    let additional = match shape.additional {
        Additional::Kept(_) => {
            quote! { .field("additional_properties", &self.additional_properties) }
        }
        Additional::Ignored | Additional::Refused => quote! {},
    };
    quote! {
        impl ::std::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(#type_name)
                    #(#fields)*
                    #additional
                    .finish()
            }
        }
    }
}

fn enumeration(name: &proc_macro2::Ident, docs: &TokenStream, values: &[EnumValue]) -> TokenStream {
    let variants = values.iter().map(|value| {
        let variant = ident(&value.name);
        let wire = &value.wire;
        let docs = doc(&format!("`{wire}` on the wire."));
        let rename = (value.name != value.wire).then(|| quote! { #[serde(rename = #wire)] });
        quote! {
            #docs
            #rename
            #variant,
        }
    });
    let (idents, wires): (Vec<_>, Vec<_>) = values
        .iter()
        .map(|value| (ident(&value.name), &value.wire))
        .unzip();
    quote! {
        #docs
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Deserialize, ::serde::Serialize)]
        pub enum #name {
            #(#variants)*
        }
        impl ::std::fmt::Display for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(match self {
                    #(Self::#idents => #wires,)*
                })
            }
        }
    }
}

fn union(name: &proc_macro2::Ident, docs: &TokenStream, variants: &[Variant]) -> TokenStream {
    let arms = variants.iter().map(|variant| {
        let variant_name = ident(&variant.name);
        let of = rust_type(&variant.schema, &quote! {});
        let of = if variant.boxed {
            boxed(&variant.schema, &of, &quote! {})
        } else {
            of
        };
        let docs = doc(&format!("The branch `{}`.", variant.name));
        quote! {
            #docs
            #variant_name(#of),
        }
    });
    // Untagged is exact here: the branches differ in JSON type or in a literal that only one of them reads.
    quote! {
        #docs
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize, ::serde::Serialize)]
        #[serde(untagged)]
        pub enum #name {
            #(#arms)*
        }
    }
}

/// The functions that the fields' attributes name, where some field does.
fn helpers(api: &Api, nullables: &Nullables<'_>) -> TokenStream {
    let fields = api.types.iter().flat_map(|def| match &def.kind {
        TypeKind::Struct(shape) => shape.fields.as_slice(),
        _ => &[],
    });
    let used: Vec<Presence> = fields.map(|field| presence(field, nullables)).collect();
    presence_helpers(&used)
}

/// The helpers for structs that stand in another file.
pub(super) fn helpers_for<'a>(
    fields: impl Iterator<Item = &'a Field>,
    nullables: &Nullables<'_>,
) -> TokenStream {
    presence_helpers(
        &fields
            .map(|field| presence(field, nullables))
            .collect::<Vec<_>>(),
    )
}

fn presence_helpers(used: &[Presence]) -> TokenStream {
    let required_nullable = used.contains(&Presence::RequiredNullable).then(|| {
        quote! {
            /// Reads a key that must be there and may be null.
            fn required_nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
            where
                D: ::serde::Deserializer<'de>,
                T: ::serde::Deserialize<'de>,
            {
                T::deserialize(deserializer)
            }
        }
    });
    let present = used
        .iter()
        .any(|presence| matches!(presence, Presence::Optional | Presence::OptionalNullable))
        .then(|| {
            quote! {
                /// Reads a key that is there: an absent one is `None`, null is what `T` makes of it.
                fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
                where
                    D: ::serde::Deserializer<'de>,
                    T: ::serde::Deserialize<'de>,
                {
                    T::deserialize(deserializer).map(Some)
                }
            }
        });
    quote! {
        #required_nullable
        #present
    }
}

/// `POST /v1/things`, the summary, and the description.
pub(super) fn operation_doc(operation: &Operation) -> TokenStream {
    let route = format!("`{} {}`", operation.method.verb(), operation.path);
    let first = match &operation.summary {
        Some(summary) => format!("{route}: {summary}"),
        None => route,
    };
    match &operation.description {
        Some(description) => doc(&format!("{first}\n\n{description}")),
        None => doc(&first),
    }
}
