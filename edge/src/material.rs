//! What the files hold, and the rustls configurations made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use tokio::fs;
use x509_cert::der::Decode as _;

use crate::TlsError;

/// TLS 1.2 is the oldest that is taken: RFC 8996 ended those before.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Largest file that is read: a chain or a bundle of CAs has some kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate's file and its key's, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The certificate first, then those that lead to a CA.
    pub cert: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The files that one end of TLS needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Who this end is. A server needs it.
    pub pair: Option<Pair>,
    /// The CAs, PEM, that the other end's certificate must lead to. A client needs it.
    pub ca: Option<PathBuf>,
}

/// Whether a server asks for its clients' certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// It does not.
    #[default]
    None,
    /// It takes clients without one; one that is shown must be sound.
    Optional,
    /// It takes nobody without one.
    Required,
}

/// The bytes of the files, to see whether they changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bytes {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

/// What was made of one reading of the files.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) server: Option<Arc<ServerConfig>>,
    pub(crate) client: Option<ClientSide>,
    /// When the own certificate ends.
    pub(crate) not_after: Option<SystemTime>,
}

#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(crate) config: ClientConfig,
    pub(crate) verifier: Arc<WebPkiServerVerifier>,
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl TlsFiles {
    /// Reads the files. Symbolic links are followed anew each time, which is how Kubernetes
    /// replaces mounted secrets.
    pub(crate) async fn read(&self) -> Result<Bytes, TlsError> {
        let mut bytes = Bytes::default();
        if let Some(Pair { cert, key }) = &self.pair {
            (bytes.cert, bytes.key) = (read(cert).await?, read(key).await?);
        }
        if let Some(ca) = &self.ca {
            bytes.ca = read(ca).await?;
        }
        Ok(bytes)
    }

    pub(crate) fn material(
        &self,
        bytes: &Bytes,
        clients: ClientAuth,
        alpn: &[&[u8]],
    ) -> Result<Material, TlsError> {
        let roots = self.ca.as_ref().map(|path| roots(path, &bytes.ca)).transpose()?;
        let own = self.pair.as_ref().map(|pair| Own::parse(pair, bytes)).transpose()?;
        let server = own.as_ref().map(|own| self.server(own, roots.as_ref(), clients, alpn));
        let client = roots.as_ref().map(|roots| self.client(own.as_ref(), roots, alpn));
        let not_after = own.as_ref().map(|own| own.not_after);
        Ok(Material { server: server.transpose()?, client: client.transpose()?, not_after })
    }

    fn server(
        &self,
        own: &Own<'_>,
        roots: Option<&Arc<RootCertStore>>,
        clients: ClientAuth,
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let unfit = |source| TlsError::Unfit { path: own.pair.cert.clone(), source };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(unfit)?;
        let builder = match (clients, roots) {
            (ClientAuth::None, _) | (_, None) => builder.with_no_client_auth(),
            (_, Some(roots)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
                let verifier = if clients == ClientAuth::Optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| TlsError::content(self.ca_path(), error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(own.chain.clone(), own.key.clone_key()).map_err(unfit)?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn client(
        &self,
        own: Option<&Own<'_>>,
        roots: &Arc<RootCertStore>,
        alpn: &[&[u8]],
    ) -> Result<ClientSide, TlsError> {
        let in_ca = |error: &dyn ToString| TlsError::content(self.ca_path(), error.to_string());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider())
            .build()
            .map_err(|error| in_ca(&error))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| in_ca(&error))?
            .with_root_certificates(Arc::clone(roots));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
                .map_err(|source| TlsError::Unfit { path: own.pair.cert.clone(), source })?,
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(ClientSide { config, verifier })
    }

    fn ca_path(&self) -> &Path {
        self.ca.as_deref().unwrap_or(Path::new(""))
    }
}

/// An own certificate with its key.
struct Own<'a> {
    pair: &'a Pair,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    not_after: SystemTime,
}

impl<'a> Own<'a> {
    fn parse(pair: &'a Pair, bytes: &Bytes) -> Result<Self, TlsError> {
        let chain = certificates(&pair.cert, &bytes.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes.key)
            .map_err(|error| TlsError::content(&pair.key, no_pem("private key", &error)))?;
        // The first one is the own.
        let first = chain.first().ok_or_else(|| "holds no certificate".to_owned());
        let not_after = first.and_then(|certificate| not_after(certificate));
        let not_after = not_after.map_err(|problem| TlsError::content(&pair.cert, problem))?;
        Ok(Self { pair, chain, key, not_after })
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.into(), source };
    let size = fs::metadata(path).await.map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(TlsError::content(path, format!("has {size} bytes, which no PEM file needs")));
    }
    fs::read(path).await.map_err(failed)
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|error| TlsError::content(path, no_pem("certificate", &error)))?;
    if chain.is_empty() {
        return Err(TlsError::content(path, "holds no certificate in PEM form"));
    }
    Ok(chain)
}

fn roots(path: &Path, bytes: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        roots.add(certificate).map_err(|error| TlsError::content(path, error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

fn no_pem(what: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => format!("holds no {what} in PEM form"),
        other => format!("holds no sound {what}: {other}"),
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<SystemTime, String> {
    let parsed = x509_cert::Certificate::from_der(certificate)
        .map_err(|error| format!("holds no sound certificate: {error}"))?;
    let since_epoch: Duration = parsed.tbs_certificate().validity().not_after.to_unix_duration();
    Ok(SystemTime::UNIX_EPOCH + since_epoch)
}
