//! Who may look: whoever may read locations over gRPC, with the same tokens.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tonic::{Code, Status};

use crate::front::Access;

/// What the page does, as a caller of gRPC would.
const AS_IF: &str = "/herd.v1.Locations/Watch";

impl Access {
    /// Decides whether the sender of these headers may read locations.
    pub(super) fn reads(&self, headers: &HeaderMap) -> Result<(), Status> {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|text| text.to_str().ok());
        self.check(AS_IF, None, authorization).map(drop)
    }
}

/// The same refusal in HTTP's words.
pub(super) fn refusal(status: &Status) -> Response {
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    (code, format!("{}\n", status.message())).into_response()
}
