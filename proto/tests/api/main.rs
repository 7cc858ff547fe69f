//! `docs/api.md` is what the `.proto` files say: written by this test when asked to, compared otherwise.
//!
//! ```sh
//! HERD_WRITE_DOCS=1 cargo test -p herd-proto --test api
//! ```

mod page;

use std::path::PathBuf;
use std::{env, fs};

use herd_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;

#[test]
fn the_page_of_the_api_is_what_the_proto_files_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let page = page::of(&descriptors);
    if env::var_os("HERD_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("docs/ can be written");
    }
    let kept = fs::read_to_string(&path).expect("docs/api.md is there");
    assert!(kept == page, "docs/api.md is out of date: run this test with HERD_WRITE_DOCS=1");
}

#[test]
fn each_call_message_field_and_value_has_a_comment_on_the_page() {
    let descriptors = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
    let page = page::of(&descriptors);
    for name in ["Locations/Report", "Gossip/Propagate", "ReportRequest", "Ack", "LinkState"] {
        assert!(page.contains(&format!("{name}\n")), "{name} is missing");
    }
    assert!(!page.contains("|  |\n"), "something has no comment");
}
