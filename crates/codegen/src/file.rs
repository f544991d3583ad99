//! A generated file: a path, a text, and a first line that names its source.

use proc_macro2::TokenStream;

/// The mark that every generated file bears, so that tools and people know it as one.
pub const MARK: &str = "@generated";

/// A file of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where it belongs, below the output folder, with `/` between segments.
    pub path: String,
    /// Its whole text.
    pub contents: String,
}

/// A Rust file, formatted.
///
/// # Errors
///
/// Tokens that are not Rust are a defect of the emitter; the error shows them.
pub(crate) fn rust(
    path: &str,
    about: &str,
    command: &str,
    tokens: TokenStream,
) -> Result<GeneratedFile, String> {
    let file: syn::File = syn::parse2(tokens).map_err(|error| format!("{path}: {error}"))?;
    let code = spaced(file);
    Ok(GeneratedFile {
        path: path.to_owned(),
        contents: format!("//! {about}\n//!\n//! {}\n\n{code}", mark(command)),
    })
}

/// The items, formatted, with a blank line between them; imports stay together.
fn spaced(mut file: syn::File) -> String {
    let is_line = |item: &syn::Item| match item {
        syn::Item::Use(_) => true,
        syn::Item::Mod(module) => module.content.is_none(),
        _ => false,
    };
    let mut code = String::new();
    let mut previous_is_line = false;
    for item in std::mem::take(&mut file.items) {
        let line = is_line(&item);
        if !(code.is_empty() || line && previous_is_line) {
            code.push('\n');
        }
        previous_is_line = line;
        let item = prettyplease::unparse(&syn::File {
            items: vec![item],
            ..file.clone()
        });
        code.push_str(&spaced_members(&item));
    }
    code
}

/// A blank line before each documented member and each function of a trait or an `impl`.
fn spaced_members(item: &str) -> String {
    const STARTS: [&str; 4] = ["    ///", "    fn ", "    async fn ", "    pub"];
    let mut lines: Vec<&str> = Vec::new();
    for line in item.lines() {
        let is_after_member = lines
            .last()
            .is_some_and(|last| *last == "    }" || last.ends_with(';'));
        if is_after_member && STARTS.iter().any(|start| line.starts_with(start)) {
            lines.push("");
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// A Rust file that is the same for every document.
pub(crate) fn rust_text(path: &str, text: &str, command: &str) -> GeneratedFile {
    GeneratedFile {
        path: path.to_owned(),
        contents: format!("// {}\n{text}", mark(command)),
    }
}

/// The sentence that bears [`MARK`].
pub(crate) fn mark(command: &str) -> String {
    format!("{MARK} by `{command}`; change the document or the generator, not this file.")
}
