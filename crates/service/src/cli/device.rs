//! `arklow device`.

use arklow_domain::{DeviceId, DeviceName, DeviceState, Keyring, ProvisioningUri, Seed, UserId};
use arklow_store::{AuditOrigin, CreateDevice, NewDevice, RemoveDevice, ResetStep, Store};
use serde_json::json;

use super::open::{closing, existing_keys, open_existing, operator, resolve_user};
use crate::cli::args::{
    ActorArgs, DatabaseArgs, ISSUER, KeysArgs, ListArgs, OutputArgs, UserRef, issuer,
};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::sources::Sources;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Create a TOTP device; print its id and the otpauth URI for an authenticator app.
    ///
    /// Example: `arklow device create --user ada@example.com --name Phone`
    Create(CreateDeviceArgs),
    /// List all devices that a user ever had, newest first, removed ones too.
    ///
    /// Example: `arklow device list ada@example.com`
    List(ListArgs),
    /// Remove a device without a code of it; its seed and its backup codes are gone at once.
    ///
    /// Example: `arklow device remove 4242424242424242424`
    Remove(RemoveDeviceArgs),
    /// Make the TOTP codes of a device work again after the clock of a server was ahead.
    ///
    /// A code that is accepted makes all earlier ones unusable. With a clock that is ahead, those are
    /// also codes of the time to come. This sets the device back to the present: codes that the app
    /// has shown so far stay unusable, the next one works. Set the clock right first. Example: `arklow device reset-step --all`
    ResetStep(ResetStepArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResetStepArgs {
    #[command(flatten)]
    pub(crate) which: ResetStepTarget,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetStepTarget {
    /// Which device.
    #[arg(value_name = "ID")]
    pub(crate) id: Option<DeviceId>,
    /// All devices that are ahead of the clock.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveDeviceArgs {
    /// Which device.
    #[arg(value_name = "ID")]
    pub(crate) id: DeviceId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CreateDeviceArgs {
    /// Whose device.
    #[arg(long, value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
    /// What its owner calls it.
    #[arg(long)]
    pub(crate) name: DeviceName,
    /// Take it as confirmed, as if its owner had shown that it works.
    #[arg(long)]
    pub(crate) confirmed: bool,
    /// Under which name authenticator apps list the device; give what `serve` has.
    #[arg(long, env = "ARKLOW_ISSUER", default_value = ISSUER, value_parser = issuer)]
    pub(crate) issuer: String,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) async fn run(command: DeviceCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        DeviceCommand::Create(args) => run_create(args, sources).await,
        DeviceCommand::List(args) => run_list(args, sources).await,
        DeviceCommand::Remove(args) => run_remove(args, sources).await,
        DeviceCommand::ResetStep(args) => run_reset_step(args, sources).await,
    }
}

/// Whether the owner of a new device has shown that it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirmation {
    Confirmed,
    Pending,
}

async fn run_create(args: CreateDeviceArgs, sources: &Sources) -> Result<(), CliError> {
    let url = &args.database.database_url;
    let confirmation = match args.confirmed {
        true => Confirmation::Confirmed,
        false => Confirmation::Pending,
    };
    let store = open_existing(url).await?;
    let created = closing(&store, async {
        let keyring = existing_keys(&store, url, &args.keys, sources).await?;
        let device = Totp {
            user_id: resolve_user(&store, &args.user).await?,
            name: args.name,
            confirmation,
            issuer: &args.issuer,
        };
        create(&store, &keyring, device, operator(&args.actor), sources).await
    });
    let (id, uri) = created.await?;

    output::note(match confirmation {
        Confirmation::Confirmed => "created a confirmed device; its URI is shown this once",
        Confirmation::Pending => "created a device, not confirmed; its URI is shown this once",
    });
    let (id, uri) = (id.to_string(), uri.expose());
    output::data(
        Format::from_flag(args.output.json),
        &format!("{id}\n{uri}"),
        &json!({ "id": id, "provisioning_uri": uri }),
    )
}

/// A device to create, for a user.
pub(crate) struct Totp<'a> {
    pub(crate) user_id: UserId,
    pub(crate) name: DeviceName,
    pub(crate) confirmation: Confirmation,
    /// Who issues its codes, as authenticator apps show it.
    pub(crate) issuer: &'a str,
}

/// Makes a device with a new seed, and the URI that hands the seed to an authenticator app.
pub(crate) async fn create(
    store: &Store,
    keyring: &Keyring,
    device: Totp<'_>,
    origin: AuditOrigin,
    sources: &Sources,
) -> Result<(DeviceId, ProvisioningUri), CliError> {
    let user_id = device.user_id;
    let random = sources.random.as_ref();
    let user = store.user(user_id).await?;
    let user = user.ok_or(CliError::NoSuchUser(user_id))?;
    let now = sources.clock.now();
    let id = DeviceId::random(random)?;
    let seed = Seed::random(random)?;
    let new = NewDevice {
        id,
        user_id,
        name: device.name,
        seed: seed.seal(keyring, user_id, id, random)?,
        confirmed_at: match device.confirmation {
            Confirmation::Confirmed => Some(now),
            Confirmation::Pending => None,
        },
        now,
    };
    match store.create_device(new, origin).await? {
        CreateDevice::Created => Ok((
            id,
            seed.provisioning_uri(device.issuer, user.email.as_str()),
        )),
        CreateDevice::NoSuchUser => Err(CliError::NoSuchUser(user_id)),
        CreateDevice::UserDisabled => Err(CliError::UserDisabled(user_id)),
    }
}

