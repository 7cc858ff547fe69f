//! From commands to requests, and from what a node answered to what a client is told. Pure.

use std::error::Error as _;
use std::iter;

use herd_proto::{LocationRecord, NodeName, Timestamp, v1};
use tonic::{Code, Status, TimeoutExpired};

use crate::line::Whatsat;
use crate::line::answer::PlacesFailure;

/// A query as a node takes it.
pub(crate) fn search_request(query: &Whatsat) -> v1::SearchRequest {
    v1::SearchRequest {
        client_id: query.client.as_str().into(),
        radius_meters: Some(query.radius_meters),
        max_results: Some(query.bound),
        view: v1::SearchView::LegacyJson.into(),
    }
}

/// What a node said to one message of reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// The node's clock when it took them.
    pub(crate) receive_time: Timestamp,
    /// The node's name.
    pub(crate) origin: NodeName,
    /// Positions of the reports it refused, ascending, from 0.
    pub(crate) refused: Vec<u32>,
}

impl Recorded {
    /// Reads a response; `None` if it lacks what an AT line needs, or names failures out of order.
    pub(crate) fn from_response(response: v1::ReportStreamResponse) -> Option<Self> {
        let receive_time = Timestamp::try_from(&response.receive_time?).ok()?;
        let origin = NodeName::parse(&response.origin).ok()?;
        let refused: Vec<_> = response.failures.into_iter().map(|failure| failure.index).collect();
        if !refused.is_sorted() {
            return None;
        }
        Some(Self { receive_time, origin, refused })
    }

    /// Divides the answer to a message among the chunks it was merged from, given their sizes:
    /// each gets the failures of its own reports, counted from its own start.
    pub(crate) fn split(
        &self,
        sizes: impl IntoIterator<Item = usize>,
    ) -> impl Iterator<Item = Self> {
        let mut sizes = sizes.into_iter();
        let (mut start, mut refused) = (0, &self.refused[..]);
        iter::from_fn(move || {
            let end = start + sizes.next()? as u32;
            let (own, later) = refused.split_at(refused.partition_point(|index| *index < end));
            let own = own.iter().map(|index| index.saturating_sub(start)).collect();
            (start, refused) = (end, later);
            Some(Self {
                receive_time: self.receive_time,
                origin: self.origin.clone(),
                refused: own,
            })
        })
    }
}

/// What a node said to a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// The location, and the JSON text of the places around it.
    Places(Box<LocationRecord>, String),
    /// No such client, or the node refused the question.
    Nothing,
}

impl Found {
    /// Reads a response. One without a sound location is as good as none.
    pub(crate) fn from_response(response: v1::SearchResponse) -> Self {
        match response.location.map(LocationRecord::try_from) {
            Some(Ok(location)) => Self::Places(Box::new(location), response.legacy_json),
            _ => Self::Nothing,
        }
    }
}

/// Why a call brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFailure {
    /// The node could not be reached, or was lost on the way.
    Lost,
    /// The node answers, but its places provider does not.
    Places(PlacesFailure),
    /// The node refused.
    Refused,
}

impl From<&Status> for CallFailure {
    fn from(status: &Status) -> Self {
        match status.code() {
            _ if timed_out(status) => Self::Places(PlacesFailure::TimedOut),
            // Only a status made on this side of the connection has a cause.
            _ if status.source().is_some() => Self::Lost,
            // The node stops, and gave up asking its provider; or the gateway's own token is at fault, and
            // not the client's question.
            Code::Aborted | Code::Unauthenticated | Code::PermissionDenied => Self::Lost,
            Code::Unavailable => Self::Places(PlacesFailure::Unreachable),
            Code::DeadlineExceeded => Self::Places(PlacesFailure::TimedOut),
            Code::ResourceExhausted => Self::Places(PlacesFailure::OverLimit),
            Code::FailedPrecondition => Self::Places(PlacesFailure::Denied),
            _ => Self::Refused,
        }
    }
}

/// Whether the deadline passed on this side, which tonic reports as CANCELLED.
fn timed_out(status: &Status) -> bool {
    iter::successors(status.source(), |error| (*error).source())
        .any(<dyn std::error::Error>::is::<TimeoutExpired>)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(refused: &[u32]) -> Recorded {
        Recorded {
            receive_time: Timestamp::EPOCH,
            origin: NodeName::parse("Bailey").unwrap(),
            refused: refused.into(),
        }
    }

    #[test]
    fn failures_are_counted_from_the_start_of_each_chunk() {
        let parts: Vec<_> =
            recorded(&[0, 2, 3, 9]).split([3, 0, 4, 3]).map(|part| part.refused).collect();
        assert_eq!(parts, [vec![0, 2], vec![], vec![0], vec![2]]);
    }

    #[test]
    fn failures_beyond_the_message_harm_nobody() {
        let parts: Vec<_> =
            recorded(&[7, u32::MAX]).split([2, 1]).map(|part| part.refused).collect();
        assert_eq!(parts, [vec![], Vec::<u32>::new()]);
    }

    #[test]
    fn a_response_without_origin_or_time_is_none() {
        let whole = v1::ReportStreamResponse {
            receive_time: Some(Timestamp::EPOCH.into()),
            origin: "Bailey".into(),
            ..Default::default()
        };
        assert_eq!(Recorded::from_response(whole.clone()), Some(recorded(&[])));
        let nameless = v1::ReportStreamResponse { origin: String::new(), ..whole.clone() };
        assert_eq!(Recorded::from_response(nameless), None);
        let timeless = v1::ReportStreamResponse { receive_time: None, ..whole };
        assert_eq!(Recorded::from_response(timeless), None);
    }

    #[test]
    fn what_a_node_says_and_what_the_way_to_it_says_differ() {
        let said = |code| CallFailure::from(&Status::new(code, ""));
        assert_eq!(said(Code::Unavailable), CallFailure::Places(PlacesFailure::Unreachable));
        assert_eq!(said(Code::DeadlineExceeded), CallFailure::Places(PlacesFailure::TimedOut));
        assert_eq!(said(Code::ResourceExhausted), CallFailure::Places(PlacesFailure::OverLimit));
        assert_eq!(said(Code::FailedPrecondition), CallFailure::Places(PlacesFailure::Denied));
        assert_eq!(said(Code::NotFound), CallFailure::Refused);
        assert_eq!(said(Code::Unauthenticated), CallFailure::Lost);
        assert_eq!(said(Code::InvalidArgument), CallFailure::Refused);
        let met = |error: Box<dyn std::error::Error + Send + Sync>| {
            CallFailure::from(&Status::from_error(error))
        };
        assert_eq!(met(Box::new(std::io::Error::other("gone"))), CallFailure::Lost);
        let late = CallFailure::Places(PlacesFailure::TimedOut);
        assert_eq!(met(Box::new(TimeoutExpired(()))), late);
    }
}
