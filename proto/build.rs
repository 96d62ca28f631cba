//! Generates the gRPC code with protox, a protobuf compiler in Rust, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=iothubdm");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let descriptors = protox::Compiler::new(["."])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(["iothubdm/v1/device_management.proto"])?
        .file_descriptor_set();
    fs::write(
        out.join("iothubdm_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;

    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
