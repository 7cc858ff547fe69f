//! Who may call what.

use std::collections::HashMap;
use std::sync::Arc;

use herd_edge::names::{self, AnyOf};
use herd_proto::{ClientId, NodeName};
use rustls::pki_types::CertificateDer;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::connection::Remote;
use super::tokens::{Bearer, Role, Tokens};
use crate::herd::link::SpeaksFor;

/// Names the herd as the source of [`ErrorDetails`].
const DOMAIN: &str = "herd.v1";

/// What a method takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: health, and reflection where it is served at all.
    Nothing,
    /// A token with a role, where there are tokens.
    Role(Role),
    /// To be a node of the herd.
    BeNode,
}

impl Need {
    /// What the method at `path`, such as `/herd.v1.Locations/Get`, takes. What is not listed is
    /// for admins only, so that a new method is not open by mistake.
    fn of(path: &str) -> Self {
        match path {
            "/herd.v1.Gossip/Propagate" => Self::BeNode,
            "/herd.v1.Locations/Get"
            | "/herd.v1.Locations/Near"
            | "/herd.v1.Locations/Watch"
            | "/herd.v1.Places/Search"
            | "/herd.v1.Node/GetStatus" => Self::Role(Role::Read),
            "/herd.v1.Locations/Report" | "/herd.v1.Locations/ReportStream" => {
                Self::Role(Role::Report)
            }
            _ if path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.") => {
                Self::Nothing
            }
            _ => Self::Role(Role::Admin),
        }
    }
}

/// Decides who may call what.
#[derive(Debug)]
pub(crate) struct Access {
    /// `None` where callers need no token.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// The nodes of the herd, by their certificates; `None` without mTLS.
    pub(crate) nodes: Option<Nodes>,
}

/// Which certificates are nodes'.
#[derive(Debug)]
pub(crate) enum Nodes {
    /// Those that bear a name of one of these nodes.
    Listed(Vec<(NodeName, AnyOf)>),
    /// Those that bear a name right below this domain, whose first label is the node's name, or a
    /// wildcard for all of them. For nodes that DNS names: what it answers proves nothing itself.
    Under(String),
}

impl Nodes {
    fn for_whom_speaks(&self, certificate: &CertificateDer<'_>) -> SpeaksFor {
        match self {
            Self::Listed(nodes) => {
                let borne = nodes.iter().filter(|(_, names)| names.is_borne_by(certificate));
                SpeaksFor::These(borne.map(|(name, _)| name.clone()).collect())
            }
            Self::Under(domain) => {
                let labels = names::labels_under(domain, certificate);
                if labels.iter().any(|label| label == "*") {
                    return SpeaksFor::AnyNode;
                }
                SpeaksFor::These(
                    labels.iter().filter_map(|label| NodeName::parse(label).ok()).collect(),
                )
            }
        }
    }
}

/// Who calls, as far as it was found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The token's bearer, where there are tokens.
    pub(crate) bearer: Option<Arc<Bearer>>,
    /// The nodes for which the caller's certificate speaks; `None` where that is not asked.
    pub(crate) speaks_for: Option<SpeaksFor>,
}

impl Caller {
    /// Whether the caller may report where `client` is.
    pub(crate) fn may_report_for(&self, client: &ClientId) -> bool {
        self.bearer.as_ref().is_none_or(|bearer| bearer.may_report_for(client))
    }
}

impl Access {
    /// Decides about one call. `authorization` is the header of that name.
    ///
    /// # Errors
    /// UNAUTHENTICATED for who is not known, PERMISSION_DENIED for who is and may not.
    pub(crate) fn check(
        &self,
        path: &str,
        remote: Option<&Remote>,
        authorization: Option<&str>,
    ) -> Result<Caller, Status> {
        match Need::of(path) {
            Need::Nothing => Ok(Caller::default()),
            Need::BeNode => self.check_node(remote, authorization),
            Need::Role(role) => self.check_role(role, remote, authorization),
        }
    }

