//! A database in a temporary directory, and test data for it.

use std::sync::Arc;

use arklow_domain::{
    BackupCode, BackupCodes, DeviceId, Keyring, LockoutPolicy, RateLimit, Seed, SessionId,
    SessionToken, SystemRandom, TokenHash, TotpWindow, UserId,
};
use arklow_store::{
    AskEnrollment, Attempt, AttemptRules, AuditFilter, AuditOrigin, AuditRecord, CreateDevice,
    CreateSession, CreateUser, DatabaseUrl, Goal, NewDevice, NewSession, NewUser, Options,
    PresentedCode, RemoveDevice, ReplaceBackupCodes, Store, VerifyCode,
};
use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

use crate::throwaway::{Raw, Throwaway};

/// The time at which a test begins; there is no real clock.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
}

/// The origin of what an operator does.
pub(crate) fn by_operator() -> AuditOrigin {
    AuditOrigin::operator("root on test")
}

pub(crate) fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}

/// A fresh database, open.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) keyring: Arc<Keyring>,
    throwaway: Throwaway,
    pub(crate) directory: TempDir,
}

impl Database {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let throwaway = Throwaway::new(directory.path());
        Self::in_throwaway(directory, throwaway, options).await
    }

    /// An SQLite file, whatever the others are.
    pub(crate) async fn on_sqlite(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let throwaway = Throwaway::on_sqlite(directory.path());
        Self::in_throwaway(directory, throwaway, options).await
    }

    async fn in_throwaway(directory: TempDir, throwaway: Throwaway, options: Options) -> Self {
        let url: DatabaseUrl = throwaway.url().parse().unwrap();
        Store::migrate(&url, &options).await.unwrap();
        let store = Store::open(&url, options).await.unwrap();
        let keyring = Arc::new(Keyring::generate(&SystemRandom::new()).unwrap());
        Self {
            store,
            keyring,
            throwaway,
            directory,
        }
    }

    /// The same database, opened once more.
    pub(crate) async fn open_again(&self) -> Store {
        let url = self.url();
        Store::open(&url, Options::default()).await.unwrap()
    }

    pub(crate) fn url(&self) -> DatabaseUrl {
        self.throwaway.url().parse().unwrap()
    }

    /// A raw connection, for changes that the store has no method for.
    pub(crate) fn raw(&self) -> Raw {
        self.throwaway.raw()
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.raw().run(sql);
    }

    /// The records that `filter` lets through, without those of [`by_operator`], who sets a test up.
    pub(crate) async fn records(&self, filter: AuditFilter) -> Vec<AuditRecord> {
        let mut records = self.store.audit_records(filter).await.unwrap();
        records.retain(|record| record.origin != by_operator());
        records
    }

    pub(crate) async fn db_user(&self, email: &str) -> UserId {
        let id = UserId::random(&SystemRandom::new()).unwrap();
        let new = NewUser {
            id,
            name: "Ada".parse().unwrap(),
            email: email.parse().unwrap(),
            now: now(),
        };
        assert_eq!(
            self.store.create_user(new, by_operator()).await.unwrap(),
            CreateUser::Created
        );
        id
    }

    /// A session of an hour that is MFA-fresh for a quarter of one.
    pub(crate) async fn db_session(&self, user_id: UserId) -> SessionId {
        let (new, _) = new_session(user_id);
        let id = new.id;
        assert_eq!(
            self.store.create_session(new, by_operator()).await.unwrap(),
            CreateSession::Created
        );
        id
    }

    pub(crate) async fn db_confirmed_device(&self, user_id: UserId) -> DeviceId {
        let new = NewDevice {
            confirmed_at: Some(now()),
            ..self.new_device(user_id)
        };
        let id = new.id;
        assert_eq!(
            self.store.create_device(new, by_operator()).await.unwrap(),
            CreateDevice::Created
        );
        id
    }

    /// A new device, not confirmed.
    pub(crate) fn new_device(&self, user_id: UserId) -> NewDevice {
        let random = SystemRandom::new();
        let id = DeviceId::random(&random).unwrap();
        let seed = Seed::random(&random).unwrap();
        NewDevice {
            id,
            user_id,
            name: "phone".parse().unwrap(),
            seed: seed.seal(&self.keyring, user_id, id, &random).unwrap(),
            confirmed_at: None,
            now: now(),
        }
    }

    /// A user with a fresh session and a confirmed device.
    pub(crate) async fn db_ada(&self) -> Owner {
        self.db_owner("ada@example.org").await
    }

    pub(crate) async fn db_owner(&self, email: &str) -> Owner {
        let user_id = self.db_user(email).await;
        Owner {
            user_id,
            session_id: self.db_session(user_id).await,
            device_id: self.db_confirmed_device(user_id).await,
        }
    }

    /// New codes for the owner, and the request that stores them.
    pub(crate) fn new_codes(&self, owner: Owner) -> (BackupCodes, ReplaceBackupCodes) {
        let codes = BackupCodes::generate(&SystemRandom::new()).unwrap();
        let replace = ReplaceBackupCodes {
            user_id: owner.user_id,
            session_id: owner.session_id,
            device_id: Some(owner.device_id),
            codes: codes
                .seal(
                    &self.keyring,
                    owner.user_id,
                    owner.device_id,
                    &SystemRandom::new(),
                )
                .unwrap(),
            limit: None,
            now: now(),
            origin: AuditOrigin::default(),
        };
        (codes, replace)
    }

    /// Codes that the owner's device has from now on.
    pub(crate) async fn db_codes(&self, owner: Owner) -> Vec<BackupCode> {
        let (codes, replace) = self.new_codes(owner);
        let outcome = self.store.replace_backup_codes(replace).await.unwrap();
        assert!(outcome.is_ok(), "{outcome:?}");
        codes.iter().cloned().collect()
    }

    /// Removes a device as an operator does.
    pub(crate) async fn db_remove(&self, device: DeviceId) {
        let removed = self
            .store
            .remove_device(device, now(), AuditOrigin::operator("test"))
            .await
            .unwrap();
        assert!(
            matches!(removed, RemoveDevice::Removed { .. }),
            "{removed:?}"
        );
    }

    pub(crate) async fn redeem(&self, owner: Owner, code: &BackupCode) -> bool {
        redeem_at(&self.store, &self.keyring, owner, code).await
    }
}

