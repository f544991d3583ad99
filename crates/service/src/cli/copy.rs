//! `arklow copy`: from SQLite to PostgreSQL, every row.

use std::sync::{Arc, Mutex, PoisonError};

use arklow_store::{CopyError, CopyProgress};
use serde_json::json;

use super::open::{closing, open_existing_by};
use crate::cli::args::{OutputArgs, SecretParser};
use crate::cli::error::{CliError, DatabaseFlag};
use crate::cli::output::{self, Format, Progress};
use arklow_store::DatabaseUrl;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Where the rows are: `sqlite:` and the path of a file.
    #[arg(
        long,
        env = "ARKLOW_COPY_FROM",
        hide_env_values = true,
        value_name = "URL",
        value_parser = SecretParser::<DatabaseUrl>::of("--from <URL>")
    )]
    pub(crate) from: DatabaseUrl,
    /// Where they are to be: `postgres://` and so on.
    #[arg(
        long,
        env = "ARKLOW_COPY_TO",
        hide_env_values = true,
        value_name = "URL",
        value_parser = SecretParser::<DatabaseUrl>::of("--to <URL>")
    )]
    pub(crate) to: DatabaseUrl,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) async fn run(args: CopyArgs) -> Result<(), CliError> {
    // Before anything is opened: what is wrong with the flags is said better by this.
    if args.from.sqlite_path().is_none() || args.to.sqlite_path().is_some() {
        return Err(CliError::Copy(CopyError::Direction));
    }
    let source = open_existing_by(DatabaseFlag::From, &args.from).await?;
    let copied = closing(&source, async {
        let target = open_existing_by(DatabaseFlag::To, &args.to).await?;
        closing(&target, async {
            let progress = Mutex::new(Progress::of("rows written and read back"));
            let tell = Arc::new(move |CopyProgress { done, total }: CopyProgress| {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress.tell(done, total);
            });
            let copied = source.copy_to(&target, tell).await;
            copied.map_err(CliError::Copy)
        })
        .await
    });
    let copied = copied.await?;

    let rows: u64 = copied.tables.iter().map(|table| table.rows).sum();
    let what = match copied.was_there {
        true => "was there already, and is the same",
        false => "copied, and reads back the same",
    };
    output::note(&format!(
        "{what}: {}.  Start the servers with --database-url {} and the same key file \
         (--keys), and the old database no more",
        output::count(rows, "row", "rows"),
        args.to
    ));
    let format = Format::from_flag(args.output.json);
    let tables = copied.tables.iter().map(|table| {
        let human = format!("{:<12}{:>12}  {}", table.name, table.rows, table.digest);
        let object = json!({
            "table": table.name,
            "rows": table.rows,
            "sha256": table.digest,
        });
        (human, object)
    });
    match format {
        Format::Human => {
            let title = format!("{:<12}{:>12}  SHA-256", "TABLE", "ROWS");
            output::list(format, &title, tables)
        }
        Format::Json => {
            let tables: Vec<_> = tables.map(|(_, object)| object).collect();
            let object = json!({ "tables": tables, "was_there": copied.was_there });
            output::data(format, "", &object)
        }
    }
}
