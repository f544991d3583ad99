//! Support for tests of operations: a server on a real database, with a clock that tests move.
//!
//! | file | what it holds |
//! |---|---|
//! | `time` | what a moving clock does to codes, locks and step-ups |
//! | `model` | random sequences of all operations, compared with a small model |

mod model;
#[path = "../../../tests/throwaway.rs"]
mod throwaway;
mod time;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arklow_adapter::{Errors as _, Operation};
use arklow_api::operations;
use arklow_api::server::{
    Api, Credentials, DeleteV1SelfMfaRemoveRequest, Errors, GetV1SelfMfaQuery, GetV1SelfMfaRequest,
    Origin, PostV1SelfMfaEnrollConfirmRequest, PostV1SelfMfaEnrollStartRequest,
    PostV1SelfMfaRegenerateTotpRequest, PostV1SelfMfaVerifyTotpBackupRequest,
    PostV1SelfMfaVerifyTotpRequest, RequestError, Secret,
};
use arklow_api::types::{
    BackupCodeRequest, BackupCodeVerification, DeviceRemoval, Enrollment, EnrollmentConfirmation,
    ErrorEnvelope, MfaDevice, RegenerateTotpRequest, RegenerateTotpResult, RemoveDeviceRequest,
    StartEnrollmentRequest, TotpCodeRequest, TotpVerification, VerificationType,
};
use arklow_domain::{
    BackupCode, DeviceId, Keyring, LockoutPolicy, NoEntropy, Random, Seed, SessionId, SessionToken,
    SystemRandom, TotpCode, TotpStep, UserId,
};
use arklow_store::{
    Attempt, AttemptRules, AuditOrigin, CreateDevice, CreateSession, CreateUser, DatabaseUrl,
    DisableUser, Goal, NewDevice, NewSession, NewUser, Options, PresentedCode, RevokeSession,
    Store, VerifyCode,
};
use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use throwaway::Throwaway;

use crate::app::App;
use crate::cli::serve::ServeArgs;
use crate::http::api::Server;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::keys::Keys;
use crate::policy::Policy;
use crate::sources::{Clock, Sources};

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(Mutex<DateTime<Utc>>);

impl TestClock {
    pub(crate) fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn set(&self, to: DateTime<Utc>) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

/// Never has random bytes to give.
pub(crate) struct Exhausted;

impl Random for Exhausted {
    fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
        Err(NoEntropy)
    }
}

/// A server that is called without HTTP.
pub(crate) struct TestApp {
    pub(crate) server: Server,
    pub(crate) clock: Arc<TestClock>,
    app: Arc<App>,
    scratch: Arc<Scratch>,
}

/// A user with an MFA-fresh session of 15 minutes and a confirmed device.
pub(crate) struct Ada {
    pub(crate) user_id: UserId,
    pub(crate) session_id: SessionId,
    pub(crate) device_id: DeviceId,
    pub(crate) mfa_not_after: DateTime<Utc>,
    token: SessionToken,
    seed: Seed,
}

impl Ada {
    /// What the authenticator app shows at `at`.
    pub(crate) fn totp(&self, at: DateTime<Utc>) -> TotpCode {
        self.seed.code_at(TotpStep::at(at))
    }

    pub(crate) fn token(&self) -> &str {
        self.token.expose()
    }
}

/// What `serve` decides by if no flag is given.
pub(crate) fn default_policy() -> Policy {
    ServeArgs::defaults().policy()
}

/// Where all test requests come from.
pub(crate) fn origin() -> Origin {
    Origin {
        operation: "post_v1_self_mfa_regenerate_totp".to_owned(),
        request_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        remote_address: SocketAddr::from(([192, 0, 2, 1], 50_000)),
        user_agent: None,
        forwarded_for: Vec::new(),
        prefer: Vec::new(),
    }
}

