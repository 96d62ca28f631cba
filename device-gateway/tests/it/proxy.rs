//! HTTP proxies: one of this process, that knows CONNECT and nothing else, and a real one.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::{
    io::{self, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::world::within;

/// A proxy that ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: watch::Receiver<Vec<String>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Lets those through who send this header, if there is one.
    pub(crate) async fn start(login: Option<&'static str>) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        let (log, asked) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = door.accept().await.unwrap();
                let log = log.clone();
                tokio::spawn(async move { serve(client, login, &log).await });
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    /// The first lines of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until there were so many.
    pub(crate) async fn asked_at_least(&mut self, times: usize) {
        within(self.asked.wait_for(|asked| asked.len() >= times))
            .await
            .unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, login: Option<&str>, log: &watch::Sender<Vec<String>>) {
    let mut client = BufReader::new(client);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    log.send_modify(|asked| asked.push(lines[0].clone()));
    if login.is_some_and(|login| !lines.iter().any(|line| line == login)) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let _ = client.write_all(refusal).await;
        return;
    }
    let target = lines[0].split(' ').nth(1).unwrap();
    let mut target = TcpStream::connect(target).await.unwrap();
    let welcome = b"HTTP/1.1 200 Connection established\r\n\r\n";
    client.write_all(welcome).await.unwrap();
    // It ends as soon as either end goes.
    let _ = io::copy_bidirectional(&mut client, &mut target).await;
}

/// Debian's tinyproxy, which wants a login.
pub(crate) struct Tinyproxy {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    _process: Child,
}

impl Tinyproxy {
    /// It takes no port 0, so it has an address of its own on the loopback, by its parent's id.
    pub(crate) fn start() -> Self {
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let address = SocketAddr::from(([127, a | 64, b, c], 8888));
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("tinyproxy.conf");
        let log = folder.path().join("log");
        let text = format!(
            "Listen {}\nPort {}\nLogFile \"{}\"\nLogLevel Connect\nTimeout 600\nBasicAuth user pass\n",
            address.ip(),
            address.port(),
            log.display()
        );
        std::fs::write(&settings, text).unwrap();
        let process = Command::new("tinyproxy")
            .args(["-d", "-c"])
            .arg(&settings)
            .kill_on_drop(true)
            .spawn()
            .expect("tinyproxy, which `cargo xtask` installs");
        Self {
            address,
            folder,
            _process: process,
        }
    }

    /// What it wrote of its clients.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}
