use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use herd_edge::{Bearer, Dialler, wants_tls};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::places_client::PlacesClient;
use herd_proto::{
    ClientId, LocationRecord, MAX_MESSAGE_BYTES, NearQuery, Position, Report, SearchQuery,
    Timestamp, v1,
};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::{Error, ReportStream, Unreachable, Watch, WatchQuery};

/// Longest wait for a connection. A node that is up answers within one round trip, so two
/// seconds leave room for a lost packet and for little more.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest wait for an answer where the caller does not choose one.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How often an idle connection is probed, so that a watcher notices a vanished node.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// How long a probe may go unanswered.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection to one node.
///
/// Cheap to clone; clones share the connection. Calls may run at the same time. All of them are
/// cancel-safe in that dropping one leaves the client usable; whether the node saw the request
/// is then unknown.
#[derive(Clone)]
pub struct Client {
    address: String,
    deadline: Duration,
    min_peers: u32,
    plain: bool,
    channel: Calls,
}

/// A connection whose calls carry the caller's token.
pub(crate) type Calls = InterceptedService<Channel, Bearer>;

/// How nodes are reached, and who reaches them.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// With TLS if there is any, else in plain text.
    pub dialler: Dialler,
    /// The token that calls carry.
    pub bearer: Bearer,
}

/// The answer to one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The report as the node recorded it.
    pub location: LocationRecord,
    /// Whether it was the newest of its client.
    pub applied: bool,
}

/// A location, and how a node came to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The location.
    pub location: LocationRecord,
    /// When the node learnt it, by its own clock; `None` where it was there when the node started.
    pub applied_time: Option<Timestamp>,
    /// The peer that told it; `None` for a report of the client itself.
    pub applied_from: Option<String>,
}

/// The answer to a question who is near.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearby {
    /// The point in the middle.
    pub center: Position,
    /// Those found, nearest first.
    pub neighbors: Vec<Neighbor>,
    /// Whether there are more within the radius.
    pub truncated: bool,
}

/// A client that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbor {
    /// Where it is.
    pub location: LocationRecord,
    /// Its distance from the middle, in metres.
    pub distance_meters: f64,
}

/// The answer to a search for places.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundPlaces {
    /// The location that was searched around.
    pub location: LocationRecord,
    /// The places, in the provider's order.
    pub places: Vec<v1::Place>,
    /// The same as Nearby Search (legacy) JSON; empty unless asked for.
    pub legacy_json: String,
    /// The provider's outcome, such as "OK" or "ZERO_RESULTS".
    pub status: String,
    /// Which provider answered.
    pub provider: String,
    /// HTML that must be shown with the places: whose they are.
    pub attributions: Vec<String>,
    /// What the reader should know about the answer.
    pub info_messages: Vec<String>,
}

impl Client {
    /// Connects to the node at `address` (host and port), within [`CONNECT_TIMEOUT`] or
    /// `deadline`, whichever is shorter. `deadline` then holds for each call.
    ///
    /// # Errors
    /// [`Error::Address`] and [`Error::Unreachable`].
    pub async fn connect(address: &str, deadline: Duration) -> Result<Self, Error> {
        Self::connect_with(&Access::default(), address, deadline).await
    }

