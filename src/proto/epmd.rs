//! The protocol of EPMD, the Erlang port mapper daemon: which node of a host listens on which port.
//!
//! Both directions of every request and reply, as bytes. A request has a length of two bytes before it, a
//! reply ends with the connection (only the reply to a registration does not). Facts: "EPMD Protocol" of
//! the ERTS user's guide, `epmd_srv.c` and `erl_epmd.erl` of OTP 23 to 29.

use bytes::Bytes;

use crate::etf::Creation;

/// A node as EPMD knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpmdEntry {
    /// The part of the node's name before the `@`.
    pub name: String,
    /// The port on which it listens for other nodes.
    pub port: u16,
    /// What kind of node; nobody interprets it.
    pub node_type: NodeType,
    /// 0 stands for TCP over IPv4; BEAM sends it over IPv6 too.
    pub protocol: u8,
    /// The highest version of the distribution protocol that the node speaks: 6 since OTP 23.
    pub highest_version: u16,
    /// The lowest version: 5, also in OTP 29.
    pub lowest_version: u16,
    /// What the node wanted to have told about it. Nobody uses it.
    pub extra: Bytes,
}

impl EpmdEntry {
    /// A node as BEAM registers it: visible whether it is or not (`erl_epmd.erl` knows no other).
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port,
            node_type: NodeType::VISIBLE,
            protocol: 0,
            highest_version: 6,
            lowest_version: 5,
            extra: Bytes::new(),
        }
    }
}

/// What kind of node registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeType(pub u8);

impl NodeType {
    /// `M`: what BEAM always says.
    pub const VISIBLE: Self = Self(77);
    /// `H`: what C nodes say.
    pub const HIDDEN: Self = Self(72);
}

/// What EPMD can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpmdRequest {
    /// `ALIVE2_REQ`: register this node for as long as the connection stays open.
    Register(EpmdEntry),
    /// `PORT_PLEASE2_REQ`: where is this node?
    Port(String),
    /// `NAMES_REQ`: which nodes are there?
    Names,
    /// `DUMP_REQ`: all that is known, for people.
    Dump,
    /// `KILL_REQ`: end.
    Kill,
    /// `STOP_REQ`: forget this node.
    Stop(String),
}

impl EpmdRequest {
    /// The request as it goes out, with its length.
    ///
    /// # Errors
    /// [`EpmdCodecError::Name`] when a name or the extra data is longer than EPMD takes.
    pub fn encode(&self) -> Result<Vec<u8>, EpmdCodecError> {
        let mut body = Vec::new();
        match self {
            Self::Register(entry) => {
                check_name(&entry.name)?;
                body.push(REGISTER);
                put_entry(entry, &mut body)?;
            }
            Self::Port(name) => put_named(PORT, name, &mut body)?,
            Self::Names => body.push(NAMES),
            Self::Dump => body.push(DUMP),
            Self::Kill => body.push(KILL),
            Self::Stop(name) => put_named(STOP, name, &mut body)?,
        }
        let mut out = (body.len() as u16).to_be_bytes().to_vec();
        out.append(&mut body);
        Ok(out)
    }

    /// Reads a request without its length.
    ///
    /// # Errors
    /// Unknown requests, and those that are cut short or too long. A real EPMD closes without a reply.
    pub fn decode(body: &[u8]) -> Result<Self, EpmdCodecError> {
        let (&tag, rest) = body.split_first().ok_or(EpmdCodecError::Short)?;
        match tag {
            REGISTER => {
                let (entry, behind) = take_entry(rest)?;
                if behind.is_empty() { Ok(Self::Register(entry)) } else { Err(EpmdCodecError::Trailing(behind.len())) }
            }
            PORT => Ok(Self::Port(take_name(rest)?)),
            NAMES => Ok(Self::Names),
            DUMP => Ok(Self::Dump),
            KILL => Ok(Self::Kill),
            STOP => Ok(Self::Stop(take_name(rest)?)),
            tag => Err(EpmdCodecError::UnknownTag(tag)),
        }
    }
}

/// The answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterReply {
    /// Registered; the connection has to stay open and silent. The creation has 32 bits when the node
    /// speaks version 6, else it is 1, 2 or 3.
    Registered(Creation),
    /// The name is taken, or is one that EPMD does not take.
    Refused,
}

impl RegisterReply {
    /// How many bytes a reply has that begins with `tag`; `None` when no reply begins so.
    pub fn len_of(tag: u8) -> Option<usize> {
        match tag {
            REGISTERED_SMALL => Some(4),
            REGISTERED_LARGE => Some(6),
            _ => None,
        }
    }

