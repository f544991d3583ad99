//! The flags for TLS on the listeners.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use tokio::sync::Notify;

use super::error::CliError;
use crate::http::tls::{Tls, TlsFiles, TlsVersion};

/// TLS on the listeners. Files are read again when they change, and on SIGHUP.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// The certificate of --listen, and those of the authorities between it and a root, in PEM. Without it the API is served
    /// as plain HTTP.
    #[arg(
        long,
        env = "ARKLOW_TLS_CERTIFICATE",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The key of --tls-certificate, in PEM.
    #[arg(
        long,
        env = "ARKLOW_TLS_KEY",
        value_name = "FILE",
        requires = "tls_certificate"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// The lowest version of TLS that both listeners speak.
    #[arg(
        long,
        env = "ARKLOW_TLS_MIN_VERSION",
        value_name = "VERSION",
        default_value = "1.2"
    )]
    pub(crate) tls_min_version: TlsVersion,
    /// The certificate of --internal-listen, as --tls-certificate.
    #[arg(
        long,
        env = "ARKLOW_INTERNAL_TLS_CERTIFICATE",
        value_name = "FILE",
        requires = "internal_tls_key",
        requires = "internal_listen"
    )]
    pub(crate) internal_tls_certificate: Option<PathBuf>,
    /// The key of --internal-tls-certificate, in PEM.
    #[arg(
        long,
        env = "ARKLOW_INTERNAL_TLS_KEY",
        value_name = "FILE",
        requires = "internal_tls_certificate"
    )]
    pub(crate) internal_tls_key: Option<PathBuf>,
    /// The authorities of clients of --internal-listen, in PEM. With it, only clients with a certificate of theirs are served.
    #[arg(
        long,
        env = "ARKLOW_INTERNAL_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "internal_tls_certificate"
    )]
    pub(crate) internal_tls_client_ca: Option<PathBuf>,
}

impl ValueEnum for TlsVersion {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Tls12, Self::Tls13]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }))
    }
}

impl TlsArgs {
    /// The certificate of the API, if there is one. `asked` makes it be read again.
    pub(super) fn public(&self, asked: &Arc<Notify>) -> Result<Option<Arc<Tls>>, CliError> {
        let files = self.files(&self.tls_certificate, &self.tls_key, &None);
        load(files, "public", "--tls-certificate", asked)
    }

    /// As [`TlsArgs::public`], of the internal listener.
    pub(super) fn internal(&self, asked: &Arc<Notify>) -> Result<Option<Arc<Tls>>, CliError> {
        let (certificate, key) = (&self.internal_tls_certificate, &self.internal_tls_key);
        let files = self.files(certificate, key, &self.internal_tls_client_ca);
        load(files, "internal", "--internal-tls-certificate", asked)
    }

    fn files(
        &self,
        certificate: &Option<PathBuf>,
        key: &Option<PathBuf>,
        client_authorities: &Option<PathBuf>,
    ) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: certificate.clone()?,
            key: key.clone()?,
            client_authorities: client_authorities.clone(),
            minimum: self.tls_min_version,
        })
    }
}

fn load(
    files: Option<TlsFiles>,
    listener: &'static str,
    flag: &'static str,
    asked: &Arc<Notify>,
) -> Result<Option<Arc<Tls>>, CliError> {
    let Some(files) = files else { return Ok(None) };
    let tls = Tls::load(files, listener, Arc::clone(asked));
    let tls = tls.map_err(|cause| CliError::Tls {
        flag,
        cause: Box::new(cause),
    })?;
    Ok(Some(Arc::new(tls)))
}
