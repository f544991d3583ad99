//! `arklow dev`: a server to try things on, which leaves nothing behind.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use arklow_domain::{DeviceId, ProvisioningUri, Seed, TotpStep, UserId};
use arklow_store::{DatabaseUrl, Store};
use serde_json::json;

use crate::app::App;
use crate::cli::args::{ActorArgs, LISTEN, OutputArgs, Switch, address};
use crate::cli::device::{self, Confirmation};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::cli::serve::ServeArgs;
use crate::cli::session;
use crate::cli::{open, user};
use crate::http::server::{self, Config};
use crate::keys::{self, Keys, Making};
use crate::policy::Policy;
use crate::signals::Hangup;
use crate::sources::Sources;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Print the current code of a device, as an authenticator app would.
    ///
    /// Example: `arklow dev code 'otpauth://totp/…'`
    Code(DevCodeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DevCodeArgs {
    /// The `otpauth://` URI of the device, which `arklow dev` prints.
    #[arg(value_name = "URI")]
    pub(crate) uri: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = LISTEN, value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Whether the documentation is served at /swagger/ui.
    #[arg(long, value_name = "ON_OR_OFF", default_value = "on")]
    pub(crate) docs: Switch,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long the demo session lives, MFA-verified all the time.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);

/// Serves a demo user until a signal, or prints a code.
pub(crate) async fn run(args: DevArgs, sources: Sources) -> Result<(), CliError> {
    if let Some(DevCommand::Code(args)) = &args.command {
        return print_code(args, &sources);
    }
    if !args.listen.ip().is_loopback() {
        return Err(CliError::NotLoopback {
            command: "dev",
            address: args.listen,
        });
    }
    let directory = tempfile::Builder::new()
        .prefix("arklow-dev-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(CliError::TemporaryDirectory)?;
    let file = directory.path().join("arklow.db");
    let url = DatabaseUrl::sqlite(&file).map_err(CliError::TemporaryPath)?;
    let defaults = ServeArgs::defaults();
    let opened = Store::open(&url, defaults.store_options()).await;
    let store = opened.map_err(|cause| CliError::Throwaway(cause.into()))?;
    let format = Format::from_flag(args.json);
    let config = Config {
        listen: args.listen,
        docs: args.docs.is_on(),
        hangup: Hangup::Stop,
        served: open::served(&url, &store),
        ..defaults.config()
    };
    match serve_demo(&store, &url, config, defaults.policy(), format, sources).await {
        // At its end, which has closed the store.
        Ok(()) => Ok(()),
        failed => open::closing(&store, async { failed }).await,
    }
}

async fn serve_demo(
    store: &Store,
    database: &DatabaseUrl,
    config: Config,
    policy: Policy,
    format: Format,
    sources: Sources,
) -> Result<(), CliError> {
    let path = keys::default_path(database)?;
    let opened = keys::open(store, &path, Making::OnDemand, &sources).await;
    let keyring = opened
        .map_err(|cause| CliError::Throwaway(cause.into()))?
        .keyring;
    let keys = Keys::new(keyring, path, Arc::clone(&sources.clock));
    let app = App::new(store.clone(), keys, sources.clone(), policy);
    let demo = Demo::create(&app, &sources).await;
    let demo = demo.map_err(|cause| CliError::Throwaway(cause.into()))?;
    let docs = config.docs;
    server::serve(app, config, |address| {
        warn(database);
        demo.print(format, address, docs, database)
    })
    .await
}

fn warn(database: &DatabaseUrl) {
    output::banner(&[
        "FOR DEVELOPMENT ONLY: a demo user, whose token is printed below",
        "Everything is gone when this ends. Never put real data into it.",
    ]);
    output::note(&format!(
        "The other commands work on it too: --database-url {database}"
    ));
}

/// Who can be tried out.
struct Demo {
    user_id: UserId,
    device_id: DeviceId,
    uri: ProvisioningUri,
    session: session::Created,
}

impl Demo {
    async fn create(app: &App, sources: &Sources) -> Result<Self, CliError> {
        let (name, email) = ("Demo", "demo@example.org");
        let name = name.parse().expect("this is a name");
        let email = email.parse().expect("this is an address");
        let origin = open::operator(&ActorArgs::default());
        let user_id = user::create(&app.store, name, email, origin.clone(), sources).await?;
        let phone = "Phone".parse().expect("this is a name");
        let (device_id, uri) = device::create(
            &app.store,
            &app.keys.current(),
            device::Totp {
                user_id,
                name: phone,
                confirmation: Confirmation::Confirmed,
                issuer: &app.policy.issuer,
            },
            origin.clone(),
            sources,
        )
        .await?;
        let mfa = Some(SESSION);
        let session = session::create(&app.store, user_id, SESSION, mfa, origin, sources).await?;
        Ok(Self {
            user_id,
            device_id,
            uri,
            session,
        })
    }

    fn print(
        &self,
        format: Format,
        address: SocketAddr,
        docs: bool,
        database: &DatabaseUrl,
    ) -> Result<(), CliError> {
        let Self {
            user_id,
            device_id,
            uri,
            session,
        } = self;
        let url = format!("http://{address}");
        let token = session.token.expose();
        let docs = docs.then(|| format!("{url}/swagger/ui"));
        let read = docs.as_ref().map(|docs| format!("docs:      {docs}\n"));
        let read = read.unwrap_or_default();
        let uri = uri.expose();
        let arklow = std::env::args().next();
        let arklow = arklow.as_deref().unwrap_or("arklow");
        let headers = format!("-H 'content-type: application/json' -H 'x-arklow-auth: {token}'");
        let human = format!(
            "token:     {token}\n\
             device id: {device_id}\n\
             app:       {uri}\n\
             {read}\
             \n\
             Ten new backup codes:\n\
             \n\
             curl -sS -X POST {url}/v1/self/mfa/regenerate/totp {headers} \
             -d '{{\"device_id\":\"{device_id}\"}}'\n\
             \n\
             The current code of the device, which an authenticator app shows as well; each works once:\n\
             \n\
             {arklow} dev code '{uri}'\n\
             \n\
             Verify with it:\n\
             \n\
             curl -sS -X POST {url}/v1/self/mfa/verify/totp {headers} \
             -d '{{\"device_id\":\"{device_id}\",\"code\":\"'$({arklow} dev code '{uri}')'\"}}'\n\
             \n\
             Next, see what is on record, and how to run it for others: docs/install.md.\n\
             \n\
             {arklow} audit list --database-url {database}\n"
        );
        let object = json!({
            "url": url,
            "docs": docs,
            "token": token,
            "user_id": user_id.to_string(),
            "device_id": device_id.to_string(),
            "provisioning_uri": uri,
            "database_url": database.to_string(),
            "session_id": session.id.to_string(),
            "mfa_not_after": session.mfa_not_after.map(output::time),
            "expires_at": output::time(session.expires_at),
        });
        output::data(format, &human, &object)
    }
}

/// `arklow dev code`: what an authenticator app shows.
fn print_code(args: &DevCodeArgs, sources: &Sources) -> Result<(), CliError> {
    let seed = Seed::from_provisioning_uri(&args.uri).ok_or(CliError::NotAUri)?;
    let code = seed.code_at(TotpStep::at(sources.clock.now())).expose();
    let format = Format::from_flag(args.output.json);
    output::data(format, &code, &json!({ "code": code }))
}