    /// The reply for a node whose highest version is `highest_version`.
    pub fn encode(self, highest_version: u16) -> Vec<u8> {
        let (result, creation) = match self {
            Self::Registered(creation) => (0, creation.0),
            Self::Refused => (1, NO_CREATION),
        };
        if highest_version >= 6 {
            let mut out = vec![REGISTERED_LARGE, result];
            out.extend_from_slice(&creation.to_be_bytes());
            out
        } else {
            // `epmd_srv.c:get_creation`: 1 to 3 for nodes of old.
            let small = if result == 0 { (creation % 3 + 1) as u16 } else { NO_CREATION as u16 };
            let mut out = vec![REGISTERED_SMALL, result];
            out.extend_from_slice(&small.to_be_bytes());
            out
        }
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// Anything that is not one.
    pub fn decode(reply: &[u8]) -> Result<Self, EpmdCodecError> {
        let (result, creation) = match reply {
            [REGISTERED_LARGE, result, a, b, c, d] => (*result, u32::from_be_bytes([*a, *b, *c, *d])),
            [REGISTERED_SMALL, result, a, b] => (*result, u32::from(u16::from_be_bytes([*a, *b]))),
            [REGISTERED_LARGE | REGISTERED_SMALL, ..] | [] => return Err(EpmdCodecError::Short),
            [tag, ..] => return Err(EpmdCodecError::UnknownTag(*tag)),
        };
        Ok(if result == 0 { Self::Registered(Creation(creation)) } else { Self::Refused })
    }
}

/// The answer to the question for a port; `None` for a name that is not registered.
pub fn encode_port_reply(entry: Option<&EpmdEntry>) -> Vec<u8> {
    let Some(entry) = entry else { return vec![PORT_REPLY, 1] };
    let mut out = vec![PORT_REPLY, 0];
    // What is registered came through `decode`, so it fits.
    if put_entry(entry, &mut out).is_err() {
        return vec![PORT_REPLY, 1];
    }
    out
}

/// Reads the answer to the question for a port; `None` for a name that is not registered.
///
/// # Errors
/// Anything that is not one.
pub fn decode_port_reply(reply: &[u8]) -> Result<Option<EpmdEntry>, EpmdCodecError> {
    match reply {
        [PORT_REPLY, 0, entry @ ..] => take_entry(entry).map(|(entry, _)| Some(entry)),
        [PORT_REPLY, _, ..] => Ok(None),
        [PORT_REPLY] | [] => Err(EpmdCodecError::Short),
        [tag, ..] => Err(EpmdCodecError::UnknownTag(*tag)),
    }
}

/// The answer to the question for all names.
pub fn encode_names_reply<'a>(epmd_port: u16, entries: impl Iterator<Item = &'a EpmdEntry>) -> Vec<u8> {
    let mut out = u32::from(epmd_port).to_be_bytes().to_vec();
    for entry in entries {
        out.extend_from_slice(format!("name {} at port {}\n", entry.name, entry.port).as_bytes());
    }
    out
}

/// Reads the answer to the question for all names: each name and its port.
///
/// # Errors
/// A line that is none of EPMD's.
pub fn decode_names_reply(reply: &[u8]) -> Result<Vec<(String, u16)>, EpmdCodecError> {
    let (_port, text) = reply.split_first_chunk::<4>().ok_or(EpmdCodecError::Short)?;
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let (name, port) = line.strip_prefix("name ")?.rsplit_once(" at port ")?;
        Some((name.to_owned(), port.trim_end().parse().ok()?))
    };
    text.split('\n')
        .filter(|text| !text.is_empty())
        .map(|text| line(text).ok_or_else(|| EpmdCodecError::Line(text.escape_debug().take(SHOWN_LINE).collect())))
        .collect()
}

