//! What replicas say to each other, as terms: `{pub, Kind, …}`, with the struct `Phoenix.Tracker.State` in it.
//!
//! ```text
//! {pub, heartbeat, Ref, empty | Delta, {Ref, Context}}
//! {pub, transfer_req, ReqRef, Ref, {Ref, Context}}
//! {pub, transfer_ack, ReqRef, Ref, Delta | {State, #{Tag => {Pid, Topic, Key, Meta}}}}
//! {pub, graceful_permdown, Ref}
//! ```
//! Facts: `Phoenix.Tracker.Shard` and `Phoenix.Tracker.State` of phoenix_pubsub 2.2; `MapSet` of Elixir 1.10 to 1.20.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::core::Said;
use super::crdt::{Clouds, Context, MAX_CLOUD, MAX_PRESENCES, MAX_REPLICAS, Mode, Part, ReplicaRef, Tag};
use super::presence::Presence;
use crate::atom;
use crate::etf::{DecodeError, DecodeErrorKind, EncodeError, Encoder, Limits, Payload, Reader, Term};

const STATE: &str = "Elixir.Phoenix.Tracker.State";

// Writing.

pub(super) fn write(said: &Said) -> Result<Payload, EncodeError> {
    let mut buf = BytesMut::new();
    let encoder = &mut Encoder::new(&mut buf);
    match said {
        Said::Heartbeat { from, delta, context } => {
            head(encoder, 5, "heartbeat");
            replica(encoder, from);
            match delta {
                Some(part) => state(encoder, part)?,
                None => encoder.atom(&atom!("empty")),
            }
            clock(encoder, from, context);
        }
        Said::TransferReq { reference, from, context } => {
            head(encoder, 5, "transfer_req");
            reference.encode(encoder)?;
            replica(encoder, from);
            clock(encoder, from, context);
        }
        Said::TransferAck { reference, from, part } => {
            head(encoder, 5, "transfer_ack");
            reference.encode(encoder)?;
            replica(encoder, from);
            if part.mode == Mode::Whole {
                encoder.tuple_header(2);
                state(encoder, part)?;
                values(encoder, &part.values)?;
            } else {
                state(encoder, part)?;
            }
        }
        Said::Permdown { from } => {
            head(encoder, 3, "graceful_permdown");
            replica(encoder, from);
        }
    }
    Ok(Payload::new(buf.freeze(), None))
}

fn head(encoder: &mut Encoder<'_>, arity: u32, kind: &str) {
    encoder.tuple_header(arity);
    encoder.atom(&atom!("pub"));
    encoder.atom(&named(kind));
}

/// An atom that is a key or a kind: short.
fn named(text: &str) -> crate::etf::Atom {
    crate::etf::Atom::new(text).unwrap_or(atom!("nil"))
}

fn replica(encoder: &mut Encoder<'_>, replica: &ReplicaRef) {
    encoder.tuple_header(2);
    encoder.atom(&replica.node);
    encoder.i64(replica.vsn);
}

fn tag(encoder: &mut Encoder<'_>, name: &ReplicaRef, number: u64) {
    encoder.tuple_header(2);
    replica(encoder, name);
    encoder.u64(number);
}

fn clock(encoder: &mut Encoder<'_>, from: &ReplicaRef, known: &Context) {
    encoder.tuple_header(2);
    replica(encoder, from);
    context(encoder, known.iter());
}

fn context<'a>(encoder: &mut Encoder<'_>, known: impl ExactSizeIterator<Item = (&'a ReplicaRef, &'a u64)>) {
    encoder.map_header(known.len() as u32);
    for (name, number) in known {
        replica(encoder, name);
        encoder.u64(*number);
    }
}

fn state(encoder: &mut Encoder<'_>, part: &Part) -> Result<(), EncodeError> {
    encoder.map_header(10);
    let key = |encoder: &mut Encoder<'_>, name: &str| encoder.atom(&named(name));
    key(encoder, "__struct__");
    encoder.atom(&named(STATE));
    key(encoder, "replica");
    replica(encoder, &part.replica);
    key(encoder, "context");
    context(encoder, part.context.iter());
    key(encoder, "clouds");
    clouds(encoder, &part.clouds);
    key(encoder, "replicas");
    encoder.map_header(0);
    key(encoder, "delta");
    encoder.atom(&atom!("unset"));
    key(encoder, "pids");
    encoder.atom(&atom!("nil"));
    key(encoder, "mode");
    if let Mode::Delta(start, end) = &part.mode {
        encoder.atom(&atom!("delta"));
        key(encoder, "values");
        values(encoder, &part.values)?;
        key(encoder, "range");
        encoder.tuple_header(2);
        context(encoder, [(&part.replica, start)].into_iter());
        context(encoder, [(&part.replica, end)].into_iter());
    } else {
        encoder.atom(&atom!("normal"));
        key(encoder, "values");
        encoder.atom(&atom!("nil"));
        key(encoder, "range");
        encoder.tuple_header(2);
        encoder.map_header(0);
        encoder.map_header(0);
    }
    Ok(())
}