/// Whether the code works; the session becomes MFA-fresh by it, as it was.
pub(crate) async fn redeem_at(
    store: &Store,
    keyring: &Arc<Keyring>,
    owner: Owner,
    code: &BackupCode,
) -> bool {
    let present = presented(owner, PresentedCode::BackupCode(code.clone()), patient());
    let attempt = store.verify_code(present, Arc::clone(keyring));
    matches!(attempt.await.unwrap(), Ok(Attempt::Accepted(_)))
}

/// A code that the owner presents to step up.
pub(crate) fn presented(owner: Owner, code: PresentedCode, rules: AttemptRules) -> VerifyCode {
    VerifyCode {
        user_id: owner.user_id,
        session_id: owner.session_id,
        device_id: Some(owner.device_id),
        code,
        goal: Goal::StepUp,
        rules,
        now: now(),
        origin: AuditOrigin::default(),
    }
}

/// The default rules.
pub(crate) fn rules() -> AttemptRules {
    AttemptRules {
        window: TotpWindow::default(),
        step_up: minutes(15),
        lockout: LockoutPolicy::default(),
        enrollment: minutes(15),
        max_devices: 10,
    }
}

/// Rules without locks, for tests that try many codes.
pub(crate) fn patient() -> AttemptRules {
    AttemptRules {
        lockout: LockoutPolicy {
            failures_per_lock: u32::MAX,
            factor_lock_after: u32::MAX,
            ..LockoutPolicy::default()
        },
        ..rules()
    }
}

/// A user with an MFA-fresh session and a confirmed device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) device_id: DeviceId,
}

impl Owner {
    /// What an enrollment by the owner depends on.
    pub(crate) fn ask_enrollment(self, limit: Option<RateLimit>) -> AskEnrollment {
        AskEnrollment {
            user_id: self.user_id,
            session_id: self.session_id,
            limit,
            max_devices: 10,
            now: now(),
            origin: AuditOrigin::default(),
        }
    }
}

pub(crate) fn url_in(directory: &TempDir) -> DatabaseUrl {
    DatabaseUrl::sqlite(&directory.path().join("arklow.db")).unwrap()
}

pub(crate) fn new_session(user_id: UserId) -> (NewSession, TokenHash) {
    let token_hash = SessionToken::generate(&SystemRandom::new()).unwrap().hash();
    let new = NewSession {
        id: SessionId::random(&SystemRandom::new()).unwrap(),
        user_id,
        token_hash,
        created_at: now(),
        expires_at: now() + minutes(60),
        mfa_not_after: Some(now() + minutes(15)),
    };
    (new, token_hash)
}
