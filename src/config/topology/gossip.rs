//! `strategy = "gossip"`.

use crate::config::schema::{Key, StrategyKind};

const KEYS: &[Key] = &[
    Key::number("port", "PORT", "The UDP port.").default("45892").option("gossip-port"),
    Key::text("if_addr", "IP", "The local address to listen at.").default("0.0.0.0"),
    Key::text("multicast_addr", "IP", "Where heartbeats are sent: a multicast group, or a broadcast address.")
        .default("233.252.1.32")
        .option("gossip-multicast-addr"),
    Key::text("multicast_if", "IP", "The address of the interface for the group; by default the system chooses.")
        .example("10.0.0.7")
        .option("gossip-multicast-if"),
    Key::number("multicast_ttl", "N", "How many routers a heartbeat may pass, plus one.").default("1"),
    Key::flag("broadcast_only", "Join no group: the address is one for broadcast."),
    Key::text("secret", "TEXT", "Encrypts heartbeats, and ignores those that are not.")
        .example("a long random text")
        .rivals(&["secret_file"])
        .secret(),
    Key::text("secret_file", "FILE", "A file with the secret; line ends at its end do not count.")
        .example("/run/secrets/gossip")
        .option("gossip-secret-file")
        .rivals(&["secret"]),
    Key::number("longest_pause", "MS", "Heartbeats follow each other after a random time of up to this.")
        .default("5000"),
    Key::number("forget_after", "SECONDS", "A peer that was not heard for so long is no longer dialled.")
        .default("600"),
];

pub(super) const KIND: StrategyKind = StrategyKind {
    name: "gossip",
    heading: "Discovery by gossip",
    about: "Heartbeats over UDP, those of libcluster's Gossip.",
    keys: &[KEYS],
    names: &[("Gossip", &[])],
    foreign: &[],
};

#[cfg(feature = "gossip")]
pub(super) use self::strategy::build;

#[cfg(feature = "gossip")]
mod strategy {
    use std::io::Read;
    use std::net::Ipv4Addr;
    use std::path::Path;

    use super::super::Described;
    use crate::config::value::{Millis, Port};
    use crate::discovery::Gossip;

    pub(in crate::config::topology) fn build(described: &Described<'_>) -> Option<Gossip> {
        let (values, problems) = (described.values, described.common.problems);
        let mut gossip = Gossip::new();
        if let Some(Port(port)) = values.read("port", problems) {
            gossip = gossip.port(port);
        }
        if let Some(address) = values.read::<Ipv4Addr>("if_addr", problems) {
            gossip = gossip.interface(address);
        }
        if let Some(address) = values.read::<Ipv4Addr>("multicast_addr", problems) {
            gossip = gossip.group(address);
        }
        if let Some(address) = values.read::<Ipv4Addr>("multicast_if", problems) {
            gossip = gossip.group_interface(address);
        }
        if let Some(ttl) = values.read::<u8>("multicast_ttl", problems) {
            gossip = gossip.ttl(ttl);
        }
        if values.or("broadcast_only", false, problems) {
            gossip = gossip.broadcast_only();
        }
        if let Some(Millis(pause)) = values.read("longest_pause", problems) {
            gossip = gossip.longest_pause(pause);
        }
        if let Some(time) = described.seconds("forget_after") {
            gossip = gossip.forget_after(time);
        }
        let secret = match values.file("secret_file", problems) {
            Some(path) => Some(
                secret_in(&path)
                    .map_err(|error| {
                        let (source, key) = values.place("secret_file");
                        problems.at(&source, &key, &format!("cannot read {}: {error}", path.display()));
                    })
                    .ok()?,
            ),
            None => values.read::<String>("secret", problems),
        };
        Some(match secret {
            Some(secret) => gossip.secret(secret),
            None => gossip,
        })
    }

    fn secret_in(path: &Path) -> std::io::Result<String> {
        let mut secret = String::new();
        std::fs::File::open(path)?.take(LARGEST_SECRET).read_to_string(&mut secret)?;
        match secret.trim_end_matches(['\r', '\n']) {
            "" => Err(std::io::Error::other("it is empty")),
            secret => Ok(secret.to_owned()),
        }
    }

    /// Only its SHA-256 counts; more than this nobody types.
    const LARGEST_SECRET: u64 = 4096;
}
