//! Ten new backup codes, or what to tell the user instead.

use arklow_client::types::RegenerateTotpRequest;
use arklow_client::{Client, Error, ErrorCode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder(std::env::var("ARKLOW_URL")?)
        .token(std::env::var("ARKLOW_TOKEN")?)
        .build()?;
    let device_id = std::env::args().nth(1).ok_or("which device?")?;
    println!("{}", new_backup_codes(&client, device_id).await?);
    Ok(())
}

/// What to tell the user who wants new backup codes.
pub(crate) async fn new_backup_codes(client: &Client, device_id: String) -> Result<String, Error> {
    let request = RegenerateTotpRequest { device_id };
    let error = match client.post_v1_self_mfa_regenerate_totp(request).await {
        Ok(new) => return Ok(new.backup_codes.join("\n")),
        Err(error) => error,
    };
    match (error.code(), error.retry_after()) {
        (Some(ErrorCode::MfaRequired), _) => Ok("Verify a second factor first.".to_owned()),
        (Some(ErrorCode::DeviceNotFound), _) => Ok("You have no such device.".to_owned()),
        // The request was sent and its result is unknown. Ask the user before you replace codes that were never shown.
        _ if error.may_have_taken_effect() => {
            Ok("Your codes may no longer work: make new ones.".to_owned())
        }
        (_, Some(wait)) => Ok(format!("Try again in {} seconds.", wait.as_secs())),
        _ => Err(error),
    }
}
