//! What `/metrics` tells of calls, and which of them took too long.
//!
//! Names are those of the Prometheus interceptors that gRPC servers of other languages have.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use herd_edge::Seldom;
use herd_proto::{FILE_DESCRIPTOR_SET, TraceContext};
use herd_trace::{Kind, Span};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tracing::warn;

use super::request_id::{CallName, shown};

/// Upper bounds, in seconds: from an answer out of memory to one that is given up.
const BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Status codes that gRPC has.
const CODES: usize = 17;

/// What is kept of all calls.
pub(crate) struct Calls {
    methods: HashMap<String, Arc<Method>>,
    /// All that are called and do not exist: their names are the callers' to choose.
    other: Arc<Method>,
    /// The node's name, in traces.
    node: String,
    slow: Option<Duration>,
    slow_log: Seldom,
    started: Family<MethodLabels, Counter>,
    handled: Family<HandledLabels, Counter>,
    seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
}

/// One method.
struct Method {
    labels: MethodLabels,
    /// Whether it has one request and one answer: what a stream takes is its caller's choice.
    unary: bool,
    /// Made at the first call, so that `/metrics` has no methods that nobody calls.
    meters: OnceLock<Meters>,
}

struct Meters {
    started: Counter,
    seconds: Histogram,
    handled: [OnceLock<Counter>; CODES],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    grpc_service: String,
    grpc_method: String,
}

#[expect(clippy::struct_field_names, reason = "the names of the labels")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandledLabels {
    grpc_service: String,
    grpc_method: String,
    grpc_code: String,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("slow", &self.slow).finish_non_exhaustive()
    }
}

impl Calls {
    /// Nothing was called yet of `node`. Unary calls that take `slow` are logged.
    pub(crate) fn new(node: &str, slow: Option<Duration>) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        let sets = [
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        Self {
            methods: sets.into_iter().flat_map(methods).collect(),
            other: Method::new("other", "other", false),
            node: node.to_owned(),
            slow,
            slow_log: Seldom::default(),
            started: Family::default(),
            handled: Family::default(),
            seconds: Family::new_with_constructor(histogram),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Calls begun, by method; other is for methods that do not exist";
        registry.register("grpc_server_started", help, self.started.clone());
        let help = "Calls ended, by method and status; Cancelled is for callers that left";
        registry.register("grpc_server_handled", help, self.handled.clone());
        let help = "How long calls took, streams to their end";
        let name = "grpc_server_handling";
        registry.register_with_unit(name, help, Unit::Seconds, self.seconds.clone());
    }

    /// Notes that the method at `path` is called.
    pub(super) fn begin(self: &Arc<Self>, path: &str) -> Timing {
        let method = Arc::clone(self.methods.get(path).unwrap_or(&self.other));
        self.meters(&method).started.inc();
        Timing { calls: Arc::clone(self), method, begun: Instant::now(), code: None }
    }

    fn meters<'a>(&self, method: &'a Method) -> &'a Meters {
        method.meters.get_or_init(|| Meters {
            started: self.started.get_or_create_owned(&method.labels),
            seconds: self.seconds.get_or_create_owned(&method.labels),
            handled: std::array::from_fn(|_| OnceLock::new()),
        })
    }

    fn end(&self, method: &Method, code: Code, took: Duration) {
        let meters = self.meters(method);
        meters.seconds.observe(took.as_secs_f64());
        let Some(handled) = meters.handled.get(code as usize) else { return };
        let labels = || HandledLabels {
            grpc_service: method.labels.grpc_service.clone(),
            grpc_method: method.labels.grpc_method.clone(),
            grpc_code: format!("{code:?}"),
        };
        handled.get_or_init(|| self.handled.get_or_create_owned(&labels())).inc();
    }

    /// Logs a call that took too long, unless another one was just logged.
    fn log_slow(&self, method: &Method, name: &CallName, code: Code, took: Duration) {
        if !method.unary || self.slow.is_none_or(|slow| took < slow) {
            return;
        }
        let Some(unsaid) = self.slow_log.turn() else { return };
        let CallName { id, trace } = name;
        let MethodLabels { grpc_service, grpc_method } = &method.labels;
        warn!(
            %id,
            trace_id = shown(trace.as_ref()),
            method = %format_args!("{grpc_service}/{grpc_method}"),
            ?code,
            millis = took.as_millis(),
            unsaid,
            "slow call"
        );
    }
}

