//! The one layer around all services: names each call, lets it through or not, and ends it when
//! its caller's time is over.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::access::token_revoked;
use super::call::Call;
use super::deadline::{Bounded, time_left};
use super::guard::{Admitted, Guard};
use super::whole::{Messages, Whole};

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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Before anything else: tonic has a time-out of its own around this layer, which answers
        // CANCELLED, and must be the later of the two.
        let deadline =
            time_left(request.headers()).and_then(|left| Instant::now().checked_add(left));
        let call = Call::new(&request, &self.guard);
        let Admitted { caller, permit } = match self.guard.admit(&request) {
            Ok(admitted) => admitted,
            Err(status) => {
                let response = call.named(status.into_http());
                return Box::pin(async { Ok(response) });
            }
        };
        let messages = Messages::to(request.uri().path());
        let mut request = request.map(|body| Whole::of(messages, body, &self.guard.refusals));
        let revoked = caller.bearer.as_ref().map(|bearer| bearer.revoked.clone());
        request.extensions_mut().insert(caller);
        if let Some(trace) = call.trace() {
            request.extensions_mut().insert(trace.clone());
        }
        let span = call.span();
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
                    return Ok(call.named(response));
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
                        token_revoked()
                    };
                    tokio::select! {
                        status = too_late => status,
                        status = revoked => status,
                    }
                });
                Ok(call.named(response.map(|body| Body::new(Bounded::new(body, end)))))
            }
            .instrument(span),
        )
    }
}

fn too_late() -> Status {
    Status::deadline_exceeded("the caller's time was over before the node was done")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::front::{Access, Calls};

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_in_time_is_deadline_exceeded_and_lets_go_of_its_place() {
        let open = Access { tokens: None, nodes: None };
        let calls = Arc::new(Calls::new("Bailey", None));
        let guard = Arc::new(Guard::new(open, 1, Arc::default(), calls));
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
