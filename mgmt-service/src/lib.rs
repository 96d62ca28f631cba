//! Reboots devices over IoT Hub and follows them to a verdict.
