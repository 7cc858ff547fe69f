//! One `Gossip.Propagate` stream to one peer, from Hello to Goodbye, without the stream.
//!
//! The driver hands in the frames that arrive ([`Link::receive`]) and the passing of time
//! ([`Link::tick`]), and asks for a frame whenever the transport can take one
//! ([`Link::poll_transmit`]). Records are read from the table only then, so nothing stale waits
//! in buffers. Both ends of a stream run the same code.

mod hello;
mod repair;
mod session;

use std::time::Duration;

use herd_proto::NodeName;
use herd_proto::v1::{self, Frame, Reason, frame::Kind};

pub use self::hello::SpeaksFor;
pub(in crate::herd) use self::session::BATCH_BYTES;
use self::session::Session;

use super::peers::{ActiveLink, Refused};
use super::state::{Holdings, State};
use super::{Now, Token};

/// How often a Heartbeat is sent.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long nothing may be heard, the first Hello included: five heartbeats.
const SILENCE: Duration = Duration::from_secs(5);

/// How long batches may wait for an acknowledgement without any progress. The application at the
/// other end may be stuck although its transport, or even its heartbeat, still lives.
const NO_PROGRESS: Duration = Duration::from_secs(10);

/// How long a node that stops asks to be left alone; one that restarts dials by itself.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// One stream to one peer.
#[derive(Debug)]
pub struct Link {
    token: Token,
    phase: Phase,
    /// Whom this node meant to dial; `None` where the peer dialled.
    expected: Option<NodeName>,
    /// The nodes for which the peer's certificate speaks; `None` where it has none to show.
    speaks_for: Option<SpeaksFor>,
    /// What this node said it holds, once it has said Hello.
    hello_sent: Option<Holdings>,
    /// Set when the stream must end; sent once.
    goodbye: Option<v1::Goodbye>,
    draining: bool,
    last_heard: Duration,
    next_heartbeat: Duration,
}

#[derive(Debug)]
enum Phase {
    AwaitingHello,
    Up(Box<Session>),
    /// Goodbye was said or heard.
    Finished(Ended),
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The reason that was given; unspecified where the transport broke.
    pub reason: Reason,
    /// The reason in words.
    pub detail: String,
    /// Whether this end gave the reason.
    pub said_here: bool,
    /// How long the other end asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Ended {
    /// The end of a stream that broke.
    pub fn broken(detail: String) -> Self {
        Self { reason: Reason::Unspecified, detail, said_here: false, retry_after: None }
    }

    /// The end of a stream that the other end did not let begin.
    pub fn not_allowed(detail: String) -> Self {
        Self { reason: Reason::NotAllowed, ..Self::broken(detail) }
    }

    /// Whether one end refused the other on grounds that will not change by themselves soon.
    pub fn is_refusal(&self) -> bool {
        let lasting = [
            Reason::WrongCluster,
            Reason::WrongVersion,
            Reason::SameName,
            Reason::Overloaded,
            Reason::Protocol,
            Reason::NotAllowed,
        ];
        lasting.contains(&self.reason)
    }
}

impl Link {
    /// The link over a stream that this node dialled, to reach `expected`.
    pub fn dialled(token: Token, expected: NodeName, now: Now) -> Self {
        Self::new(token, Some(expected), now)
    }

    /// The link over a stream that a peer dialled.
    pub fn accepted(token: Token, now: Now) -> Self {
        Self::new(token, None, now)
    }

    fn new(token: Token, expected: Option<NodeName>, now: Now) -> Self {
        Self {
            token,
            phase: Phase::AwaitingHello,
            expected,
            speaks_for: None,
            hello_sent: None,
            goodbye: None,
            draining: false,
            last_heard: now.monotonic,
            next_heartbeat: now.monotonic + HEARTBEAT,
        }
    }

    /// The same, of a peer whose certificate speaks for these nodes and no others.
    #[must_use]
    pub fn speaking_for(self, nodes: Option<SpeaksFor>) -> Self {
        Self { speaks_for: nodes, ..self }
    }

    /// Who is woken when there may be something to transmit.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The peer, once its Hello was accepted and until the end.
    pub fn peer(&self) -> Option<&NodeName> {
        match &self.phase {
            Phase::Up(session) => Some(&session.peer),
            _ => None,
        }
    }

    /// Whether this node dialled the stream.
    pub fn dialled_here(&self) -> bool {
        self.expected.is_some()
    }

