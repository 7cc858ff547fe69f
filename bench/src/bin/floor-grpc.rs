//! The least that a gRPC server of the herd's messages can do: takes reports, one by one or by
//! stream, puts them into a hash map, answers. No checks, no layers, no digest, no other nodes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use herd_proto::v1::locations_server::{Locations, LocationsServer};
use herd_proto::{MAX_MESSAGE_BYTES, v1};
use mimalloc::MiMalloc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::ReportStreamResponse, Status>> + Send>>;
type Table = Mutex<HashMap<String, v1::ReportRequest>>;

#[derive(Default)]
struct Floor(Arc<Table>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = std::env::args().nth(1).context("floor-grpc IP:PORT")?.parse()?;
    let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
    let service =
        LocationsServer::new(Floor::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    Server::builder().add_service(service).serve_with_incoming(incoming).await?;
    Ok(())
}

fn put(table: &Table, reports: impl IntoIterator<Item = v1::ReportRequest>) -> u32 {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let mut count = 0;
    for report in reports {
        count += 1;
        match table.get_mut(report.client_id.as_str()) {
            Some(known) => *known = report,
            None => {
                table.insert(report.client_id.to_string(), report);
            }
        }
    }
    count
}

#[tonic::async_trait]
impl Locations for Floor {
    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let report = request.into_inner();
        let location = v1::Location {
            client_id: report.client_id.to_string(),
            position: report.position,
            time: report.time,
            receive_time: Some(SystemTime::now().into()),
            origin: "Floor".into(),
            ..v1::Location::default()
        };
        put(&self.0, [report]);
        Ok(Response::new(v1::ReportResponse { location: Some(location), applied: true }))
    }

    type ReportStreamStream = Answers;

    async fn report_stream(
        &self,
        request: Request<Streaming<v1::ReportStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let table = Arc::clone(&self.0);
        let answers = request.into_inner().map(move |request| {
            let applied = put(&table, request?.reports);
            Ok(v1::ReportStreamResponse {
                receive_time: Some(SystemTime::now().into()),
                origin: "Floor".into(),
                applied,
                failures: Vec::new(),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("the floor only takes reports"))
    }

    async fn near(
        &self,
        _: Request<v1::NearRequest>,
    ) -> Result<Response<v1::NearResponse>, Status> {
        Err(Status::unimplemented("the floor only takes reports"))
    }

    async fn forget(
        &self,
        _: Request<v1::ForgetRequest>,
    ) -> Result<Response<v1::ForgetResponse>, Status> {
        Err(Status::unimplemented("the floor only takes reports"))
    }

    type WatchStream = tokio_stream::Empty<Result<v1::WatchResponse, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the floor only takes reports"))
    }
}
