//! Whether a gateway runs with these settings, and what it says of itself.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use crate::{config::Config, instruments::Status, storage};

/// How long a gateway that runs may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What is known of the gateway of some settings.
#[derive(Debug)]
pub enum Running {
    /// It runs, and says this.
    Tells(Box<Status>),
    /// It runs, for it holds its state folder, and nobody tells how it stands.
    IsSilent,
    /// None does.
    Nobody,
    /// That cannot be seen, for this reason.
    Unknown(String),
}

/// Looks for the gateway of these settings: where it would answer, and at its state folder.
pub async fn running(config: &Config) -> Running {
    if let Some(address) = config.metrics_listen
        && let Ok(Ok(status)) = time::timeout(LIMIT, ask(address)).await
    {
        return Running::Tells(Box::new(status));
    }
    match storage::is_in_use(&config.state_dir) {
        Ok(true) => Running::IsSilent,
        Ok(false) => Running::Nobody,
        Err(error) => Running::Unknown(format!("{}: {error}", config.state_dir.display())),
    }
}

/// Asks a server on this machine for one page.
async fn ask(address: SocketAddr) -> io::Result<Status> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /status HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other("it is another program"));
    }
    serde_json::from_str(body).map_err(io::Error::other)
}
