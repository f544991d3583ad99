//! The audit as a file of JSON lines that belong to one another: each has a hash of itself and of the line before, so that a
//! line that is missing, changed or moved shows.
//!
//! `chain` is the last property of a line. It is the SHA-256, in hexadecimal digits, of the digits in the line before and
//! of the line itself without this property; before the first line stands [`SEED`].

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use arklow_domain::AuditId;
use ring::digest::{Context, SHA256};
use serde_json::Value;

/// What stands before the first line.
const SEED: &str = "arklow audit 1";
/// The most bytes of a line that are read. A record has a few texts of at most 256 characters.
const MAX_LINE: u64 = 64 * 1024;
/// What begins the last property.
const CHAIN: &str = ",\"chain\":\"";

/// Why a file is not a whole export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("line {0} is not a line of an export")]
    NotALine(usize),
    #[error("line {0} does not follow the line before: a line was changed, moved or removed")]
    Broken(usize),
}

/// The end of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) lines: usize,
    /// The hash of the last line.
    pub(crate) chain: String,
    /// The number of the last record; `None` in an empty file.
    pub(crate) last: Option<AuditId>,
}

fn link(before: &str, body: &str) -> String {
    let mut digest = Context::new(&SHA256);
    digest.update(before.as_bytes());
    digest.update(body.as_bytes());
    let digest = digest.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Reads a file from its beginning.
///
/// # Errors
/// [`ChainError`], with the first line that is wrong.
pub(crate) fn verify(path: &Path) -> Result<End, ChainError> {
    let mut end = End {
        lines: 0,
        chain: SEED.to_owned(),
        last: None,
    };
    let mut file = BufReader::new(File::open(path)?);
    loop {
        let mut line = String::new();
        file.by_ref().take(MAX_LINE).read_line(&mut line)?;
        if line.is_empty() {
            return Ok(end);
        }
        let line = line.trim_end_matches('\n');
        end.lines += 1;
        let wrong = || ChainError::NotALine(end.lines);
        let (body, rest) = line.rsplit_once(CHAIN).ok_or_else(wrong)?;
        let chain = rest.strip_suffix("\"}").ok_or_else(wrong)?;
        let body = format!("{body}}}");
        if link(&end.chain, &body) != chain {
            return Err(ChainError::Broken(end.lines));
        }
        let record: Value = serde_json::from_str(&body).map_err(|_| wrong())?;
        let id = record["id"].as_str().and_then(|id| id.parse().ok());
        end.last = Some(id.ok_or_else(wrong)?);
        end.chain = chain.to_owned();
    }
}

/// A file that is written to.
pub(crate) struct Export {
    file: BufWriter<File>,
    end: End,
}

impl Export {
    /// Goes on at the end of a file, which is verified first, or begins a new one that only its owner can read.
    ///
    /// # Errors
    /// [`ChainError`].
    pub(crate) fn open(path: &Path) -> Result<Self, ChainError> {
        let end = match verify(path) {
            Err(ChainError::Io(error)) if error.kind() == io::ErrorKind::NotFound => End {
                lines: 0,
                chain: SEED.to_owned(),
                last: None,
            },
            verified => verified?,
        };
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self {
            file: BufWriter::new(file),
            end,
        })
    }

    /// The record after which it goes on.
    pub(crate) fn last(&self) -> Option<AuditId> {
        self.end.last
    }

    /// Writes a record, an object of at least one property.
    pub(crate) fn write(&mut self, id: AuditId, record: &Value) -> io::Result<()> {
        let body = record.to_string();
        let chain = link(&self.end.chain, &body);
        let open = body.strip_suffix('}').unwrap_or(&body);
        writeln!(self.file, "{open}{CHAIN}{chain}\"}}")?;
        self.end.lines += 1;
        self.end.chain = chain;
        self.end.last = Some(id);
        Ok(())
    }

    /// Brings everything to the disk.
    pub(crate) fn finish(mut self) -> io::Result<End> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.end)
    }
}
