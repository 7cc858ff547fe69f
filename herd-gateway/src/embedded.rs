use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use herd_proto::{Report, TraceContext, v1};
use tonic::Status;

/// What an [`EmbeddedNode`] answers with.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>>;

/// A node in the gateway's own process, which is asked without a connection.
///
/// Its methods answer as the gRPC methods of their names do. Whoever starts both programs in one
/// process binds them together; the gateway itself knows nodes by their messages only.
pub trait EmbeddedNode: fmt::Debug + Send + Sync {
    /// Takes reports, in order, with one receive time, as one message of `ReportStream`, whose first one
    /// belongs to `trace`.
    fn report<'a>(
        &'a self,
        reports: &'a [Report],
        trace: Option<TraceContext>,
    ) -> Answer<'a, v1::ReportStreamResponse>;

    /// Tells what is near a client, to a caller who waits for `timeout`. The question belongs to `trace`.
    fn search(
        &self,
        request: v1::SearchRequest,
        timeout: Duration,
        trace: Option<TraceContext>,
    ) -> Answer<'_, v1::SearchResponse>;

    /// Tells where a client is.
    fn get(&self, request: v1::GetRequest) -> Answer<'_, v1::GetResponse>;
}
