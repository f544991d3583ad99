//! `arklow restored`.

use arklow_store::Store;
use serde_json::json;

use super::{check_tables, closing, key_path, open_existing, operator};
use crate::app::Sources;
use crate::cli::RestoredArgs;
use crate::error::CliError;
use crate::keys;
use crate::output::{self, Format};

pub(crate) async fn run(args: RestoredArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let aside = Store::set_foreign_wal_aside(url, sources.clock.now()).await;
    let aside = aside.map_err(|error| CliError::Restore(error.into()))?;
    if let Some(aside) = aside {
        output::note(&format!(
            "a WAL of another database lay beside this one and is now `{}`",
            aside.display()
        ));
    }
    // Before the tables are missed: this says better what is wrong.
    if let Ok(keys) = key_path(url, &args.keys) {
        check_tables(url, &keys).await?;
    }
    let store = open_existing(url).await?;
    let origin = operator(&args.actor);
    let killed = closing(&store, async {
        if let Ok(keys) = key_path(url, &args.keys) {
            keys::check_not_emptied(&store, &keys).await?;
        }
        let now = sources.clock.now();
        Ok(store.kill_what_was_restored(now, origin).await?)
    });
    let killed = killed.await?;
    let human = format!(
        "{} sessions ended, {} sets of backup codes are dead, {} devices wait for their next code",
        killed.sessions, killed.code_sets, killed.devices
    );
    output::data(
        Format::from_flag(args.output.json),
        &human,
        &json!({
            "sessions": killed.sessions,
            "code_sets": killed.code_sets,
            "devices": killed.devices,
        }),
    )
}