    /// Whether [`Link::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the link has ended. There may still be a Goodbye to transmit.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// Asks the link to send what the peer lacks and then to end.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// When [`Link::tick`] must be called at the latest, on the monotonic clock. `can_transmit`
    /// says whether the transport has room: what is due cannot be sent without.
    pub fn next_tick(&self, can_transmit: bool) -> Duration {
        let silence = self.last_heard + SILENCE;
        let Phase::Up(session) = &self.phase else { return silence };
        let stuck = session.waits_since().map_or(silence, |since| since + NO_PROGRESS);
        let to_send =
            session.ack_due().map_or(self.next_heartbeat, |ack| ack.min(self.next_heartbeat));
        let to_send = if can_transmit { to_send } else { silence };
        silence.min(stuck).min(to_send)
    }

    /// Notes the passing of time.
    pub fn tick(&mut self, state: &mut State, now: Now) {
        if now.monotonic >= self.last_heard + SILENCE {
            let what = if self.peer().is_some() { "nothing heard" } else { "no Hello" };
            self.end(state, now, Reason::Silent, format!("{what} for {} s", SILENCE.as_secs()));
        }
        if let Phase::Up(session) = &self.phase
            && session.waits_since().is_some_and(|since| now.monotonic >= since + NO_PROGRESS)
        {
            let wait = NO_PROGRESS.as_secs();
            let detail = format!("no batch acknowledged for {wait} s");
            self.end(state, now, Reason::Silent, detail);
        }
    }

    /// The next frame to send, if there is one. To be called until it returns `None`, whenever
    /// the transport has room and the token was woken, a frame arrived or a tick is due.
    pub fn poll_transmit(&mut self, state: &mut State, now: Now) -> Option<Frame> {
        self.yield_to_successor(state, now);
        if let Some(goodbye) = self.goodbye.take() {
            return Some(frame(Kind::Goodbye(goodbye)));
        }
        if self.hello_sent.is_none() && !matches!(self.phase, Phase::Finished(_)) {
            self.hello_sent = Some(state.holdings());
            return Some(frame(Kind::Hello(hello::ours(state, now))));
        }
        let Phase::Up(session) = &mut self.phase else { return None };
        if let Some(ack) = session.take_ack(now) {
            return Some(frame(Kind::Ack(ack)));
        }
        let heartbeat_due = now.monotonic >= self.next_heartbeat || session.sync_due(state);
        if heartbeat_due {
            self.next_heartbeat = now.monotonic + HEARTBEAT;
            return Some(frame(Kind::Heartbeat(session.heartbeat(state, now))));
        }
        if let Some(payload) = session.payload(state, now) {
            return Some(frame(payload));
        }
        if self.draining && session.owes_nothing(state) {
            self.end(state, now, Reason::Draining, "the node stops".into());
            return self.goodbye.take().map(|goodbye| frame(Kind::Goodbye(goodbye)));
        }
        None
    }

    /// Takes a frame from the peer.
    pub fn receive(&mut self, state: &mut State, now: Now, frame: Frame) {
        self.last_heard = now.monotonic;
        self.yield_to_successor(state, now);
        let result = match (&mut self.phase, frame.kind) {
            (Phase::Finished(_), _) => Ok(()),
            (_, Some(Kind::Goodbye(goodbye))) => {
                self.heard_goodbye(state, now, &goodbye);
                Ok(())
            }
            (Phase::AwaitingHello, Some(Kind::Hello(hello))) => self.meet(state, now, &hello),
            (Phase::AwaitingHello, _) => Err((Reason::Protocol, "Hello must come first".into())),
            (Phase::Up(_), Some(Kind::Hello(_))) => {
                Err((Reason::Protocol, "Hello came twice".into()))
            }
            (Phase::Up(session), Some(Kind::Batch(batch))) => session.apply(state, now, batch),
            (Phase::Up(session), Some(Kind::Ack(ack))) => session.acknowledge(state, now, ack),
            (Phase::Up(session), Some(Kind::Heartbeat(heartbeat))) => {
                session.heard_heartbeat(state, now, &heartbeat);
                Ok(())
            }
            (Phase::Up(session), Some(Kind::Compare(compare))) => {
                session.repair.heard_compare(state, &compare)
            }
            (Phase::Up(session), Some(Kind::Leaves(leaves))) => {
                session.heard_leaves(state, now, &leaves)
            }
            (Phase::Up(session), Some(Kind::Want(want))) => {
                session.heard_want(state, &want);
                Ok(())
            }
            (Phase::Up(session), None) => {
                session.count(state, |peer| peer.counts.unknown_frames += 1);
                Ok(())
            }
        };
        if let Err((reason, detail)) = result {
            self.end(state, now, reason, detail);
        }
    }

