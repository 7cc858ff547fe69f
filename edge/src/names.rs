//! Whom a certificate speaks for: the names in its SAN extension, as RFC 6125 compares them.

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// Some names, of which a certificate must bear at least one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnyOf(Vec<ServerName<'static>>);

impl AnyOf {
    /// The names among `texts` that a certificate can bear: DNS names and IP addresses.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let names = texts.into_iter().filter_map(|text| ServerName::try_from(text).ok());
        Self(names.map(|name| name.to_owned()).collect())
    }

    /// Whether a certificate bears one of the names. It is not checked otherwise.
    pub fn is_borne_by(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        self.0.iter().any(|name| certificate.verify_is_valid_for_subject_name(name).is_ok())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ServerName<'static>> {
        self.0.iter()
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
pub fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The names that prove a node by its certificate when it calls: its own, and the host at which
/// the herd file has it, unless that is an address, which says nothing about who calls.
pub fn of_node(name: &str, address: &str) -> AnyOf {
    let host = Some(host(address)).filter(|host| {
        matches!(ServerName::try_from(*host), Ok(ServerName::DnsName(_)))
            && !host.eq_ignore_ascii_case("localhost")
    });
    AnyOf::of([name].into_iter().chain(host))
}

/// The labels that a certificate's DNS names have right below `domain`, `*` among them.
pub fn labels_under(domain: &str, certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    let names = certificate.valid_dns_names().filter_map(|name| name.split_once('.'));
    let below = names.filter(|(_, parent)| parent.eq_ignore_ascii_case(domain));
    below.map(|(label, _)| label.to_owned()).collect()
}

/// That a certificate is for somebody else.
pub(crate) fn wrong_name() -> rustls::Error {
    CertificateError::NotValidForName.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        rcgen::generate_simple_self_signed(names).unwrap().cert.der().clone()
    }

    #[test]
    fn a_certificate_speaks_for_a_node_by_its_name_or_its_host() {
        let node = of_node("Bailey", "bailey-0.herd.svc:50051");
        assert!(node.is_borne_by(&certificate(&["bailey"])));
        assert!(node.is_borne_by(&certificate(&["*.herd.svc"])));
        assert!(!node.is_borne_by(&certificate(&["Bona", "herd.svc", "bailey.example"])));
    }

    #[test]
    fn only_names_right_below_a_domain_speak_for_its_nodes() {
        let labels = |names: &[&str]| labels_under("peers.herd.svc", &certificate(names));
        assert_eq!(labels(&["node-0.Peers.herd.svc", "peers.herd.svc"]), ["node-0"]);
        assert_eq!(labels(&["a.node-0.peers.herd.svc", "node-0.peers.herd", "node-0"]), [""; 0]);
        assert_eq!(labels(&["*.peers.herd.svc"]), ["*"]);
    }

    #[test]
    fn an_address_proves_nobody_who_calls() {
        assert!(!of_node("Bailey", "127.0.0.1:1").is_borne_by(&certificate(&["127.0.0.1"])));
        assert!(!of_node("Bailey", "localhost:1").is_borne_by(&certificate(&["localhost"])));
        assert!(AnyOf::of(["127.0.0.1"]).is_borne_by(&certificate(&["127.0.0.1"])));
    }

    #[test]
    fn a_host_is_told_from_its_port() {
        for (address, expected) in [("a.b:1", "a.b"), ("[::1]:2", "::1"), ("1.2.3.4:5", "1.2.3.4")]
        {
            assert_eq!(host(address), expected);
        }
    }
}
