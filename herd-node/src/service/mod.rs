//! The gRPC services, thin: they check requests, ask the state, and shape answers.

mod ages;
mod embedded;
mod gossip;
mod intake;
mod locations;
pub(crate) mod near;
mod node;
mod peers;
mod places;
mod report_stream;
mod watch;
mod watch_request;

pub(crate) use ages::Ages;
pub use embedded::EmbeddedService;
pub use gossip::GossipService;
pub use intake::Intake;
pub use locations::LocationsService;
pub use node::{NodeFacts, NodeService};
pub use places::PlacesService;
pub use watch::Watchers;

use herd_proto::ClientId;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// NOT_FOUND for a client that this node does not know.
fn unknown_client(client: &ClientId) -> Status {
    let details = ErrorDetails::with_resource_info(
        "herd.v1.Location",
        client.as_str(),
        "",
        "no node that this node has heard of has taken a report of this client",
    );
    let message = format!("no location is known of client {client}");
    Status::with_error_details(tonic::Code::NotFound, message, details)
}

/// UNAVAILABLE for a stream that ends because the node stops.
fn draining() -> Status {
    Status::unavailable("the node is stopping, ask another one")
}
