//! `arklow user`.

use std::fmt::Write as _;

use arklow_domain::{DeviceState, Email, User, UserId, UserName};
use arklow_store::{
    AuditOrigin, CreateUser, DeviceOverview, DisableUser, EnableUser, NewUser, SessionEntry, Store,
    UnlockUser, UserFilter, UserOverview,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::audit;
use super::open::{closing, open_existing, operator, resolve_user};
use crate::cli::args::{ActorArgs, DatabaseArgs, ListOutputArgs, OutputArgs, UserRef};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::sources::Sources;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user and print the id.
    ///
    /// Example: `arklow user create --name Ada --email ada@example.com`
    Create(CreateUserArgs),
    /// List users in the order of their ids.
    ///
    /// Example: `arklow user list --search @example.com`
    List(ListUsersArgs),
    /// Show all about a user: locks, failures, devices, sessions and the last records of the audit.
    ///
    /// Example: `arklow user show ada@example.com`
    Show(ShowUserArgs),
    /// Disable a user: from now on none of their sessions is live, on running servers too.
    ///
    /// Example: `arklow user disable ada@example.com --actor "ticket 12"`
    Disable(DisableUserArgs),
    /// Enable a disabled user. Sessions from before stay over.
    ///
    /// Example: `arklow user enable ada@example.com`
    Enable(EnableUserArgs),
    /// Unlock a user's second factors, and forget the failures that locked them.
    ///
    /// Example: `arklow user unlock ada@example.com`
    Unlock(UnlockUserArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListUsersArgs {
    /// Only users whose e-mail address contains this text, in any case.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only users who are disabled.
    #[arg(long)]
    pub(crate) disabled: bool,
    /// How many users are listed, at most.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(crate) limit: u32,
    /// Only users after this one: the last id of the page before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<UserId>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowUserArgs {
    /// Which user.
    #[arg(value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    /// How many devices, live sessions and records of the audit are shown, at most.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EnableUserArgs {
    /// Which user.
    #[arg(value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockUserArgs {
    /// Which user.
    #[arg(value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateUserArgs {
    /// What the user is called.
    #[arg(long)]
    pub(crate) name: UserName,
    /// The user's e-mail address; no two users share one.
    #[arg(long)]
    pub(crate) email: Email,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DisableUserArgs {
    /// Which user.
    #[arg(value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) async fn run(command: UserCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        UserCommand::Create(args) => run_create(args, sources).await,
        UserCommand::List(args) => run_list(args, sources).await,
        UserCommand::Show(args) => run_show(args, sources).await,
        UserCommand::Disable(args) => run_disable(args, sources).await,
        UserCommand::Enable(args) => run_enable(args, sources).await,
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
    let origin = operator(&args.actor);
    let disabled = closing(&store, async {
        let id = resolve_user(&store, &args.user).await?;
        let disabled = store.disable_user(id, sources.clock.now(), origin).await?;
        Ok((id, disabled))
    });
    let (id, disabled) = disabled.await?;
    match disabled {
        DisableUser::Disabled => {
            output::note(&format!(
                "user {id} is disabled, all their sessions are dead; `arklow user enable` undoes it"
            ));
        }
        DisableUser::AlreadyDisabled => {
            output::note(&format!("user {id} was disabled already"));
        }
        DisableUser::NoSuchUser => return Err(CliError::NoSuchUser(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

async fn run_enable(args: EnableUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let enabled = closing(&store, async {
        let id = resolve_user(&store, &args.user).await?;
        let enabled = store.enable_user(id, sources.clock.now(), origin).await?;
        Ok((id, enabled))
    });
    let (id, enabled) = enabled.await?;
    match enabled {
        EnableUser::Enabled => output::note(&format!(
            "user {id} is enabled; sessions from before stay over"
        )),
        EnableUser::AlreadyEnabled => output::note(&format!("user {id} was not disabled")),
        EnableUser::NoSuchUser => return Err(CliError::NoSuchUser(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

async fn run_list(args: ListUsersArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let filter = UserFilter {
        after: args.after,
        search: args.search,
        disabled_since: args.disabled.then_some(DateTime::UNIX_EPOCH),
        // One more row shows whether more follow.
        limit: args.limit + 1,
    };
    let mut users = closing(&store, async {
        Ok(store.users(filter, sources.clock.now(), origin).await?)
    })
    .await?;
    let more = users.len() > args.limit as usize;
    users.truncate(args.limit as usize);
    print_users(Format::from_flag(args.output.json), &users)?;
    if let Some(last) = users.last().filter(|_| more) {
        output::note(&format!("more users follow: --after {}", last.id));
    }
    Ok(())
}

/// Prints users as a table, or an object for each.
pub(super) fn print_users(format: Format, users: &[User]) -> Result<(), CliError> {
    let rows = users.iter().map(|user| {
        let state = match user.disabled_at {
            Some(_) => "disabled",
            None => "enabled",
        };
        let human = format!(
            "{:<19}  {state:<8}  {:<27}  {}  {}",
            user.id,
            output::time(user.created_at),
            user.email.as_str(),
            user.name
        );
        (human, user_object(user))
    });
    let title = format!(
        "{:<19}  {:<8}  {:<27}  E-MAIL  NAME",
        "ID", "STATE", "CREATED"
    );
    output::list(format, &title, rows)
}

pub(super) fn user_object(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "name": user.name.to_string(),
        "email": user.email.as_str(),
        "created_at": output::time(user.created_at),
        "disabled_at": user.disabled_at.map(output::time),
    })
}

async fn run_show(args: ShowUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let (origin, now) = (operator(&args.actor), sources.clock.now());
    let shown = closing(&store, async {
        let id = resolve_user(&store, &args.user).await?;
        let shown = store.user_overview(id, args.limit, now, origin).await?;
        shown.ok_or(CliError::NoSuchUser(id))
    })
    .await?;
    let locked_until = shown.locked_until.filter(|until| *until > now);
    let mut object = user_object(&shown.user);
    object["failures"] = json!(shown.failures);
    object["locked_until"] = json!(locked_until.map(output::time));
    object["devices"] = shown.devices.iter().map(device_object).collect();
    object["device_count"] = json!(shown.device_count);
    object["sessions"] = shown.sessions.iter().map(session_object).collect();
    object["session_count"] = json!(shown.session_count);
    object["audit"] = shown.records.iter().map(audit::object).collect();
    let human = overview(&shown, locked_until, now);
    output::data(
        Format::from_flag(args.output.json),
        human.trim_end(),
        &object,
    )
}

fn device_object(shown: &DeviceOverview) -> Value {
    json!({
        "id": shown.device.id.to_string(),
        "name": shown.device.name.to_string(),
        "state": state(shown),
        "confirmed_at": shown.device.state.confirmed_at().map(output::time),
        "last_used_at": shown.device.last_used_at.map(output::time),
        "totp_locked_at": shown.totp_locked_at.map(output::time),
        "codes_locked_at": shown.codes_locked_at.map(output::time),
        "backup_codes_left": shown.backup_codes_left,
    })
}

fn state(shown: &DeviceOverview) -> &'static str {
    match shown.device.state {
        DeviceState::Pending => "pending",
        DeviceState::Confirmed { .. } => "confirmed",
        DeviceState::Removed { .. } => "removed",
    }
}

fn session_object(entry: &SessionEntry) -> Value {
    json!({
        "id": entry.session.id.to_string(),
        "created_at": output::time(entry.created_at),
        "expires_at": output::time(entry.session.expires_at),
        "mfa_not_after": entry.session.mfa_not_after.map(output::time),
    })
}

/// All about a user, for people.
fn overview(shown: &UserOverview, locked: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let user = &shown.user;
    let since = |at: Option<DateTime<Utc>>| match at {
        Some(at) => format!("since {}", output::time(at)),
        None => "no".to_owned(),
    };
    let until = match locked {
        Some(until) => format!("until {}", output::time(until)),
        None => "no".to_owned(),
    };
    let mut text = format!(
        "id:        {}\nname:      {}\ne-mail:    {}\ncreated:   {}\ndisabled:  {}\n\
         locked:    {until}\nfailures:  {} in a row\n",
        user.id,
        user.name,
        user.email.as_str(),
        output::time(user.created_at),
        since(user.disabled_at),
        shown.failures,
    );
    let mut section = |name: &str, count: u64, lines: Vec<String>| {
        let left = count - lines.len() as u64;
        let more = match left {
            0 => String::new(),
            left => format!(", {left} more are not shown (--limit)"),
        };
        writeln!(text, "\n{name}: {count}{more}").expect("writing to a string does not fail");
        for line in lines {
            writeln!(text, "  {line}").expect("writing to a string does not fail");
        }
    };
    let devices = shown.devices.iter().map(|shown| {
        let device = &shown.device;
        let used = match device.last_used_at {
            Some(at) => format!("last used {}", output::time(at)),
            None => "never used".to_owned(),
        };
        let codes = match shown.backup_codes_left {
            Some(left) => output::count(left, "backup code", "backup codes"),
            None => "no backup codes".to_owned(),
        };
        let locks = [
            (shown.totp_locked_at, "TOTP"),
            (shown.codes_locked_at, "backup codes"),
        ];
        let locks: String = locks
            .iter()
            .filter_map(|(at, what)| at.map(|at| format!(", {what} locked {}", since(Some(at)))))
            .collect();
        let (id, name, state) = (device.id, &device.name, state(shown));
        format!("{id:<19}  {state:<9}  {used}, {codes}{locks}  {name}")
    });
    section("devices", shown.device_count, devices.collect());
    let sessions = shown.sessions.iter().map(|entry| {
        let session = &entry.session;
        let [created, expires] = [entry.created_at, session.expires_at].map(output::time);
        let fresh = match session.is_mfa_fresh(now) {
            true => ", MFA-fresh",
            false => "",
        };
        format!("{:<19}  from {created} until {expires}{fresh}", session.id)
    });
    section("live sessions", shown.session_count, sessions.collect());
    let records: Vec<String> = shown.records.iter().map(audit::line).collect();
    section("last records of the audit", records.len() as u64, records);
    text
}

async fn run_unlock(args: UnlockUserArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let unlocked = closing(&store, async {
        let id = resolve_user(&store, &args.user).await?;
        let unlocked = store.unlock_user(id, sources.clock.now(), origin).await?;
        Ok((id, unlocked))
    });
    let (id, unlocked) = unlocked.await?;
    match unlocked {
        UnlockUser::Unlocked {
            was_locked,
            failures,
        } => {
            let was = if was_locked { "was" } else { "was not" };
            output::note(&format!(
                "user {id} {was} locked; {} in a row forgotten",
                output::count(failures.unsigned_abs(), "failure", "failures")
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
