//! SOAP 1.2 as ONVIF devices speak it, to write and to read.
//!
//! What is read is an untrusted tree of limited depth. Entities other than those that XML itself brings
//! are left out, and namespaces are told apart where a name alone could mislead: at the envelope.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use quick_xml::{
    NsReader, XmlVersion,
    escape::{escape, resolve_predefined_entity},
    events::{BytesStart, Event},
    name::ResolveResult,
};
use sha1::{Digest as _, Sha1};

use super::events;
use crate::driver::reading::clip;

/// The namespace of envelopes.
const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";

/// What the namespaces and types of WS-Security begin with.
const WSS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss";

/// How deep elements may be in each other; a tree is freed by recursion.
const DEPTH: usize = 64;

/// How long a namespace that is kept may be.
const SPACE: usize = 128;

/// An element, by its name without a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Element {
    name: String,
    /// The namespace that it is of.
    space: String,
    /// By their names without prefixes.
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Self>,
}

/// The device says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The codes, from the general to the particular, without their prefixes.
    codes: Vec<String>,
    /// The device's own words.
    pub(super) reason: String,
}

/// An answer is no envelope.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("its answer is no XML: {0}")]
    Xml(#[from] quick_xml::Error),
    #[error("its answer is no SOAP envelope")]
    Envelope,
    #[error("its answer has elements more than {DEPTH} deep")]
    Depth,
}

/// What signs a request in: WS-Security's UsernameToken with the digest of a password.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// Drawn for this one request.
    pub(super) nonce: [u8; 16],
    /// By the device's clock.
    pub(super) created: Timestamp,
}

/// Writes an envelope around a body, with what else its header has; both are XML.
pub(super) fn envelope(token: Option<Token<'_>>, header: &str, body: &str) -> String {
    let security = token.map(Token::header).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <s:Envelope xmlns:s=\"{ENVELOPE}\"><s:Header>{header}{security}</s:Header>\
         <s:Body>{body}</s:Body></s:Envelope>"
    )
}

impl Token<'_> {
    fn header(self) -> String {
        let created = self.created_text();
        let (digest, nonce) = (self.digest(), BASE64_STANDARD.encode(self.nonce));
        let user = escape(self.user);
        format!(
            "<w:Security s:mustUnderstand=\"1\" xmlns:w=\"{WSS}-wssecurity-secext-1.0.xsd\" \
             xmlns:u=\"{WSS}-wssecurity-utility-1.0.xsd\"><w:UsernameToken>\
             <w:Username>{user}</w:Username>\
             <w:Password Type=\"{WSS}-username-token-profile-1.0#PasswordDigest\">{digest}</w:Password>\
             <w:Nonce EncodingType=\"{WSS}-soap-message-security-1.0#Base64Binary\">{nonce}</w:Nonce>\
             <u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
        )
    }

    /// Whole seconds: not every device reads fractions.
    fn created_text(&self) -> String {
        self.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub(super) fn digest(&self) -> String {
        let digest = Sha1::new()
            .chain_update(self.nonce)
            .chain_update(self.created_text())
            .chain_update(self.password);
        BASE64_STANDARD.encode(digest.finalize())
    }
}

/// Reads what an envelope says: the element in its body, or a fault.
pub(super) fn read(bytes: &[u8]) -> Result<Result<Element, Fault>, Malformed> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = NsReader::from_str(&text);
    // From the envelope to the innermost that is open; what is outside of them all comes first.
    let mut open = vec![Element::default()];
    loop {
        let (space, event) = reader.read_resolved_event()?;
        let space = match space {
            // A long one would be kept once for each of many elements.
            ResolveResult::Bound(space) if space.0.len() <= SPACE => space.0.to_owned(),
            ResolveResult::Bound(_) | ResolveResult::Unbound | ResolveResult::Unknown(_) => {
                String::new()
            }
        };
        match event {
            Event::Start(start) => {
                if open.len() == 1 && space != ENVELOPE {
                    return Err(Malformed::Envelope);
                }
                if open.len() > DEPTH {
                    return Err(Malformed::Depth);
                }
                open.push(Element::of(&start, space));
            }
            Event::Empty(start) => put(&mut open, Element::of(&start, space)),
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    put(&mut open, element);
                }
            }
            Event::Text(text) => say(&mut open, &text.xml10_content()),
            Event::CData(text) => say(&mut open, &text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref()? {
                Some(char) => say(&mut open, char.encode_utf8(&mut [0; 4])),
                None => say(
                    &mut open,
                    resolve_predefined_entity(&reference).unwrap_or_default(),
                ),
            },
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let all = open.into_iter().next().unwrap_or_default();
    let body = all.at(&["Envelope", "Body"]).ok_or(Malformed::Envelope)?;
    Ok(match body.children.first() {
        Some(fault) if fault.name == "Fault" => Err(Fault::of(fault)),
        Some(said) => Ok(said.clone()),
        // An answer may have nothing to say.
        None => Ok(Element::default()),
    })
}