/// Sets in the form of Elixir from 1.15 on, which the functions of older ones take.
fn clouds(encoder: &mut Encoder<'_>, clouds: &Clouds) {
    encoder.map_header(clouds.len() as u32);
    for (name, cloud) in clouds {
        replica(encoder, name);
        encoder.map_header(2);
        encoder.atom(&atom!("__struct__"));
        encoder.atom(&atom!("Elixir.MapSet"));
        encoder.atom(&atom!("map"));
        encoder.map_header(cloud.len() as u32);
        for number in cloud {
            tag(encoder, name, *number);
            encoder.nil();
        }
    }
}

fn values(encoder: &mut Encoder<'_>, values: &BTreeMap<Tag, Presence>) -> Result<(), EncodeError> {
    encoder.map_header(values.len() as u32);
    for (key, presence) in values {
        tag(encoder, &key.replica, key.number);
        encoder.tuple_header(4);
        encoder.pid(presence.pid());
        encoder.binary(presence.topic());
        presence.key().encode(encoder)?;
        presence.meta().encode(encoder)?;
    }
    Ok(())
}

// Reading.

pub(super) fn read(payload: &Payload) -> Result<Said, DecodeError> {
    let mut reader = payload.reader();
    let arity = reader.tuple()?;
    if arity < 3 || reader.atom_text()? != "pub" {
        return invalid(&reader, "not a message of a tracker");
    }
    let kind = reader.atom_text()?;
    let said = match (kind.as_ref(), arity) {
        ("heartbeat", 5) => {
            let from = read_replica(&mut reader)?;
            let mut ahead = reader.clone();
            let delta = match ahead.atom_text() {
                Ok(text) if text == "empty" => {
                    reader = ahead;
                    None
                }
                _ => Some(read_delta(&mut reader)?),
            };
            Said::Heartbeat { from, delta, context: read_clock(&mut reader)? }
        }
        ("transfer_req", 5) => Said::TransferReq {
            reference: Term::decode(&mut reader, &Limits::default())?,
            from: read_replica(&mut reader)?,
            context: read_clock(&mut reader)?,
        },
        ("transfer_ack", 5) => {
            let reference = Term::decode(&mut reader, &Limits::default())?;
            let from = read_replica(&mut reader)?;
            let mut ahead = reader.clone();
            let part = if ahead.tuple().is_ok() {
                reader.tuple_of(2)?;
                let mut part = read_state(&mut reader)?.part;
                part.values = read_values(&mut reader)?;
                part
            } else {
                read_delta(&mut reader)?
            };
            Said::TransferAck { reference, from, part }
        }
        ("graceful_permdown", 3) => Said::Permdown { from: read_replica(&mut reader)? },
        _ => return invalid(&reader, "a kind of message that is not known"),
    };
    reader.finish()?;
    Ok(said)
}

fn invalid<T>(reader: &Reader<'_>, what: &'static str) -> Result<T, DecodeError> {
    Err(reader.error(DecodeErrorKind::Invalid(what)))
}

fn read_replica(reader: &mut Reader<'_>) -> Result<ReplicaRef, DecodeError> {
    reader.tuple_of(2)?;
    Ok(ReplicaRef { node: reader.atom()?, vsn: reader.i64()? })
}

fn read_tag(reader: &mut Reader<'_>) -> Result<Tag, DecodeError> {
    reader.tuple_of(2)?;
    Ok(Tag { replica: read_replica(reader)?, number: reader.u64()? })
}

fn read_clock(reader: &mut Reader<'_>) -> Result<Context, DecodeError> {
    reader.tuple_of(2)?;
    read_replica(reader)?;
    read_context(reader)
}

/// The number of pairs of a map, within a limit.
fn pairs(reader: &mut Reader<'_>, most: usize, what: &'static str) -> Result<usize, DecodeError> {
    let pairs = reader.map()?;
    if pairs > most { invalid(reader, what) } else { Ok(pairs) }
}

