//! The page's files, which are part of the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        [$(($name, $kind, include_str!(concat!("../../page/", $name)))),*]
    };
}

/// Name, content type and content.
const FILES: [(&str, &str, &str); 12] = files! {
    "index.html": HTML,
    "page.css": CSS,
    "icon.svg": SVG,
    "land.json": JSON,
    "main.js": JS,
    "stream.js": JS,
    "clients.js": JS,
    "map.js": JS,
    "graph.js": JS,
    "details.js": JS,
    "table.js": JS,
    "format.js": JS,
};

pub(super) async fn named(Path(name): Path<String>) -> Response {
    serve(&name)
}

pub(super) fn serve(name: &str) -> Response {
    let Some((_, kind, content)) = FILES.iter().find(|(known, _, _)| *known == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    // They change with the program, and are small.
    ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *content).into_response()
}
