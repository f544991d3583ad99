//! `cargo xtask docs-ui`: takes Swagger UI out of its npm package and lays it, packed, where the server embeds it.
//!
//! Which version that is, and that it is the one that was published, is what `package-lock.json` there says.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::node;

/// The folder with our page, the lock file and what is vendored.
const FOLDER: &str = "crates/service/swagger-ui";

/// What of the package is vendored: the page needs it, or its license asks for it.
const FILES: [&str; 6] = [
    "LICENSE",
    "NOTICE",
    "favicon-32x32.png",
    "swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui.css",
];

/// The files of which the package has too much to ship them as they are.
const PACKED: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// The checksums of the vendored files, as `sha256sum` writes them.
const SUMS: &str = "SHA256SUMS";

/// Makes the vendored files those of the package, or reports that they are not.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let folder = root.join(FOLDER);
    node::install(&folder)?;
    let package = folder.join("node_modules/swagger-ui-dist");
    let vendored = folder.join("vendored");
    let stale = if check {
        stale(&package, &vendored)?
    } else {
        write(&package, &vendored)?;
        Vec::new()
    };
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not what the package has:\n  {}\nrun `cargo xtask docs-ui` and commit the result",
        stale.join("\n  ")
    )
}

fn write(package: &Path, vendored: &Path) -> anyhow::Result<()> {
    if vendored.exists() {
        fs::remove_dir_all(vendored)
            .with_context(|| format!("cannot empty {}", vendored.display()))?;
    }
    fs::create_dir_all(vendored)
        .with_context(|| format!("cannot create {}", vendored.display()))?;
    for name in FILES {
        let published = read(&package.join(name))?;
        let is_packed = PACKED.contains(&name);
        let bytes = if is_packed {
            pack(&published)
        } else {
            published
        };
        let path = vendored.join(vendored_name(name));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    fs::write(vendored.join(SUMS), sums(vendored)?).context("cannot write the checksums")
}

/// The vendored files that are not the published ones. Looks into the packed ones, for another version of the
/// compressor packs otherwise.
fn stale(package: &Path, vendored: &Path) -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for name in FILES {
        let published = read(&package.join(name))?;
        let path = vendored.join(vendored_name(name));
        let ours = fs::read(&path).unwrap_or_default();
        let ours = if PACKED.contains(&name) {
            unpack(&ours).unwrap_or_default()
        } else {
            ours
        };
        if ours != published {
            stale.push(format!("{FOLDER}/vendored/{}", vendored_name(name)));
        }
    }
    let expected: Vec<String> = FILES.iter().map(|name| vendored_name(name)).collect();
    for name in file_names(vendored)? {
        if name != SUMS && !expected.contains(&name) {
            stale.push(format!("{FOLDER}/vendored/{name} (not vendored any more)"));
        }
    }
    let is_whole = stale.is_empty();
    if is_whole && fs::read_to_string(vendored.join(SUMS)).ok() != Some(sums(vendored)?) {
        stale.push(format!("{FOLDER}/vendored/{SUMS}"));
    }
    Ok(stale)
}

fn vendored_name(name: &str) -> String {
    if PACKED.contains(&name) {
        format!("{name}.gz")
    } else {
        name.to_owned()
    }
}

fn sums(vendored: &Path) -> anyhow::Result<String> {
    let mut sums = String::new();
    for name in FILES.map(vendored_name) {
        let digest = ring::digest::digest(&ring::digest::SHA256, &read(&vendored.join(&name))?);
        for byte in digest.as_ref() {
            write!(sums, "{byte:02x}").context("a string takes everything")?;
        }
        writeln!(sums, "  {name}").context("a string takes everything")?;
    }
    Ok(sums)
}

fn file_names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The same bytes for the same bytes: no name, no time.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes everything")
}

fn unpack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
