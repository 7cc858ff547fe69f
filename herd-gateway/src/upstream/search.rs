//! Asking one node what is near a client.

use std::time::Duration;

use herd_proto::{LocationRecord, v1};
use tokio::time;
use tonic::Status;

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

/// The single calls that a query takes, whatever the way to the node, which is told how long the
/// caller waits.
pub(super) trait Calls {
    fn search(
        &self,
        request: v1::SearchRequest,
        timeout: Duration,
    ) -> impl Future<Output = Result<v1::SearchResponse, Status>> + Send;

    fn get(
        &self,
        request: v1::GetRequest,
        timeout: Duration,
    ) -> impl Future<Output = Result<v1::GetResponse, Status>> + Send;
}

/// Asks what is near a client. When the node knows the client and only its places provider
/// failed, the answer says so in the provider's form.
///
/// # Cancel safety
/// Dropping the future cancels the call.
pub(super) async fn search(
    calls: &impl Calls,
    query: &Whatsat,
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
    query: &Whatsat,
    timeout: Duration,
) -> Result<v1::SearchResponse, CallFailure> {
    bounded(timeout, calls.search(translate::search_request(query), timeout)).await
}

async fn get(calls: &impl Calls, query: &Whatsat) -> Result<Option<LocationRecord>, LinkError> {
    let request = v1::GetRequest { client_id: query.client.as_str().into() };
    match bounded(GET_TIMEOUT, calls.get(request, GET_TIMEOUT)).await {
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
