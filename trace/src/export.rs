//! Spans on their way to a collector, by OpenTelemetry's own libraries.
//!
//! They gather in a queue of 2,048 (`OTEL_BSP_MAX_QUEUE_SIZE`) and leave from a thread of its own, so
//! that no call ever waits for the collector. What finds the queue full is dropped.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs};

use herd_proto::TraceContext;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceFlags, TraceId};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter,
};
use tokio::runtime::{self, Runtime};
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing::{info, warn};

use crate::{Error, Kind, Value};

/// How long a program that ends waits for the collector.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// What `OTEL_TRACES_SAMPLER` may be; the library takes any other for the fourth.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// One a process: what begins a span need not be told where it goes.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

#[derive(Debug)]
pub(crate) struct Running {
    provider: SdkTracerProvider,
    /// Where the connection to the collector lives: the programs' own runtime has one thread, which
    /// waits for the last spans when it ends.
    runtime: Runtime,
}

pub(crate) fn start(
    program: &'static str,
    instance: &str,
    endpoint: &str,
) -> Result<Option<Running>, Error> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .map_err(Error::Thread)?;
    let entered = runtime.enter();
    let exporter = exporter(endpoint);
    drop(entered);
    let exporter = match exporter {
        Ok(exporter) => exporter,
        Err(error) => {
            // Dropped, it would wait for its thread, which nobody may who is in a runtime already.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(program, instance))
        .with_batch_exporter(exporter)
        .build();
    // A second one in a process, as in tests, sends nothing.
    let _ = TRACER.set(provider.tracer("herd"));
    if let Ok(sampler) = env::var("OTEL_TRACES_SAMPLER")
        && !SAMPLERS.contains(&&*sampler)
    {
        warn!(sampler, known = ?SAMPLERS, "OTEL_TRACES_SAMPLER is unknown, so every trace is kept");
    }
    info!(endpoint, "sending traces");
    Ok(Some(Running { provider, runtime }))
}

impl Running {
    pub(crate) fn stop(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_LIMIT) {
            warn!(%error, "the last traces were not sent");
        }
        self.runtime.shutdown_background();
    }
}

fn exporter(endpoint: &str) -> Result<Telling<opentelemetry_otlp::SpanExporter>, Error> {
    let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    let builder = builder.with_endpoint(endpoint);
    let builder =
        if endpoint.starts_with("https:") { builder.with_tls_config(tls()?) } else { builder };
    let inner = builder.build().map_err(|error| Error::Collector(error.to_string()))?;
    Ok(Telling { inner, failing: AtomicBool::new(false) })
}

/// The system's CAs, or those that the environment names.
fn tls() -> Result<ClientTlsConfig, Error> {
    let tls = ClientTlsConfig::new();
    let variables = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
    let file = variables.into_iter().find_map(|name| env::var(name).ok().filter(|f| !f.is_empty()));
    Ok(match file {
        Some(file) => {
            let read = fs::read(&file);
            let pem = read.map_err(|error| Error::Collector(format!("{file}: {error}")))?;
            tls.ca_certificate(Certificate::from_pem(pem))
        }
        None => tls.with_enabled_roots(),
    })
}

/// Who sends: what the environment says, and what it leaves open.
fn resource(program: &'static str, instance: &str) -> Resource {
    let own = [
        KeyValue::new("service.name", program),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let name = env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    Resource::builder_empty()
        .with_attributes(own)
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ])
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build()
}

/// Tells once when the collector stops taking spans, and once when it takes them again.
#[derive(Debug)]
struct Telling<E> {
    inner: E,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.inner.export(batch).await;
        let failed_before = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !failed_before => {
                warn!(%error, "traces are lost, the collector takes none");
            }
            Ok(()) if failed_before => info!("the collector takes traces again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// A span that somebody will read.
#[derive(Debug)]
pub(crate) struct Recorded(Box<SdkSpan>);

/// Begins a span, if spans are sent. It may be one that the sampler leaves out, which then has a
/// context and is not recorded.
pub(crate) fn begin(
    kind: Kind,
    parent: Option<&TraceContext>,
    name: impl FnOnce() -> Cow<'static, str>,
) -> Option<(Option<TraceContext>, Option<Recorded>)> {
    let tracer = TRACER.get()?;
    let kind = match kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Consumer => SpanKind::Consumer,
    };
    let parent = parent.map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(to_library(parent))
    });
    let span = tracer.build_with_context(SpanBuilder::from_name(name()).with_kind(kind), &parent);
    let context = from_library(span.span_context());
    let recorded = span.is_recording().then(|| Recorded(Box::new(span)));
    Some((context, recorded))
}

impl Recorded {
    pub(crate) fn set(&mut self, key: &'static str, value: Value) {
        self.0.set_attribute(match value {
            Value::Text(text) => KeyValue::new(key, text),
            Value::Number(number) => KeyValue::new(key, number),
            Value::Fraction(fraction) => KeyValue::new(key, fraction),
            Value::Truth(truth) => KeyValue::new(key, truth),
        });
    }

    pub(crate) fn fail(&mut self, why: Cow<'static, str>) {
        self.0.set_status(Status::error(why));
    }
}

fn to_library(context: &TraceContext) -> SpanContext {
    let state = context.state().and_then(|state| state.parse::<TraceState>().ok());
    SpanContext::new(
        TraceId::from_bytes(context.trace_id()),
        SpanId::from_bytes(context.span_id()),
        TraceFlags::new(context.flags()),
        true,
        state.unwrap_or_default(),
    )
}

fn from_library(context: &SpanContext) -> Option<TraceContext> {
    let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    let read = TraceContext::new(trace, span, context.trace_flags().to_u8())?;
    Some(read.with_state(&context.trace_state().header()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use herd_edge::testing::logged;
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// Succeeds or not, as it is told.
    #[derive(Debug)]
    struct Script(Mutex<Vec<bool>>);

    impl SpanExporter for Script {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let works = self.0.lock().unwrap().remove(0);
            works.then_some(()).ok_or(OTelSdkError::InternalFailure("nobody there".into()))
        }
    }

    #[test]
    fn a_collector_that_takes_nothing_is_told_of_once_and_its_return_too() {
        let works = vec![true, false, false, false, true, true, false];
        let rounds = works.len();
        let exporter =
            Telling { inner: Script(Mutex::new(works)), failing: AtomicBool::new(false) };
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let log = logged(|| {
            for _ in 0..rounds {
                let _ = runtime.block_on(exporter.export(Vec::new()));
            }
        });
        let lines: Vec<_> = log.lines().map(|line| line.contains("again")).collect();
        assert_eq!(lines, [false, true, false], "{log}");
        assert!(log.contains("nobody there"), "{log}");
    }

    #[test]
    fn a_context_comes_through_the_library_unchanged() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for state in ["", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"] {
            let context = TraceContext::parse(parent).unwrap().with_state(state);
            assert_eq!(from_library(&to_library(&context)), Some(context));
        }
    }
}