fn read_context(reader: &mut Reader<'_>) -> Result<Context, DecodeError> {
    let count = pairs(reader, MAX_REPLICAS, "a context of too many replicas")?;
    (0..count).map(|_| Ok((read_replica(reader)?, reader.u64()?))).collect()
}

struct State {
    part: Part,
    is_delta: bool,
}

fn read_delta(reader: &mut Reader<'_>) -> Result<Part, DecodeError> {
    let State { part, is_delta } = read_state(reader)?;
    if is_delta { Ok(part) } else { invalid(reader, "a state where a delta is due") }
}

/// The struct; keys that mean nothing here, and those that a later release may add, are passed over.
fn read_state(reader: &mut Reader<'_>) -> Result<State, DecodeError> {
    let start = reader.clone();
    let (mut replica, mut context, mut clouds, mut values, mut range) = (None, None, None, None, None);
    let (mut is_state, mut mode) = (false, None);
    for _ in 0..reader.map()? {
        match reader.atom_text()?.as_ref() {
            "__struct__" => is_state = reader.atom_text()? == STATE,
            "replica" => replica = Some(read_replica(reader)?),
            "mode" => mode = Some(reader.atom_text()?),
            "context" => context = Some(read_context(reader)?),
            "clouds" => clouds = Some(read_clouds(reader)?),
            // `nil`, in a whole state.
            "values" if reader.clone().atom_text().is_ok() => reader.skip()?,
            "values" => values = Some(read_values(reader)?),
            "range" => {
                reader.tuple_of(2)?;
                range = Some((read_context(reader)?, read_context(reader)?));
            }
            _ => reader.skip()?,
        }
    }
    let (true, Some(replica), Some(context), Some(clouds), Some(mode)) = (is_state, replica, context, clouds, mode)
    else {
        return invalid(&start, "not a struct Phoenix.Tracker.State");
    };
    let is_delta = match (mode.as_ref(), &values) {
        ("delta", Some(_)) => true,
        ("normal", None) => false,
        _ => return invalid(&start, "a state that is neither a delta nor whole"),
    };
    let bound = |context: Option<&Context>| context.and_then(|context| context.get(&replica)).copied().unwrap_or(0);
    let (first, last) = (bound(range.as_ref().map(|range| &range.0)), bound(range.as_ref().map(|range| &range.1)));
    let mode = if is_delta { Mode::Delta(first, last) } else { Mode::Whole };
    let part = Part { replica, mode, context, clouds, values: values.unwrap_or_default() };
    Ok(State { part, is_delta })
}

fn read_clouds(reader: &mut Reader<'_>) -> Result<Clouds, DecodeError> {
    let count = pairs(reader, MAX_REPLICAS, "clouds of too many replicas")?;
    (0..count)
        .map(|_| {
            let name = read_replica(reader)?;
            let cloud = read_cloud(reader, &name)?;
            Ok((name, cloud))
        })
        .collect()
}

/// The tags of a `MapSet`, with a key `version` in it or not.
fn read_cloud(reader: &mut Reader<'_>, name: &ReplicaRef) -> Result<BTreeSet<u64>, DecodeError> {
    let mut cloud = None;
    for _ in 0..reader.map()? {
        if reader.atom_text()? != "map" {
            reader.skip()?;
            continue;
        }
        let count = pairs(reader, MAX_CLOUD, "a cloud of too many tags")?;
        let tags = (0..count).map(|_| {
            let tag = read_tag(reader)?;
            reader.skip()?;
            if tag.replica == *name { Ok(tag.number) } else { invalid(reader, "a tag in the cloud of another replica") }
        });
        cloud = Some(tags.collect::<Result<_, _>>()?);
    }
    cloud.map_or_else(|| invalid(reader, "a cloud that is no MapSet"), Ok)
}

fn read_values(reader: &mut Reader<'_>) -> Result<BTreeMap<Tag, Presence>, DecodeError> {
    let count = pairs(reader, MAX_PRESENCES, "too many presences")?;
    let limits = Limits::default();
    (0..count)
        .map(|_| {
            let tag = read_tag(reader)?;
            reader.tuple_of(4)?;
            let pid = reader.pid()?;
            // Copied, as they outlive the message by far.
            let topic = Bytes::copy_from_slice(reader.binary()?);
            let key = Term::decode(reader, &limits)?;
            let Term::Map(meta) = Term::decode(reader, &limits)? else {
                return invalid(reader, "metadata that are no map");
            };
            Ok((tag, Presence::new(topic, key, pid, meta)))
        })
        .collect()
}