/// The answer to the question for everything: each registered node with the number of its connection, and
/// the names of those that are gone. Every line ends with a NUL byte, as in `epmd_srv.c`.
pub fn encode_dump_reply<'a>(
    epmd_port: u16,
    active: impl Iterator<Item = (&'a EpmdEntry, u64)>,
    gone: impl Iterator<Item = (&'a str, u16)>,
) -> Vec<u8> {
    let mut out = u32::from(epmd_port).to_be_bytes().to_vec();
    for (entry, connection) in active {
        let line = format!("active name     <{}> at port {}, fd = {connection}\n\0", entry.name, entry.port);
        out.extend_from_slice(line.as_bytes());
    }
    for (name, port) in gone {
        out.extend_from_slice(format!("old/unused name <{name}>, port = {port}, fd = -1 \n\0").as_bytes());
    }
    out
}

/// Reads the answer to the question for everything: the text, for people.
///
/// # Errors
/// [`EpmdCodecError::Short`].
pub fn decode_dump_reply(reply: &[u8]) -> Result<String, EpmdCodecError> {
    let (_port, text) = reply.split_first_chunk::<4>().ok_or(EpmdCodecError::Short)?;
    Ok(String::from_utf8_lossy(text).replace('\0', ""))
}

/// The answer to a kill: `OK`, or `NO` while nodes are registered.
pub const KILL_OK: &[u8] = b"OK";
/// The answer to a kill while nodes are registered.
pub const KILL_NO: &[u8] = b"NO";
/// The answer to a stop, where it is allowed.
pub const STOP_OK: &[u8] = b"STOPPED";
/// The answer to a stop for a name that is not there.
pub const STOP_NO: &[u8] = b"NOEXIST";

/// Bytes that are no request or reply of EPMD.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpmdCodecError {
    /// It ends too early.
    #[error("the message is cut short")]
    Short,
    /// It goes on where it should end.
    #[error("{0} bytes follow where the message should end")]
    Trailing(usize),
    /// It begins with a byte that stands for nothing.
    #[error("no message of EPMD begins with the byte {0}")]
    UnknownTag(u8),
    /// A name that EPMD does not take.
    #[error("EPMD takes names of 1 to 255 characters without NUL, and at most 1020 bytes of extra data")]
    Name,
    /// A line in the list of names that is no such line.
    #[error("`{0}` is not a line of the list of names")]
    Line(String),
}

/// The default port of EPMD (`epmd.mk`).
pub const DEFAULT_EPMD_PORT: u16 = 4369;

/// The longest request in bytes, without its length (`epmd_int.h`: a buffer of 3 * 1020 that also holds the
/// length and a NUL).
pub const MAX_EPMD_REQUEST: usize = 3 * MAX_EPMD_FIELD - 3;

/// The longest name and the longest extra data in bytes (`epmd_int.h`: 255 characters of four bytes).
pub const MAX_EPMD_FIELD: usize = 1020;

/// The longest name in characters: a node name is an atom.
const MAX_NAME_CHARS: usize = 255;

/// How much of a bad line is shown.
const SHOWN_LINE: usize = 80;

/// What a real EPMD sends as creation with a refusal.
const NO_CREATION: u32 = 99;

const REGISTER: u8 = 120;
const REGISTERED_SMALL: u8 = 121;
const REGISTERED_LARGE: u8 = 118;
const PORT: u8 = 122;
const PORT_REPLY: u8 = 119;
const NAMES: u8 = 110;
const DUMP: u8 = 100;
const KILL: u8 = 107;
const STOP: u8 = 115;

/// True for names that EPMD registers: UTF-8 of 1 to 255 characters, without NUL.
pub fn is_registrable(name: &str) -> bool {
    check_name(name).is_ok()
}

fn check_name(name: &str) -> Result<(), EpmdCodecError> {
    let fits = !name.is_empty() && !name.contains('\0') && name.chars().count() <= MAX_NAME_CHARS;
    if fits { Ok(()) } else { Err(EpmdCodecError::Name) }
}

fn put_named(tag: u8, name: &str, out: &mut Vec<u8>) -> Result<(), EpmdCodecError> {
    check_name(name)?;
    out.push(tag);
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

fn put_entry(entry: &EpmdEntry, out: &mut Vec<u8>) -> Result<(), EpmdCodecError> {
    out.extend_from_slice(&entry.port.to_be_bytes());
    out.extend_from_slice(&[entry.node_type.0, entry.protocol]);
    out.extend_from_slice(&entry.highest_version.to_be_bytes());
    out.extend_from_slice(&entry.lowest_version.to_be_bytes());
    for field in [entry.name.as_bytes(), &entry.extra] {
        if field.len() > MAX_EPMD_FIELD {
            return Err(EpmdCodecError::Name);
        }
        out.extend_from_slice(&(field.len() as u16).to_be_bytes());
        out.extend_from_slice(field);
    }
    Ok(())
}

fn take_entry(bytes: &[u8]) -> Result<(EpmdEntry, &[u8]), EpmdCodecError> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(EpmdCodecError::Short)?;
    let [port_high, port_low, node_type, protocol, high_high, high_low, low_high, low_low] = *head;
    let (name, rest) = take_field(rest)?;
    let (extra, rest) = take_field(rest)?;
    let entry = EpmdEntry {
        name: std::str::from_utf8(name).map_err(|_| EpmdCodecError::Name)?.to_owned(),
        port: u16::from_be_bytes([port_high, port_low]),
        node_type: NodeType(node_type),
        protocol,
        highest_version: u16::from_be_bytes([high_high, high_low]),
        lowest_version: u16::from_be_bytes([low_high, low_low]),
        extra: Bytes::copy_from_slice(extra),
    };
    Ok((entry, rest))
}

