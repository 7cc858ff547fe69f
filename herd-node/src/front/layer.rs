//! The one layer around all services: names each call, lets it through or not, and ends it when
//! its caller's time is over.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::{Instrument as _, debug, debug_span, warn};

use super::deadline::{Bounded, time_left};
use super::guard::{Admitted, Guard};
use super::request_id::{self, RequestId};

/// Where gRPC says how a call ended.
const STATUS: &str = "grpc-status";

/// Puts a [`Front`] before services.
#[derive(Debug, Clone)]
pub(crate) struct FrontLayer(pub(crate) Arc<Guard>);

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front { inner, guard: Arc::clone(&self.0) }
    }
}

/// Services behind a guard.
#[derive(Debug, Clone)]
pub(crate) struct Front<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Before anything else: tonic has a time-out of its own around this layer, which answers
        // CANCELLED, and must be the later of the two.
        let deadline =
            time_left(request.headers()).and_then(|left| Instant::now().checked_add(left));
        let id = RequestId::of(request.headers());
        let path = request.uri().path().to_owned();
        let Admitted { caller, permit } = match self.guard.admit(&request) {
            Ok(admitted) => admitted,
            Err(status) => {
                let response = named(status.into_http(), id, path);
                return Box::pin(async { Ok(response) });
            }
        };
        let revoked = caller.bearer.as_ref().map(|bearer| bearer.revoked.clone());
        request.extensions_mut().insert(caller);
        let span = debug_span!("call", %id, path);
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let answered = match deadline {
                    None => answer.await,
                    Some(at) => match timeout_at(at, answer).await {
                        Ok(answered) => answered,
                        Err(_) => Ok(too_late().into_http()),
                    },
                };
                drop(permit);
                let response = answered?;
                if deadline.is_none() && revoked.is_none() {
                    return Ok(named(response, id, path));
                }
                let end = Box::pin(async move {
                    let too_late = async {
                        match deadline {
                            Some(at) => sleep_until(at).await,
                            None => pending().await,
                        }
                        too_late()
                    };
                    let revoked = async {
                        match revoked {
                            Some(revoked) => revoked.cancelled().await,
                            None => pending().await,
                        }
                        Status::unauthenticated("this token was revoked")
                    };
                    tokio::select! {
                        status = too_late => status,
                        status = revoked => status,
                    }
                });
                let bounded = response.map(|body| Body::new(Bounded::new(body, end)));
                Ok(named(bounded, id, path))
            }
            .instrument(span),
        )
    }
}

fn too_late() -> Status {
    Status::deadline_exceeded("the caller's time was over before the node was done")
}

/// Puts the call's name into its response, into the details of an error with which it begins or
/// ends, and beside that in the log.
fn named(mut response: Response<Body>, id: RequestId, path: String) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, id.header());
    if headers.contains_key(STATUS) {
        name_error(headers, &id, &path);
        return response;
    }
    response.map(|body| Body::new(Named { inner: body, id, path }))
}

/// A response body whose error, if it ends with one, names its call.
struct Named {
    inner: Body,
    id: RequestId,
    path: String,
}

impl http_body::Body for Named {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { inner, id, path } = &mut *self;
        let mut frame = ready!(Pin::new(inner).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            name_error(trailers, id, path);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn name_error(headers: &mut HeaderMap, id: &RequestId, path: &str) {
    if headers.get(STATUS).is_none_or(|code| code == "0") {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    log(&status, id, path);
    let mut details = status.get_error_details();
    details.set_request_info(id.to_string(), "");
    let named = Status::with_error_details(status.code(), status.message(), details);
    let mut replaced = HeaderMap::new();
    if named.add_header(&mut replaced).is_ok() {
        headers.extend(replaced);
    }
}

/// A node's own faults are for its operator; a caller's are not, unless one looks for them.
fn log(status: &Status, id: &RequestId, path: &str) {
    let (code, message) = (status.code(), status.message());
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            warn!(%id, path, ?code, message, "call failed");
        }
        _ => debug!(%id, path, ?code, message, "call refused"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use herd_edge::Refusals;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::front::Access;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_in_time_is_deadline_exceeded_and_lets_go_of_its_place() {
        let open = Access { tokens: None, nodes: None };
        let guard = Arc::new(Guard::new(open, 1, Arc::new(Refusals::default())));
        let stuck = service_fn(async |_: Request<Body>| {
            pending::<()>().await;
            Ok(Response::new(Body::empty()))
        });
        let front = FrontLayer(guard).layer(stuck);
        for _ in 0..2 {
            let request = Request::builder().header("grpc-timeout", "50m");
            let request = request.body(Body::empty()).unwrap();
            let begun = Instant::now();
            let response = front.clone().oneshot(request).await.unwrap();
            let status = Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert_eq!(begun.elapsed().as_millis(), Duration::from_millis(50).as_millis());
        }
    }
}
