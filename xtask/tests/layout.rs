//! The layout of the code: no import circles among modules, and what each part of the service may name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::repository;

/// The imports among the modules of one folder: from each module to others of the same folder.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// All Rust files below `folder`, without the files that hold unit tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text of a file without comments and unit tests, and without what it quotes: that is code of other crates.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let text = text[..end]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut parts = text.split("quote! {");
    let mut code = parts.next().unwrap_or_default().to_owned();
    let mut depth = 0;
    for part in parts {
        depth += 1;
        for character in part.chars() {
            match character {
                '{' if depth > 0 => depth += 1,
                '}' if depth > 0 => depth -= 1,
                _ if depth == 0 => code.push(character),
                _ => {}
            }
        }
    }
    assert_eq!(depth, 0, "the quoted code has a brace without its twin");
    code
}

/// The module of a file, as the names from the root of its crate.
fn module_of(file: &Path, root: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root).expect("a file below the root");
    let mut names: Vec<String> = relative
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if names
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        names.pop();
    }
    names
}

/// The paths that begin at `text`, with their braces expanded: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(text: &str) -> (Vec<Vec<String>>, usize) {
    let name_end = text
        .find(|character: char| !character.is_alphanumeric() && character != '_')
        .unwrap_or(text.len());
    if name_end > 0 {
        let name = text[..name_end].to_owned();
        if !text[name_end..].starts_with("::") {
            return (vec![vec![name]], name_end);
        }
        let (rest, used) = expand(&text[name_end + 2..]);
        let paths = rest.into_iter().map(|mut path| {
            path.insert(0, name.clone());
            path
        });
        return (paths.collect(), name_end + 2 + used);
    }
    if !text.starts_with('{') {
        return (vec![Vec::new()], 0);
    }
    let (mut paths, mut at) = (Vec::new(), 1);
    while at < text.len() && !text[at..].starts_with('}') {
        if text[at..].starts_with([',', ' ', '\n', '*']) {
            at += 1;
            continue;
        }
        let (more, used) = expand(&text[at..]);
        paths.extend(more);
        // What follows a name, such as `as other`, up to the next one.
        at += used.max(1);
    }
    (paths, (at + 1).min(text.len()))
}

/// The modules that the code of `module` names by `crate::` and `super::`, from the root of the crate.
fn named_by(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_whole = !code[..at].ends_with(|before: char| {
                before.is_alphanumeric() || before == '_' || before == ':' || before == '$'
            });
            if !is_whole {
                continue;
            }
            for path in expand(&code[at..]).0 {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let base = match ups {
                    0 => &[][..],
                    _ => &module[..module.len().saturating_sub(ups)],
                };
                let names = path[ups.max(1)..].iter().cloned();
                all.push(base.iter().cloned().chain(names).collect());
            }
        }
    }
    all
}

/// The imports of each folder, by the path of its module.
fn imports(files: &[(Vec<String>, String)]) -> BTreeMap<Vec<String>, Imports> {
    let modules: BTreeSet<&[String]> = files.iter().map(|(module, _)| &**module).collect();
    let is_module = |path: &[String]| modules.iter().any(|module| module.starts_with(path));
    let mut all: BTreeMap<Vec<String>, Imports> = BTreeMap::new();
    for (module, code) in files {
        for target in named_by(module, code) {
            let same = module
                .iter()
                .zip(&target)
                .take_while(|(a, b)| a == b)
                .count();
            if same < module.len() && same < target.len() && is_module(&target[..=same]) {
                all.entry(module[..same].to_vec())
                    .or_default()
                    .entry(module[same].clone())
                    .or_default()
                    .insert(target[same].clone());
            }
        }
    }
    all
}

/// A circle in the imports of one folder, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn visit(name: &str, imports: &Imports, path: &mut Vec<String>) -> Option<Vec<String>> {
        if let Some(at) = path.iter().position(|visited| visited == name) {
            let mut circle = path[at..].to_vec();
            circle.push(name.to_owned());
            return Some(circle);
        }
        path.push(name.to_owned());
        let found = imports
            .get(name)
            .into_iter()
            .flatten()
            .find_map(|next| visit(next, imports, path));
        path.pop();
        found
    }
    imports
        .keys()
        .find_map(|name| visit(name, imports, &mut Vec::new()))
}

fn circles(root: &Path) -> Vec<String> {
    let files: Vec<(Vec<String>, String)> = sources(root)
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).expect("the file can be read");
            (module_of(file, root), code(&text))
        })
        .collect();
    imports(&files)
        .into_iter()
        .filter_map(|(folder, imports)| {
            let circle = circle(&imports)?;
            Some(format!(
                "crate::{}: {}",
                folder.join("::"),
                circle.join(" -> ")
            ))
        })
        .collect()
}

/// But for `api`, which is generated, and `client`, where Progenitor's code calls the hooks and these return its types.
#[test]
fn modules_import_each_other_in_one_direction() {
    for name in ["adapter", "codegen", "domain", "service", "store"] {
        let root = repository().join("crates").join(name).join("src");
        assert_eq!(circles(&root), [""; 0], "{}", root.display());
    }
}

#[test]
fn each_part_of_the_service_names_only_what_it_may() {
    let root = repository().join("crates/service/src");
    for (part, banned) in [
        ("http", &["clap", "crate::cli"][..]),
        ("cli", &["dropshot"]),
        ("keys", &["clap", "dropshot", "crate::cli", "crate::http"]),
    ] {
        let files = sources(&root.join(part));
        assert!(!files.is_empty(), "{part}");
        for file in files {
            let text = code(&fs::read_to_string(&file).expect("the file can be read"));
            for name in banned {
                assert!(
                    !text.contains(&format!("{name}::")),
                    "`{}` names `{name}`",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn circle_is_found_through_braces_and_super() {
    let file = |module: &[&str], code: &str| {
        let module = module.iter().map(|name| (*name).to_owned()).collect();
        (module, code.to_owned())
    };
    let files = [
        file(&["a"], "use crate::{b::{C, d}, std};"),
        file(&["b"], "use crate::c::inner::X;"),
        file(&["c", "inner"], "fn f() { super::super::a::run() }"),
        file(&["c", "other"], "use super::inner::Y;"),
        file(&["d"], "use crate::a;"),
    ];
    let all = imports(&files);
    let top = circle(&all[&Vec::new()]).expect("a circle");
    assert_eq!(top.join(" "), "a b c a");
    assert_eq!(circle(&all[&vec!["c".to_owned()]]), None);
}
