//! A user with a session and a device, and an authenticator app.

use arklow_client::types::VerificationType;
use arklow_domain::UserId;
use serde_json::Value;

use super::{Answer, Server};

/// A user with what a regeneration needs.
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) app: App,
    pub(crate) session: String,
    pub(crate) token: String,
    pub(crate) session_mfa_not_after: Value,
}

/// An authenticator app: a library that is not ours, told of nothing but the URI.
pub(crate) struct App(totp_rs::Totp);

impl App {
    #[track_caller]
    pub(crate) fn scan(uri: &str) -> Self {
        Self(totp_rs::Totp::from_url(uri).expect("an app understands the URI"))
    }

    /// Under which name the app lists it.
    pub(crate) fn issuer(&self) -> &str {
        self.0.issuer().expect("an issuer")
    }

    pub(crate) fn account(&self) -> &str {
        self.0.account_name()
    }

    /// What the app shows now.
    pub(crate) fn code(&self) -> String {
        self.0.generate_current().to_string()
    }

    /// What the app will show next; the server accepts it already.
    pub(crate) fn next_code(&self) -> String {
        let next = self.0.next_step_current();
        self.0.generate(next).to_string()
    }

    /// A code that is not right at any time near.
    pub(crate) fn wrong_code(&self) -> String {
        let next = self.0.next_step_current();
        let near: Vec<String> = (0..6)
            .map(|steps| self.0.generate(next + 60 - 30 * steps).to_string())
            .collect();
        let mut all = (0..1_000_000).map(|number| format!("{number:06}"));
        all.find(|code| !near.contains(code)).expect("most are")
    }
}

/// A user who calls a server.
#[derive(Clone, Copy)]
pub(crate) struct BoundCaller<'a> {
    server: &'a Server,
    caller: &'a Caller,
}

impl Server {
    /// This server, called by `caller` with their device.
    pub(crate) fn by<'a>(&'a self, caller: &'a Caller) -> BoundCaller<'a> {
        BoundCaller {
            server: self,
            caller,
        }
    }
}

impl BoundCaller<'_> {
    pub(crate) async fn regenerate(self) -> Answer {
        let Caller { token, device, .. } = self.caller;
        self.server.regenerate(token, device).await
    }

    pub(crate) async fn redeem(self, code: &str) -> Answer {
        let Caller { token, device, .. } = self.caller;
        self.server.redeem(token, device, code).await
    }

    pub(crate) async fn verify(self, code: &str) -> Answer {
        let Caller { token, device, .. } = self.caller;
        self.server.verify(token, device, code).await
    }

    pub(crate) async fn remove(self, verification_type: VerificationType, code: &str) -> Answer {
        let Caller { token, device, .. } = self.caller;
        let removed = self.server.remove(token, device, verification_type, code);
        removed.await
    }

    pub(crate) async fn start(self, name: &str) -> Answer {
        self.server.start(&self.caller.token, name).await
    }

    pub(crate) async fn devices(self) -> Answer {
        self.server.devices(&self.caller.token).await
    }

    pub(crate) async fn user(self) -> Answer {
        self.server.user(&self.caller.token).await
    }
}

impl Caller {
    pub(crate) fn user_id(&self) -> UserId {
        self.user.parse().expect("an id")
    }
}
