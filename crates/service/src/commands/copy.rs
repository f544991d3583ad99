//! `arklow copy`: from SQLite to PostgreSQL, every row.

use std::sync::Arc;

use arklow_store::CopyProgress;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{closing, open_existing};
use crate::cli::CopyArgs;
use crate::error::CliError;
use crate::output::{self, Format};

pub(crate) async fn run(args: CopyArgs) -> Result<(), CliError> {
    let source = open_existing(&args.from).await?;
    let copied = closing(&source, async {
        let target = open_existing(&args.to).await?;
        closing(&target, async {
            let bar = ProgressBar::new(0).with_style(style());
            let shown = bar.clone();
            let progress = Arc::new(move |progress: CopyProgress| {
                shown.set_length(progress.total);
                shown.set_position(progress.done);
            });
            let copied = source.copy_to(&target, progress).await;
            bar.finish_and_clear();
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
        "{what}: {rows} rows.  Start the servers with --database-url {} and the same key file \
         (--keys), and the old database no more",
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

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {pos} of {len} rows written and read back, {eta} left",
    )
    .expect("the template is one")
}
