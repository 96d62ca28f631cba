//! The settings of `[device.container]`.

use std::{path::PathBuf, time::Duration};

use daemon::settings::Section;

use super::http::HttpConfig;
use crate::driver::http::{Auth, Endpoint, Trust, preset};

/// Where Docker listens; Podman does where its own settings say.
const SOCKET: &str = "/run/docker.sock";

/// How long a container may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// The longest that a command is waited for.
const LONGEST_GRACE: Duration = Duration::from_secs(30);

/// How long the engine may take for anything but the container's stop.
const ANSWER: Duration = Duration::from_secs(20);

/// A container is asked for over HTTP.
pub(super) fn read(mut section: Section) -> Option<HttpConfig> {
    let name = section.filled("name").required("the name of a container");
    let socket = section.path("socket").or(PathBuf::from(SOCKET));
    let grace = section.duration("grace", Duration::ZERO, LONGEST_GRACE);
    let grace = grace.or(GRACE);
    Some(HttpConfig {
        endpoint: Endpoint {
            url: Endpoint::address("http://localhost")?,
            trust: Trust::System,
            auth: Auth::None,
            socket: Some(socket),
            timeout: grace + ANSWER,
        },
        plan: preset::container(&name?, grace),
        least_cooldown: Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{DriverConfig, tests};

    #[test]
    fn a_container_is_named_and_stopped_within_bounds() {
        let read = |driver: &str| {
            let device = tests::device("d1");
            tests::parse(&format!(
                "state_dir = \"s\"\n{device}[device.container]\n{driver}"
            ))
        };
        let config = read("name = \"web\"\nsocket = \"podman.sock\"\n").unwrap();
        let DriverConfig::Http(http) = &config.devices[0].driver else {
            panic!("{:?}", config.devices[0].driver);
        };
        assert_eq!(http.endpoint.socket, Some("/etc/podman.sock".into()));
        assert_eq!(http.endpoint.timeout.as_secs(), 30);
        assert_eq!(
            read("grace = \"1m\"\n").unwrap_err(),
            [
                "device[0].container.name: expected the name of a container",
                "device[0].container.grace = \"1m\": expected a duration from 0s to 30s, for example \"30s\"",
            ]
        );
    }
}
