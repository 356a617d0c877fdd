//! Capability flags: what a node offers in the handshake, and what both sides of a connection use.
//!
//! Facts: `dist.hrl` and `dist.h` of OTP 23 to 29, "Distribution Flags" of the distribution protocol.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of capability flags (u64 on the wire).
///
/// A connection uses the flags that both sides offer: `ours & theirs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u64);

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self(0);

    /// The node is visible: others list it and tell it about the cluster.
    pub const PUBLISHED: Self = Self(1);
    /// An atom cache of old, which no node uses any more.
    pub const ATOM_CACHE: Self = Self(1 << 1);
    /// References of more than one word.
    pub const EXTENDED_REFERENCES: Self = Self(1 << 2);
    /// Process monitors.
    pub const DIST_MONITOR: Self = Self(1 << 3);
    /// Funs have a tag of their own.
    pub const FUN_TAGS: Self = Self(1 << 4);
    /// Monitors of registered names.
    pub const DIST_MONITOR_NAME: Self = Self(1 << 5);
    /// An atom cache of old, which no node uses any more.
    pub const HIDDEN_ATOM_CACHE: Self = Self(1 << 6);
    /// The newer tag of funs.
    pub const NEW_FUN_TAGS: Self = Self(1 << 7);
    /// Pids and ports beyond 18 bits.
    pub const EXTENDED_PIDS_PORTS: Self = Self(1 << 8);
    /// `fun M:F/A` has a tag of its own.
    pub const EXPORT_PTR_TAG: Self = Self(1 << 9);
    /// Bitstrings.
    pub const BIT_BINARIES: Self = Self(1 << 10);
    /// Floats of eight bytes.
    pub const NEW_FLOATS: Self = Self(1 << 11);
    /// The group leader takes unicode requests.
    pub const UNICODE_IO: Self = Self(1 << 12);
    /// Messages have a distribution header with an atom cache.
    pub const DIST_HDR_ATOM_CACHE: Self = Self(1 << 13);
    /// Atoms with a length of one byte.
    pub const SMALL_ATOM_TAGS: Self = Self(1 << 14);
    /// Atoms in UTF-8.
    pub const UTF8_ATOMS: Self = Self(1 << 16);
    /// Maps.
    pub const MAP_TAG: Self = Self(1 << 17);
    /// Creations of 32 bits.
    pub const BIG_CREATION: Self = Self(1 << 18);
    /// Messages to a pid name their sender.
    pub const SEND_SENDER: Self = Self(1 << 19);
    /// Labels of trace tokens may be any term.
    pub const BIG_SEQTRACE_LABELS: Self = Self(1 << 20);
    /// The reason of an exit signal is the payload of its message, not a part of the control tuple.
    pub const EXIT_PAYLOAD: Self = Self(1 << 22);
    /// Large messages come in fragments; also makes every message have a distribution header.
    pub const FRAGMENTS: Self = Self(1 << 23);
    /// The handshake of OTP 23 (protocol version 6).
    pub const HANDSHAKE_23: Self = Self(1 << 24);
    /// Unlinking is acknowledged.
    pub const UNLINK_ID: Self = Self(1 << 25);
    /// Stands for everything in [`REQUIRED_BY_25`](Self::REQUIRED_BY_25).
    pub const MANDATORY_25_DIGEST: Self = Self(1 << 26);
    /// Processes can be spawned by a message.
    pub const SPAWN: Self = Self(1 << 32);
    /// A request, not a capability: the other side is to choose our name.
    pub const NAME_ME: Self = Self(1 << 33);
    /// Pids and ports of more bits (`V4_PORT`).
    pub const V4_NC: Self = Self(1 << 34);
    /// Messages to aliases.
    pub const ALIAS: Self = Self(1 << 35);
    /// The one message form for alias and priority signals.
    pub const ALTACT_SIG: Self = Self(1 << 37);
    /// Native records (tag 67).
    pub const NATIVE_RECORDS: Self = Self(1 << 38);

    /// What a gusset offers, which is what OTP 29 offers; a visible node adds
    /// [`PUBLISHED`](Self::PUBLISHED).
    pub const OFFERED: Self = Self(0x6D_07DF_7FBC);

    /// What OTP 23 and 24 ask of a peer.
    pub const REQUIRED_BY_23: Self = Self(0x5_0184);
    /// What OTP 25 asks of a peer.
    pub const REQUIRED_BY_25: Self = Self(0x107_0F94);
    /// What OTP 26 and later ask of a peer.
    pub const REQUIRED_BY_26: Self = Self(0x4_0307_0F94);
    /// What a gusset asks of a peer. OTP 23 has it all; less would mean other handshakes and tags.
    pub const REQUIRED: Self = Self::REQUIRED_BY_25;

    /// Flags as they came: bits that nobody here knows are dropped, and the digest bit is replaced by
    /// what it stands for.
    pub const fn from_wire(bits: u64) -> Self {
        let known = Self(bits & Self::KNOWN);
        if known.contains(Self::MANDATORY_25_DIGEST) { Self(known.0 | Self::REQUIRED_BY_25.0) } else { known }
    }

    /// The bits, as they go on the wire.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// True when all of `flags` are in here.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// True when there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and the `others`.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These but not the `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The flags of `required` that are not in here: the name of each, and the first OTP release that
    /// asks for it (`None` for those that no release asks for).
    pub fn missing(self, required: Self) -> impl Iterator<Item = (&'static str, Option<u16>)> {
        required.without(self).iter().map(|(flag, name)| (name, flag.required_since()))
    }

    /// The first OTP release that refuses a peer without this flag.
    fn required_since(self) -> Option<u16> {
        [(Self::REQUIRED_BY_23, 23), (Self::REQUIRED_BY_25, 25), (Self::REQUIRED_BY_26, 26)]
            .into_iter()
            .find(|(set, _)| set.contains(self))
            .map(|(_, release)| release)
    }

    /// Each flag that is set, and its name.
    pub fn iter(self) -> impl Iterator<Item = (Self, &'static str)> {
        NAMES.iter().copied().filter(move |&(flag, _)| self.contains(flag))
    }

    const KNOWN: u64 = {
        let (mut known, mut at) = (0, 0);
        while at < NAMES.len() {
            known |= NAMES[at].0.0;
            at += 1;
        }
        known
    };
}