/// The methods of a set of descriptors, by their paths.
fn methods(set: &[u8]) -> Vec<(String, Arc<Method>)> {
    // Each was compiled into this program.
    let files = FileDescriptorSet::decode(set).unwrap_or_default();
    let services = files.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service
            .into_iter()
            .map(move |service| (format!("{package}.{}", service.name()), service))
    });
    let methods = services.flat_map(|(name, service)| {
        service.method.into_iter().map(move |method| {
            let unary = !method.client_streaming() && !method.server_streaming();
            (format!("/{name}/{}", method.name()), Method::new(&name, method.name(), unary))
        })
    });
    methods.collect()
}

impl Method {
    fn new(service: &str, method: &str, unary: bool) -> Arc<Self> {
        let labels = MethodLabels { grpc_service: service.into(), grpc_method: method.into() };
        Arc::new(Self { labels, unary, meters: OnceLock::new() })
    }
}

/// One call, from its head to the end of its answer, or to its being dropped.
pub(super) struct Timing {
    calls: Arc<Calls>,
    method: Arc<Method>,
    begun: Instant,
    code: Option<Code>,
}

impl Timing {
    /// The call's part of a trace, if it is of a kind that has one: streams last for days, and probes
    /// tell nobody anything.
    pub(super) fn span(&self, parent: Option<TraceContext>) -> Span {
        let MethodLabels { grpc_service, grpc_method } = &self.method.labels;
        if !self.method.unary || grpc_service.starts_with("grpc.health.") {
            return Span::none();
        }
        let mut span = Span::call(Kind::Server, parent, grpc_service, grpc_method);
        if span.is_recorded() {
            span.set("herd.node", self.calls.node.clone());
        }
        span
    }

    /// The status with which the call ended; CANCELLED if its caller left.
    pub(super) fn code(&self) -> Code {
        self.code.unwrap_or(Code::Cancelled)
    }

    /// Notes with which status the call ends.
    pub(super) fn ends_with(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Counts the call, and logs it if it was slow.
    pub(super) fn finish(&self, name: &CallName) {
        let (code, took) = (self.code(), self.begun.elapsed());
        self.calls.end(&self.method, code, took);
        self.calls.log_slow(&self.method, name, code, took);
    }
}

#[cfg(test)]
mod tests {
    use herd_edge::testing::logged;
    use http::HeaderMap;

    use super::*;

    fn call(calls: &Arc<Calls>, path: &str) {
        let mut timing = calls.begin(path);
        timing.ends_with(Code::Ok);
        let mut headers = HeaderMap::new();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", parent.parse().unwrap());
        timing.finish(&CallName::of(&headers));
    }

    #[test]
    fn of_slow_calls_one_a_second_is_logged_and_streams_never() {
        let all_slow = Arc::new(Calls::new("Bailey", Some(Duration::ZERO)));
        let log = logged(|| {
            for path in ["/herd.v1.Locations/Watch", "/made/up", "/herd.v1.Locations/Get"] {
                call(&all_slow, path);
            }
            call(&all_slow, "/herd.v1.Places/Search");
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("slow call") && log.contains("method=herd.v1.Locations/Get"), "{log}");
        assert!(log.contains("trace_id=4bf92f3577b34da6a3ce929d0e0e4736"), "{log}");
        assert_eq!(all_slow.slow_log.unsaid(), 1);
        let none_slow = Arc::new(Calls::new("Bailey", None));
        assert_eq!(logged(|| call(&none_slow, "/herd.v1.Locations/Get")), "");
    }
}
