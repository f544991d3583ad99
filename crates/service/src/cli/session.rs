//! `arklow session`.

use std::time::Duration;

use arklow_domain::{SessionId, SessionToken, UserId};
use arklow_store::{AuditOrigin, CreateSession, NewSession, RevokeSession, Store};
use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::json;

use super::open::{closing, open_existing, operator, resolve_user};
use crate::cli::args::{
    ActorArgs, DatabaseArgs, ListArgs, MfaTtl, OutputArgs, SessionTtl, UserRef,
};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::sources::Sources;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Create a session and print its token, which is shown this once.
    ///
    /// Example: `arklow session create --user ada@example.com --mfa-verified-for 15m`
    Create(CreateSessionArgs),
    /// List all sessions that a user ever had, newest first.
    ///
    /// Example: `arklow session list ada@example.com`
    List(ListArgs),
    /// Revoke a session: from now on its token is refused, on running servers too.
    ///
    /// Example: `arklow session revoke 4242424242424242424`
    Revoke(RevokeSessionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateSessionArgs {
    /// Whose session.
    #[arg(long, value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    /// How long the session lives, at most 30 days.
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    pub(crate) ttl: SessionTtl,
    /// How long it counts as MFA-verified, at most 24 hours and no longer than it lives.
    ///
    /// Without this flag it does not count as MFA-verified at all.
    #[arg(long, value_name = "DURATION")]
    pub(crate) mfa_verified_for: Option<MfaTtl>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeSessionArgs {
    /// Which session.
    #[arg(value_name = "ID")]
    pub(crate) id: SessionId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) async fn run(command: SessionCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        SessionCommand::Create(args) => run_create(args, sources).await,
        SessionCommand::List(args) => run_list(args, sources).await,
        SessionCommand::Revoke(args) => run_revoke(args, sources).await,
    }
}

/// A session, with the token that is shown this once.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: SessionId,
    pub(crate) token: SessionToken,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) mfa_not_after: Option<DateTime<Utc>>,
}

async fn run_create(args: CreateSessionArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let mfa = args.mfa_verified_for.map(MfaTtl::get);
    let origin = operator(&args.actor);
    let created = async {
        let user = resolve_user(&store, &args.user).await?;
        create(&store, user, args.ttl.get(), mfa, origin, sources).await
    };
    let session = closing(&store, created).await?;

    let expires_at = output::time(session.expires_at);
    let mfa_not_after = session.mfa_not_after.map(output::time);
    let mfa = match &mfa_not_after {
        Some(time) => format!("MFA-verified until {time}"),
        None => "not MFA-verified (--mfa-verified-for)".to_owned(),
    };
    output::note(&format!(
        "created session {}: lives until {expires_at}, {mfa}; its token is shown this once",
        session.id
    ));
    let token = session.token.expose();
    output::data(
        Format::from_flag(args.output.json),
        token,
        &json!({
            "id": session.id.to_string(),
            "token": token,
            "expires_at": expires_at,
            "mfa_not_after": mfa_not_after,
        }),
    )
}

/// Starts a session that lives for `ttl`, and for `mfa` of it counts as MFA-verified.
pub(crate) async fn create(
    store: &Store,
    user_id: UserId,
    ttl: Duration,
    mfa: Option<Duration>,
    origin: AuditOrigin,
    sources: &Sources,
) -> Result<Created, CliError> {
    let now = sources.clock.now();
    // Whole seconds, as RFC 3339 is mostly read and written.
    let expires_at = (now + ttl).trunc_subsecs(0);
    let mfa_not_after = mfa.map(|mfa| (now + mfa).trunc_subsecs(0).min(expires_at));
    let id = SessionId::random(sources.random.as_ref())?;
    let token = SessionToken::generate(sources.random.as_ref())?;
    let new = NewSession {
        id,
        user_id,
        token_hash: token.hash(),
        created_at: now,
        expires_at,
        mfa_not_after,
    };
    match store.create_session(new, origin).await? {
        CreateSession::Created => Ok(Created {
            id,
            token,
            expires_at,
            mfa_not_after,
        }),
        CreateSession::NoSuchUser => Err(CliError::NoSuchUser(user_id)),
        CreateSession::UserDisabled => Err(CliError::UserDisabled(user_id)),
    }
}

