//! The herd's wire format and the checked form of what crosses it.
//!
//! [`v1`] holds the types generated from `herd/v1/*.proto`. The rest of the crate is the
//! domain: types that are parsed once, where bytes come in, and carried as proof from there on.
//! A type lives here if it crosses a process boundary.

mod area;
mod client_id;
mod convert;
mod decimal;
mod encoded_reports;
mod item_trace;
mod near;
mod node_name;
mod place;
mod position;
mod record;
mod record_fields;
mod report;
mod report_fields;
mod timestamp;
pub mod topology;
mod trace_context;
mod violations;
mod wire_text;

#[cfg(feature = "transport")]
mod status;
#[cfg(feature = "transport")]
mod trace_headers;

pub use area::Area;
pub use client_id::{ClientId, ClientIdError, WHITE_SPACE, is_white_space};
pub use convert::RecordError;
pub use encoded_reports::EncodedReports;
pub use near::{MAX_NEAR_METERS, MAX_NEAR_RESULTS, NearCenter, NearQuery};
pub use node_name::{NodeName, NodeNameError};
pub use place::{MAX_RADIUS_METERS, MAX_RESULTS, SearchQuery};
pub use position::{EARTH_RADIUS_METERS, Position, PositionError};
pub use record::LocationRecord;
pub use record_fields::Record;
pub use report::Report;
#[cfg(feature = "transport")]
pub use status::{invalid_argument, violations_of};
pub use timestamp::{Difference, Timestamp, TimestampError};
pub use trace_context::TraceContext;
pub use violations::{Violation, Violations};

/// Types generated from the `.proto` files; their documentation is the files' comments.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/herd.v1.rs"));

    pub use crate::report_fields::ReportRequest;
}

/// The compiled `.proto` files as an encoded `FileDescriptorSet`, comments included, for
/// gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/herd.bin"));

/// The protocol version of `Gossip.Propagate` that this crate describes.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest number of reports in one `ReportStreamRequest`, and of records in one `Batch`.
pub const MAX_BATCH: usize = 4096;

/// Largest gRPC message that nodes, gateways and clients take, in bytes.
///
/// A full batch of ordinary records is about 300 KiB; the rest is room for long ids and texts.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
