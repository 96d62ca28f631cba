//! Bridges devices onto IoT Hub.