/// What lies around a database: a directory, which may be where it is.
pub(crate) struct Scratch {
    directory: TempDir,
    _throwaway: Throwaway,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A fresh database, which lives as long as the first value.
pub(crate) async fn database() -> (Scratch, Store) {
    let directory = tempfile::tempdir().unwrap();
    let throwaway = Throwaway::new(directory.path());
    let url: DatabaseUrl = throwaway.url().parse().unwrap();
    Store::migrate(&url, &Options::default()).await.unwrap();
    let store = Store::open(&url, Options::default()).await.unwrap();
    let scratch = Scratch {
        directory,
        _throwaway: throwaway,
    };
    (scratch, store)
}

/// The operating system's randomness, and a clock that is moved.
pub(crate) fn sources() -> (Sources, Arc<TestClock>) {
    let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let clock = Arc::new(TestClock(Mutex::new(start)));
    let sources = Sources {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SystemRandom::new()),
    };
    (sources, clock)
}

/// An error answer, as it would be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Seconds.
    pub(crate) retry_after: Option<i64>,
}

impl ErrorAnswer {
    fn new(status: u16, body: &ErrorEnvelope, retry_after: Option<i64>) -> Self {
        let [error] = body.errors.as_slice() else {
            panic!("{body:?}")
        };
        Self {
            status,
            code: error.code.clone(),
            message: error.message.clone(),
            retry_after,
        }
    }

    /// What is compared in most tests.
    pub(crate) fn kind(&self) -> (u16, &str) {
        (self.status, &self.code)
    }
}

pub(crate) type Answer<T> = Result<T, ErrorAnswer>;

/// What the envelope of a success holds: data, and no errors.
#[track_caller]
fn data<T, E: std::fmt::Debug>(data: Option<T>, errors: Option<&E>) -> T {
    assert!(errors.is_none(), "{errors:?}");
    data.unwrap()
}

