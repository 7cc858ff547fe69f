//! What operators ask a program of the herd over HTTP: `/metrics`, `/livez`, `/readyz`.
//!
//! A program registers its metrics in a [`Registry`], says with a function how ready it is, and
//! runs [`serve`]. What it logs can be changed by [`log_filter`]. Further routes, such as a page for people, are merged into [`router`]'s.

pub mod log_filter;
mod process;
mod runtime;
mod sampler;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
pub use prometheus_client::registry::Registry;

pub use self::process::register_process;
pub use self::runtime::register_runtime;
pub use self::sampler::Sampler;
pub use self::server::{MAX_CONNECTIONS, serve};

/// What scrapers are told that they get.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a program takes traffic, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it takes traffic.
    pub ready: bool,
    /// What works less well than it should, a line each. A program may be ready all the same.
    pub troubles: Vec<String>,
}

/// The routes that every program has: `/metrics` in the OpenMetrics text format, `/livez`, which
/// answers 200 for as long as anything answers, and `/readyz`, 200 or 503, with what is wrong in
/// words.
pub fn router(
    registry: Registry,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Router {
    let readiness = Arc::new(readiness);
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry));
    metrics
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || readyz(&readiness())))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

fn readyz(readiness: &Readiness) -> Response {
    let (status, word) = if readiness.ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let mut text = format!("{word}\n");
    for trouble in &readiness.troubles {
        text += trouble;
        text.push('\n');
    }
    (status, text).into_response()
}
