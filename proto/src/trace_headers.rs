use tonic::codegen::http::{HeaderMap, HeaderValue};

use crate::TraceContext;

/// As the headers, and so the metadata, of a call.
impl TraceContext {
    /// What the headers of a call tell; `None` where they tell nothing, or something that is no
    /// `traceparent`. Several `tracestate` are one, in their order.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(Self::PARENT_KEY).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        let context = Self::parse(parent)?;
        let states = headers.get_all(Self::STATE_KEY).iter();
        let states = states.map(|state| state.to_str().unwrap_or_default());
        let states: Vec<_> = states.filter(|state| !state.is_empty()).collect();
        Some(if states.is_empty() { context } else { context.with_state(&states.join(",")) })
    }

    /// Writes it into the headers of a call.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let Ok(parent) = HeaderValue::try_from(self.to_string()) else { return };
        headers.insert(Self::PARENT_KEY, parent);
        if let Some(Ok(state)) = self.state().map(HeaderValue::try_from) {
            headers.insert(Self::STATE_KEY, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| (name.parse().unwrap(), *value));
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: tonic::codegen::http::HeaderName = name;
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_was_written_is_read_again() {
        let read = |fields: &[_]| TraceContext::from_headers(&headers(fields));
        let context =
            read(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]).unwrap();
        assert_eq!((context.to_string().as_str(), context.state()), (PARENT, Some("a=1,b=2")));
        let mut written = HeaderMap::new();
        context.write_to(&mut written);
        assert_eq!(TraceContext::from_headers(&written), Some(context));
    }

    #[test]
    fn of_two_parents_neither_is_believed_and_a_state_alone_is_nothing() {
        let read = |fields: &[_]| TraceContext::from_headers(&headers(fields));
        assert_eq!(read(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        assert_eq!(read(&[("tracestate", "a=1")]), None);
        assert_eq!(read(&[("traceparent", "rubbish"), ("tracestate", "a=1")]), None);
        assert_eq!(read(&[]), None);
    }
}
