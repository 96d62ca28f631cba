//! The gRPC API of the management service, generated at build time from
//! `iothubdm/v1/device_management.proto`. The comments in that file are the API's documentation.

pub mod codec;

/// Version 1 of the API.
#[expect(
    clippy::allow_attributes,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("iothubdm.v1");

    /// The API's descriptors, as server reflection needs them.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/iothubdm_descriptor.bin"));
}
