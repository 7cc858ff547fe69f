//! One open `ReportStream`.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::time::Duration;

use herd_proto::{EncodedReports, MAX_MESSAGE_BYTES, v1};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::{self, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::LinkError;
use super::endpoint::{CONNECT_TIMEOUT, Way};
use super::queue::{Message, Queue, Reply};
use crate::translate::Recorded;

/// Most messages that await their answers. While they do, further reports gather into fewer,
/// larger messages, which is what makes a busy link cheap.
const MESSAGES_IN_FLIGHT_MAX: usize = 4;

/// Longest wait for the first sign that the node behind a new connection works. A stopped
/// process still accepts connections, so only an answer proves anything.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The stream, and what is under way on it.
#[derive(Debug)]
pub(super) struct Session {
    outbound: mpsc::Sender<EncodedReports>,
    responses: Streaming<v1::ReportStreamResponse>,
    in_flight: VecDeque<InFlight>,
    answer_timeout: Duration,
}

#[derive(Debug)]
struct InFlight {
    sent: Instant,
    askers: Vec<(usize, Reply)>,
}

/// How an open stream ended, and the reason in words.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) error: LinkError,
    pub(super) reason: String,
}

impl Session {
    /// Connects and makes sure that the node answers. The reason of a failure is for the log.
    pub(super) async fn open(way: &Way, answer_timeout: Duration) -> Result<Self, Ended> {
        let channel = match time::timeout(CONNECT_TIMEOUT, way.dialler.connect(&way.endpoint)).await
        {
            Ok(connected) => {
                connected.map_err(|error| broken(&error.to_string(), error.source()))?
            }
            Err(_) => return Err(silent("no connection")),
        };
        // The generated client would take reports in no other form than one by one.
        let mut client = Grpc::new(InterceptedService::new(channel, way.bearer.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (outbound, requests) = mpsc::channel(MESSAGES_IN_FLIGHT_MAX);
        // An empty list of reports is answered by an empty response: that is the probe.
        let _ = outbound.try_send(EncodedReports::default());
        let opening = async {
            client.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let requests = Request::new(ReceiverStream::new(requests));
            let path = PathAndQuery::from_static(EncodedReports::METHOD);
            let stream = client.streaming(requests, path, ProstCodec::default()).await?;
            let mut responses = stream.into_inner();
            let first = responses.message().await?;
            Ok::<_, Status>(first.map(|_| responses))
        };
        let responses = match time::timeout(PROBE_TIMEOUT, opening).await {
            Ok(Ok(Some(responses))) => responses,
            Ok(Ok(None)) => return Err(closed()),
            Ok(Err(status)) => return Err(failed(&status)),
            Err(_) => return Err(silent("connected, no answer")),
        };
        Ok(Self { outbound, responses, in_flight: VecDeque::new(), answer_timeout })
    }

    /// Sends what is queued and hands out the answers until the stream ends. Everyone whose
    /// reports were sent and not answered has been told when this returns.
    pub(super) async fn run(mut self, queue: &mut Queue, seconds: &Histogram) -> Ended {
        let ended = self.serve(queue, seconds).await;
        for (_, reply) in self.in_flight.drain(..).flat_map(|message| message.askers) {
            let _ = reply.send(Err(ended.error));
        }
        ended
    }

    async fn serve(&mut self, queue: &mut Queue, seconds: &Histogram) -> Ended {
        loop {
            let oldest = self.in_flight.front().map(|message| message.sent);
            let overdue = oldest.unwrap_or_else(Instant::now) + self.answer_timeout;
            tokio::select! {
                biased;
                response = self.responses.message() => match response {
                    Ok(Some(response)) => if let Err(ended) = self.hand_out(response, seconds) {
                        return ended;
                    },
                    Ok(None) => return closed(),
                    Err(status) => return failed(&status),
                },
                () = time::sleep_until(overdue), if oldest.is_some() => {
                    return silent("no answer to a report");
                }
                () = queue.filled(), if self.in_flight.len() < MESSAGES_IN_FLIGHT_MAX => {
                    if let Some(message) = queue.next_message() {
                        self.send(message);
                    }
                }
            }
        }
    }

    fn send(&mut self, Message { encoded, askers }: Message) {
        // What is unanswered includes what is in the channel, so there is room. If the stream
        // has ended, the next look at the responses says so and fails this message, too.
        let _ = self.outbound.try_send(encoded);
        self.in_flight.push_back(InFlight { sent: Instant::now(), askers });
    }

    /// Answers come in the order of the messages.
    fn hand_out(
        &mut self,
        response: v1::ReportStreamResponse,
        seconds: &Histogram,
    ) -> Result<(), Ended> {
        let protocol = |reason: &str| Ended { error: LinkError::Broken, reason: reason.into() };
        let message =
            self.in_flight.pop_front().ok_or_else(|| protocol("an answer nobody asked for"))?;
        let Some(recorded) = Recorded::from_response(response) else {
            self.in_flight.push_front(message);
            return Err(protocol("an answer without origin or receive time"));
        };
        seconds.observe(message.sent.elapsed().as_secs_f64());
        let sizes: Vec<_> = message.askers.iter().map(|(size, _)| *size).collect();
        for ((_, reply), part) in message.askers.into_iter().zip(recorded.split(sizes)) {
            let _ = reply.send(Ok(part));
        }
        Ok(())
    }
}

fn silent(reason: &str) -> Ended {
    Ended { error: LinkError::Silent, reason: format!("{reason} in time") }
}

fn closed() -> Ended {
    Ended { error: LinkError::Broken, reason: "the node ended the stream".into() }
}

fn failed(status: &Status) -> Ended {
    broken(&format!("{:?}: {}", status.code(), status.message()), status.source())
}

/// With the causes, which tonic's own text leaves out.
fn broken(error: &str, mut source: Option<&(dyn StdError + 'static)>) -> Ended {
    let mut reason = error.to_string();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = cause.source();
    }
    Ended { error: LinkError::Broken, reason }
}
