//! Certificates and keys in use, kept up to date with their files.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};

use crate::material::{Bytes, ClientAuth, Material, TlsFiles};
use crate::names::AnyOf;
use crate::{TlsError, connect};

/// How often the files are looked at. A few kilobytes from the page cache; certificates are
/// renewed hours before they end.
const LOOK: Duration = Duration::from_secs(2);

/// How long a handshake may take, three round trips at most.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One end's certificates and keys.
///
/// When the files change, connections made from then on use what they hold. When they cannot be
/// used, such as a certificate whose key has not been replaced yet, the last good ones stay.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    clients: ClientAuth,
    alpn: &'static [&'static [u8]],
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    material: Arc<Material>,
    /// What was read last, sound or not.
    seen: Option<Bytes>,
    last_error: String,
}

/// How an end's TLS is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsState {
    /// When the certificate in use ends; `None` for an end that has none.
    pub not_after: Option<SystemTime>,
    /// Why the files as they are now cannot be used; empty if they are in use.
    pub last_error: String,
}

impl Tls {
    /// What speaks HTTP/2, as gRPC does.
    pub const HTTP2: &[&[u8]] = &[b"h2"];

    /// Reads the files for the first time. `alpn` names the protocols that are spoken inside.
    ///
    /// # Errors
    /// A file that cannot be read or used, by name.
    pub async fn load(
        files: TlsFiles,
        clients: ClientAuth,
        alpn: &'static [&'static [u8]],
    ) -> Result<Arc<Self>, TlsError> {
        let seen = files.read().await?;
        let material = Arc::new(files.material(&seen, clients, alpn)?);
        warn_of_end(&material);
        let inner = Inner { material, seen: Some(seen), last_error: String::new() };
        Ok(Arc::new(Self { files, clients, alpn, inner: RwLock::new(inner) }))
    }

    /// How it is.
    pub fn state(&self) -> TlsState {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        TlsState { not_after: inner.material.not_after, last_error: inner.last_error.clone() }
    }

    /// The server's end for the next connection; `None` without a certificate.
    pub fn server(&self) -> Option<Arc<ServerConfig>> {
        self.material().server.clone()
    }

    /// The client's end for the next connection, to a server whose certificate speaks for one of
    /// the names; `None` without CAs.
    pub(crate) fn client(&self, names: AnyOf) -> Option<Arc<ClientConfig>> {
        let material = self.material();
        let side = material.client.as_ref()?;
        let mut config = side.config.clone();
        let verifier = connect::Verifier { inner: Arc::clone(&side.verifier), names };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Some(Arc::new(config))
    }

    fn material(&self) -> Arc<Material> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&inner.material)
    }

    /// Follows the files for as long as it is polled.
    ///
    /// # Cancel safety
    /// Dropping the future stops the following and nothing else.
    pub async fn follow(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look().await;
        }
    }

    /// Reads the files, and uses what they hold if they have changed and it is sound.
    pub async fn look(&self) {
        let read = self.files.read().await;
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let made = match read {
            Ok(bytes) if inner.seen.as_ref() == Some(&bytes) => return,
            Ok(bytes) => {
                let made = self.files.material(&bytes, self.clients, self.alpn);
                inner.seen = Some(bytes);
                made
            }
            Err(error) => {
                inner.seen = None;
                Err(error)
            }
        };
        match made {
            Ok(material) => {
                info!(ends = %end(&material), "certificates read again");
                warn_of_end(&material);
                inner.material = Arc::new(material);
                inner.last_error.clear();
            }
            Err(error) => {
                let error = error.to_string();
                if inner.last_error != error {
                    warn!(%error, "certificates cannot be used, the last good ones stay");
                }
                inner.last_error = error;
            }
        }
    }
}

/// Takes a connection as the server's end, within a time limit.
///
/// # Errors
/// The other end does not speak TLS, showed no sound certificate where one is asked for, or was
/// too slow.
pub async fn accept(
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "TLS handshake not done in time");
    timeout(HANDSHAKE, handshake).await.map_err(|_| too_slow())?
}

fn end(material: &Material) -> String {
    material.not_after.map_or_else(
        || "no own certificate".into(),
        |end| {
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            format!("in {} h", left.as_secs() / 3600)
        },
    )
}

fn warn_of_end(material: &Material) {
    if material.not_after.is_some_and(|end| end <= SystemTime::now()) {
        warn!("the certificate has expired: others will refuse it");
    }
}
