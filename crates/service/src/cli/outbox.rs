//! `arklow outbox`: the messages to users.

use arklow_domain::MessageId;
use arklow_store::{MessageEntry, MessageFilter, MessageState};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::open::{closing, open_existing, operator, resolve_user};
use crate::cli::args::{ActorArgs, DatabaseArgs, ListOutputArgs, OutputArgs, Since, UserRef};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format, count};
use crate::sources::Sources;

/// How many messages are read at once: a list may be longer than memory.
const PAGE: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// List messages, the oldest first.
    ///
    /// Example: `arklow outbox list --state dead`
    List(ListOutboxArgs),
    /// Deliver dead letters after all: they wait again, and running servers attempt them.
    ///
    /// Example: `arklow outbox retry 17 18`
    Retry(RetryArgs),
    /// Give up messages that wait since before a time: they become dead letters.
    ///
    /// Before the first server delivers the messages of a database that has collected old ones. Example:
    /// `arklow outbox discard --before 24h`
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListOutboxArgs {
    /// Only those in this state.
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// Only those for this user.
    #[arg(long, value_name = "ID_OR_EMAIL")]
    pub(crate) user: Option<UserRef>,
    /// So many at most.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Which dead letters.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<MessageId>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    /// The time: RFC 3339, such as 2026-11-25T08:00:00Z, or how long ago, such as 24h.
    #[arg(long, value_name = "TIME")]
    pub(crate) before: Since,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    Waiting,
    Delivered,
    Dead,
}

impl From<State> for MessageState {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Delivered => Self::Delivered,
            State::Dead => Self::Dead,
        }
    }
}

pub(crate) async fn run(command: OutboxCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        OutboxCommand::List(args) => run_list(args).await,
        OutboxCommand::Retry(args) => run_retry(args, sources).await,
        OutboxCommand::Discard(args) => run_discard(args, sources).await,
    }
}

async fn run_list(args: ListOutboxArgs) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let format = Format::from_flag(args.output.json);
    let listing = async {
        let user_id = match &args.user {
            Some(user) => Some(resolve_user(&store, user).await?),
            None => None,
        };
        let mut filter = MessageFilter {
            state: args.state.map(MessageState::from),
            user_id,
            ..MessageFilter::default()
        };
        let mut left = args.limit.unwrap_or(u32::MAX);
        while left > 0 {
            let page = left.min(PAGE);
            filter.limit = Some(page);
            let messages = store.messages(filter.clone()).await?;
            for message in &messages {
                output::data(format, &line(message), &object(message))?;
            }
            match messages.last() {
                Some(last) if messages.len() == page as usize => filter.after = Some(last.id),
                _ => break,
            }
            left -= page;
        }
        Ok(())
    };
    closing(&store, listing).await
}

fn state(state: MessageState) -> &'static str {
    match state {
        MessageState::Waiting => "waiting",
        MessageState::Delivered => "delivered",
        MessageState::Dead => "dead",
    }
}

fn line(message: &MessageEntry) -> String {
    let MessageEntry {
        id,
        at,
        event,
        user_id,
        attempts,
        ..
    } = message;
    let mut line = format!(
        "{id} {} {} {} user_id={user_id} attempts={attempts}",
        output::time(*at),
        event.as_str(),
        state(message.state)
    );
    if let Some(at) = message.state_at {
        line += match message.state {
            MessageState::Waiting => " next=",
            MessageState::Delivered | MessageState::Dead => " since=",
        };
        line += &output::time(at);
    }
    if let Some(error) = &message.last_error {
        line += &format!(" last_error={error:?}");
    }
    line
}

fn object(message: &MessageEntry) -> Value {
    json!({
        "id": message.id.to_string(),
        "at": output::time(message.at),
        "event": message.event.as_str(),
        "user_id": message.user_id.to_string(),
        "device_id": message.device_id.map(|id| id.to_string()),
        "state": state(message.state),
        "state_at": message.state_at.map(output::time),
        "attempts": message.attempts,
        "last_error": message.last_error,
    })
}

async fn run_retry(args: RetryArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let retrying = async {
        let ids = (!args.all).then(|| args.ids.clone());
        let (now, origin) = (sources.clock.now(), operator(&args.actor));
        Ok(store.retry_messages(ids, now, origin).await?)
    };
    let retried = closing(&store, retrying).await?;
    if !args.all && retried < args.ids.len() {
        let others = args.ids.len() - retried;
        let which = count(others as u64, "id is not that", "ids are not those");
        output::warning(&format!("{which} of a dead letter"));
    }
    changed(retried, "waiting", &args.output)
}

async fn run_discard(args: DiscardArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let now = sources.clock.now();
    let discarding = async {
        let (before, origin) = (args.before.time(now), operator(&args.actor));
        Ok(store.discard_messages(before, now, origin).await?)
    };
    let discarded = closing(&store, discarding).await?;
    changed(discarded, "dead", &args.output)
}

fn changed(messages: usize, state: &str, output: &OutputArgs) -> Result<(), CliError> {
    output::data(
        Format::from_flag(output.json),
        &format!(
            "{} now {state}",
            count(messages as u64, "message is", "messages are")
        ),
        &json!({ "messages": messages, "state": state }),
    )
}
