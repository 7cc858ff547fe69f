//! Names a call: in its answer, in the details of its error and in the log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use herd_proto::TraceContext;
use herd_trace::{Kind, Span as TraceSpan};
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::{Span, debug, debug_span, warn};

use super::calls::Timing;
use super::connection::Remote;
use super::guard::Guard;
use super::request_id::{self, CallName, shown};

/// Where gRPC says how a call ended.
const STATUS: &str = "grpc-status";

/// One call.
pub(super) struct Call {
    name: CallName,
    path: String,
    guard: Arc<Guard>,
    timing: Timing,
    traced: TraceSpan,
}

impl Call {
    /// Takes its name from the headers, if there is one.
    pub(super) fn new(request: &Request<Body>, guard: &Arc<Guard>) -> Self {
        let path = request.uri().path();
        let timing = guard.calls.begin(path);
        let mut name = CallName::of(request.headers());
        let mut traced = timing.span(name.trace.clone());
        if traced.is_recorded() {
            traced.set("herd.request_id", name.id.to_string());
            if let Some(remote) = request.extensions().get::<Remote>() {
                traced.set("client.address", remote.address.ip().to_string());
            }
        }
        if let Some(trace) = traced.context() {
            name.trace = Some(trace.clone());
        }
        Self { name, path: path.into(), guard: Arc::clone(guard), timing, traced }
    }

    /// The trace that what the call causes belongs to.
    pub(super) fn trace(&self) -> Option<&TraceContext> {
        self.name.trace.as_ref()
    }

    /// What is logged of it stands in here.
    pub(super) fn span(&self) -> Span {
        let CallName { id, trace } = &self.name;
        debug_span!("call", %id, trace_id = shown(trace.as_ref()), path = self.path)
    }

    /// Puts the call's name into its response, and into the error with which that begins or ends.
    pub(super) fn named(mut self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, self.name.id.header());
        if headers.contains_key(STATUS) {
            self.name_error(headers);
            return response;
        }
        response.map(|body| Body::new(Named { inner: body, call: self }))
    }

    fn name_error(&mut self, headers: &mut HeaderMap) {
        let Some(code) = headers.get(STATUS) else { return };
        self.timing.ends_with(Code::from_bytes(code.as_bytes()));
        if code == "0" {
            return;
        }
        let Some(status) = Status::from_header_map(headers) else { return };
        self.log(&status);
        self.guard.count(&status);
        let mut details = status.get_error_details();
        details.set_request_info(self.name.id.to_string(), "");
        let named = Status::with_error_details(status.code(), status.message(), details);
        let mut replaced = HeaderMap::new();
        if named.add_header(&mut replaced).is_ok() {
            headers.extend(replaced);
        }
    }

    /// A node's own faults are for its operator; a caller's are not, unless one looks for them.
    fn log(&self, status: &Status) {
        let Self { name: CallName { id, trace }, path, .. } = self;
        let trace_id = shown(trace.as_ref());
        let (code, message) = (status.code(), status.message());
        match code {
            Code::Internal | Code::Unknown | Code::DataLoss => {
                warn!(%id, trace_id, path, ?code, message, "call failed");
            }
            _ => debug!(%id, trace_id, path, ?code, message, "call refused"),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.timing.finish(&self.name);
        self.traced.answered(Kind::Server, self.timing.code() as i32);
    }
}

/// A response body whose error, if it ends with one, names its call.
struct Named {
    inner: Body,
    call: Call,
}

impl http_body::Body for Named {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { inner, call } = &mut *self;
        let mut frame = ready!(Pin::new(inner).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            call.name_error(trailers);
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