impl BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl Sub for Flags {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.without(other)
    }
}

impl fmt::Display for Flags {
    /// The names, with `|` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, (_, name)) in self.iter().enumerate() {
            if at > 0 {
                f.write_str("|")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#x} {self})", self.0)
    }
}

/// Every flag that may appear on the wire. Bits 15, 21 and 36 are the emulator's own.
const NAMES: &[(Flags, &str)] = &[
    (Flags::PUBLISHED, "PUBLISHED"),
    (Flags::ATOM_CACHE, "ATOM_CACHE"),
    (Flags::EXTENDED_REFERENCES, "EXTENDED_REFERENCES"),
    (Flags::DIST_MONITOR, "DIST_MONITOR"),
    (Flags::FUN_TAGS, "FUN_TAGS"),
    (Flags::DIST_MONITOR_NAME, "DIST_MONITOR_NAME"),
    (Flags::HIDDEN_ATOM_CACHE, "HIDDEN_ATOM_CACHE"),
    (Flags::NEW_FUN_TAGS, "NEW_FUN_TAGS"),
    (Flags::EXTENDED_PIDS_PORTS, "EXTENDED_PIDS_PORTS"),
    (Flags::EXPORT_PTR_TAG, "EXPORT_PTR_TAG"),
    (Flags::BIT_BINARIES, "BIT_BINARIES"),
    (Flags::NEW_FLOATS, "NEW_FLOATS"),
    (Flags::UNICODE_IO, "UNICODE_IO"),
    (Flags::DIST_HDR_ATOM_CACHE, "DIST_HDR_ATOM_CACHE"),
    (Flags::SMALL_ATOM_TAGS, "SMALL_ATOM_TAGS"),
    (Flags::UTF8_ATOMS, "UTF8_ATOMS"),
    (Flags::MAP_TAG, "MAP_TAG"),
    (Flags::BIG_CREATION, "BIG_CREATION"),
    (Flags::SEND_SENDER, "SEND_SENDER"),
    (Flags::BIG_SEQTRACE_LABELS, "BIG_SEQTRACE_LABELS"),
    (Flags::EXIT_PAYLOAD, "EXIT_PAYLOAD"),
    (Flags::FRAGMENTS, "FRAGMENTS"),
    (Flags::HANDSHAKE_23, "HANDSHAKE_23"),
    (Flags::UNLINK_ID, "UNLINK_ID"),
    (Flags::MANDATORY_25_DIGEST, "MANDATORY_25_DIGEST"),
    (Flags::SPAWN, "SPAWN"),
    (Flags::NAME_ME, "NAME_ME"),
    (Flags::V4_NC, "V4_NC"),
    (Flags::ALIAS, "ALIAS"),
    (Flags::ALTACT_SIG, "ALTACT_SIG"),
    (Flags::NATIVE_RECORDS, "NATIVE_RECORDS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the releases offer, hidden (`handshake.md`: observed on the wire).
    const OFFERED_BY: [(u16, u64); 4] =
        [(23, 0x1_01DF_7FBC), (25, 0xD_07DF_7FBC), (27, 0xD_07DF_7FBC), (29, 0x6D_07DF_7FBC)];

    #[test]
    fn every_release_has_what_we_require_and_we_have_what_it_requires() {
        for (release, bits) in OFFERED_BY {
            let flags = Flags::from_wire(bits);
            assert_eq!(flags.bits(), bits, "all bits of OTP {release} are known");
            assert_eq!(flags.missing(Flags::REQUIRED).count(), 0, "OTP {release}");
        }
        assert_eq!(Flags::OFFERED.missing(Flags::REQUIRED_BY_26).count(), 0);
        assert!(Flags::REQUIRED_BY_25.contains(Flags::REQUIRED_BY_23));
        assert!(Flags::REQUIRED_BY_26.contains(Flags::REQUIRED_BY_25));
    }

    #[test]
    fn the_digest_bit_stands_for_the_flags_of_otp_25() {
        let flags = Flags::from_wire(0x400_0000);
        assert_eq!(flags.missing(Flags::REQUIRED_BY_25).count(), 0);
        let missing: Vec<_> = flags.missing(Flags::REQUIRED_BY_26).collect();
        assert_eq!(missing, [("UNLINK_ID", Some(26)), ("V4_NC", Some(26))]);
    }

    #[test]
    fn a_missing_flag_is_told_with_the_first_release_that_asks_for_it() {
        let missing: Vec<_> = Flags::NONE.missing(Flags::BIG_CREATION | Flags::MAP_TAG | Flags::SPAWN).collect();
        assert_eq!(missing, [("MAP_TAG", Some(25)), ("BIG_CREATION", Some(23)), ("SPAWN", None)]);
    }

    #[test]
    fn unknown_bits_are_masked_and_flags_print_as_names() {
        assert_eq!(Flags::from_wire(u64::MAX).bits() & (1 << 15 | 1 << 21 | 1 << 36 | 1 << 39), 0);
        assert_eq!((Flags::SPAWN | Flags::PUBLISHED).to_string(), "PUBLISHED|SPAWN");
        assert_eq!(Flags::NONE.to_string(), "none");
    }
}
