//! Chunks of reports on their way into messages.

use std::future;

use herd_proto::{EncodedReports, MAX_MESSAGE_BYTES, Report, TraceContext, v1};
use tokio::sync::{mpsc, oneshot};

use super::LinkError;
use crate::translate::Recorded;

/// Most reports of all connections in one message. A message of this many costs a node about a
/// millisecond, so that none waits long behind another.
const MESSAGE_REPORTS_MAX: usize = 1024;

/// Most bytes of lines merged into one message. A report is never much longer than its line, so
/// this stays far below what a node takes.
const MESSAGE_LINE_BYTES_MAX: usize = MAX_MESSAGE_BYTES / 4;

/// Most chunks that wait for a node. Each connection has at most one; whoever finds the queue
/// full waits, and with it only its own client.
const QUEUE_CHUNKS: usize = 1024;

/// Some reports of one connection, in order and in the form of the wire.
#[derive(Debug)]
pub(super) struct Chunk {
    encoded: EncodedReports,
    /// How many they are, 1 to [`MESSAGE_REPORTS_MAX`].
    reports: usize,
    /// Length of the lines they come from.
    line_bytes: usize,
    /// The trace that the first report belongs to, and stands for the others: lines that came together
    /// take one way.
    trace: Option<TraceContext>,
    /// Who waits.
    reply: Reply,
}

impl Chunk {
    pub(super) fn new(
        reports: &[Report],
        line_bytes: usize,
        trace: Option<TraceContext>,
        reply: Reply,
    ) -> Self {
        let mut encoded = EncodedReports::default();
        // A report is seldom longer than its line: no text is copied twice.
        encoded.reserve(line_bytes);
        for report in reports {
            encoded.push(report);
        }
        Self { encoded, reports: reports.len(), line_bytes, trace, reply }
    }
}

/// Where a chunk's answer goes. The asker may have given up; then nobody listens.
pub(super) type Reply = oneshot::Sender<Result<Recorded, LinkError>>;

pub(super) fn queue() -> (mpsc::Sender<Chunk>, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE_CHUNKS);
    (sender, Queue { receiver, head: None })
}

/// The receiving end, with a look at its head.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: mpsc::Receiver<Chunk>,
    head: Option<Chunk>,
}

/// Chunks merged into one message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) encoded: EncodedReports,
    /// Size and asker of each chunk.
    pub(super) askers: Vec<(usize, Reply)>,
}

impl Queue {
    /// Waits until a chunk is there. When all senders are gone it waits for ever: that is so
    /// only while the gateway stops, and then this task is about to be ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn filled(&mut self) {
        if self.head.is_none() {
            self.head = self.receiver.recv().await;
            if self.head.is_none() {
                future::pending::<()>().await;
            }
        }
    }

    /// Merges the chunks that are here now, without waiting for more. Chunks are never split.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        let Chunk { mut encoded, mut reports, mut line_bytes, trace, reply } = self.take_head()?;
        let mut askers = vec![(reports, reply)];
        let mut traces: Vec<_> = trace.map(|trace| (0, trace)).into_iter().collect();
        while let Some(chunk) = self.take_head() {
            let start = reports;
            line_bytes += chunk.line_bytes;
            reports += chunk.reports;
            if reports > MESSAGE_REPORTS_MAX || line_bytes > MESSAGE_LINE_BYTES_MAX {
                self.head = Some(chunk);
                break;
            }
            encoded.append(&chunk.encoded);
            askers.push((chunk.reports, chunk.reply));
            if let Some(trace) = chunk.trace.filter(|_| v1::ItemTrace::has_room(traces.len())) {
                traces.push((start, trace));
            }
        }
        for (index, trace) in traces {
            encoded.trace(index, &trace);
        }
        Some(Message { encoded, askers })
    }

    /// Tells everyone who waits now that there will be no answer.
    pub(super) fn fail_all(&mut self, error: LinkError) {
        while let Some(chunk) = self.take_head() {
            let _ = chunk.reply.send(Err(error));
        }
    }

    fn take_head(&mut self) -> Option<Chunk> {
        self.head.take().or_else(|| self.receiver.try_recv().ok())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn chunk(reports: usize, line_bytes: usize) -> Chunk {
        let encoded = EncodedReports::default();
        Chunk { encoded, reports, line_bytes, trace: None, reply: oneshot::channel().0 }
    }

    fn sizes(queue: &mut Queue) -> Vec<Vec<usize>> {
        std::iter::from_fn(|| queue.next_message())
            .map(|message| message.askers.iter().map(|(size, _)| *size).collect())
            .collect()
    }

    #[test]
    fn whole_chunks_are_merged_up_to_the_limit_of_reports() {
        let (sender, mut queue) = queue();
        for reports in [1000, 24, 1, 1024, 1] {
            sender.try_send(chunk(reports, 100)).unwrap();
        }
        assert_eq!(sizes(&mut queue), [vec![1000, 24], vec![1], vec![1024], vec![1]]);
    }

    #[test]
    fn whole_chunks_are_merged_up_to_the_limit_of_bytes() {
        let (sender, mut queue) = queue();
        for line_bytes in [MESSAGE_LINE_BYTES_MAX, 1, MESSAGE_LINE_BYTES_MAX - 1, 1] {
            sender.try_send(chunk(1, line_bytes)).unwrap();
        }
        assert_eq!(sizes(&mut queue), [vec![1], vec![1, 1], vec![1]]);
    }

    #[test]
    fn each_chunk_may_tell_the_trace_of_its_first_report_up_to_a_limit() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let (sender, mut queue) = queue();
        sender.try_send(chunk(3, 1)).unwrap();
        for _ in 0..20 {
            let trace = TraceContext::parse(parent);
            sender.try_send(Chunk { trace, ..chunk(2, 1) }).unwrap();
        }
        let encoded = queue.next_message().unwrap().encoded.encode_to_vec();
        let traces = v1::ReportStreamRequest::decode(&*encoded).unwrap().traces;
        let indices: Vec<_> = traces.iter().map(|trace| trace.index).collect();
        assert_eq!(indices, (0..16).map(|chunk| 3 + 2 * chunk).collect::<Vec<_>>());
        assert!(traces.iter().all(|trace| trace.traceparent == parent));
    }

    #[tokio::test]
    async fn failing_reaches_the_head_and_the_rest() {
        let (sender, mut queue) = queue();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            sender.try_send(Chunk { reply, ..chunk(1, 1) }).unwrap();
            answers.push(answer);
        }
        queue.filled().await;
        queue.fail_all(LinkError::Unreachable);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Err(LinkError::Unreachable));
        }
    }

    #[test]
    fn the_queue_has_an_end() {
        let (sender, _queue) = queue();
        for _ in 0..QUEUE_CHUNKS {
            sender.try_send(chunk(1, 1)).unwrap();
        }
        assert!(sender.try_send(chunk(1, 1)).is_err());
    }
}
