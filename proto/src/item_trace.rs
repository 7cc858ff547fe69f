use crate::{TraceContext, v1};

/// Most contexts of one message that are told and heeded: enough to see where time goes, and never
/// much beside the items themselves.
const MAX_CONTEXTS: usize = 16;

impl v1::ItemTrace {
    /// The context of the item at `index`.
    pub fn new(index: usize, context: &TraceContext) -> Self {
        let tracestate = context.state().unwrap_or_default().to_owned();
        Self { index: index as u32, traceparent: context.to_string(), tracestate }
    }

    /// What it tells; `None` where that is no trace context.
    pub fn context(&self) -> Option<TraceContext> {
        Some(TraceContext::parse(&self.traceparent)?.with_state(&self.tracestate))
    }

    /// Whether a message that tells so many contexts may tell another one.
    pub fn has_room(told: usize) -> bool {
        told < MAX_CONTEXTS
    }

    /// What a message of `items` items tells, up to the limit: the index of an item, and its context.
    pub fn read(traces: &[Self], items: usize) -> impl Iterator<Item = (usize, TraceContext)> {
        let heeded = traces.iter().take(MAX_CONTEXTS);
        heeded.filter_map(move |trace| {
            let index = usize::try_from(trace.index).ok().filter(|index| *index < items)?;
            Some((index, trace.context()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> TraceContext {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        TraceContext::parse(parent).unwrap().with_state("a=1")
    }

    #[test]
    fn what_is_told_is_read_again_and_what_names_no_item_is_skipped() {
        let told = [0, 7, 8].map(|index| v1::ItemTrace::new(index, &context()));
        let rubbish = v1::ItemTrace { traceparent: "rubbish".into(), ..told[0].clone() };
        let told = [&told[..], &[rubbish]].concat();
        let read: Vec<_> = v1::ItemTrace::read(&told, 8).collect();
        assert_eq!(read, [(0, context()), (7, context())]);
    }

    #[test]
    fn no_more_are_heeded_than_may_be_told() {
        let told = vec![v1::ItemTrace::new(0, &context()); MAX_CONTEXTS + 1];
        assert_eq!(v1::ItemTrace::read(&told, 1).count(), MAX_CONTEXTS);
        assert!(v1::ItemTrace::has_room(MAX_CONTEXTS - 1));
        assert!(!v1::ItemTrace::has_room(MAX_CONTEXTS));
    }
}
