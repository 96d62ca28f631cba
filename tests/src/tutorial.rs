//! A device that follows a "get started" tutorial of Microsoft's, word for word on the wire: what
//! its topics and payloads are is written out here, not taken from the code under test.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use hub_emulator::Emulator;
use iot_hub::{
    identity::{ConnectionString, DeviceAuth},
    sas::SasToken,
};
use jiff::{SignedDuration, Timestamp};
use rumqttc::mqttbytes::{
    QoS,
    v4::{Codec, Connect, Login, Packet, PubAck, Publish, Subscribe},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use tokio::{net::TcpStream, task::AbortHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::Framed;

/// What a tutorial's device does with the method `reboot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// As the Node tutorial: answers 200 "Reboot started", then reports `lastReboot`.
    Node,
    /// As the .NET tutorial: reports `lastReboot` with an offset, then answers.
    DotNet,
    /// As the Java tutorial: answers, then reports `lastReboot` at the root, local time without zone.
    Java,
    /// As the Node SDK's sample: answers, then reports `startedRebootTime` alone.
    SdkSample,
    /// As the Python tutorial: knows `rebootDevice` alone, reports `rebootTime`, then answers.
    Python,
    /// Answers, and never reports.
    NeverReports,
    /// Never answers.
    NeverAnswers,
}

/// A tutorial's device, connected to the emulator. It ends when this value is dropped.
#[derive(Debug)]
pub struct TutorialDevice {
    calls: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl TutorialDevice {
    /// Connects a device, and returns when a method would reach it.
    pub async fn start(emulator: &Emulator, id: &str, script: Script) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let link = connect(emulator, id)
            .await
            .expect("connect a tutorial's device");
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            let ended = run(link, script, &counted).await;
            tracing::info!(?ended, "a tutorial's device ended");
        });
        emulator.callable(id).await;
        Self {
            calls,
            task: task.abort_handle(),
        }
    }

    /// How many times a reboot has been asked for.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for TutorialDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Link = Framed<TlsStream<TcpStream>, Codec>;

async fn connect(emulator: &Emulator, id: &str) -> Result<Link> {
    let ConnectionString::Device(connection) = emulator.device(id).parse()? else {
        bail!("not a device's connection string");
    };
    let DeviceAuth::Key(key) = &connection.auth else {
        bail!("a device without a key")
    };

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(
        emulator.ca_pem().as_bytes(),
    )?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(("127.0.0.1", emulator.mqtt_port())).await?;
    let name = ServerName::try_from(connection.host.name().to_owned())?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await?;

    let host = connection.host.to_string();
    let expiry = Timestamp::now() + SignedDuration::from_hours(1);
    let token = SasToken::sign(&format!("{host}/devices/{id}"), key, None, expiry);
    let mut hello = Connect::new(id);
    hello.clean_session = false;
    hello.keep_alive = 180;
    hello.login = Some(Login::new(
        format!("{host}/{id}/?api-version=2021-04-12"),
        token.to_string(),
    ));
    let codec = Codec {
        max_incoming_size: 262_144,
        max_outgoing_size: 262_144,
    };
    let mut link = Framed::new(stream, codec);
    link.send(Packet::Connect(hello)).await?;
    let answer = link.next().await.context("a CONNACK")??;
    let Packet::ConnAck(_) = answer else {
        bail!("expected a CONNACK, not {answer:?}")
    };
    for (index, filter) in ["$iothub/methods/POST/#", "$iothub/twin/res/#"]
        .iter()
        .enumerate()
    {
        let mut subscribe = Subscribe::new(*filter, QoS::AtMostOnce);
        subscribe.pkid = u16::try_from(index + 1)?;
        link.send(Packet::Subscribe(subscribe)).await?;
    }
    Ok(link)
}

async fn run(mut link: Link, script: Script, calls: &AtomicUsize) -> Result<()> {
    while let Some(packet) = link.next().await {
        let Packet::Publish(publish) = packet? else {
            continue;
        };
        if publish.qos == QoS::AtLeastOnce {
            link.send(Packet::PubAck(PubAck::new(publish.pkid))).await?;
        }
        let Some(call) = publish.topic.strip_prefix("$iothub/methods/POST/") else {
            continue;
        };
        let (method, rid) = call
            .split_once("/?$rid=")
            .context("a method's request id")?;
        let known = if script == Script::Python {
            "rebootDevice"
        } else {
            "reboot"
        };
        if method != known {
            // The tutorials' own answer to a method they do not know.
            send(
                &mut link,
                format!("$iothub/methods/res/404/?$rid={rid}"),
                "{}",
            )
            .await?;
            continue;
        }
        calls.fetch_add(1, Ordering::SeqCst);
        let answer = format!("$iothub/methods/res/200/?$rid={rid}");
        let report = "$iothub/twin/PATCH/properties/reported/?$rid=tutorial".to_owned();
        let now = Timestamp::now();
        match script {
            Script::Node => {
                send(&mut link, answer, "\"Reboot started\"").await?;
                let body = json!({ "iothubDM": { "reboot": { "lastReboot": now.to_string() } } });
                send(&mut link, report, &body.to_string()).await?;
            }
            Script::DotNet => {
                let time = now.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string();
                let body = json!({ "iothubDM": { "reboot": { "lastReboot": time } } });
                send(&mut link, report, &body.to_string()).await?;
                send(&mut link, answer, "{\"result\":\"Reboot started.\"}").await?;
            }
            Script::Java => {
                send(&mut link, answer, "\"Started reboot\"").await?;
                let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string();
                let body = json!({ "lastReboot": time });
                send(&mut link, report, &body.to_string()).await?;
            }
            Script::SdkSample => {
                send(&mut link, answer, "\"Reboot started\"").await?;
                let body = json!({ "startedRebootTime": now.to_string() });
                let body = json!({ "iothubDM": { "reboot": body } });
                send(&mut link, report, &body.to_string()).await?;
            }
            Script::Python => {
                // `str(datetime.now())`: local time, a space, no zone.
                let time = now.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
                send(
                    &mut link,
                    report,
                    &json!({ "rebootTime": time }).to_string(),
                )
                .await?;
                let body = json!({ "Response": "This is the response from the device" });
                send(&mut link, answer, &body.to_string()).await?;
            }
            Script::NeverReports => send(&mut link, answer, "\"Reboot started\"").await?,
            Script::NeverAnswers => {}
        }
    }
    Ok(())
}

async fn send(link: &mut Link, topic: String, body: &str) -> Result<()> {
    Ok(link
        .send(Packet::Publish(Publish::new(topic, QoS::AtMostOnce, body)))
        .await?)
}
