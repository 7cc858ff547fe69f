//! TLS and tokens, as typed.

use std::path::PathBuf;

use herd_edge::{ClientAuth, Pair, TlsFiles};
use herd_proto::NodeName;
use herd_proto::topology::Problems;
use serde::Deserialize;

/// Certificates, keys and CAs. In the paths of certificate and key `{name}` stands for the node's
/// name, so that one herd file serves all nodes.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The node's certificate and those that lead to the CA, PEM; {name} is the node's name. With
    /// it the port speaks TLS, and only nodes may gossip [default: plain text]
    #[arg(id = "tls_cert", long = "tls-cert", env = "HERD_TLS_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// The certificate's private key, PEM
    #[arg(id = "tls_key", long = "tls-key", env = "HERD_TLS_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// The CAs, PEM, by which nodes and clients with certificates are known
    #[arg(id = "tls_ca", long = "tls-ca", env = "HERD_TLS_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Whether every client must show a certificate of the CAs: optional or required
    /// [default: optional]
    #[arg(id = "tls_client_auth", long = "tls-client-auth", env = "HERD_TLS_CLIENT_AUTH")]
    #[arg(value_name = "WORD")]
    pub client_auth: Option<String>,
}

/// How a node speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Its certificate, key and CAs; it has all three.
    pub files: TlsFiles,
    /// Whether clients must show certificates.
    pub clients: ClientAuth,
}

impl TlsSettings {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            cert: self.cert.or(other.cert),
            key: self.key.or(other.key),
            ca: self.ca.or(other.ca),
            client_auth: self.client_auth.or(other.client_auth),
        }
    }

    /// What is meant for node `name`; `None` for plain text.
    pub(crate) fn config(self, name: &NodeName, problems: &mut Problems) -> Option<TlsConfig> {
        let clients = match self.client_auth.as_deref() {
            None | Some("optional") => ClientAuth::Optional,
            Some("required") => ClientAuth::Required,
            Some(other) => {
                problems.add(format_args!(
                    "tls_client_auth: must be optional or required, got {other:?}"
                ));
                ClientAuth::Optional
            }
        };
        match (self.cert, self.key, self.ca) {
            (None, None, None) => {
                if self.client_auth.is_some() {
                    problems.add("tls_client_auth: needs tls_cert, tls_key and tls_ca");
                }
                None
            }
            (Some(cert), Some(key), Some(ca)) => {
                let pair = Pair { cert: of_node(cert, name), key: of_node(key, name) };
                let files = TlsFiles { pair: Some(pair), ca: Some(ca) };
                Some(TlsConfig { files, clients })
            }
            _ => {
                problems.add(
                    "tls_cert, tls_key, tls_ca: give all three or none: nodes know each other by \
                     their certificates",
                );
                None
            }
        }
    }
}

/// Puts the node's name in its place.
fn of_node(path: PathBuf, name: &NodeName) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace("{name}", name.as_str()).into(),
        None => path,
    }
}
