//! One piece of work in a trace.

use std::borrow::Cow;

use herd_proto::TraceContext;

use crate::export::{self, Recorded};

/// What a span is to the one that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The answer to somebody else's call.
    Server,
    /// A call of somebody else.
    Client,
    /// Taking what another node passed on, for which it does not wait.
    Consumer,
}

/// Statuses that are the answering side's own faults, as OpenTelemetry's conventions have it: UNKNOWN,
/// DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const FAULTS: [i32; 6] = [2, 4, 12, 13, 14, 15];

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A count.
    Number(i64),
    /// A measure.
    Fraction(f64),
    /// A truth value.
    Truth(bool),
}

/// A piece of work, from [`Span::begin`] until it is dropped.
///
/// Where nothing is sent to a collector it merely holds the context of whoever caused it, so that it is
/// passed on.
#[derive(Debug, Default)]
pub struct Span {
    context: Option<TraceContext>,
    recorded: Option<Recorded>,
}

impl Span {
    /// No work of any trace.
    pub fn none() -> Self {
        Self::default()
    }

    /// Begins a piece of work that `parent` caused, or that begins a trace where it is `None`. The
    /// `name`, of few different ones, is only asked for where there is somebody to read it.
    pub fn begin(
        kind: Kind,
        parent: Option<TraceContext>,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Self {
        match export::begin(kind, parent.as_ref(), name) {
            Some((context, recorded)) => Self { context, recorded },
            None => Self { context: parent, recorded: None },
        }
    }

    /// Begins a call of a gRPC method, or the answer to one.
    pub fn call(kind: Kind, parent: Option<TraceContext>, service: &str, method: &str) -> Self {
        let mut span = Self::begin(kind, parent, || format!("{service}/{method}").into());
        if span.is_recorded() {
            span.set("rpc.system", "grpc");
            span.set("rpc.service", service.to_owned());
            span.set("rpc.method", method.to_owned());
        }
        span
    }

    /// Says with which status a call ended. One that was refused is an error for the caller alone.
    pub fn answered(&mut self, kind: Kind, status: i32) {
        if !self.is_recorded() {
            return;
        }
        self.set("rpc.grpc.status_code", i64::from(status));
        if status != 0 && (kind == Kind::Client || FAULTS.contains(&status)) {
            self.fail(format!("gRPC status {status}"));
        }
    }

    /// What this work causes belongs to this; `None` where there is no trace.
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Whether anybody will read what is set.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Says something about it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.set(key, value.into());
        }
    }

    /// Says that it failed, and why.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.fail(why.into());
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Value {
    fn from(fraction: f64) -> Self {
        Self::Fraction(fraction)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_sent_the_callers_context_is_passed_on_as_it_is() {
        let parent =
            TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let mut span = Span::begin(Kind::Server, Some(parent.clone()), || unreachable!());
        span.set("lines", 1);
        span.fail("no matter");
        assert_eq!(span.context(), Some(&parent));
        assert!(!span.is_recorded());
        assert_eq!(Span::begin(Kind::Server, None, || unreachable!()).context(), None);
    }
}
