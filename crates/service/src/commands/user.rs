//! `arklow user`.

use arklow_domain::{Email, UserId, UserName};
use arklow_store::{AuditOrigin, CreateUser, DisableUser, NewUser, Store, UnlockUser};

use super::{closing, open_existing, operator};
use crate::app::Sources;
use crate::cli::{CreateUserArgs, DisableUserArgs, UnlockUserArgs, UserCommand};
use crate::error::CliError;
use crate::output::{self, Format};

pub(crate) async fn run(command: UserCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        UserCommand::Create(args) => run_create(args, sources).await,
        UserCommand::Disable(args) => run_disable(args, sources).await,
        UserCommand::Unlock(args) => run_unlock(args, sources).await,
    }
}

async fn run_create(args: CreateUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let name = args.name.clone();
    let origin = operator(&args.actor);
    let id = closing(&store, create(&store, name, args.email, origin, sources)).await?;
    output::note(&format!("created user {}", args.name));
    output::id(Format::from_flag(args.output.json), &id)
}

/// Makes a user.
pub(crate) async fn create(
    store: &Store,
    name: UserName,
    email: Email,
    origin: AuditOrigin,
    sources: &Sources,
) -> Result<UserId, CliError> {
    let id = UserId::random(sources.random.as_ref())?;
    let new = NewUser {
        id,
        name,
        email: email.clone(),
        now: sources.clock.now(),
    };
    match store.create_user(new, origin).await? {
        CreateUser::Created => Ok(id),
        CreateUser::EmailInUse => Err(CliError::EmailInUse(email)),
    }
}

async fn run_disable(args: DisableUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let (id, origin) = (args.id, operator(&args.actor));
    let disabled = closing(&store, async {
        Ok(store.disable_user(id, sources.clock.now(), origin).await?)
    });
    match disabled.await? {
        DisableUser::Disabled => {
            output::note(&format!(
                "user {id} is disabled, all their sessions are dead"
            ));
        }
        DisableUser::AlreadyDisabled => {
            output::note(&format!("user {id} was disabled already"));
        }
        DisableUser::NoSuchUser => return Err(CliError::NoSuchUser(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

async fn run_unlock(args: UnlockUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let (id, origin) = (args.id, operator(&args.actor));
    let unlocked = closing(&store, async {
        Ok(store.unlock_user(id, sources.clock.now(), origin).await?)
    });
    match unlocked.await? {
        UnlockUser::Unlocked {
            was_locked,
            failures,
        } => {
            let was = if was_locked { "was" } else { "was not" };
            output::note(&format!(
                "user {id} {was} locked; {failures} failures in a row are forgotten"
            ));
        }
        UnlockUser::NoSuchUser => return Err(CliError::NoSuchUser(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{database, sources};

    #[tokio::test]
    async fn address_in_use_is_refused_in_any_case() {
        let (_directory, store) = database().await;
        let create = async |email: &str| {
            let (name, email) = ("Ada".parse().unwrap(), email.parse().unwrap());
            create(&store, name, email, AuditOrigin::default(), &sources().0).await
        };
        create("ada@example.org").await.unwrap();
        let error = create("ADA@example.org").await.unwrap_err();
        assert!(matches!(error, CliError::EmailInUse(_)), "{error:?}");
    }
}
