//! Asking one node what is near a client.

use std::time::Duration;

use herd_proto::{LocationRecord, TraceContext, v1};
use tokio::time;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use super::LinkError;
use super::endpoint::CONNECT_TIMEOUT;
use crate::line::Whatsat;
use crate::translate::{self, CallFailure, Found};

/// How long a report may take from the node that answered it to all others. Whoever asks another
/// node at once about a client that has just reported for the first time is asked to wait this
/// long before being told that nobody knows it.
const FLOOD_TIME: Duration = Duration::from_millis(15);

/// Longest wait for the location alone, after the places have failed; it is one look-up.
const GET_TIMEOUT: Duration = Duration::from_secs(1);

/// A node names a call, in its answer and in its log, as the caller wishes that sends this.
const ID_KEY: &str = "x-request-id";

/// What is asked, and by which names it is found again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) what: &'a Whatsat,
    /// The name of the node's calls, of printable ASCII.
    pub(crate) id: &'a str,
    /// The trace that the question belongs to, if it belongs to one.
    pub(crate) trace: Option<&'a TraceContext>,
}

impl<'a> Query<'a> {
    fn call(&self, timeout: Duration) -> Call<'a> {
        Call { timeout, id: self.id, trace: self.trace }
    }
}

/// What a node is told beside the message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) timeout: Duration,
    pub(super) id: &'a str,
    pub(super) trace: Option<&'a TraceContext>,
}

impl Call<'_> {
    /// The call with this message.
    pub(super) fn of<T>(self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let metadata = request.metadata_mut();
        if let Ok(id) = MetadataValue::try_from(self.id) {
            metadata.insert(ID_KEY, id);
        }
        if let Some(trace) = self.trace {
            trace.write_to(metadata.as_mut());
        }
        request
    }
}

/// The single calls that a query takes, whatever the way to the node.
pub(super) trait Calls {
    fn search(
        &self,
        request: v1::SearchRequest,
        call: Call<'_>,
    ) -> impl Future<Output = Result<v1::SearchResponse, Status>> + Send;

    fn get(
        &self,
        request: v1::GetRequest,
        call: Call<'_>,
    ) -> impl Future<Output = Result<v1::GetResponse, Status>> + Send;
}

/// Asks what is near a client. When the node knows the client and only its places provider
/// failed, the answer says so in the provider's form.
///
/// # Cancel safety
/// Dropping the future cancels the call.
pub(super) async fn search(
    calls: &impl Calls,
    query: &Query<'_>,
    timeout: Duration,
) -> Result<Found, LinkError> {
    let mut answer = ask(calls, query, timeout).await;
    if matches!(answer, Err(CallFailure::Refused)) {
        time::sleep(FLOOD_TIME).await;
        answer = ask(calls, query, timeout).await;
    }
    let failure = match answer {
        Ok(response) => return Ok(Found::from_response(response)),
        Err(failure) => failure,
    };
    match failure {
        CallFailure::Lost => Err(LinkError::Broken),
        CallFailure::Refused => Ok(Found::Nothing),
        CallFailure::Places(failure) => match get(calls, query).await? {
            Some(location) => Ok(Found::Places(Box::new(location), failure.json())),
            None => Ok(Found::Nothing),
        },
    }
}

async fn ask(
    calls: &impl Calls,
    query: &Query<'_>,
    timeout: Duration,
) -> Result<v1::SearchResponse, CallFailure> {
    let request = translate::search_request(query.what);
    bounded(timeout, calls.search(request, query.call(timeout))).await
}

async fn get(calls: &impl Calls, query: &Query<'_>) -> Result<Option<LocationRecord>, LinkError> {
    let request = v1::GetRequest { client_id: query.what.client.as_str().into() };
    match bounded(GET_TIMEOUT, calls.get(request, query.call(GET_TIMEOUT))).await {
        Ok(response) => Ok(response.location.and_then(|location| location.try_into().ok())),
        Err(CallFailure::Refused) => Ok(None),
        Err(CallFailure::Lost) => Err(LinkError::Broken),
        Err(CallFailure::Places(_)) => Err(LinkError::Silent),
    }
}

/// The deadline that the node is told begins when there is a connection; this one covers dialling.
async fn bounded<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, CallFailure> {
    match time::timeout(deadline + CONNECT_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(status)) => Err(CallFailure::from(&status)),
        Err(_) => Err(CallFailure::Lost),
    }
}
