//! The conversation with an agent. The only file that knows the SNMP library.
//!
//! Value is repeated when an answer is lost. A command never is: an answer may be lost of a command
//! that was carried out.

use std::{fmt, future::Future, time::Duration};

use secrecy::ExposeSecret as _;
use snmp2::{
    AsyncSession, Error, Pdu,
    v3::{Auth, AuthProtocol, Cipher, Security},
};
use tokio::time;
use tokio_util::task::AbortOnDropHandle;

use super::{SnmpAccess, SnmpAgent, SnmpAuth, SnmpPrivacy};
use crate::driver::DriverError;

/// How often a question is asked before the agent counts as unreachable.
const TRIES: u32 = 3;

/// What is being done, for errors.
const READ: &str = "read the agent";
const COMMAND: &str = "command the agent";

/// The name of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oid(Vec<u64>);

impl Oid {
    pub(super) fn new(arcs: &[u64]) -> Self {
        Self(arcs.to_vec())
    }

    pub(super) fn with(mut self, arc: u32) -> Self {
        self.0.push(arc.into());
        self
    }

    /// The same, or one below it.
    pub(super) fn is_below(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    fn encode(&self) -> Result<snmp2::Oid<'static>, Problem> {
        snmp2::Oid::from(&self.0).map_err(|_| Problem::Said(format!("{self} is no name")))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arcs: Vec<_> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&arcs.join("."))
    }
}

/// A value of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A number.
    Number(i64),
    /// A time in hundredths of a second.
    Ticks(u32),
    /// A name.
    Name(Oid),
    /// The agent has no such value.
    Absent,
    /// Something that nobody here asks for.
    Other,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// The agent said yes.
    Yes,
    /// The agent said no, and did nothing.
    No(String),
    /// Nobody answered.
    Nothing,
}

/// Reads values, in the order of their names.
pub(super) async fn get(agent: &SnmpAgent, names: Vec<Oid>) -> Result<Vec<Value>, DriverError> {
    let agent = agent.clone();
    apart(READ, async move {
        let mut line = Line::open(&agent).await?;
        line.get(&names).await
    })
    .await?
    .map_err(|problem| problem.into_error(READ))
}

/// Gives a command once, after the agent has shown that it listens.
pub(super) async fn set(agent: &SnmpAgent, name: Oid, value: i64) -> Result<Answered, DriverError> {
    let agent = agent.clone();
    apart(COMMAND, async move {
        let mut line = Line::open(&agent).await?;
        // Also what the agent's clock says, which the authentication of the command depends on.
        line.get(std::slice::from_ref(&name)).await?;
        line.set(&name, value).await
    })
    .await?
    .map_err(|problem| problem.into_error(COMMAND))
}

/// Has the library work in a task of its own: what it cannot bear of an agent's bytes ends that task
/// alone.
async fn apart<T: Send + 'static>(
    doing: &'static str,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, DriverError> {
    let task = AbortOnDropHandle::new(tokio::spawn(work));
    task.await.map_err(|_| DriverError::Failed {
        doing,
        message: "the agent's answer is malformed".to_owned(),
    })
}

/// Why an agent gave no value.
#[derive(Debug)]
enum Problem {
    /// It did not answer.
    Silent(String),
    /// It answered, and not what was asked for.
    Said(String),
}

impl Problem {
    fn of(error: &Error) -> Self {
        if matches!(error, Error::Send | Error::Receive) {
            Self::Silent(error.to_string())
        } else {
            Self::Said(error.to_string())
        }
    }

    fn into_error(self, doing: &'static str) -> DriverError {
        match self {
            Self::Silent(why) => DriverError::Unreachable(why),
            Self::Said(message) => DriverError::Failed { doing, message },
        }
    }
}

/// A line to an agent.
struct Line {
    session: AsyncSession,
    timeout: Duration,
}

impl Line {
    async fn open(agent: &SnmpAgent) -> Result<Self, Problem> {
        let first_id = i32::from(rand::random::<u16>());
        let address = agent.address.as_str();
        let session = match &agent.access {
            SnmpAccess::V2c { community } => {
                let community = community.expose_secret().as_bytes();
                AsyncSession::new_v2c(address, community, first_id).await
            }
            SnmpAccess::V3 { .. } => {
                AsyncSession::new_v3(address, first_id, security(&agent.access)).await
            }
        };
        let session = session.map_err(|error| Problem::Silent(error.to_string()))?;
        let mut line = Self {
            session,
            timeout: agent.timeout,
        };
        let mut problem = Problem::Silent("it was not asked".to_owned());
        for _ in 0..TRIES {
            match time::timeout(line.timeout, line.session.init()).await {
                Ok(Ok(())) => return Ok(line),
                Ok(Err(error)) => problem = Problem::of(&error),
                Err(_) => problem = line.silence(),
            }
        }
        Err(problem)
    }

