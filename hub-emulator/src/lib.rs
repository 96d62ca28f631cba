//! An IoT Hub on a laptop.
