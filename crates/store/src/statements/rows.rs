//! Rows that the statements of several files read.

use arklow_domain::{
    CODES_PER_SET, CodeMac, CodeSet, Device, DeviceId, DeviceName, DeviceState, SealedMacKey,
    UserId,
};
use diesel::prelude::*;

use super::{Conn, Db};
use crate::error::QueryError;
use crate::instant;
use crate::schema::{devices, users};

/// Whether the user is disabled; `None` if there is none.
pub(crate) fn is_disabled(conn: &mut Conn, user: UserId) -> Result<Option<bool>, QueryError> {
    let disabled = users::table
        .find(user.get())
        .select(users::disabled_at.is_not_null());
    Ok(disabled.first(conn).optional()?)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Db))]
pub(crate) struct DeviceRow {
    pub(crate) id: i64,
    user_id: i64,
    name: String,
    confirmed_at: Option<i64>,
    last_used_at: Option<i64>,
    updated_at: i64,
    removed_at: Option<i64>,
}

impl DeviceRow {
    /// Whether its owner has shown that it works.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed_at.is_some()
    }

    pub(crate) fn into_device(self) -> Result<Device, QueryError> {
        let wrong = |column| QueryError::Inconsistent {
            table: "devices",
            column,
        };
        let confirmed_at = instant::load_optional(self.confirmed_at, "devices", "confirmed_at")?;
        let removed_at = instant::load_optional(self.removed_at, "devices", "removed_at")?;
        Ok(Device {
            id: DeviceId::from_stored(self.id).ok_or(wrong("id"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            name: DeviceName::from_stored(&self.name).ok_or(wrong("name"))?,
            state: match (confirmed_at, removed_at) {
                (confirmed_at, Some(at)) => DeviceState::Removed { confirmed_at, at },
                (Some(at), None) => DeviceState::Confirmed { at },
                (None, None) => DeviceState::Pending,
            },
            last_used_at: instant::load_optional(self.last_used_at, "devices", "last_used_at")?,
            updated_at: instant::load(self.updated_at, "devices", "updated_at")?,
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Db))]
pub(crate) struct CodeSetRow {
    pub(crate) code_key_id: Option<String>,
    code_mac_key: Option<Vec<u8>>,
    code_macs: Option<Vec<u8>>,
    code_used: i32,
    pub(crate) code_generation: i64,
}

impl CodeSetRow {
    pub(crate) fn into_code_set(self) -> Result<Option<CodeSet>, QueryError> {
        let wrong = |column| QueryError::Inconsistent {
            table: "devices",
            column,
        };
        let (key_id, macs) = match (self.code_key_id, self.code_macs, self.code_generation) {
            (None, None, 0) => return Ok(None),
            (Some(key_id), Some(macs), 1..) => (key_id, macs),
            _ => return Err(wrong("code_generation")),
        };
        let used = u16::try_from(self.code_used).map_err(|_| wrong("code_used"))?;
        if used & !CodeSet::ALL_USED != 0 {
            return Err(wrong("code_used"));
        }
        let mac_key = self.code_mac_key.map(|bytes| {
            let bytes = bytes.try_into().map_err(|_| wrong("code_mac_key"))?;
            Ok::<_, QueryError>(SealedMacKey::from_stored(bytes))
        });
        Ok(Some(CodeSet {
            mac_key: mac_key.transpose()?,
            key_id: key_id.parse().map_err(|_| wrong("code_key_id"))?,
            generation: self.code_generation,
            macs: split_macs(&macs).ok_or(wrong("code_macs"))?,
            used,
        }))
    }
}

/// Ten MACs that stand one behind the other.
fn split_macs(bytes: &[u8]) -> Option<[CodeMac; CODES_PER_SET]> {
    let (macs, rest) = bytes.as_chunks::<{ CodeMac::LEN }>();
    if !rest.is_empty() {
        return None;
    }
    let macs: Vec<CodeMac> = macs.iter().copied().map(CodeMac::from_stored).collect();
    macs.try_into().ok()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn row(confirmed_at: Option<i64>, removed_at: Option<i64>) -> DeviceRow {
        DeviceRow {
            id: 1,
            user_id: 1,
            name: "phone".to_owned(),
            confirmed_at,
            last_used_at: None,
            updated_at: 0,
            removed_at,
        }
    }

    #[test]
    fn device_stands_where_its_times_say() {
        let at = DateTime::UNIX_EPOCH;
        for (confirmed_at, removed_at, expected) in [
            (None, None, DeviceState::Pending),
            (Some(0), None, DeviceState::Confirmed { at }),
            (
                None,
                Some(0),
                DeviceState::Removed {
                    confirmed_at: None,
                    at,
                },
            ),
            (
                Some(0),
                Some(0),
                DeviceState::Removed {
                    confirmed_at: Some(at),
                    at,
                },
            ),
        ] {
            let device = row(confirmed_at, removed_at).into_device();
            assert_eq!(device.map(|device| device.state).ok(), Some(expected));
        }
    }
}