    async fn get(&mut self, names: &[Oid]) -> Result<Vec<Value>, Problem> {
        let encoded: Vec<_> = names.iter().map(Oid::encode).collect::<Result<_, _>>()?;
        let asked: Vec<_> = encoded.iter().collect();
        let mut problem = self.silence();
        for _ in 0..TRIES {
            match time::timeout(self.timeout, self.session.get_many(&asked)).await {
                Ok(Ok(answer)) => return read(&answer, names),
                // A late answer to an earlier question, or the agent's clock was not known yet.
                Ok(Err(error)) => problem = Problem::of(&error),
                Err(_) => problem = self.silence(),
            }
        }
        Err(problem)
    }

    async fn set(&mut self, name: &Oid, value: i64) -> Result<Answered, Problem> {
        let name = name.encode()?;
        let values = [(&name, snmp2::Value::Integer(value))];
        match time::timeout(self.timeout, self.session.set(&values)).await {
            Ok(Ok(answer)) if answer.error_status == 0 => Ok(Answered::Yes),
            Ok(Ok(answer)) => Ok(Answered::No(refusal(answer.error_status))),
            Ok(Err(error @ Error::Send)) => Err(Problem::of(&error)),
            // It has left, whatever came back.
            Ok(Err(_)) | Err(_) => Ok(Answered::Nothing),
        }
    }

    fn silence(&self) -> Problem {
        let limit = self.timeout.as_millis();
        Problem::Silent(format!("no answer within {limit} ms"))
    }
}

fn read(answer: &Pdu<'_>, names: &[Oid]) -> Result<Vec<Value>, Problem> {
    if answer.error_status != 0 {
        return Err(Problem::Said(refusal(answer.error_status)));
    }
    let values: Vec<_> = answer
        .varbinds
        .clone()
        .map(|(_, value)| match value {
            snmp2::Value::Integer(number) => Value::Number(number),
            snmp2::Value::Counter32(number) | snmp2::Value::Unsigned32(number) => {
                Value::Number(number.into())
            }
            snmp2::Value::Timeticks(ticks) => Value::Ticks(ticks),
            snmp2::Value::ObjectIdentifier(name) => name
                .iter()
                .map_or(Value::Other, |arcs| Value::Name(Oid(arcs.collect()))),
            snmp2::Value::NoSuchObject
            | snmp2::Value::NoSuchInstance
            | snmp2::Value::EndOfMibView => Value::Absent,
            snmp2::Value::Boolean(_)
            | snmp2::Value::Null
            | snmp2::Value::OctetString(_)
            | snmp2::Value::Sequence(_)
            | snmp2::Value::Set(_)
            | snmp2::Value::Constructed(_, _)
            | snmp2::Value::IpAddress(_)
            | snmp2::Value::Opaque(_)
            | snmp2::Value::Counter64(_)
            | snmp2::Value::GetRequest(_)
            | snmp2::Value::GetNextRequest(_)
            | snmp2::Value::GetBulkRequest(_)
            | snmp2::Value::Response(_)
            | snmp2::Value::SetRequest(_)
            | snmp2::Value::InformRequest(_)
            | snmp2::Value::Trap(_)
            | snmp2::Value::Report(_) => Value::Other,
        })
        .collect();
    if values.len() == names.len() {
        Ok(values)
    } else {
        let (asked, told) = (names.len(), values.len());
        Err(Problem::Said(format!("it told {told} of {asked} values")))
    }
}

fn security(access: &SnmpAccess) -> Security {
    let SnmpAccess::V3 {
        user,
        auth,
        auth_password,
        privacy,
        privacy_password,
    } = access
    else {
        return Security::new(&[], &[]);
    };
    Security::new(user.as_bytes(), auth_password.expose_secret().as_bytes())
        .with_auth_protocol(match auth {
            SnmpAuth::Sha1 => AuthProtocol::Sha1,
            SnmpAuth::Sha256 => AuthProtocol::Sha256,
            SnmpAuth::Sha512 => AuthProtocol::Sha512,
        })
        .with_auth(Auth::AuthPriv {
            cipher: match privacy {
                SnmpPrivacy::Aes128 => Cipher::Aes128,
                SnmpPrivacy::Aes256 => Cipher::Aes256,
            },
            privacy_password: privacy_password.expose_secret().as_bytes().to_vec(),
        })
}

/// What an agent's error says, in the words of the protocol.
fn refusal(status: u32) -> String {
    let name = match status {
        2 => "noSuchName",
        3 => "badValue",
        4 => "readOnly",
        5 => "genErr",
        6 => "noAccess",
        7 => "wrongType",
        10 => "wrongValue",
        11 => "noCreation",
        12 => "inconsistentValue",
        13 => "resourceUnavailable",
        14 => "commitFailed",
        15 => "undoFailed",
        16 => "authorizationError",
        17 => "notWritable",
        18 => "inconsistentName",
        _ => return format!("error {status}"),
    };
    name.to_owned()
}
