//! The APIs of the network providers, one a file.

pub(super) mod google_legacy;
pub(super) mod google_new;
mod html;
pub(super) mod wikipedia;