async fn run_list(args: ListArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let listed = closing(&store, async {
        let user = resolve_user(&store, &args.user).await?;
        let devices = store.all_devices(user, sources.clock.now(), origin).await?;
        devices.ok_or(CliError::NoSuchUser(user))
    });
    let devices = listed.await?;
    let rows = devices.iter().map(|device| {
        let (state, removed_at) = match device.state {
            DeviceState::Pending => ("pending", None),
            DeviceState::Confirmed { .. } => ("confirmed", None),
            DeviceState::Removed { at, .. } => ("removed", Some(at)),
        };
        let used = device.last_used_at.map(output::time);
        let human = format!(
            "{:<19}  {state:<9}  {:<27}  {}",
            device.id,
            used.as_deref().unwrap_or("never used"),
            device.name.reveal()
        );
        let object = json!({
            "id": device.id.to_string(),
            "name": device.name.to_string(),
            "state": state,
            "confirmed_at": device.state.confirmed_at().map(output::time),
            "last_used_at": used,
            "updated_at": output::time(device.updated_at),
            "removed_at": removed_at.map(output::time),
        });
        (human, object)
    });
    let title = format!("{:<19}  {:<9}  {:<27}  NAME", "ID", "STATE", "LAST USED");
    output::list(Format::from_flag(args.output.json), &title, rows)
}

async fn run_remove(args: RemoveDeviceArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let (id, origin) = (args.id, operator(&args.actor));
    let removed = closing(&store, async {
        Ok(store.remove_device(id, sources.clock.now(), origin).await?)
    });
    match removed.await? {
        RemoveDevice::Removed {
            device,
            two_factor_enabled,
        } => {
            let left = match two_factor_enabled {
                true => "has another confirmed device",
                false => "has no confirmed device now, and no MFA-fresh session",
            };
            let owner = device.user_id;
            output::note(&format!("device {id} is removed; its owner {owner} {left}"));
        }
        RemoveDevice::AlreadyRemoved => output::note(&format!("device {id} was removed already")),
        RemoveDevice::NoSuchDevice => return Err(CliError::NoSuchDevice(id)),
    }
    output::id(Format::from_flag(args.output.json), &id)
}

/// How many devices are set back in one transaction.
const BATCH: u32 = 1_000;

async fn run_reset_step(args: ResetStepArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let origin = operator(&args.actor);
    let format = Format::from_flag(args.output.json);
    let Some(id) = args.which.id else {
        let count = closing(&store, async {
            let mut count = 0;
            loop {
                let (now, origin) = (sources.clock.now(), origin.clone());
                match store.reset_steps(BATCH, now, origin).await? {
                    0 => return Ok(count),
                    more => count += more,
                }
            }
        });
        let count = count.await?;
        output::note(&format!("TOTP steps set back: {count}"));
        return output::data(format, &count.to_string(), &json!({ "devices": count }));
    };
    let reset = closing(&store, async {
        Ok(store.reset_step(id, sources.clock.now(), origin).await?)
    });
    match reset.await? {
        ResetStep::Reset => output::note(&format!(
            "the next TOTP code of device {id} works, within a minute"
        )),
        ResetStep::NotAhead => {
            output::note(&format!("device {id} is not ahead of the clock"));
        }
        ResetStep::NoSuchDevice => return Err(CliError::NoSuchDevice(id)),
    }
    output::id(format, &id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ISSUER;
    use crate::cli::user;
    use crate::testing::{database, sources};

    fn pending(user_id: UserId) -> Totp<'static> {
        Totp {
            user_id,
            name: "Phone".parse().unwrap(),
            confirmation: Confirmation::Pending,
            issuer: ISSUER,
        }
    }

    #[tokio::test]
    async fn uri_names_the_issuer_and_the_address_of_the_owner() {
        let (_directory, store) = database().await;
        let (sources, _) = sources();
        let keyring = Keyring::generate(sources.random.as_ref()).unwrap();
        let (name, email) = ("Ada".parse().unwrap(), "ada@example.org".parse().unwrap());
        let origin = AuditOrigin::operator("test");
        let ada = user::create(&store, name, email, origin.clone(), &sources)
            .await
            .unwrap();

        let created = create(&store, &keyring, pending(ada), origin, &sources).await;
        let (_, uri) = created.unwrap();
        let start = "otpauth://totp/Arklow:ada%40example.org?secret=";
        assert!(uri.expose().starts_with(start));
    }

    #[tokio::test]
    async fn user_that_does_not_exist_gets_none() {
        let (_directory, store) = database().await;
        let (sources, _) = sources();
        let keyring = Keyring::generate(sources.random.as_ref()).unwrap();
        let nobody = UserId::from_stored(1).unwrap();
        let origin = AuditOrigin::operator("test");
        let error = create(&store, &keyring, pending(nobody), origin, &sources).await;
        assert!(matches!(error, Err(CliError::NoSuchUser(_))), "{error:?}");
    }
}
