//! From the words of the domain to those of the contract.

use std::error::Error;
use std::time::Duration;

use arklow_api::server::Fault;
use arklow_api::types::{
    ApiError, ErrorEnvelope, MfaDevice, MfaDeviceType, RegenerateTotpEnvelope, RegenerateTotpResult,
};
use arklow_domain::{BackupCodes, Device, DeviceState};
use chrono::{DateTime, Utc};

/// What `Retry-After` says: a busy database is usually free again by then.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A device with its new set of codes, in the envelope of a success.
pub(crate) fn regenerated(
    device: &Device,
    codes: &BackupCodes,
    session_mfa_not_after: DateTime<Utc>,
) -> RegenerateTotpEnvelope {
    RegenerateTotpEnvelope {
        data: Some(RegenerateTotpResult {
            device: mfa_device(device),
            backup_codes: codes.expose().to_vec(),
            session_mfa_not_after,
        }),
        errors: None,
    }
}

/// The answer to a request that never reached its operation.
pub(crate) fn envelope(fault: &Fault) -> ErrorEnvelope {
    let messages = match fault {
        // Only here is it known which header.
        Fault::Unauthenticated => {
            vec!["send a live session token in the `x-arklow-auth` header, once".to_owned()]
        }
        other => other.messages(),
    };
    let errors = messages.into_iter().map(|message| ApiError {
        code: fault.code().to_owned(),
        message,
    });
    ErrorEnvelope {
        data: (),
        errors: errors.collect(),
    }
}

/// The answer of an operation that was not carried out for one reason.
pub(crate) fn refusal(code: &str, reason: &dyn Error) -> ErrorEnvelope {
    ErrorEnvelope {
        data: (),
        errors: vec![ApiError {
            code: code.to_owned(),
            message: reason.to_string(),
        }],
    }
}

fn mfa_device(device: &Device) -> MfaDevice {
    MfaDevice {
        id: device.id.to_string(),
        user_id: device.user_id.to_string(),
        name: device.name.to_string(),
        device_type: MfaDeviceType::Totp,
        confirmed_at: device.state.confirmed_at(),
        last_used_at: device.last_used_at,
        updated_at: device.updated_at,
        deleted_at: match device.state {
            DeviceState::Pending | DeviceState::Confirmed { .. } => None,
            DeviceState::Removed { at, .. } => Some(at),
        },
    }
}

#[cfg(test)]
mod tests {
    use arklow_api::server::{Place, Violation};
    use arklow_domain::{DeviceId, UserId};
    use serde_json::json;

    use super::*;

    fn at(micros: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_800_000_000_000_000 + micros).unwrap()
    }

    fn device(state: DeviceState) -> Device {
        Device {
            id: DeviceId::from_stored(i64::MAX).unwrap(),
            user_id: UserId::from_stored(7).unwrap(),
            name: "Phone".parse().unwrap(),
            state,
            last_used_at: None,
            updated_at: at(125_000),
        }
    }

    #[test]
    fn ids_are_texts_and_absent_times_are_null() {
        let confirmed = device(DeviceState::Confirmed { at: at(0) });
        assert_eq!(
            serde_json::to_value(mfa_device(&confirmed)).unwrap(),
            json!({
                "id": "9223372036854775807",
                "user_id": "7",
                "name": "Phone",
                "device_type": "totp",
                "confirmed_at": "2027-01-15T08:00:00Z",
                "last_used_at": null,
                "updated_at": "2027-01-15T08:00:00.125Z",
                "deleted_at": null,
            })
        );
    }

    #[test]
    fn removed_device_keeps_the_time_of_its_confirmation() {
        let removed = DeviceState::Removed {
            confirmed_at: Some(at(0)),
            at: at(1),
        };
        let device = mfa_device(&device(removed));
        assert_eq!(
            (device.confirmed_at, device.deleted_at),
            (Some(at(0)), Some(at(1)))
        );
    }

    #[test]
    fn unauthenticated_callers_are_told_which_header_to_send() {
        assert_eq!(
            serde_json::to_value(envelope(&Fault::Unauthenticated)).unwrap(),
            json!({"data": null, "errors": [{
                "code": "UNAUTHENTICATED",
                "message": "send a live session token in the `x-arklow-auth` header, once",
            }]})
        );
    }

    #[test]
    fn every_violation_is_an_error_of_its_own() {
        let violation = |pointer: &str| Violation {
            place: Place::Body,
            pointer: pointer.to_owned(),
            message: "is missing".to_owned(),
        };
        let fault = Fault::InvalidRequest(vec![violation("/a"), violation("/b")]);
        let errors = envelope(&fault).errors;
        let messages: Vec<&str> = errors.iter().map(|error| &*error.message).collect();
        assert_eq!(messages, ["/a: is missing", "/b: is missing"]);
        assert!(errors.iter().all(|error| error.code == "INVALID_REQUEST"));
    }
}