fn totp_request(device_id: &str, code: &TotpCode) -> TotpCodeRequest {
    TotpCodeRequest {
        device_id: device_id.to_owned(),
        code: code.expose(),
    }
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::with_policy(default_policy()).await
    }

    pub(crate) async fn with_policy(policy: Policy) -> Self {
        let (scratch, store) = database().await;
        let (sources, clock) = sources();
        let keyring = Keyring::generate(sources.random.as_ref()).unwrap();
        // The file does not exist, so the keys are never reloaded.
        let file = scratch.path().join("keys");
        let keys = Keys::new(keyring, file, Arc::clone(&sources.clock));
        let app = Arc::new(App::new(store, keys, sources, policy));
        Self {
            server: Server::new(Arc::clone(&app)),
            clock,
            app,
            scratch: Arc::new(scratch),
        }
    }

    /// The same database, served with other randomness.
    pub(crate) fn with_random(&self, random: Arc<dyn Random>) -> Self {
        let sources = Sources {
            clock: Arc::clone(&self.app.clock),
            random,
        };
        let keyring = Keyring::clone(&self.app.keys.current());
        let file = self.scratch.path().join("keys");
        let keys = Keys::new(keyring, file, Arc::clone(&sources.clock));
        let (store, policy) = (self.app.store.clone(), self.app.policy.clone());
        let app = Arc::new(App::new(store, keys, sources, policy));
        Self {
            server: Server::new(Arc::clone(&app)),
            clock: Arc::clone(&self.clock),
            app,
            scratch: Arc::clone(&self.scratch),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.app.store
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) async fn caller(&self, ada: &Ada) -> Caller {
        self.caller_from(ada, origin()).await
    }

    pub(crate) async fn caller_from(&self, ada: &Ada, origin: Origin) -> Caller {
        self.caller_with(&ada.token, origin).await
    }

    pub(crate) async fn caller_with(&self, token: &SessionToken, origin: Origin) -> Caller {
        let credentials = Credentials::ApiKey(Secret::new(token.expose()));
        let caller = self.server.authenticate(origin, credentials).await;
        caller.unwrap()
    }

    /// The answer of operation `O`. Panics on an error that the operation does not declare.
    fn answer<O: Operation>(
        &self,
        result: Result<O::Success, OperationError>,
    ) -> Answer<O::Success> {
        result.map_err(
            |error| match Errors::reply(&self.server, error, &origin(), O::ERRORS) {
                Ok(reply) => {
                    let body = serde_json::from_slice(&reply.body.unwrap()).unwrap();
                    let wait = reply.headers.get("retry-after");
                    let wait = wait.map(|value| value.to_str().unwrap().parse().unwrap());
                    ErrorAnswer::new(reply.status.as_u16(), &body, wait)
                }
                Err(RequestError::Undeclared(what)) => panic!("`{}` declares no {what}", O::ID),
                Err(error) => {
                    let body = self.server.request_error(&error);
                    ErrorAnswer::new(error.status().as_u16(), &body, None)
                }
            },
        )
    }

    pub(crate) async fn regenerate(
        &self,
        caller: Caller,
        device_id: &str,
    ) -> Answer<RegenerateTotpResult> {
        let body = RegenerateTotpRequest {
            device_id: device_id.to_owned(),
        };
        let request = PostV1SelfMfaRegenerateTotpRequest { body };
        let server = &self.server;
        let result = server
            .post_v1_self_mfa_regenerate_totp(caller, request)
            .await;
        let answer = self.answer::<operations::PostV1SelfMfaRegenerateTotp>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn start_enrollment(&self, caller: Caller) -> Answer<Enrollment> {
        let body = StartEnrollmentRequest {
            name: "Tablet".to_owned(),
            device_type: None,
        };
        let request = PostV1SelfMfaEnrollStartRequest { body };
        let result = self
            .server
            .post_v1_self_mfa_enroll_start(caller, request)
            .await;
        let answer = self.answer::<operations::PostV1SelfMfaEnrollStart>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn confirm(
        &self,
        caller: Caller,
        device_id: &str,
        code: &TotpCode,
    ) -> Answer<EnrollmentConfirmation> {
        let request = PostV1SelfMfaEnrollConfirmRequest {
            body: totp_request(device_id, code),
        };
        let server = &self.server;
        let result = server
            .post_v1_self_mfa_enroll_confirm(caller, request)
            .await;
        let answer = self.answer::<operations::PostV1SelfMfaEnrollConfirm>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn verify(
        &self,
        caller: Caller,
        device_id: &str,
        code: &TotpCode,
    ) -> Answer<TotpVerification> {
        let request = PostV1SelfMfaVerifyTotpRequest {
            body: totp_request(device_id, code),
        };
        let result = self
            .server
            .post_v1_self_mfa_verify_totp(caller, request)
            .await;
        let answer = self.answer::<operations::PostV1SelfMfaVerifyTotp>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn redeem(
        &self,
        caller: Caller,
        device_id: &str,
        code: &str,
    ) -> Answer<BackupCodeVerification> {
        let body = BackupCodeRequest {
            device_id: device_id.to_owned(),
            code: code.to_owned(),
        };
        let request = PostV1SelfMfaVerifyTotpBackupRequest { body };
        let server = &self.server;
        let result = server
            .post_v1_self_mfa_verify_totp_backup(caller, request)
            .await;
        let answer = self.answer::<operations::PostV1SelfMfaVerifyTotpBackup>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn remove(
        &self,
        caller: Caller,
        device_id: &str,
        verification_type: VerificationType,
        code: &str,
    ) -> Answer<DeviceRemoval> {
        let body = RemoveDeviceRequest {
            device_id: device_id.to_owned(),
            verification_type,
            code: code.to_owned(),
        };
        let request = DeleteV1SelfMfaRemoveRequest { body };
        let result = self.server.delete_v1_self_mfa_remove(caller, request).await;
        let answer = self.answer::<operations::DeleteV1SelfMfaRemove>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()))
    }

    pub(crate) async fn list(&self, caller: Caller) -> Answer<Vec<MfaDevice>> {
        let query = GetV1SelfMfaQuery {
            take: 50,
            skip: 0,
            count_only: false,
        };
        let request = GetV1SelfMfaRequest { query };
        let result = self.server.get_v1_self_mfa(caller, request).await;
        let answer = self.answer::<operations::GetV1SelfMfa>(result);
        answer.map(|envelope| data(envelope.data, envelope.errors.as_ref()).items)
    }

    pub(crate) async fn db_ada(&self) -> Ada {
        self.db_owner("ada@example.org").await
    }

    pub(crate) async fn db_bob(&self) -> Ada {
        self.db_owner("bob@example.org").await
    }

    async fn db_owner(&self, email: &str) -> Ada {
        let user_id = self.db_user(email).await;
        let mfa_not_after = self.now() + TimeDelta::minutes(15);
        let (session_id, token) = self.db_session(user_id, Some(mfa_not_after)).await;
        let (device_id, seed) = self.db_device(user_id, Some(self.now())).await;
        Ada {
            user_id,
            session_id,
            device_id,
            mfa_not_after,
            token,
            seed,
        }
    }

    pub(crate) async fn db_unconfirmed_device(&self, ada: &Ada) -> DeviceId {
        self.db_device(ada.user_id, None).await.0
    }

    pub(crate) async fn db_session_without_mfa(&self, ada: &Ada) -> SessionToken {
        self.db_session(ada.user_id, None).await.1
    }

    pub(crate) async fn db_revoke(&self, ada: &Ada) {
        let revoked =
            self.store()
                .revoke_session(ada.session_id, self.now(), AuditOrigin::default());
        assert_eq!(revoked.await.unwrap(), RevokeSession::Revoked);
    }

    pub(crate) async fn db_disable(&self, ada: &Ada) {
        let disabled = self
            .store()
            .disable_user(ada.user_id, self.now(), AuditOrigin::default());
        assert_eq!(disabled.await.unwrap(), DisableUser::Disabled);
    }

    /// Whether `code` was accepted; failures do not lock the user here.
    pub(crate) async fn db_redeem(&self, ada: &Ada, code: &str) -> bool {
        let present = VerifyCode {
            user_id: ada.user_id,
            session_id: ada.session_id,
            device_id: Some(ada.device_id),
            code: PresentedCode::BackupCode(BackupCode::parse(code).unwrap()),
            goal: Goal::StepUp,
            rules: AttemptRules {
                lockout: LockoutPolicy {
                    failures_per_lock: u32::MAX,
                    factor_lock_after: u32::MAX,
                    ..LockoutPolicy::default()
                },
                ..self.app.policy.rules
            },
            now: self.now(),
            origin: AuditOrigin::default(),
        };
        let attempt = self.store().verify_code(present, self.app.keys.current());
        matches!(attempt.await.unwrap(), Ok(Attempt::Accepted(_)))
    }

    pub(crate) async fn db_user(&self, email: &str) -> UserId {
        let id = UserId::random(&SystemRandom::new()).unwrap();
        let new = NewUser {
            id,
            name: "Somebody".parse().unwrap(),
            email: email.parse().unwrap(),
            now: self.now(),
        };
        let created = self
            .store()
            .create_user(new, AuditOrigin::default())
            .await
            .unwrap();
        assert_eq!(created, CreateUser::Created);
        id
    }

    /// A session of an hour.
    pub(crate) async fn db_session(
        &self,
        user_id: UserId,
        mfa_not_after: Option<DateTime<Utc>>,
    ) -> (SessionId, SessionToken) {
        let id = SessionId::random(&SystemRandom::new()).unwrap();
        let token = SessionToken::generate(&SystemRandom::new()).unwrap();
        let new = NewSession {
            id,
            user_id,
            token_hash: token.hash(),
            created_at: self.now(),
            expires_at: self.now() + TimeDelta::hours(1),
            mfa_not_after,
        };
        let created = self
            .store()
            .create_session(new, AuditOrigin::default())
            .await
            .unwrap();
        assert_eq!(created, CreateSession::Created);
        (id, token)
    }

    async fn db_device(
        &self,
        user_id: UserId,
        confirmed_at: Option<DateTime<Utc>>,
    ) -> (DeviceId, Seed) {
        let random = SystemRandom::new();
        let id = DeviceId::random(&random).unwrap();
        let seed = Seed::random(&random).unwrap();
        let new = NewDevice {
            id,
            user_id,
            name: "Phone".parse().unwrap(),
            seed: seed
                .seal(&self.app.keys.current(), user_id, id, &random)
                .unwrap(),
            confirmed_at,
            now: self.now(),
        };
        let created = self
            .store()
            .create_device(new, AuditOrigin::default())
            .await
            .unwrap();
        assert_eq!(created, CreateDevice::Created);
        (id, seed)
    }
}
