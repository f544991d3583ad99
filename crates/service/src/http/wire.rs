//! From domain types to the types of the contract.

use std::error::Error;
use std::time::Duration;

use arklow_api::server::{In, RequestError, Violation};
use arklow_api::types::{
    ApiError, BackupCodeVerification, ConfirmEnrollmentEnvelope, DeviceRemoval, Enrollment,
    EnrollmentConfirmation, EnrollmentEnvelope, ErrorCode, ErrorEnvelope, Membership, MfaDevice,
    MfaDeviceList, MfaDeviceListEnvelope, MfaDeviceType, RegenerateTotpEnvelope,
    RegenerateTotpResult, RemoveDeviceEnvelope, SelfEnvelope, SelfUser, TotpVerification,
    VerificationType, VerifyBackupCodeEnvelope, VerifyTotpEnvelope,
};
use arklow_domain::{BackupCodes, Device, DeviceState, ProvisioningUri, User};
use arklow_store::{Attempt, DevicePage};
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

/// A user with what they may do in which organization.
pub(crate) fn self_user(user: &User, memberships: Vec<arklow_store::Membership>) -> SelfEnvelope {
    let memberships = memberships.into_iter().map(|membership| Membership {
        org_id: membership.org_id.to_string(),
        permissions: membership.permissions,
    });
    SelfEnvelope {
        data: Some(SelfUser {
            id: user.id.to_string(),
            name: user.name.to_string(),
            email: user.email.to_string(),
            memberships: memberships.collect(),
            deleted_at: user.disabled_at,
        }),
        errors: None,
    }
}

/// A page of devices.
pub(crate) fn device_list(page: &DevicePage) -> MfaDeviceListEnvelope {
    MfaDeviceListEnvelope {
        data: Some(MfaDeviceList {
            items: page.devices.iter().map(mfa_device).collect(),
            count: integer(page.count),
        }),
        errors: None,
    }
}

/// A pending device with its secrets.
pub(crate) fn enrollment(
    device: &Device,
    uri: &ProvisioningUri,
    qr_code: &str,
    codes: &BackupCodes,
) -> EnrollmentEnvelope {
    EnrollmentEnvelope {
        data: Some(Enrollment {
            device: mfa_device(device),
            provisioning_uri: uri.expose().to_owned(),
            qr_code: qr_code.to_owned(),
            backup_codes: codes.expose().to_vec(),
        }),
        errors: None,
    }
}

/// What came of a code for a pending device.
pub(crate) fn confirmation(attempt: &Attempt) -> ConfirmEnrollmentEnvelope {
    ConfirmEnrollmentEnvelope {
        data: Some(EnrollmentConfirmation {
            device: mfa_device(attempt.device()),
            session_mfa_not_after: attempt.session_mfa_not_after(),
        }),
        errors: None,
    }
}

/// What came of a TOTP code.
pub(crate) fn totp_verification(device_id: String, attempt: &Attempt) -> VerifyTotpEnvelope {
    VerifyTotpEnvelope {
        data: Some(TotpVerification {
            valid: attempt.is_accepted(),
            device_id,
            verification_type: VerificationType::Totp,
            session_mfa_not_after: attempt.session_mfa_not_after(),
        }),
        errors: None,
    }
}

/// What came of a backup code.
pub(crate) fn backup_code_verification(
    device_id: String,
    attempt: &Attempt,
) -> VerifyBackupCodeEnvelope {
    let remaining = match attempt {
        Attempt::Accepted(accepted) => accepted.backup_codes_remaining,
        Attempt::Rejected { .. } => None,
    };
    VerifyBackupCodeEnvelope {
        data: Some(BackupCodeVerification {
            valid: attempt.is_accepted(),
            device_id,
            verification_type: VerificationType::BackupCode,
            session_mfa_not_after: attempt.session_mfa_not_after(),
            backup_codes_remaining: remaining.map(integer),
        }),
        errors: None,
    }
}

/// What came of a code for a device that is to be removed.
pub(crate) fn removal(attempt: &Attempt) -> RemoveDeviceEnvelope {
    RemoveDeviceEnvelope {
        data: Some(DeviceRemoval {
            removed: attempt.is_accepted(),
            device: mfa_device(attempt.device()),
            two_factor_enabled: match attempt {
                Attempt::Accepted(accepted) => accepted.two_factor_enabled,
                // The device itself, which only a confirmed one could be.
                Attempt::Rejected { .. } => true,
            },
        }),
        errors: None,
    }
}

/// The answer to a request that never reached its operation.
pub(crate) fn envelope(fault: &RequestError) -> ErrorEnvelope {
    if let RequestError::InvalidRequest(violations) = fault
        && !violations.is_empty()
    {
        let errors = violations.iter().map(|violation| ApiError {
            code: code_of(violation).to_owned(),
            message: violation.to_string(),
        });
        return ErrorEnvelope {
            data: (),
            errors: errors.collect(),
        };
    }
    let messages = match fault {
        // Only here is it known which header.
        RequestError::Unauthenticated => {
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
pub(crate) fn operation_error(code: ErrorCode, reason: &dyn Error) -> ErrorEnvelope {
    ErrorEnvelope {
        data: (),
        errors: vec![ApiError {
            code: code.to_string(),
            message: reason.to_string(),
        }],
    }
}

/// A code below the schema's minimum length is malformed, too.
fn code_of(violation: &Violation) -> &'static str {
    match (violation.place, &*violation.pointer, &*violation.rule) {
        (In::Body, "/code", "minLength") => "MALFORMED_CODE",
        _ => RequestError::InvalidRequest(Vec::new()).code(),
    }
}

/// A count; none comes near the end of the numbers.
fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
    use arklow_api::server::{In, Violation};
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
            serde_json::to_value(envelope(&RequestError::Unauthenticated)).unwrap(),
            json!({"data": null, "errors": [{
                "code": "UNAUTHENTICATED",
                "message": "send a live session token in the `x-arklow-auth` header, once",
            }]})
        );
    }

    #[test]
    fn every_violation_is_an_error_of_its_own() {
        let violation = |pointer: &str| Violation {
            place: In::Body,
            pointer: pointer.to_owned(),
            message: "is missing".to_owned(),
            rule: "required".to_owned(),
        };
        let fault = RequestError::InvalidRequest(vec![violation("/a"), violation("/b")]);
        let errors = envelope(&fault).errors;
        let messages: Vec<&str> = errors.iter().map(|error| &*error.message).collect();
        assert_eq!(messages, ["/a: is missing", "/b: is missing"]);
        assert!(errors.iter().all(|error| error.code == "INVALID_REQUEST"));
    }
}
