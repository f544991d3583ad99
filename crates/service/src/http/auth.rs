//! From a token to a caller.
//!
//! Only this module creates a [`Caller`], and every operation takes one: an unauthenticated request
//! cannot reach it.

use std::net::IpAddr;

use arklow_api::server::{Credentials, Origin, RequestError};
use arklow_domain::{Session, SessionToken, UserId};
use arklow_store::{AuditOrigin, StoreError};

use crate::app::App;
use crate::http::record;
use crate::log;

/// Who is calling, in which session and from where.
#[derive(Debug)]
pub(crate) struct Caller {
    session: Session,
    origin: Origin,
    address: IpAddr,
}

impl Caller {
    /// Whose account it is.
    pub(crate) fn user_id(&self) -> UserId {
        self.session.user_id
    }

    /// The session as it stood when the caller was authenticated.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Where the request comes from.
    #[cfg(test)]
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The address of the client, as the trusted proxies report it.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The origin as the audit records it. The store escapes and truncates the texts.
    pub(crate) fn audit_origin(&self) -> AuditOrigin {
        AuditOrigin {
            actor: None,
            remote_address: Some(self.address),
            user_agent: self.origin.user_agent.clone(),
            request_id: Some(self.origin.request_id.clone()),
        }
    }
}

/// Finds the live session behind the credentials.
///
/// The answer does not say why there is none: the holder of a dead token learns nothing about it.
pub(crate) async fn authenticate(
    app: &App,
    origin: Origin,
    credentials: Credentials,
) -> Result<Caller, RequestError> {
    let Credentials::ApiKey(secret) = credentials;
    let token = SessionToken::parse(secret.expose()).ok_or(RequestError::Unauthenticated)?;
    let found = app.store.live_session(token.hash(), app.clock.now()).await;
    match found {
        Ok(Some(session)) => {
            record::caller(session.user_id, session.id);
            Ok(Caller {
                session,
                address: app
                    .policy
                    .trusted_proxies
                    .client(origin.remote_address.ip(), &origin.forwarded_for),
                origin,
            })
        }
        Ok(None) => Err(RequestError::Unauthenticated),
        Err(StoreError::Busy | StoreError::TooSlow) => {
            Err(RequestError::Unavailable { retry_after: None })
        }
        Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
            log::outage(&error);
            Err(RequestError::Unavailable { retry_after: None })
        }
        Err(
            error @ (StoreError::Inconsistent { .. }
            | StoreError::Unreadable(_)
            | StoreError::RetiredKey(_)
            | StoreError::NoEntropy(_)
            | StoreError::Database(_)
            | StoreError::Panicked
            | StoreError::Closed),
        ) => {
            log::failure(&error);
            Err(RequestError::Internal)
        }
    }
}

#[cfg(test)]
mod tests {
    use arklow_api::server::{Api, Secret};
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::{TestApp, origin};

    async fn refused(app: &TestApp, token: &str) -> RequestError {
        let credentials = Credentials::ApiKey(Secret::new(token));
        let caller = app.server.authenticate(origin(), credentials).await;
        caller.unwrap_err()
    }

    #[tokio::test]
    async fn live_session_makes_its_user_the_caller() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let caller = app.caller(&ada).await;
        assert_eq!(caller.user_id(), ada.user_id);
        assert_eq!(caller.session().id, ada.session_id);
        assert_eq!(caller.origin(), &origin());
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let unknown = format!("arks_{}", "a".repeat(52));
        let padded = format!(" {}", ada.token());
        for text in ["", "arks_", "Bearer arks_x", &unknown, &padded] {
            assert_eq!(
                refused(&app, text).await,
                RequestError::Unauthenticated,
                "{text:?}"
            );
        }
    }

    #[tokio::test]
    async fn session_is_refused_from_its_end_on() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.clock
            .advance(TimeDelta::hours(1) - TimeDelta::microseconds(1));
        app.caller(&ada).await;
        app.clock.advance(TimeDelta::microseconds(1));
        assert_eq!(
            refused(&app, ada.token()).await,
            RequestError::Unauthenticated
        );
    }

    #[tokio::test]
    async fn revoked_session_is_refused() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.db_revoke(&ada).await;
        assert_eq!(
            refused(&app, ada.token()).await,
            RequestError::Unauthenticated
        );
    }

    #[tokio::test]
    async fn disabled_user_is_refused() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.db_disable(&ada).await;
        assert_eq!(
            refused(&app, ada.token()).await,
            RequestError::Unauthenticated
        );
    }

    #[tokio::test]
    async fn failing_store_is_an_internal_fault() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.store().close().await;
        assert_eq!(refused(&app, ada.token()).await, RequestError::Internal);
    }
}
