//! An SNMPv2c agent for tests: a socket, and whatever the test has it say.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use snmp2::{MessageType, Pdu, Value};
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

use super::{SnmpAccess, SnmpAgent};

/// What is asked of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// A value, by its name.
    Get(String),
    /// To take this number, by its name.
    Set(String, i64),
}

/// What an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Number(i64),
    Ticks(u32),
    Name(Vec<u64>),
    NoSuchObject,
    /// An error of this number.
    Error(u8),
    /// Nothing at all, to the whole message.
    Silence,
    /// These bytes, to the whole message.
    Garbage(Vec<u8>),
}

/// A running agent.
#[derive(Debug)]
pub(super) struct TestAgent {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

impl TestAgent {
    /// Starts an agent that says this.
    pub(super) async fn start(mut tell: impl FnMut(&Asked) -> Told + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut bytes = vec![0; 65_507];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.expect("receive");
                if let Some(answer) = answer(&bytes[..length], &mut tell, &log) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self {
            address,
            asked,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// How to reach it.
    pub(super) fn settings(&self) -> SnmpAgent {
        SnmpAgent {
            address: self.address.to_string(),
            access: SnmpAccess::V2c {
                community: "test".into(),
            },
            timeout: Duration::from_millis(100),
        }
    }

    /// The numbers it was told to take.
    pub(super) fn sets(&self) -> Vec<i64> {
        let asked = self.asked.lock().expect("a lock");
        let number = |asked: &Asked| match asked {
            Asked::Set(_, number) => Some(*number),
            Asked::Get(_) => None,
        };
        asked.iter().filter_map(number).collect()
    }
}

fn answer(
    bytes: &[u8],
    tell: &mut impl FnMut(&Asked) -> Told,
    log: &Mutex<Vec<Asked>>,
) -> Option<Vec<u8>> {
    // A manager of SNMPv3 is not understood; what is said to it is up to the test.
    let Ok(message) = Pdu::from_bytes(bytes) else {
        let Told::Garbage(bytes) = tell(&Asked::Get("v3".into())) else {
            return None;
        };
        return Some(bytes);
    };
    let mut values = Vec::new();
    let mut error = 0;
    for (name, value) in message.varbinds.clone() {
        let asked = match (message.message_type, value) {
            (MessageType::SetRequest, Value::Integer(number)) => {
                Asked::Set(name.to_id_string(), number)
            }
            _ => Asked::Get(name.to_id_string()),
        };
        log.lock().expect("a lock").push(asked.clone());
        let told = match tell(&asked) {
            Told::Silence => return None,
            Told::Garbage(bytes) => return Some(bytes),
            Told::Error(number) => {
                error = number;
                tlv(0x05, &[])
            }
            Told::Number(number) => tlv(0x02, &integer(number)),
            Told::Ticks(ticks) => tlv(0x43, &integer(ticks.into())),
            Told::Name(arcs) => {
                let name = snmp2::Oid::from(&arcs).expect("a name");
                tlv(0x06, name.as_bytes())
            }
            Told::NoSuchObject => tlv(0x80, &[]),
        };
        values.extend(tlv(0x30, &[tlv(0x06, name.as_bytes()), told].concat()));
    }
    let body = [
        tlv(0x02, &integer(message.req_id.into())),
        tlv(0x02, &[error]),
        tlv(0x02, &[0]),
        tlv(0x30, &values),
    ];
    let whole = [
        tlv(0x02, &[1]),
        tlv(0x04, message.community),
        tlv(0xa2, &body.concat()),
    ];
    Some(tlv(0x30, &whole.concat()))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short message");
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![tag, 0x82, high, low];
    bytes.extend_from_slice(content);
    bytes
}

fn integer(number: i64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
