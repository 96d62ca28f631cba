use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    runtime::{Builder, Runtime},
    task::yield_now,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

use super::*;

/// A host, and those who trust it; each of them ours, or tokio-rustls's.
struct World {
    host: Arc<ServerConfig>,
    trusting: Arc<ClientConfig>,
}

impl World {
    fn speaking(version: &'static SupportedProtocolVersion) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["host".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let host = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        let trusting = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            host: Arc::new(host.unwrap()),
            trusting: Arc::new(trusting),
        }
    }

    fn their_host(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.host.clone())
    }

    fn their_client(&self) -> TlsConnector {
        TlsConnector::from(self.trusting.clone())
    }

    /// A connection that holds no more than so many bytes on its way.
    async fn connect(
        &self,
        name: &'static str,
        holds: usize,
    ) -> (
        io::Result<ClientStream<DuplexStream>>,
        io::Result<server::TlsStream<DuplexStream>>,
    ) {
        let (ours, theirs) = duplex(holds);
        let name = ServerName::try_from(name).unwrap();
        tokio::join!(
            ClientStream::connect(self.trusting.clone(), name, ours),
            self.their_host().accept(theirs)
        )
    }

    async fn connected(&self) -> (ClientStream<DuplexStream>, server::TlsStream<DuplexStream>) {
        let (ours, theirs) = self.connect("host", 64 * 1024).await;
        (ours.unwrap(), theirs.unwrap())
    }
}

fn host() -> ServerName<'static> {
    ServerName::try_from("host").unwrap()
}

fn has_no_room<S, E>(stream: &TlsStream<S, E>) -> bool {
    let kept = [&stream.said, &stream.unsent].map(BytesMut::capacity);
    kept == [0, 0] && stream.received.capacity() == 0
}

/// Asks and is answered, hears the farewell and says one.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut end: S, up: &[usize], down: &[usize]) -> S {
    for (up, down) in up.iter().zip(down) {
        end.write_all(&vec![7; *up]).await.unwrap();
        end.flush().await.unwrap();
        let mut heard = vec![0; *down];
        end.read_exact(&mut heard).await.unwrap();
        assert!(heard == vec![9; *down]);
    }
    assert_eq!(end.read(&mut [0; 1]).await.unwrap(), 0);
    end.shutdown().await.unwrap();
    end
}

/// Answers whoever asks, and says farewell first.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut end: S, up: &[usize], down: &[usize]) -> S {
    for (up, down) in up.iter().zip(down) {
        let mut heard = vec![0; *up];
        end.read_exact(&mut heard).await.unwrap();
        assert!(heard == vec![7; *up]);
        end.write_all(&vec![9; *down]).await.unwrap();
        end.flush().await.unwrap();
    }
    end.shutdown().await.unwrap();
    assert_eq!(end.read(&mut [0; 1]).await.unwrap(), 0);
    end
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_said_arrives_whole_on_both_sides_however_it_is_cut(
        // There is room for what TLS says by itself while nobody reads.
        holds in 4_000_usize..12_000,
        up in prop::collection::vec(0_usize..40_000, 1..4),
        down in prop::collection::vec(0_usize..40_000, 1..4),
        newer: bool,
        we_answer: bool,
    ) {
        Runtime::new().unwrap().block_on(async {
            let world = World::speaking(if newer { &TLS13 } else { &TLS12 });
            let (asking, answering) = duplex(holds);
            if we_answer {
                let client = async {
                    let end = world.their_client().connect(host(), asking).await;
                    ask(end.unwrap(), &up, &down).await;
                };
                let server = async {
                    let end = ServerStream::accept(world.host.clone(), answering).await;
                    let end = answer(end.unwrap(), &up, &down).await;
                    assert!(has_no_room(&end));
                };
                tokio::join!(client, server);
            } else {
                let client = async {
                    let end = ClientStream::connect(world.trusting.clone(), host(), asking).await;
                    let end = ask(end.unwrap(), &up, &down).await;
                    assert!(has_no_room(&end));
                };
                let server = async {
                    let end = world.their_host().accept(answering).await;
                    answer(end.unwrap(), &up, &down).await;
                };
                tokio::join!(client, server);
            }
        });
    }
}

/// Lets everything else in this runtime go on for as long as it can: nothing there waits for the world
/// outside.
async fn many_turns() {
    for _ in 0..1_000 {
        yield_now().await;
    }
}

/// Passes on what a host sends, but for one byte.
async fn spoil(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, at: usize) {
    let (mut passed, mut room) = (0, [0; 512]);
    while let Ok(read @ 1..) = from.read(&mut room).await {
        if let Some(byte) = at
            .checked_sub(passed)
            .and_then(|at| room[..read].get_mut(at))
        {
            *byte ^= 0x55;
        }
        passed += read;
        if to.write_all(&room[..read]).await.is_err() {
            return;
        }
    }
    // Whoever waits for more learns that there is none.
    let _ = to.shutdown().await;
}

/// Says something, and farewell.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(end: io::Result<S>) {
    if let Ok(mut end) = end {
        // Where it fails the other end has gone.
        let _ = end.write_all(&[9; 2_000]).await;
        let _ = end.shutdown().await;
    }
}