fn put(open: &mut [Element], element: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(element);
    }
}

fn say(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

impl Element {
    fn of(start: &BytesStart<'_>, space: String) -> Self {
        let attributes = start.attributes().flatten().filter_map(|attribute| {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            let name = attribute.key.local_name();
            Some((name.as_ref().to_owned(), value.into_owned()))
        });
        Self {
            name: start.local_name().as_ref().to_owned(),
            space,
            attributes: attributes.collect(),
            ..Self::default()
        }
    }

    /// The elements in this one of that name.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The value of an attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// What is in it, written anew for somebody who wants it back.
    pub(super) fn inner(&self) -> String {
        let children = self.children.iter().map(Self::outer);
        children.chain([text(self.text()).into_owned()]).collect()
    }

    fn outer(&self) -> String {
        let (name, space) = (&self.name, escape(&self.space));
        format!("<p:{name} xmlns:p=\"{space}\">{}</p:{name}>", self.inner())
    }

    /// Its text, as it is.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The first element below this one by these names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| {
            element.children.iter().find(|child| child.name == *name)
        })
    }

    /// Its text, made fit for a log.
    pub(super) fn words(&self) -> String {
        clip(self.text())
    }

    fn number<T: std::str::FromStr>(&self, path: &[&str]) -> Option<T> {
        self.at(path)?.text().parse().ok()
    }

    /// The device's clock, in its answer to `GetSystemDateAndTime`.
    pub(super) fn clock(&self) -> Option<Timestamp> {
        let utc = self.at(&["SystemDateAndTime", "UTCDateTime"])?;
        let time = DateTime::new(
            utc.number(&["Date", "Year"])?,
            utc.number(&["Date", "Month"])?,
            utc.number(&["Date", "Day"])?,
            utc.number(&["Time", "Hour"])?,
            utc.number(&["Time", "Minute"])?,
            // A leap second is the next one here.
            utc.number::<i8>(&["Time", "Second"])?.min(59),
            0,
        );
        TimeZone::UTC.to_timestamp(time.ok()?).ok()
    }
}

/// Writes a text so that it reads the same in XML.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    escape(text)
}

impl Fault {
    fn of(fault: &Element) -> Self {
        let mut codes = Vec::new();
        let mut code = fault.at(&["Code"]);
        while let Some(at) = code {
            let value = at.at(&["Value"]).map(Element::words).unwrap_or_default();
            let name = value.rsplit(':').next().unwrap_or_default();
            codes.push(name.to_owned());
            code = at.at(&["Subcode"]);
        }
        let reason = fault.at(&["Reason", "Text"]).map(Element::words);
        let named = codes.last().cloned().unwrap_or_default();
        let reason = reason.filter(|reason| !reason.is_empty());
        Self {
            codes,
            reason: reason.unwrap_or(named),
        }
    }

    /// It says that nothing was done; a fault on the device's own side leaves that open.
    pub(super) fn is_refusal(&self) -> bool {
        let refuses = [
            "Sender",
            "ActionNotSupported",
            "OperationProhibited",
            "NotAuthorized",
        ];
        self.codes
            .iter()
            .any(|code| refuses.contains(&code.as_str()))
    }
}

