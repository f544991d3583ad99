//! The commands that put into the database what has no operation yet.  They may run while a server
//! uses the same file.

pub(crate) mod device;
pub(crate) mod session;
pub(crate) mod user;

use std::future::Future;

use arklow_domain::Keyring;
use arklow_store::{DatabaseUrl, Options, Store};

use crate::app::Sources;
use crate::cli::KeysArgs;
use crate::error::CliError;
use crate::{keys, output};

/// Opens the database.
pub(crate) async fn open(url: &DatabaseUrl, options: Options) -> Result<Store, CliError> {
    let opened = Store::open(url, options).await;
    opened.map_err(|cause| CliError::Open {
        url: url.clone(),
        cause,
    })
}

/// Opens the database, and makes one if there is none.
async fn open_or_create(url: &DatabaseUrl) -> Result<Store, CliError> {
    open(url, Options::default()).await
}

/// Opens a database that must be there: what is to be changed is in it.
async fn open_existing(url: &DatabaseUrl) -> Result<Store, CliError> {
    let options = Options {
        create: false,
        ..Options::default()
    };
    open(url, options).await
}

/// The keys that the flags speak of; says so if a file was made for them.
pub(crate) async fn open_keys(
    store: &Store,
    database: &DatabaseUrl,
    args: &KeysArgs,
    sources: &Sources,
) -> Result<Keyring, CliError> {
    let path = match &args.keys {
        Some(path) => path.clone(),
        None => keys::default_path(database)?,
    };
    let opened = keys::open(store, &path, sources).await?;
    if opened.created {
        let path = path.display();
        output::note(&format!(
            "created the key file `{path}`: keep a copy of it, apart from the database; without \
             it no backup code and no device works"
        ));
    }
    Ok(opened.keyring)
}

/// Does `work` and closes the store, whatever came of it.
pub(crate) async fn closing<T>(
    store: &Store,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let outcome = work.await;
    // Who sends a second signal does not want to wait.
    if !matches!(outcome, Err(CliError::Interrupted)) {
        store.close().await;
    }
    outcome
}