/// What our end hears until there is no more, or an error, after which nothing can be said.
async fn hear<E: End>(
    end: impl Future<Output = io::Result<TlsStream<DuplexStream, E>>>,
) -> Vec<u8> {
    let mut heard = Vec::new();
    if let Ok(mut end) = end.await
        && end.read_to_end(&mut heard).await.is_err()
    {
        let again = end.write_all(b"more").await;
        assert!(!end.failed || again.is_err());
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_byte_that_is_changed_on_its_way_is_an_error_and_no_panic(
        at in 0_usize..1_500,
        newer: bool,
        we_answer: bool,
    ) {
        Builder::new_current_thread().build().unwrap().block_on(async {
            let world = World::speaking(if newer { &TLS13 } else { &TLS12 });
            let (asking, middle) = duplex(64 * 1024);
            let (far_middle, answering) = duplex(64 * 1024);
            let (from_client, to_client) = split(middle);
            let (from_host, to_host) = split(far_middle);
            let (to_us, to_them) = (at, usize::MAX);
            let (down, up) = if we_answer { (to_them, to_us) } else { (to_us, to_them) };
            tokio::spawn(spoil(from_host, to_client, down));
            tokio::spawn(spoil(from_client, to_host, up));
            let both = async {
                if we_answer {
                    let end = ServerStream::accept(world.host.clone(), answering);
                    let them = async {
                        say(world.their_client().connect(host(), asking).await).await;
                    };
                    tokio::join!(hear(end), them).0
                } else {
                    let end = ClientStream::connect(world.trusting.clone(), host(), asking);
                    let them = async {
                        say(world.their_host().accept(answering).await).await;
                    };
                    tokio::join!(hear(end), them).0
                }
            };
            tokio::select! {
                heard = both => assert!(heard.iter().all(|byte| *byte == 9)),
                // A length that was changed has both wait for the other.
                () = many_turns() => {}
            }
        });
    }

    #[test]
    fn whatever_the_other_end_sends_is_no_panic(
        records in prop::collection::vec((19_u8..26, prop::collection::vec(any::<u8>(), 0..40)), 0..6),
        we_answer: bool,
    ) {
        Runtime::new().unwrap().block_on(async {
            let (ours, mut theirs) = duplex(64 * 1024);
            for (kind, content) in records {
                let length = u8::try_from(content.len()).unwrap();
                theirs.write_all(&[kind, 3, 3, 0, length]).await.unwrap();
                theirs.write_all(&content).await.unwrap();
            }
            theirs.shutdown().await.unwrap();
            let World { host: config, trusting } = World::speaking(&TLS13);
            if we_answer {
                assert!(ServerStream::accept(config, ours).await.is_err());
            } else {
                assert!(ClientStream::connect(trusting, host(), ours).await.is_err());
            }
        });
    }
}

#[tokio::test]
async fn a_silent_connection_has_no_room() {
    for version in [&TLS12, &TLS13] {
        let (mut ours, mut theirs) = World::speaking(version).connected().await;
        theirs.write_all(&[1; 3_000]).await.unwrap();
        theirs.flush().await.unwrap();
        ours.read_exact(&mut [0; 3_000]).await.unwrap();
        ours.write_all(&[2; 3_000]).await.unwrap();
        assert!(has_no_room(&ours));
    }
}

#[tokio::test]
async fn a_session_is_resumed() {
    let world = World::speaking(&TLS13);
    for handshake in [
        rustls::HandshakeKind::Full,
        rustls::HandshakeKind::Resumed,
        rustls::HandshakeKind::Resumed,
    ] {
        let (mut ours, mut theirs) = world.connected().await;
        let (_, kind) = theirs.get_ref();
        assert_eq!(kind.handshake_kind(), Some(handshake));
        // The tickets come before it.
        theirs.write_all(b"hello").await.unwrap();
        ours.read_exact(&mut [0; 5]).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_of_another_name_is_not_trusted() {
    let (ours, theirs) = World::speaking(&TLS13).connect("another", 64 * 1024).await;
    let error = ours.err().unwrap();
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(
        matches!(error, Some(Error::InvalidCertificate(_))),
        "{error:?}"
    );
    // The host is told why.
    let error = theirs.err().unwrap();
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(matches!(error, Some(Error::AlertReceived(_))), "{error:?}");
}

#[tokio::test]
async fn a_client_that_the_server_cannot_serve_is_told_why() {
    let host_config = World::speaking(&TLS13).host;
    let (ours, theirs) = duplex(64 * 1024);
    let (served, connected) = tokio::join!(
        ServerStream::accept(host_config, ours),
        World::speaking(&TLS12)
            .their_client()
            .connect(host(), theirs)
    );
    assert_eq!(served.err().unwrap().kind(), io::ErrorKind::InvalidData);
    let error = connected.err().unwrap();
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    let version = rustls::AlertDescription::ProtocolVersion;
    assert_eq!(error, Some(&Error::AlertReceived(version)));
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end_of_what_is_said() {
    for version in [&TLS12, &TLS13] {
        let (mut ours, theirs) = World::speaking(version).connected().await;
        drop(theirs);
        let error = ours.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn nothing_is_said_after_a_farewell_from_both() {
    for version in [&TLS12, &TLS13] {
        let (mut ours, mut theirs) = World::speaking(version).connected().await;
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 1]).await.unwrap(), 0);
        ours.shutdown().await.unwrap();
        let error = ours.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn bytes_that_are_no_tls_end_the_connection() {
    let (ours, mut theirs) = duplex(64 * 1024);
    theirs.write_all(&[0x55; 300]).await.unwrap();
    let trusting = World::speaking(&TLS13).trusting;
    let connected = ClientStream::connect(trusting, host(), ours).await;
    let error = connected.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
