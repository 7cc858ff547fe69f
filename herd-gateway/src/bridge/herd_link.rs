//! The bridge's own link to the herd of nodes: it takes part in `Gossip.Propagate` as a guest, so
//! that records keep the origin and the receive time that the text servers gave them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use herd_proto::v1::gossip_client::GossipClient;
use herd_proto::v1::{self, Frame, frame::Kind};
use herd_proto::{LocationRecord, MAX_MESSAGE_BYTES, Record, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{info, warn};

use super::Bridge;
use crate::upstream::{Backoff, CONNECT_TIMEOUT, Way};

/// How often a Heartbeat is sent, as the protocol has it.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long nothing may be heard.
const SILENCE: Duration = Duration::from_secs(5);

/// Most records in a batch.
const BATCH_RECORDS: usize = 512;

/// Batches that may be sent and not acknowledged.
const WINDOW_BATCHES: usize = 4;

/// A stream that lived this long counts as a success.
const STABLE: Duration = Duration::from_secs(5);

/// Keeps a link to the first of `ways` that takes it, for ever.
pub(super) async fn keep(bridge: Arc<Bridge>, ways: Vec<Way>) {
    let mut backoff = Backoff::new();
    let mut told = false;
    for way in ways.iter().cycle() {
        let begun = Instant::now();
        let Err(reason) = Session::run(&bridge, way).await;
        let was_up = bridge.herd_up.swap(false, Ordering::Relaxed);
        if was_up || !told {
            warn!(node = %way.endpoint.uri(), reason, "bridge has lost its node");
        }
        told = true;
        if begun.elapsed() >= STABLE {
            backoff = Backoff::new();
        }
        sleep(backoff.next_pause()).await;
    }
}

struct Session<'a> {
    bridge: &'a Bridge,
    outbound: mpsc::Sender<Frame>,
    inbound: Streaming<Frame>,
    /// Batches that are not acknowledged: number and records.
    in_flight: VecDeque<(u64, Vec<LocationRecord>)>,
    next_number: u64,
    heard: Instant,
    echo: Option<(prost_types::Duration, Instant)>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        for (_, records) in self.in_flight.drain(..) {
            self.bridge.give_back_for_herd(records);
        }
    }
}

impl<'a> Session<'a> {
    async fn run(bridge: &'a Bridge, way: &Way) -> Result<Infallible, String> {
        let mut session = timeout(SILENCE, Self::open(bridge, way))
            .await
            .map_err(|_| String::from("no Hello in time"))??;
        if !bridge.herd_up.swap(true, Ordering::Relaxed) {
            info!(node = %way.endpoint.uri(), "bridge has reached its node");
        }
        session.serve().await
    }

    async fn open(bridge: &'a Bridge, way: &Way) -> Result<Self, String> {
        let connecting = timeout(CONNECT_TIMEOUT, way.dialler.connect(&way.endpoint));
        let channel = connecting.await.map_err(|_| String::from("no connection in time"))?;
        let channel = channel.map_err(|error| {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        })?;
        let mut gossip = GossipClient::with_interceptor(channel, way.bearer.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (outbound, frames) = mpsc::channel(1);
        let answer = gossip.propagate(ReceiverStream::new(frames)).await;
        let mut inbound = answer.map_err(|status| status.message().to_owned())?.into_inner();
        let first = inbound.message().await.map_err(|status| status.message().to_owned())?;
        let Some(Kind::Hello(theirs)) = first.and_then(|frame| frame.kind) else {
            return Err("the node did not say Hello".into());
        };
        let hello = v1::Hello {
            protocol_min: 1,
            protocol_max: 1,
            // Which herd it is, its node knows best.
            cluster: theirs.cluster,
            node: bridge.name.to_string(),
            instance: bridge.instance,
            clock: Some(Timestamp::from(SystemTime::now()).into()),
            ..v1::Hello::default()
        };
        let hello = Frame { kind: Some(Kind::Hello(hello)) };
        outbound.send(hello).await.map_err(|_| String::from("the stream ended"))?;
        Ok(Self {
            bridge,
            outbound,
            inbound,
            in_flight: VecDeque::new(),
            next_number: 1,
            heard: Instant::now(),
            echo: None,
        })
    }

    async fn serve(&mut self) -> Result<Infallible, String> {
        let mut heartbeats = interval(HEARTBEAT);
        loop {
            let room = self.in_flight.len() < WINDOW_BATCHES;
            tokio::select! {
                frame = timeout_at(self.heard + SILENCE, self.inbound.message()) => {
                    let frame = frame.map_err(|_| String::from("nothing heard for too long"))?;
                    let frame = frame.map_err(|status| status.message().to_owned())?;
                    self.heard = Instant::now();
                    self.receive(frame.ok_or("the node ended the stream")?).await?;
                }
                _ = heartbeats.tick() => self.send(self.heartbeat()).await?,
                first = self.bridge.next_for_herd(), if room => {
                    let batch = self.batch(first);
                    self.send(batch).await?;
                }
            }
        }
    }

    async fn send(&self, kind: Kind) -> Result<(), String> {
        let sent = self.outbound.send(Frame { kind: Some(kind) });
        match timeout(SILENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the stream ended".into()),
            Err(_) => Err("the node takes nothing".into()),
        }
    }

    async fn receive(&mut self, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Some(Kind::Batch(batch)) => {
                self.bridge.herd_says(batch.records);
                self.send(Kind::Ack(v1::Ack { number: batch.number, ..Default::default() })).await
            }
            Some(Kind::Ack(ack)) => {
                while self.in_flight.pop_front_if(|(number, _)| *number <= ack.number).is_some() {}
                Ok(())
            }
            Some(Kind::Heartbeat(heartbeat)) => {
                self.echo = heartbeat.sent.map(|sent| (sent, Instant::now()));
                Ok(())
            }
            Some(Kind::Goodbye(goodbye)) => {
                Err(format!("the node said Goodbye: {}", goodbye.detail))
            }
            // What only nodes ask each other.
            _ => Ok(()),
        }
    }

    fn batch(&mut self, first: LocationRecord) -> Kind {
        let mut records = vec![first];
        records.extend(self.bridge.more_for_herd(BATCH_RECORDS - 1));
        let wire = records.iter().map(Record::from).collect();
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight.push_back((number, records));
        Kind::Batch(v1::Batch { number, records: wire, ..Default::default() })
    }

    /// A bridge holds no records, and claims none.
    fn heartbeat(&self) -> Kind {
        let echo = self.echo.and_then(|(sent, at)| {
            let sent = Duration::try_from(sent).ok()?;
            prost_types::Duration::try_from(sent + at.elapsed()).ok()
        });
        let in_flight: usize = self.in_flight.iter().map(|(_, records)| records.len()).sum();
        Kind::Heartbeat(v1::Heartbeat {
            pending: (in_flight + self.bridge.waiting_for_herd()) as u64,
            clock: Some(Timestamp::from(SystemTime::now()).into()),
            echo,
            ..v1::Heartbeat::default()
        })
    }
}
