//! What is likely to be wrong where there is no link, for a person.

use std::io;

use jiff::Timestamp;
use rustls::CertificateError;

use super::{LinkError, is_refusal};

/// What to look at first, where the error itself does not say it.
pub(crate) fn advice(error: &LinkError, now: Timestamp) -> Option<String> {
    match error {
        LinkError::Dial { source, .. } => about_dialing(source, now),
        LinkError::Refused(code) if is_refusal(*code) => Some(format!(
            "a signed token is good for a time that this machine's clock gives; it says {now:.0}"
        )),
        LinkError::Slow(..) => Some("look for a firewall that swallows packets".to_owned()),
        LinkError::Unanswered(..)
        | LinkError::Refused(_)
        | LinkError::RefusedCertificate(_)
        | LinkError::Certificate(_)
        | LinkError::Registration { .. }
        | LinkError::Homeless
        | LinkError::Subscription
        | LinkError::Closed
        | LinkError::Protocol(_) => None,
    }
}

fn about_dialing(error: &io::Error, now: Timestamp) -> Option<String> {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref()) {
        return about_tls(error, now);
    }
    let kind = error.kind();
    let no_way = [
        io::ErrorKind::TimedOut,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
    ];
    let advice = if kind == io::ErrorKind::ConnectionRefused {
        "nobody listens at this port: look at the port"
    } else if no_way.contains(&kind) {
        "there is no way to the host: look at the network, and for a firewall that forbids the port; \
         where only 443 is open, `transport` in [hub] helps"
    } else if error.to_string().contains("lookup address") {
        // The standard library has no kind for a name that cannot be resolved.
        "the name cannot be resolved: look at the name of the hub, and at this machine's DNS"
    } else {
        return None;
    };
    Some(advice.to_owned())
}

fn about_tls(error: &rustls::Error, now: Timestamp) -> Option<String> {
    let rustls::Error::InvalidCertificate(error) = error else {
        return None;
    };
    let untimely = matches!(
        error,
        CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
            | CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
    );
    let misnamed = matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    let untrusted = matches!(error, CertificateError::UnknownIssuer);
    if untimely {
        Some(format!(
            "this machine's clock says {now:.0}; set it if that is wrong"
        ))
    } else if untrusted {
        let advice = "nobody who is trusted has signed its certificate: look at `ca_file` in [hub], \
                      and for a proxy that looks into TLS";
        Some(advice.to_owned())
    } else {
        misnamed.then(|| "another host answers under this name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::ConnectReturnCode;

    use super::*;

    #[track_caller]
    fn check(error: &LinkError, expected: Option<&str>) {
        let now = Timestamp::UNIX_EPOCH;
        let said = advice(error, now);
        match expected {
            Some(expected) => assert!(
                said.as_ref().is_some_and(|said| said.contains(expected)),
                "{said:?}"
            ),
            None => assert_eq!(said, None),
        }
    }

    fn dial(source: io::Error) -> LinkError {
        LinkError::Dial {
            host: "hub".to_owned(),
            source,
        }
    }

    fn certificate(error: CertificateError) -> LinkError {
        let error = rustls::Error::InvalidCertificate(error);
        dial(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn the_clock_is_named_where_it_is_likely_to_be_the_cause() {
        check(
            &certificate(CertificateError::NotValidYet),
            Some("clock says 1970-01-01T00:00:00Z"),
        );
        check(
            &certificate(CertificateError::Expired),
            Some("clock says 1970"),
        );
        check(
            &LinkError::Refused(ConnectReturnCode::NotAuthorized),
            Some("clock"),
        );
        check(
            &LinkError::Refused(ConnectReturnCode::ServiceUnavailable),
            None,
        );
        check(
            &certificate(CertificateError::UnknownIssuer),
            Some("ca_file"),
        );
        check(&LinkError::Closed, None);
    }

    #[tokio::test]
    async fn what_the_network_says_is_told_apart() {
        check(&dial(io::ErrorKind::ConnectionRefused.into()), Some("port"));
        check(&dial(io::ErrorKind::TimedOut.into()), Some("firewall"));
        check(&dial(io::ErrorKind::BrokenPipe.into()), None);
        // A name that no resolver is asked about: it has a label of more than 63 bytes.
        let unknown = format!("{}.invalid", "x".repeat(64));
        let error = tokio::net::TcpStream::connect((unknown, 1))
            .await
            .unwrap_err();
        check(&dial(error), Some("DNS"));
    }
}
