//! The client's end: dials, and makes sure of who answers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{self, Channel, Endpoint};
use tower::service_fn;

use crate::Tls;
use crate::names::{self, AnyOf};

/// Finds the addresses of a host, in place of the system: for those whose name servers are not the
/// system's.
pub type Lookup =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Opens gRPC connections to one server: in plain text, or with TLS.
#[derive(Clone, Default)]
pub struct Dialler {
    tls: Option<Arc<Tls>>,
    /// Names other than the host's under which the server may be known.
    also: Vec<String>,
    lookup: Option<Lookup>,
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler")
            .field("tls", &self.tls)
            .field("also", &self.also)
            .finish_non_exhaustive()
    }
}

impl Dialler {
    /// Opens connections with `tls`, or in plain text without.
    pub fn new(tls: Option<Arc<Tls>>) -> Self {
        Self { tls, also: Vec::new(), lookup: None }
    }

    /// The same, with hosts found by `lookup` if there is one.
    #[must_use]
    pub fn finding_hosts_by(self, lookup: Option<Lookup>) -> Self {
        Self { lookup, ..self }
    }

    /// The same for a server whose certificate may be for `name` instead of its host: a node is
    /// known by its name in the herd file.
    #[must_use]
    pub fn for_node(mut self, name: &str) -> Self {
        self.also = vec![name.into()];
        self
    }

    /// Whether it opens connections in plain text.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Opens a connection as `endpoint` describes it; its connect time-out holds for the
    /// handshake, too.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, transport::Error> {
        match (&self.tls, &self.lookup) {
            (None, None) => endpoint.connect().await,
            (None, Some(lookup)) => {
                let lookup = Arc::clone(lookup);
                let open = move |uri| open_plain(Arc::clone(&lookup), uri);
                endpoint.connect_with_connector(service_fn(open)).await
            }
            (Some(tls), lookup) => {
                let open = opener(tls, &self.also, lookup.as_ref());
                with_https(endpoint).connect_with_connector(service_fn(open)).await
            }
        }
    }

    /// A channel that opens its connection when it is used, and again whenever it has broken.
    pub fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => {
                let open = opener(tls, &self.also, self.lookup.as_ref());
                with_https(endpoint).connect_with_connector_lazy(service_fn(open))
            }
        }
    }
}

/// The endpoint whose requests say that they come over TLS.
fn with_https(endpoint: &Endpoint) -> Endpoint {
    let mut parts = endpoint.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    match Uri::from_parts(parts) {
        Ok(origin) => endpoint.clone().origin(origin),
        Err(_) => endpoint.clone(),
    }
}

/// Opens TLS connections with what a dialler has.
fn opener(
    tls: &Arc<Tls>,
    also: &[String],
    lookup: Option<&Lookup>,
) -> impl Fn(Uri) -> BoxFuture<'static, io::Result<TokioIo<TlsStream<TcpStream>>>> + Clone + use<> {
    let (tls, also, lookup) = (Arc::clone(tls), also.to_vec(), lookup.cloned());
    move |uri| Box::pin(open(Arc::clone(&tls), also.clone(), lookup.clone(), uri))
}

async fn open_plain(lookup: Lookup, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    let (host, port) = host_and_port(&uri)?;
    Ok(TokioIo::new(connect(Some(&lookup), host, port).await?))
}

async fn connect(lookup: Option<&Lookup>, host: String, port: u16) -> io::Result<TcpStream> {
    let stream = match lookup {
        None => TcpStream::connect((host, port)).await?,
        Some(lookup) => TcpStream::connect(&*lookup(host, port).await?).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn host_and_port(uri: &Uri) -> io::Result<(String, u16)> {
    let authority = uri.authority().ok_or_else(|| invalid("no host"))?;
    let port = authority.port_u16().ok_or_else(|| invalid("no port"))?;
    Ok((names::host(authority.as_str()).to_owned(), port))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem.to_owned())
}

async fn open(
    tls: Arc<Tls>,
    also: Vec<String>,
    lookup: Option<Lookup>,
    uri: Uri,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let (host, port) = host_and_port(&uri)?;
    let accepted = AnyOf::of([&*host].into_iter().chain(also.iter().map(String::as_str)));
    let config = tls.client(accepted).ok_or_else(|| invalid("no CA to check the server by"))?;
    let name = ServerName::try_from(host.clone()).map_err(|_| invalid("bad host name"))?;
    let stream = connect(lookup.as_ref(), host, port).await?;
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Whether what listens at `address` answers plain text as servers of TLS do, with an alert. False
/// for everything else, and after a second.
pub async fn wants_tls(address: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(HTTP2_PREFACE).await?;
        stream.read_u8().await
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(TLS_ALERT)))
}

/// How every HTTP/2 client begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of a TLS record that says what is wrong (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 21;

/// Checks a server's certificate as usual, for any one of some names.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) inner: Arc<WebPkiServerVerifier>,
    pub(crate) names: AnyOf,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let check = |name: &ServerName<'_>| {
            self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        let mut refused = names::wrong_name();
        for name in self.names.iter() {
            match check(name) {
                Ok(verified) => return Ok(verified),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_written_to_a_dialled_connection_is_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lookup: Lookup = Arc::new(move |_, _| Box::pin(async move { Ok(vec![address]) }));
        for lookup in [None, Some(&lookup)] {
            let stream = connect(lookup, "127.0.0.1".into(), address.port()).await.unwrap();
            assert!(stream.nodelay().unwrap());
        }
    }
}