fn take_field(bytes: &[u8]) -> Result<(&[u8], &[u8]), EpmdCodecError> {
    let (len, rest) = bytes.split_first_chunk::<2>().ok_or(EpmdCodecError::Short)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(EpmdCodecError::Short)
}

/// A name at the end of a request; one NUL behind it is tolerated, as `epmd_srv.c` does.
fn take_name(bytes: &[u8]) -> Result<String, EpmdCodecError> {
    let name = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let name = std::str::from_utf8(name).map_err(|_| EpmdCodecError::Name)?;
    check_name(name)?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> EpmdEntry {
        EpmdEntry { extra: Bytes::from_static(b"xy"), ..EpmdEntry::new("wörker", 40_000) }
    }

    #[test]
    fn every_request_is_read_as_it_was_written() {
        for request in [
            EpmdRequest::Register(entry()),
            EpmdRequest::Port("a".to_owned()),
            EpmdRequest::Names,
            EpmdRequest::Dump,
            EpmdRequest::Kill,
            EpmdRequest::Stop("a".to_owned()),
        ] {
            let bytes = request.encode().unwrap();
            assert_eq!(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])), bytes.len() - 2);
            assert_eq!(EpmdRequest::decode(&bytes[2..]).unwrap(), request);
        }
    }

    #[test]
    fn a_registration_has_the_bytes_that_beam_sends() {
        let bytes = EpmdRequest::Register(EpmdEntry::new("ab", 0x1234)).encode().unwrap();
        assert_eq!(bytes, b"\x00\x0f\x78\x12\x34\x4d\x00\x00\x06\x00\x05\x00\x02ab\x00\x00");
    }

    #[test]
    fn a_cut_registration_is_an_error_at_every_length_and_never_a_panic() {
        let bytes = EpmdRequest::Register(entry()).encode().unwrap();
        for len in 0..bytes.len() - 2 {
            assert!(EpmdRequest::decode(&bytes[2..2 + len]).is_err(), "{len}");
        }
        let mut longer = bytes[2..].to_vec();
        longer.push(0);
        assert_eq!(EpmdRequest::decode(&longer), Err(EpmdCodecError::Trailing(1)));
        assert_eq!(EpmdRequest::decode(b"?"), Err(EpmdCodecError::UnknownTag(b'?')));
    }

    #[test]
    fn replies_are_read_as_they_were_written() {
        assert_eq!(decode_port_reply(&encode_port_reply(Some(&entry()))).unwrap(), Some(entry()));
        assert_eq!(decode_port_reply(&encode_port_reply(None)).unwrap(), None);
        let entries = [EpmdEntry::new("a at port 1", 2), EpmdEntry::new("b", 3)];
        let names = encode_names_reply(4369, entries.iter());
        assert_eq!(&names[..], b"\x00\x00\x11\x11name a at port 1 at port 2\nname b at port 3\n");
        assert_eq!(decode_names_reply(&names).unwrap(), [("a at port 1".to_owned(), 2), ("b".to_owned(), 3)]);
        assert!(decode_names_reply(b"\0\0\0\0nonsense\n").is_err());
    }

    #[test]
    fn the_creation_has_the_width_that_the_version_asks_for() {
        let reply = RegisterReply::Registered(Creation(0x6500_0001));
        assert_eq!(reply.encode(6), b"v\0\x65\0\0\x01");
        assert_eq!(RegisterReply::decode(&reply.encode(6)).unwrap(), reply);
        let RegisterReply::Registered(Creation(small)) = RegisterReply::decode(&reply.encode(5)).unwrap() else {
            panic!("it was registered")
        };
        assert!((1..=3).contains(&small));
        assert_eq!(RegisterReply::decode(&RegisterReply::Refused.encode(6)).unwrap(), RegisterReply::Refused);
        assert_eq!(RegisterReply::Refused.encode(6), [118, 1, 0, 0, 0, 99]);
    }

    #[test]
    fn names_that_epmd_does_not_take_are_refused_before_they_go_out() {
        for name in ["", "a\0b", &"x".repeat(256)] {
            assert_eq!(EpmdRequest::Port(name.to_owned()).encode(), Err(EpmdCodecError::Name));
        }
        assert!(EpmdRequest::Port("ö".repeat(255)).encode().is_ok());
    }
}
