//! TLS for a listener, by rustls: the certificate, which changes when its files do, and whose clients are let in.
//!
//! HTTP/2 is not offered: the limits of a connection count one request at a time.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::sync::Notify;
use tokio::task::JoinError;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::log::chain;
use crate::metrics;
use crate::stamp::{Stamp, stamp};

/// How often the files are looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The lowest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

const TLS_12: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
const TLS_13: &[&SupportedProtocolVersion] = &[&TLS13];

impl TlsVersion {
    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => TLS_12,
            Self::Tls13 => TLS_13,
        }
    }
}

/// The files of a listener, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The certificate and those of the authorities between it and a root.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The authorities of clients. With them, a client without a certificate of theirs is refused.
    pub(crate) client_authorities: Option<PathBuf>,
    pub(crate) minimum: TlsVersion,
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_authorities.as_ref(),
        ];
        files
            .into_iter()
            .flatten()
            .map(|file| stamp(file))
            .collect()
    }
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read `{}`", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        cause: pem::Error,
    },
    #[error("there is no certificate in `{}`", .0.display())]
    NoCertificate(PathBuf),
    #[error("`{}` is not the key of `{}`, or they cannot be used", key.display(), certificate.display())]
    Pair {
        key: PathBuf,
        certificate: PathBuf,
        #[source]
        cause: rustls::Error,
    },
    #[error("the first certificate in `{}` cannot be read", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        cause: x509_cert::der::Error,
    },
    #[error("`{}` holds no authority that clients could have", path.display())]
    ClientAuthorities {
        path: PathBuf,
        #[source]
        cause: VerifierBuilderError,
    },
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What is made of the files.
struct Loaded {
    config: Arc<ServerConfig>,
    not_after: DateTime<Utc>,
}

/// Speaks TLS on the connections of a listener.
pub(crate) struct Tls {
    files: TlsFiles,
    /// For the log and the metrics: `public` or `internal`.
    listener: &'static str,
    current: RwLock<Loaded>,
    /// The files as they were before they were first read.
    first: Vec<Option<Stamp>>,
    asked: Arc<Notify>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

impl Tls {
    /// Reads the files. They are read again when `asked` says so, changed or not.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) fn load(
        files: TlsFiles,
        listener: &'static str,
        asked: Arc<Notify>,
    ) -> Result<Self, TlsError> {
        let first = files.stamps();
        Ok(Self {
            current: RwLock::new(load(&files)?),
            first,
            files,
            listener,
            asked,
        })
    }

    /// For new connections; those that are open keep the certificate that they began with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Does something with the files on a thread that may wait for them: on a network file system they can hang.
    async fn at<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TlsFiles) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || work(&files)).await
    }

    fn not_after(&self) -> DateTime<Utc> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.not_after
    }

    /// Reads the files again whenever they have changed, for ever. Files that cannot be used are logged once, and the former
    /// certificate stays: they may be replaced one after the other.
    pub(crate) async fn watch(&self) -> Infallible {
        let mut looks = tokio::time::interval(POLL_EVERY);
        let mut seen = self.first.clone();
        let mut failed = None;
        metrics::certificate(self.listener, self.not_after());
        loop {
            let is_asked = tokio::select! {
                _ = looks.tick() => false,
                () = self.asked.notified() => true,
            };
            // Before they are read: if they change meanwhile, they are read again.
            let found = self.at(TlsFiles::stamps).await.unwrap_or_default();
            if found == seen && !is_asked && failed.is_none() {
                continue;
            }
            let loaded = self.at(load).await;
            let listener = self.listener;
            match loaded {
                Ok(Ok(loaded)) => {
                    let not_after = loaded.not_after;
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                    metrics::certificate(listener, not_after);
                    info!(listener, %not_after, "the certificate was read again and is in use");
                    failed = None;
                }
                Ok(Err(error)) => {
                    let error = chain(&error);
                    if failed.as_ref() != Some(&error) || is_asked {
                        error!(
                            listener,
                            error, "the certificate cannot be used; the former one stays"
                        );
                    }
                    failed = Some(error);
                }
                // The next look tries again.
                Err(panicked) => failed = Some(panicked.to_string()),
            }
            seen = found;
        }
    }
}

/// Checks that the files can be used, and returns when the certificate expires.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn check(files: &TlsFiles) -> Result<DateTime<Utc>, TlsError> {
    load(files).map(|loaded| loaded.not_after)
}

/// When the first certificate of a file expires.
fn not_after(path: &Path, chain: &[CertificateDer<'_>]) -> Result<DateTime<Utc>, TlsError> {
    let first = chain.first().expect("there is one at least");
    let parsed = Certificate::from_der(first).map_err(|cause| TlsError::Certificate {
        path: path.to_owned(),
        cause,
    })?;
    let not_after = parsed.tbs_certificate.validity.not_after.to_system_time();
    Ok(not_after.into())
}

/// A connection to a server with exactly the certificate in a file; `client` is a certificate of ours and its key.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn pinned(
    certificate: &Path,
    client: Option<(&Path, &Path)>,
) -> Result<ClientConnection, TlsError> {
    let provider = Arc::new(default_provider());
    let expected = certificates(certificate)?.swap_remove(0);
    let verifier = Pinned {
        expected,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|cause| TlsError::Pair {
                key: key.to_owned(),
                certificate: certificate.to_owned(),
                cause,
            })?,
    };
    // The name is not looked at: the certificate is known.
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    ClientConnection::new(Arc::new(config), name).map_err(TlsError::Setup)
}

/// Accepts one certificate.
#[derive(Debug)]
struct Pinned {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        found: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *found == self.expected {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|cause| TlsError::Pem {
        path: path.to_owned(),
        cause,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |cause| TlsError::Pem {
        path: path.to_owned(),
        cause,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect();
    let found = found.map_err(unreadable)?;
    match found.is_empty() {
        true => Err(TlsError::NoCertificate(path.to_owned())),
        false => Ok(found),
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let TlsFiles {
        certificate,
        key,
        client_authorities,
        minimum,
    } = files;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(minimum.and_later())
        .map_err(TlsError::Setup)?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier
                .build()
                .map_err(|cause| TlsError::ClientAuthorities {
                    path: path.clone(),
                    cause,
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate)?;
    let not_after = not_after(certificate, &chain)?;
    let mut config = builder
        .with_single_cert(chain, private_key(key)?)
        .map_err(|cause| TlsError::Pair {
            key: key.clone(),
            certificate: certificate.clone(),
            cause,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        not_after,
    })
}