/// Reads any bytes as an answer.
pub(crate) fn fuzz(data: &[u8]) {
    match read(data) {
        Ok(Ok(said)) => {
            let _ = (said.clock(), said.inner());
            events::fuzz(&said);
            assert!(!said.words().contains(char::is_control));
        }
        Ok(Err(fault)) => assert!(!fault.reason.contains(char::is_control)),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer as a device writes it, with prefixes of its own.
    fn answer(body: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<!-- x --><env:Envelope xmlns:env=\"{ENVELOPE}\" \
             xmlns:tt=\"http://www.onvif.org/ver10/schema\"><env:Header/>\n<env:Body>{body}</env:Body>\
             </env:Envelope>\n"
        )
    }

    fn said(body: &str) -> Element {
        read(answer(body).as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_digest_is_that_of_the_specification() {
        // The example of the application programmer's guide.
        let nonce = BASE64_STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
        let token = Token {
            user: "user",
            password: "userpassword",
            nonce: nonce.try_into().unwrap(),
            created: "2010-09-16T07:50:45Z".parse().unwrap(),
        };
        assert_eq!(token.digest(), "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
    }

    #[test]
    fn a_clock_is_read_with_whatever_prefixes() {
        let clock = |second: &str, month: &str| {
            said(&format!(
                "<x:GetSystemDateAndTimeResponse xmlns:x=\"urn:x\"><x:SystemDateAndTime><tt:UTCDateTime>\
                 <tt:Time><tt:Hour>7</tt:Hour><tt:Minute>05</tt:Minute><tt:Second>{second}</tt:Second></tt:Time>\
                 <tt:Date><tt:Year>2026</tt:Year><tt:Month>{month}</tt:Month><tt:Day> 3 </tt:Day></tt:Date>\
                 </tt:UTCDateTime></x:SystemDateAndTime></x:GetSystemDateAndTimeResponse>"
            ))
            .clock()
        };
        assert_eq!(clock("9", "2"), "2026-02-03T07:05:09Z".parse().ok());
        assert_eq!(clock("60", "2"), "2026-02-03T07:05:59Z".parse().ok());
        assert_eq!(clock("9", "13"), None);
        assert_eq!(clock("&#57;", "2"), clock("<![CDATA[9]]>", "2"));
        assert_eq!(said("").clock(), None);
    }

    #[test]
    fn a_fault_is_told_with_what_it_leaves_open() {
        let fault = |code: &str, subcode: &str| {
            let body = format!(
                "<env:Fault><env:Code><env:Value>env:{code}</env:Value><env:Subcode>\
                 <env:Value>ter:{subcode}</env:Value></env:Subcode></env:Code><env:Reason>\
                 <env:Text xml:lang=\"en\">not &lt;now&gt; &amp; here&unknown;</env:Text></env:Reason></env:Fault>"
            );
            read(answer(&body).as_bytes()).unwrap().unwrap_err()
        };
        let refused = fault("Sender", "NotAuthorized");
        assert_eq!(refused.reason, "not <now> & here");
        assert!(refused.is_refusal());
        assert!(fault("Receiver", "ActionNotSupported").is_refusal());
        assert!(!fault("Receiver", "Action").is_refusal());
    }

    #[test]
    fn what_is_no_envelope_of_this_version_is_none() {
        let old = answer("<x/>").replace(ENVELOPE, "http://schemas.xmlsoap.org/soap/envelope/");
        let bodiless = answer("").replace("env:Body", "env:Other");
        for text in [
            &old,
            &bodiless,
            "<html><body>busy</body></html>",
            "",
            "busy",
            "<a><b></a>",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        let deep = answer(&("<a>".repeat(99) + &"</a>".repeat(99)));
        assert!(matches!(read(deep.as_bytes()), Err(Malformed::Depth)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>, at in 0..4_096_usize, put: Vec<u8>) {
            fuzz(&bytes);
            // Much nearer to an envelope than chance would come.
            let mut near = answer("<a>&amp;<![CDATA[x]]></a>").into_bytes();
            let at = at % near.len();
            near.splice(at..at, put);
            fuzz(&near);
        }

        #[test]
        fn any_user_is_written_so_that_it_reads_the_same(user in "[^\\p{Cc}\u{fffe}\u{ffff}]*") {
            let token = Token {
                user: &user,
                password: "<&\">",
                nonce: [7; 16],
                created: Timestamp::UNIX_EPOCH,
            };
            // The same tree, with the header for the body.
            let text = envelope(Some(token), "", "")
                .replace("<s:Body></s:Body>", "")
                .replace("s:Header", "s:Body");
            let header = read(text.as_bytes()).unwrap().unwrap();
            let read = header.at(&["UsernameToken", "Username"]).unwrap();
            prop_assert_eq!(&read.text, &user);
        }
    }
}
