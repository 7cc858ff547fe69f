//! Generates the bindings from the `.proto` files, without protoc.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message as _;

const FILES: [&str; 5] = [
    "herd/v1/location.proto",
    "herd/v1/locations.proto",
    "herd/v1/places.proto",
    "herd/v1/gossip.proto",
    "herd/v1/node.proto",
];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=herd");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("herd.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Decoded by hand, since there are so many of them: straight into what the table needs.
        // Records also keep the fields that only newer nodes know.
        .extern_path(".herd.v1.Record", "crate::Record")
        .extern_path(".herd.v1.ReportRequest", "crate::report_fields::ReportRequest")
        .build_transport(false)
        .client_mod_attribute("herd.v1", "#[cfg(feature = \"client\")]")
        .server_mod_attribute("herd.v1", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
