//! The client: each operation as one call.
#![warn(missing_docs)]

use std::sync::Arc;

use arklow_api::types::{
    BackupCodeRequest, BackupCodeVerification, ConfirmEnrollmentEnvelope, DeviceRemoval,
    Enrollment, EnrollmentConfirmation, EnrollmentEnvelope, ErrorEnvelope, MfaDeviceList,
    MfaDeviceListEnvelope, RegenerateTotpEnvelope, RegenerateTotpRequest, RegenerateTotpResult,
    RemoveDeviceEnvelope, RemoveDeviceRequest, SelfEnvelope, SelfUser, StartEnrollmentRequest,
    TotpCodeRequest, TotpVerification, VerifyBackupCodeEnvelope, VerifyTotpEnvelope,
};
use progenitor_client::ResponseValue;

use crate::builder::Builder;
use crate::error::Error;
use crate::generated;
use crate::token::{Token, Tokens};

/// A client of one Arklow server. Cheap to clone; clones share their connections.
///
/// The methods are named as the operations are in the contract.
#[derive(Clone, Debug)]
pub struct Client {
    generated: generated::Client,
}

impl Client {
    /// Begins a client of the server at `base_url`, such as `https://mfa.example.com`.
    pub fn builder(base_url: impl Into<String>) -> Builder {
        Builder::new(base_url.into())
    }

    /// The same client for another session: a service that acts for many users has one client and a token for each.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        let mut client = self.clone();
        client.generated.inner.tokens = Arc::new(Tokens::Fixed(token));
        client
    }

    /// The client as Progenitor generates it, with the token, the timeouts and the retries of this one: its answers have
    /// the status, the headers and the whole envelope of a success, too.
    pub fn generated(&self) -> &generated::Client {
        &self.generated
    }

    /// The caller's user data and memberships.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn get_v1_self(&self) -> Result<SelfUser, Error> {
        data(self.generated.get_v1_self().send().await)
    }

    /// The caller's devices, newest first.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn get_v1_self_mfa(&self, page: Page) -> Result<MfaDeviceList, Error> {
        let mut request = self.generated.get_v1_self_mfa().count_only(page.count_only);
        if let Some(take) = page.take {
            request = request.take(take);
        }
        if let Some(skip) = page.skip {
            request = request.skip(skip);
        }
        data(request.send().await)
    }

    /// Begins to enroll a device: its secret, as a URI and as a picture, and its backup codes, shown this once.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn post_v1_self_mfa_enroll_start(
        &self,
        request: StartEnrollmentRequest,
    ) -> Result<Enrollment, Error> {
        let request = self.generated.post_v1_self_mfa_enroll_start().body(request);
        data(request.send().await)
    }

    /// Makes a pending device a second factor, with a code of it. A wrong code is an answer: the device has no
    /// `confirmed_at`.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn post_v1_self_mfa_enroll_confirm(
        &self,
        request: TotpCodeRequest,
    ) -> Result<EnrollmentConfirmation, Error> {
        let request = self
            .generated
            .post_v1_self_mfa_enroll_confirm()
            .body(request);
        data(request.send().await)
    }

    /// Steps the session up with a TOTP code. A wrong code is an answer: `valid` is false.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn post_v1_self_mfa_verify_totp(
        &self,
        request: TotpCodeRequest,
    ) -> Result<TotpVerification, Error> {
        let request = self.generated.post_v1_self_mfa_verify_totp().body(request);
        data(request.send().await)
    }

    /// Steps the session up with a backup code and uses it up. A wrong code is an answer: `valid` is false.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn post_v1_self_mfa_verify_totp_backup(
        &self,
        request: BackupCodeRequest,
    ) -> Result<BackupCodeVerification, Error> {
        let request = self
            .generated
            .post_v1_self_mfa_verify_totp_backup()
            .body(request);
        data(request.send().await)
    }

    /// Ten new backup codes in the place of all former ones, shown this once. The session must be MFA-fresh.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn post_v1_self_mfa_regenerate_totp(
        &self,
        request: RegenerateTotpRequest,
    ) -> Result<RegenerateTotpResult, Error> {
        let request = self
            .generated
            .post_v1_self_mfa_regenerate_totp()
            .body(request);
        data(request.send().await)
    }

    /// Removes a device, with a code of it. A wrong code is an answer: `removed` is false.
    ///
    /// # Errors
    ///
    /// [`Error`], as of every operation.
    pub async fn delete_v1_self_mfa_remove(
        &self,
        request: RemoveDeviceRequest,
    ) -> Result<DeviceRemoval, Error> {
        let request = self.generated.delete_v1_self_mfa_remove().body(request);
        data(request.send().await)
    }
}

impl From<generated::Client> for Client {
    fn from(generated: generated::Client) -> Self {
        Self { generated }
    }
}

/// Which of the caller's devices to list; what is not said is left to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// How many devices at most: 1 to 50, by default 20.
    pub take: Option<u32>,
    /// How many of the newest devices to leave out.
    pub skip: Option<u32>,
    /// Only count: `items` is empty.
    pub count_only: bool,
}

/// What an envelope holds.
fn data<T: Envelope>(
    sent: Result<ResponseValue<T>, progenitor_client::Error<ErrorEnvelope>>,
) -> Result<T::Data, Error> {
    let answer = sent?;
    let status = answer.status();
    answer
        .into_inner()
        .data()
        .ok_or_else(|| Error::no_data(status))
}

/// The envelope of a success.
trait Envelope {
    type Data;
    fn data(self) -> Option<Self::Data>;
}

macro_rules! envelopes {
    ($($envelope:ident of $data:ident,)*) => {
        $(impl Envelope for $envelope {
            type Data = $data;
            fn data(self) -> Option<$data> {
                self.data
            }
        })*
    };
}

envelopes! {
    SelfEnvelope of SelfUser,
    MfaDeviceListEnvelope of MfaDeviceList,
    EnrollmentEnvelope of Enrollment,
    ConfirmEnrollmentEnvelope of EnrollmentConfirmation,
    VerifyTotpEnvelope of TotpVerification,
    VerifyBackupCodeEnvelope of BackupCodeVerification,
    RegenerateTotpEnvelope of RegenerateTotpResult,
    RemoveDeviceEnvelope of DeviceRemoval,
}
