//! What the machine itself takes, whatever the program.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::statistics::percentile;

/// A message of 64 bytes to another thread over loopback and back, in microseconds: the median, and
/// the 99th percentile.
pub(crate) fn ping_pong(count: usize) -> anyhow::Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("find the port")?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address).context("connect")?;
    stream.set_nodelay(true)?;
    let mut message = [0; 64];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        times.push(begin.elapsed());
    }
    drop(stream);
    // Its only failure is that the connection ended, which it did.
    let _ = echo.join();
    Ok((percentile(&mut times, 0.5), percentile(&mut times, 0.99)))
}

/// The start and the end of a program that does nothing.
pub(crate) fn empty_program() -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let status = Command::new("true").stdout(Stdio::null()).status();
    status.context("run `true`")?;
    Ok(begin.elapsed())
}
