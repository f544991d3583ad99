//! The tables as a copy carries them: rows, and a digest of all rows of a table.

use std::hash::{Hash, Hasher};

use diesel::prelude::*;
use ring::digest::{Context, SHA256};

use crate::schema::{audit, devices, keys, memberships, outbox, sessions, users};

/// How many rows are read and written at once: the widest table has 19 columns, and a statement of
/// PostgreSQL's takes 65,535 values.
pub(crate) const BATCH: i64 = 1_000;

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: &'static str,
    /// How many rows it has, on either side.
    pub rows: u64,
    /// The SHA-256 of them all in the order of their keys, the same on either side, in hexadecimal
    /// digits.
    pub digest: String,
}

/// What the reader tells the writer.
pub(crate) enum Message {
    /// How many rows there will be.
    Begin {
        rows: u64,
    },
    Rows(Rows),
    /// That was all, and this is what it was.
    End(Vec<CopiedTable>),
}

macro_rules! tables {
    ($($variant:ident $table:ident $row:ident { $($column:ident: $type:ty,)* })*) => {
        $(
            /// A row as it stands.
            #[derive(Debug, Hash, Queryable, Insertable)]
            #[diesel(table_name = $table)]
            pub(crate) struct $row {
                $(pub(crate) $column: $type,)*
            }
        )*

        /// A table. Those that others refer to come first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Table {
            $($variant,)*
        }

        impl Table {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($table),)*
                }
            }
        }

        /// Some rows of a table.
        pub(crate) enum Rows {
            $($variant(Vec<$row>),)*
        }

        impl Rows {
            pub(crate) fn len(&self) -> usize {
                match self {
                    $(Self::$variant(rows) => rows.len(),)*
                }
            }

            fn hash(&self, digest: &mut Digest) {
                match self {
                    $(Self::$variant(rows) => rows.iter().for_each(|row| row.hash(digest)),)*
                }
            }
        }
    };
}

tables! {
    Users users UserRow {
        id: i64,
        name: String,
        email: String,
        email_folded: String,
        created_at: i64,
        disabled_at: Option<i64>,
        mfa_failures: i64,
        mfa_locked_until: Option<i64>,
    }
    Memberships memberships MembershipRow {
        user_id: i64,
        org_id: i64,
        permissions: String,
    }
    Sessions sessions SessionRow {
        id: i64,
        user_id: i64,
        token_hash: Vec<u8>,
        created_at: i64,
        expires_at: i64,
        mfa_not_after: Option<i64>,
        revoked_at: Option<i64>,
    }
    Devices devices DeviceRow {
        id: i64,
        user_id: i64,
        name: String,
        device_type: String,
        seed_key_id: Option<String>,
        seed: Option<Vec<u8>>,
        last_step: Option<i64>,
        totp_locked_at: Option<i64>,
        confirmed_at: Option<i64>,
        last_used_at: Option<i64>,
        created_at: i64,
        updated_at: i64,
        removed_at: Option<i64>,
        code_key_id: Option<String>,
        code_mac_key: Option<Vec<u8>>,
        code_macs: Option<Vec<u8>>,
        code_used: i32,
        code_generation: i64,
        codes_locked_at: Option<i64>,
    }
    Audit audit AuditRow {
        id: i64,
        at: i64,
        event: String,
        outcome: String,
        reason: Option<String>,
        actor: Option<String>,
        user_id: Option<i64>,
        session_id: Option<i64>,
        device_id: Option<i64>,
        generation: Option<i64>,
        remaining: Option<i64>,
        remote_address: Option<String>,
        user_agent: Option<String>,
        request_id: Option<String>,
        attempts: i64,
    }
    Outbox outbox OutboxRow {
        id: i64,
        audit_id: i64,
        at: i64,
        kind: String,
        user_id: i64,
        device_id: Option<i64>,
        delivered_at: Option<i64>,
        attempts: i64,
        due_at: i64,
        failed_at: Option<i64>,
        last_error: Option<String>,
    }
    Keys keys KeyRow {
        id: String,
        check_value: Vec<u8>,
        first_used_at: i64,
        retired_at: Option<i64>,
    }
}

/// A SHA-256 over rows, whose fields `Hash` keeps apart. Both sides are computed by one process.
struct Digest(Context);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the whole digest is taken instead")
    }
}

/// Sums up a table as its rows go by, in the order of their keys.
pub(crate) struct Sum {
    table: Table,
    rows: u64,
    digest: Digest,
}

impl Sum {
    pub(crate) fn of(table: Table) -> Self {
        Self {
            table,
            rows: 0,
            digest: Digest(Context::new(&SHA256)),
        }
    }

    pub(crate) fn add(&mut self, rows: &Rows) {
        self.rows += rows.len() as u64;
        rows.hash(&mut self.digest);
    }

    pub(crate) fn end(self) -> CopiedTable {
        let digest = self.digest.0.finish();
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        CopiedTable {
            name: self.table.name(),
            rows: self.rows,
            digest: digits.collect(),
        }
    }
}