    /// Notes that the peer will say no more, but may still listen.
    pub fn peer_closed(&mut self) {
        if let Phase::Up(session) = &mut self.phase {
            session.hurry();
        }
    }

    /// Ends the link because the peer sent what is no frame.
    pub fn refuse(&mut self, state: &mut State, now: Now, why: String) {
        self.end(state, now, Reason::Protocol, why);
    }

    /// Notes that the transport is gone, if the link has not ended before, and tells how it ended.
    pub fn close(mut self, state: &mut State, now: Now, why: &str) -> Ended {
        if !matches!(self.phase, Phase::Finished(_)) {
            self.finish(state, now, Ended::broken(why.into()));
        }
        match self.phase {
            Phase::Finished(ended) => ended,
            _ => Ended::broken(why.into()),
        }
    }

    /// Ends a link whose peer has another stream by now. Nothing that still arrives on it may
    /// count as the peer's word: the peer may have started anew since.
    fn yield_to_successor(&mut self, state: &mut State, now: Now) {
        if let Phase::Up(session) = &self.phase
            && !state.is_active(&session.peer, self.token)
        {
            self.end(state, now, Reason::Duplicate, "another stream took its place".into());
        }
    }

    fn meet(&mut self, state: &mut State, now: Now, hello: &v1::Hello) -> Step {
        let peer = hello::check(state, self.expected.as_ref(), hello)?;
        if self.speaks_for.as_ref().is_some_and(|nodes| !nodes.covers(&peer)) {
            let detail = format!("the certificate is not {peer}'s");
            return Err((Reason::NotAllowed, detail));
        }
        let link = ActiveLink {
            link: self.token,
            dialled_here: self.dialled_here(),
            instance: hello.instance,
            since: now.monotonic,
            in_flight: 0,
        };
        let ours = self.hello_sent.unwrap_or_else(|| state.holdings());
        let theirs = hello::holdings(hello);
        let admitted = state.link_up(now, &peer, link, theirs, ours);
        let (consumer, catch_up) = admitted.map_err(|refused| match refused {
            Refused::Duplicate => (Reason::Duplicate, "another stream stays".to_owned()),
            Refused::TooManyGuests => (Reason::Overloaded, "too many peers".to_owned()),
        })?;
        let disagreement = hello::disagreement(state, hello);
        if let Some(peer) = state.peer_mut(&peer) {
            peer.heard.digest = hello.digest;
            peer.heard.clients = hello.clients;
            peer.disagreement = disagreement;
        }
        let compares = self.dialled_here() && theirs.repairs;
        let session = Session::new(peer, consumer, catch_up, compares, now);
        self.phase = Phase::Up(Box::new(session));
        Ok(())
    }

    fn heard_goodbye(&mut self, state: &mut State, now: Now, goodbye: &v1::Goodbye) {
        let reason = goodbye.reason();
        let detail = if goodbye.detail.is_empty() {
            format!("the peer said {}", reason.as_str_name())
        } else {
            format!("the peer said: {}", goodbye.detail)
        };
        let retry_after = goodbye.retry_after.and_then(|wait| wait.try_into().ok());
        self.finish(state, now, Ended { reason, detail, said_here: false, retry_after });
    }

    /// Ends the stream from this side.
    fn end(&mut self, state: &mut State, now: Now, reason: Reason, detail: String) {
        if matches!(self.phase, Phase::Finished(_)) {
            return;
        }
        let asks_for_peace = reason == Reason::Draining;
        self.goodbye = Some(v1::Goodbye {
            reason: reason.into(),
            detail: detail.clone(),
            retry_after: asks_for_peace.then(|| wire_duration(AFTER_DRAIN)).flatten(),
        });
        self.finish(state, now, Ended { reason, detail, said_here: true, retry_after: None });
    }

    fn finish(&mut self, state: &mut State, now: Now, ended: Ended) {
        let (detail, slow) = (ended.detail.clone(), ended.reason == Reason::Silent);
        if let Phase::Up(session) = std::mem::replace(&mut self.phase, Phase::Finished(ended)) {
            session.give_back(state);
            if slow {
                session.slow_down(state);
            }
            state.link_down(now, &session.peer, self.token, &detail);
        }
    }
}

/// What receiving a frame leads to: nothing, or the end for a reason.
type Step = Result<(), (Reason, String)>;

fn wire_duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn frame(kind: Kind) -> Frame {
    Frame { kind: Some(kind) }
}
