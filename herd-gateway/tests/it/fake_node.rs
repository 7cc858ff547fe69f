//! A node that does what a test tells it to.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{iter, thread};

use herd_proto::v1::locations_server::{Locations, LocationsServer};
use herd_proto::v1::places_server::{Places, PlacesServer};
use herd_proto::{LocationRecord, NodeName, Report, SearchQuery, Timestamp, invalid_argument, v1};
use socket2::{Domain, Socket, Type};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};

/// The clock of every fake node.
pub(crate) const CLOCK: &str = "1700000001.250000000";

/// What a node remembers and how it behaves; outlives its process.
#[derive(Debug, Clone)]
pub(crate) struct Script(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: NodeName,
    memory: Mutex<Memory>,
    behaviour: watch::Sender<Behaviour>,
}

#[derive(Debug, Default)]
struct Memory {
    locations: HashMap<String, LocationRecord>,
    /// Clients in the order of their reports.
    reported: Vec<String>,
    /// How many reports each message had.
    messages: Vec<usize>,
    /// The names that queries came with.
    query_ids: Vec<String>,
    streams: usize,
}

/// How a node behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "any combination makes sense")]
pub(crate) struct Behaviour {
    /// Takes reports and does not answer.
    pub(crate) holds_reports: bool,
    /// Ends the stream when a report comes.
    pub(crate) drops_streams: bool,
    /// Does not answer queries.
    pub(crate) holds_queries: bool,
    /// Does not answer the question where a client is.
    pub(crate) holds_gets: bool,
    /// Answers queries with JSON of at least this many bytes.
    pub(crate) json_bytes: usize,
    /// Answers queries with this error.
    pub(crate) query_error: Option<Code>,
}

impl Script {
    pub(crate) fn new(name: &str) -> Self {
        let name = NodeName::parse(name).unwrap();
        let behaviour = watch::Sender::new(Behaviour::default());
        Self(Arc::new(Shared { name, memory: Mutex::default(), behaviour }))
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.0.behaviour.send_replace(behaviour);
    }

    pub(crate) fn reported(&self) -> Vec<String> {
        self.memory().reported.clone()
    }

    pub(crate) fn messages(&self) -> Vec<usize> {
        self.memory().messages.clone()
    }

    pub(crate) fn query_ids(&self) -> Vec<String> {
        self.memory().query_ids.clone()
    }

    pub(crate) fn streams(&self) -> usize {
        self.memory().streams
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap()
    }

    fn behaviour(&self) -> Behaviour {
        *self.0.behaviour.borrow()
    }

    async fn until(&self, wanted: impl FnMut(&Behaviour) -> bool) {
        self.0.behaviour.subscribe().wait_for(wanted).await.unwrap();
    }

    fn take(&self, request: &v1::ReportStreamRequest) -> v1::ReportStreamResponse {
        let receive_time = Timestamp::parse(CLOCK).unwrap();
        let mut memory = self.memory();
        let mut failures = Vec::new();
        if !request.reports.is_empty() {
            memory.messages.push(request.reports.len());
        }
        for (index, report) in request.reports.iter().enumerate() {
            memory.reported.push(report.client_id.to_string());
            if report.client_id.starts_with("refused") {
                failures.push(v1::ReportFailure { index: index as u32, ..Default::default() });
                continue;
            }
            let record = Report::from_request(report).unwrap().into_record(
                self.0.name.clone(),
                receive_time,
                0,
            );
            memory.locations.insert(report.client_id.to_string(), record);
        }
        v1::ReportStreamResponse {
            receive_time: Some(receive_time.into()),
            origin: self.0.name.to_string(),
            applied: (request.reports.len() - failures.len()) as u32,
            failures,
        }
    }

    fn location(&self, client: &str) -> Result<v1::Location, Status> {
        let memory = self.memory();
        memory.locations.get(client).map(Into::into).ok_or_else(|| Status::not_found("no client"))
    }
}