async fn run_revoke(args: RevokeSessionArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let (id, origin) = (args.id, operator(&args.actor));
    let now = sources.clock.now();
    let revoked = closing(&store, async {
        Ok(store.revoke_session(id, now, origin).await?)
    });
    match revoked.await? {
        RevokeSession::Revoked => output::note(&format!("session {id} is revoked")),
        RevokeSession::AlreadyRevoked => {
            output::note(&format!("session {id} was revoked already"));
        }
        RevokeSession::NoSuchSession => return Err(CliError::NoSuchSession(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

async fn run_list(args: ListArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let now = sources.clock.now();
    let listed = closing(&store, async {
        let user = resolve_user(&store, &args.user).await?;
        let sessions = store.sessions(user, now, origin).await?;
        sessions.ok_or(CliError::NoSuchUser(user))
    });
    let entries = listed.await?;
    let rows = entries.iter().map(|entry| {
        let session = &entry.session;
        let state = match entry.revoked_at {
            Some(_) => "revoked",
            None if session.expires_at <= now => "expired",
            None if session.is_mfa_fresh(now) => "live, MFA-fresh",
            None => "live",
        };
        let [created_at, expires_at] = [entry.created_at, session.expires_at].map(output::time);
        let human = format!(
            "{:<19}  {created_at:<27}  {expires_at:<27}  {state}",
            session.id
        );
        let object = json!({
            "id": session.id.to_string(),
            "created_at": created_at,
            "expires_at": expires_at,
            "mfa_not_after": session.mfa_not_after.map(output::time),
            "revoked_at": entry.revoked_at.map(output::time),
        });
        (human, object)
    });
    let title = format!("{:<19}  {:<27}  {:<27}  STATE", "ID", "CREATED", "EXPIRES");
    output::list(Format::from_flag(args.output.json), &title, rows)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::cli::user;
    use crate::testing::{database, sources};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn by_test() -> AuditOrigin {
        AuditOrigin::operator("test")
    }

    async fn db_user(store: &Store, sources: &Sources) -> UserId {
        let (name, email) = ("Ada".parse().unwrap(), "ada@example.org".parse().unwrap());
        user::create(store, name, email, by_test(), sources)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn times_are_whole_seconds() {
        let (_directory, store) = database().await;
        let (sources, clock) = sources();
        let ada = db_user(&store, &sources).await;
        let start = sources.clock.now();
        clock.advance(TimeDelta::milliseconds(999));
        let made = create(&store, ada, HOUR, Some(HOUR / 2), by_test(), &sources)
            .await
            .unwrap();
        assert_eq!(made.expires_at, start + TimeDelta::hours(1));
        assert_eq!(made.mfa_not_after, Some(start + TimeDelta::minutes(30)));
    }

    #[tokio::test]
    async fn second_factor_does_not_outlive_the_session() {
        let (_directory, store) = database().await;
        let (sources, _) = sources();
        let ada = db_user(&store, &sources).await;
        let made = create(&store, ada, HOUR, Some(HOUR * 2), by_test(), &sources)
            .await
            .unwrap();
        assert_eq!(made.mfa_not_after, Some(made.expires_at));
    }

    #[tokio::test]
    async fn user_that_does_not_exist_or_is_disabled_gets_none() {
        let (_directory, store) = database().await;
        let (sources, _) = sources();
        let nobody = UserId::from_stored(1).unwrap();
        let error = create(&store, nobody, HOUR, None, by_test(), &sources)
            .await
            .unwrap_err();
        assert!(matches!(error, CliError::NoSuchUser(_)), "{error:?}");

        let ada = db_user(&store, &sources).await;
        let now = sources.clock.now();
        store.disable_user(ada, now, by_test()).await.unwrap();
        let error = create(&store, ada, HOUR, None, by_test(), &sources)
            .await
            .unwrap_err();
        assert!(matches!(error, CliError::UserDisabled(_)), "{error:?}");
    }
}
