//! Herds as a cluster runs them, without the cluster: nodes that DNS names, more and fewer of them, and
//! replaced one by one. Name server and Service are the tests' own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod processes;
mod rolling;
mod server;
mod service;
mod support;