/// A running node, in a thread and a runtime of its own, so that it can be killed at once.
#[derive(Debug)]
pub(crate) struct FakeNode {
    pub(crate) address: SocketAddr,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeNode {
    pub(crate) fn start(script: &Script) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    pub(crate) fn start_at(address: SocketAddr, script: &Script) -> Self {
        let script = script.clone();
        let (listening, address_of) = std::sync::mpsc::channel();
        let (kill, killed) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let socket = tokio::net::TcpListener::bind(address).await.unwrap();
                listening.send(socket.local_addr().unwrap()).unwrap();
                let serving = tonic::transport::Server::builder()
                    .tcp_nodelay(true)
                    .add_service(LocationsServer::new(script.clone()))
                    .add_service(PlacesServer::new(script))
                    .serve_with_incoming(TcpListenerStream::new(socket));
                tokio::select! {
                    served = serving => served.unwrap(),
                    _ = killed => {}
                }
            });
        });
        let address = address_of.recv().unwrap();
        Self { address, kill: Some(kill), thread: Some(thread) }
    }
}

impl Drop for FakeNode {
    /// Like `kill -9`: every socket is closed without a word when this returns.
    fn drop(&mut self) {
        drop(self.kill.take());
        self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A node that is stopped (SIGSTOP): the system accepts connections for it, and nothing answers.
#[derive(Debug)]
pub(crate) struct StoppedNode(TcpListener);

impl StoppedNode {
    pub(crate) fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// A node whose packets are lost: connecting to it brings neither an answer nor a refusal.
#[derive(Debug)]
pub(crate) struct LostNode {
    address: SocketAddr,
    _full: Vec<Socket>,
}

impl LostNode {
    /// A socket whose queue of connections is full drops what arrives.
    pub(crate) fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let place = listener.local_addr().unwrap();
        let filling = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let accepted = socket.connect_timeout(&place, Duration::from_millis(100)).is_ok();
            accepted.then_some(socket)
        };
        let mut full: Vec<_> = iter::from_fn(filling).take(16).collect();
        assert!(full.len() < 16, "the queue has no end");
        full.push(listener);
        Self { address: place.as_socket().unwrap(), _full: full }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An address at which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    StoppedNode::start().address()
}

#[tonic::async_trait]
impl Locations for Script {
    type ReportStreamStream = ReceiverStream<Result<v1::ReportStreamResponse, Status>>;
    type WatchStream = ReceiverStream<Result<v1::WatchResponse, Status>>;

    async fn report(
        &self,
        _: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        Err(Status::unimplemented("the gateway has no use for it"))
    }

    async fn report_stream(
        &self,
        request: Request<Streaming<v1::ReportStreamRequest>>,
    ) -> Result<Response<Self::ReportStreamStream>, Status> {
        let script = self.clone();
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        script.memory().streams += 1;
        #[expect(clippy::disallowed_methods, reason = "ends with the node's own runtime")]
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let has_reports = !request.reports.is_empty();
                if has_reports && script.behaviour().drops_streams {
                    return;
                }
                if has_reports {
                    script.until(|behaviour| !behaviour.holds_reports).await;
                }
                if answers.send(Ok(script.take(&request))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let location = Some(self.location(&request.get_ref().client_id)?);
        self.until(|behaviour| !behaviour.holds_gets).await;
        Ok(Response::new(v1::GetResponse { location, ..Default::default() }))
    }

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the gateway has no use for it"))
    }

    async fn near(
        &self,
        _: Request<v1::NearRequest>,
    ) -> Result<Response<v1::NearResponse>, Status> {
        Err(Status::unimplemented("the gateway has no use for it"))
    }

    async fn forget(
        &self,
        _: Request<v1::ForgetRequest>,
    ) -> Result<Response<v1::ForgetResponse>, Status> {
        Err(Status::unimplemented("the gateway has no use for it"))
    }
}

#[tonic::async_trait]
impl Places for Script {
    /// Answers with what was asked instead of places.
    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let id = request.metadata().get("x-request-id").and_then(|id| id.to_str().ok());
        self.memory().query_ids.extend(id.map(ToOwned::to_owned));
        let query = SearchQuery::from_request(request.get_ref())
            .map_err(|violations| invalid_argument(&violations))?;
        let location = Some(self.location(query.client.as_str())?);
        self.until(|behaviour| !behaviour.holds_queries).await;
        if let Some(code) = self.behaviour().query_error {
            return Err(Status::new(code, "as the test wants it"));
        }
        assert!(query.legacy_json && !query.places);
        let (meters, bound) = (query.radius_meters, query.max_results);
        let padding = " ".repeat(self.behaviour().json_bytes);
        let legacy_json =
            format!("{{\n   \"meters\" : {meters},\n   \"bound\" : {bound}{padding}\n}}");
        Ok(Response::new(v1::SearchResponse { location, legacy_json, ..Default::default() }))
    }
}