    /// The same with TLS, or a token, or both.
    ///
    /// # Errors
    /// [`Error::Address`] and [`Error::Unreachable`].
    pub async fn connect_with(
        access: &Access,
        address: &str,
        deadline: Duration,
    ) -> Result<Self, Error> {
        let bad = || Error::Address { address: address.into() };
        if !address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
        }) {
            return Err(bad());
        }
        let patience = CONNECT_TIMEOUT.min(deadline);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| bad())?
            .connect_timeout(patience)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE_EVERY)
            .keep_alive_timeout(PROBE_TIMEOUT)
            .keep_alive_while_idle(true)
            .user_agent(concat!("herd-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| bad())?;
        let started = Instant::now();
        // The endpoint's own limit starts after the name is resolved; this one does not.
        let channel = tokio::time::timeout(patience, access.dialler.connect(&endpoint))
            .await
            .map_err(|_| Error::Unreachable {
                address: address.into(),
                reason: Unreachable::Silent { after: patience },
            })?
            .map_err(|error| Error::unreachable(address, &error, patience))?;
        tracing::debug!(address, elapsed = ?started.elapsed(), "connected");
        let channel = InterceptedService::new(channel, access.bearer.clone());
        let plain = access.dialler.is_plain();
        Ok(Self { address: address.into(), deadline, min_peers: 0, plain, channel })
    }

    /// The same client, whose reports and forgets are answered when `min_peers` friends of the
    /// node have applied them too. A node refuses more than it has.
    #[must_use]
    pub fn with_min_peers(self, min_peers: u32) -> Self {
        Self { min_peers, ..self }
    }

    /// Where the node is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Records where a client is.
    pub async fn report(&self, report: Report) -> Result<Recorded, Error> {
        let request = self.request(report);
        let mut locations = self.locations();
        let answer = self.call("Locations/Report", locations.report(self.timed(request))).await?;
        Ok(Recorded { location: self.location(answer.location)?, applied: answer.applied })
    }

    /// Opens a stream for many reports.
    pub async fn report_stream(&self) -> Result<ReportStream, Error> {
        ReportStream::open(self).await
    }

    /// The newest known location of `client`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the node knows no such client, among others.
    pub async fn get(&self, client: &ClientId) -> Result<LocationRecord, Error> {
        let request = v1::GetRequest { client_id: client.as_str().into() };
        let mut locations = self.locations();
        let answer = self.call("Locations/Get", locations.get(self.timed(request))).await?;
        self.location(answer.location)
    }

    /// The newest known location of `client`, and how the node came to know it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the node knows no such client, among others.
    pub async fn known(&self, client: &ClientId) -> Result<Known, Error> {
        let request = v1::GetRequest { client_id: client.as_str().into() };
        let mut locations = self.locations();
        let answer = self.call("Locations/Get", locations.get(self.timed(request))).await?;
        let applied_time = answer.applied_time.as_ref().map(Timestamp::try_from).transpose();
        let applied_time = applied_time.map_err(|error| Error::Answer {
            address: self.address.clone(),
            problem: format!("applied_time {error}"),
        })?;
        let applied_from = Some(answer.applied_from).filter(|from| !from.is_empty());
        Ok(Known { location: self.location(answer.location)?, applied_time, applied_from })
    }

    /// The clients near a point or near another client, nearest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the node does not know the client in the middle, among others.
    pub async fn near(&self, query: NearQuery) -> Result<Nearby, Error> {
        let mut locations = self.locations();
        let request = self.timed(query.into_request());
        let answer = self.call("Locations/Near", locations.near(request)).await?;
        let center = answer.center.unwrap_or_default();
        let center =
            Position::from_degrees(center.latitude, center.longitude).map_err(|error| {
                Error::Answer { address: self.address.clone(), problem: error.to_string() }
            })?;
        let neighbor = |neighbor: v1::Neighbor| {
            let location = self.location(neighbor.location)?;
            Ok(Neighbor { location, distance_meters: neighbor.distance_meters })
        };
        let neighbors = answer.neighbors.into_iter().map(neighbor).collect::<Result<_, Error>>()?;
        Ok(Nearby { center, neighbors, truncated: answer.truncated })
    }

    /// Forgets `client` on all nodes. Returns where it was; `None` if the node asked did not know,
    /// in which case it is forgotten all the same. Safe to repeat, except that what the client
    /// reported in between is forgotten too.
    pub async fn forget(&self, client: &ClientId) -> Result<Option<LocationRecord>, Error> {
        let request =
            v1::ForgetRequest { client_id: client.as_str().into(), min_peers: self.min_peers };
        let mut locations = self.locations();
        let answer = self.call("Locations/Forget", locations.forget(self.timed(request))).await?;
        answer.location.map(|location| self.location(Some(location))).transpose()
    }

    /// Places near a client.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the node knows no such client, among others.
    pub async fn search(&self, query: &SearchQuery) -> Result<FoundPlaces, Error> {
        let view = match (query.places, query.legacy_json) {
            (true, true) => v1::SearchView::Full,
            (false, true) => v1::SearchView::LegacyJson,
            _ => v1::SearchView::Places,
        };
        let request = v1::SearchRequest {
            client_id: query.client.as_str().into(),
            radius_meters: Some(query.radius_meters),
            max_results: Some(query.max_results),
            view: view.into(),
        };
        let mut places =
            PlacesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let answer = self.call("Places/Search", places.search(self.timed(request))).await?;
        Ok(FoundPlaces {
            location: self.location(answer.location)?,
            places: answer.places,
            legacy_json: answer.legacy_json,
            status: answer.status,
            provider: answer.provider,
            attributions: answer.attributions,
            info_messages: answer.info_messages,
        })
    }

    /// Follows changes. The deadline holds for the opening only.
    pub async fn watch(&self, query: WatchQuery) -> Result<Watch, Error> {
        Watch::open(self, query).await
    }

    /// How the node is.
    pub async fn status(&self) -> Result<v1::GetStatusResponse, Error> {
        let request = self.timed(v1::GetStatusRequest {});
        let mut node =
            NodeClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        self.call("Node/GetStatus", node.get_status(request)).await
    }

    /// Changes which lines the node logs; empty for the filter that it was started with. Returns the
    /// filter in place and the one before.
    pub async fn set_log_filter(&self, filter: &str) -> Result<(String, String), Error> {
        let request = self.timed(v1::SetLogFilterRequest { filter: filter.into() });
        let mut node = NodeClient::new(self.channel.clone());
        let answer = self.call("Node/SetLogFilter", node.set_log_filter(request)).await?;
        Ok((answer.filter, answer.before))
    }

    pub(crate) fn locations(&self) -> LocationsClient<Calls> {
        LocationsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Waits for the answer of one call, at most the deadline.
    pub(crate) async fn call<T>(
        &self,
        rpc: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let answer = tokio::time::timeout(self.deadline, answer).await;
        tracing::debug!(
            rpc,
            address = %self.address,
            deadline = ?self.deadline,
            elapsed = ?started.elapsed(),
            ok = matches!(answer, Ok(Ok(_))),
            "called",
        );
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.explained(self.refused(rpc, &status)).await),
            Err(_) => Err(self.too_late(rpc)),
        }
    }

    pub(crate) fn refused(&self, rpc: &'static str, status: &Status) -> Error {
        Error::from_status(&self.address, rpc, status, self.deadline)
    }

    /// To a caller in plain text, a node that speaks TLS looks like any other server that is none
    /// of a herd's, unless it is asked.
    async fn explained(&self, error: Error) -> Error {
        match error {
            Error::Unreachable {
                address,
                reason: Unreachable::NotGrpc | Unreachable::Broken(_),
            } if self.plain && wants_tls(&address).await => {
                Error::Unreachable { address, reason: Unreachable::WantsTls }
            }
            other => other,
        }
    }

    pub(crate) fn too_late(&self, rpc: &'static str) -> Error {
        Error::Deadline { address: self.address.clone(), rpc, after: self.deadline }
    }

    pub(crate) fn location(&self, location: Option<v1::Location>) -> Result<LocationRecord, Error> {
        LocationRecord::try_from(location.unwrap_or_default()).map_err(|violations| Error::Answer {
            address: self.address.clone(),
            problem: violations.to_string(),
        })
    }

    pub(crate) fn client_id(&self, text: &str) -> Result<ClientId, Error> {
        ClientId::parse(text).map_err(|error| Error::Answer {
            address: self.address.clone(),
            problem: error.to_string(),
        })
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// A report as this client asks for it.
    pub(crate) fn request(&self, report: Report) -> v1::ReportRequest {
        v1::ReportRequest { min_peers: self.min_peers, ..report.into_request() }
    }

    /// A request that tells the node how long its caller waits.
    fn timed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.deadline);
        request
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