    fn check_node(
        &self,
        remote: Option<&Remote>,
        authorization: Option<&str>,
    ) -> Result<Caller, Status> {
        if self.nodes.is_none() {
            return match &self.tokens {
                None => Ok(Caller::default()),
                Some(tokens) => bearer_with(tokens, Role::Peer, authorization),
            };
        }
        let certificate = remote.and_then(|remote| remote.certificate.as_ref());
        if certificate.is_none() {
            return Err(unauthenticated(
                "CERTIFICATE_MISSING",
                "only nodes of the herd may gossip, and show it by their certificates",
            ));
        }
        let speaks_for = self.speaks_for(remote);
        if speaks_for.is_nobody() {
            let message = "only nodes of the herd may gossip, and this certificate is none's";
            return Err(denied("NOT_A_NODE", message));
        }
        Ok(Caller { bearer: None, speaks_for: Some(speaks_for) })
    }

    fn check_role(
        &self,
        role: Role,
        remote: Option<&Remote>,
        authorization: Option<&str>,
    ) -> Result<Caller, Status> {
        if let Some(tokens) = &self.tokens
            && authorization.is_some()
        {
            return bearer_with(tokens, role, authorization);
        }
        if !self.speaks_for(remote).is_nobody() {
            let message = "this certificate is a node's: nodes may gossip and nothing else";
            return Err(denied("IS_A_NODE", message));
        }
        if self.tokens.is_some() { Err(token_missing()) } else { Ok(Caller::default()) }
    }

    /// The nodes for which the other end's certificate speaks.
    fn speaks_for(&self, remote: Option<&Remote>) -> SpeaksFor {
        let certificate = remote.and_then(|remote| remote.certificate.as_ref());
        match (&self.nodes, certificate) {
            (Some(nodes), Some(certificate)) => nodes.for_whom_speaks(certificate),
            _ => SpeaksFor::These(Vec::new()),
        }
    }
}

fn bearer_with(tokens: &Tokens, role: Role, authorization: Option<&str>) -> Result<Caller, Status> {
    let header = authorization.ok_or_else(token_missing)?;
    let token = header
        .split_once(' ')
        .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()));
    let bearer = token.and_then(|token| tokens.bearer(token)).ok_or_else(|| {
        unauthenticated("TOKEN_UNKNOWN", "this token is not one of this herd's, or no longer")
    })?;
    if !bearer.has(role) {
        let message =
            format!("the token {:?} lacks the role {}, which this needs", bearer.name, role.name());
        return Err(denied("ROLE_MISSING", &message));
    }
    Ok(Caller { bearer: Some(bearer), speaks_for: None })
}

fn token_missing() -> Status {
    let message = "this herd wants a token: send authorization: Bearer TOKEN";
    unauthenticated("TOKEN_MISSING", message)
}

/// What ends the streams of a token that was taken away.
pub(super) fn token_revoked() -> Status {
    unauthenticated("TOKEN_REVOKED", "this token was revoked")
}

fn unauthenticated(reason: &str, message: &str) -> Status {
    refused(Code::Unauthenticated, reason, message)
}

/// PERMISSION_DENIED with a `google.rpc.ErrorInfo` of this reason.
pub(crate) fn denied(reason: &str, message: &str) -> Status {
    refused(Code::PermissionDenied, reason, message)
}

fn refused(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

#[cfg(test)]
mod tests {
    use herd_proto::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn what_each_method_takes_has_been_thought_about() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services = files.file.iter().filter(|file| file.package() == "herd.v1");
        let services = services.flat_map(|file| &file.service);
        let mut for_admins = Vec::new();
        for service in services {
            for method in &service.method {
                let path = format!("/herd.v1.{}/{}", service.name(), method.name());
                if Need::of(&path) == Need::Role(Role::Admin) {
                    for_admins.push(format!("{}/{}", service.name(), method.name()));
                }
            }
        }
        assert_eq!(for_admins, ["Locations/Forget", "Node/SetLogFilter"]);
        assert_eq!(Need::of("/grpc.health.v1.Health/Check"), Need::Nothing);
        assert_eq!(Need::of("/herd.v1.Locations/New"), Need::Role(Role::Admin));
    }
}
