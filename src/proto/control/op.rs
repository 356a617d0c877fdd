//! The operations of control messages, by number, name and number of elements (`dist.h`).

pub(super) const LINK: u64 = 1;
pub(super) const SEND: u64 = 2;
pub(super) const EXIT: u64 = 3;
pub(super) const UNLINK: u64 = 4;
pub(super) const REG_SEND: u64 = 6;
pub(super) const GROUP_LEADER: u64 = 7;
pub(super) const EXIT2: u64 = 8;
pub(super) const SEND_TT: u64 = 12;
pub(super) const EXIT_TT: u64 = 13;
pub(super) const REG_SEND_TT: u64 = 16;
pub(super) const EXIT2_TT: u64 = 18;
pub(super) const MONITOR_P: u64 = 19;
pub(super) const DEMONITOR_P: u64 = 20;
pub(super) const MONITOR_P_EXIT: u64 = 21;
pub(super) const SEND_SENDER: u64 = 22;
pub(super) const SEND_SENDER_TT: u64 = 23;
pub(super) const PAYLOAD_EXIT: u64 = 24;
pub(super) const PAYLOAD_EXIT_TT: u64 = 25;
pub(super) const PAYLOAD_EXIT2: u64 = 26;
pub(super) const PAYLOAD_EXIT2_TT: u64 = 27;
pub(super) const PAYLOAD_MONITOR_P_EXIT: u64 = 28;
pub(super) const SPAWN_REQUEST: u64 = 29;
pub(super) const SPAWN_REQUEST_TT: u64 = 30;
pub(super) const SPAWN_REPLY: u64 = 31;
pub(super) const SPAWN_REPLY_TT: u64 = 32;
pub(super) const ALIAS_SEND: u64 = 33;
pub(super) const ALIAS_SEND_TT: u64 = 34;
pub(super) const UNLINK_ID: u64 = 35;
pub(super) const UNLINK_ID_ACK: u64 = 36;
pub(super) const ALTACT_SIG_SEND: u64 = 37;

pub(super) const ALL: [(u64, &str, usize); 30] = [
    (SEND_SENDER, "SEND_SENDER", 3),
    (REG_SEND, "REG_SEND", 4),
    (ALIAS_SEND, "ALIAS_SEND", 3),
    (ALTACT_SIG_SEND, "ALTACT_SIG_SEND", 4),
    (SEND, "SEND", 3),
    (LINK, "LINK", 3),
    (MONITOR_P, "MONITOR_P", 4),
    (DEMONITOR_P, "DEMONITOR_P", 4),
    (PAYLOAD_MONITOR_P_EXIT, "PAYLOAD_MONITOR_P_EXIT", 4),
    (PAYLOAD_EXIT, "PAYLOAD_EXIT", 3),
    (PAYLOAD_EXIT2, "PAYLOAD_EXIT2", 3),
    (UNLINK_ID, "UNLINK_ID", 4),
    (UNLINK_ID_ACK, "UNLINK_ID_ACK", 4),
    (SPAWN_REQUEST, "SPAWN_REQUEST", 6),
    (SPAWN_REPLY, "SPAWN_REPLY", 5),
    (GROUP_LEADER, "GROUP_LEADER", 3),
    (UNLINK, "UNLINK", 3),
    (EXIT, "EXIT", 4),
    (EXIT2, "EXIT2", 4),
    (MONITOR_P_EXIT, "MONITOR_P_EXIT", 5),
    (SEND_TT, "SEND_TT", 4),
    (EXIT_TT, "EXIT_TT", 5),
    (REG_SEND_TT, "REG_SEND_TT", 5),
    (EXIT2_TT, "EXIT2_TT", 5),
    (SEND_SENDER_TT, "SEND_SENDER_TT", 4),
    (PAYLOAD_EXIT_TT, "PAYLOAD_EXIT_TT", 4),
    (PAYLOAD_EXIT2_TT, "PAYLOAD_EXIT2_TT", 4),
    (SPAWN_REQUEST_TT, "SPAWN_REQUEST_TT", 7),
    (SPAWN_REPLY_TT, "SPAWN_REPLY_TT", 6),
    (ALIAS_SEND_TT, "ALIAS_SEND_TT", 4),
];

/// Flags of [`ALTACT_SIG_SEND`]. Bit 0 asks for priority, which means nothing without priority
/// mailboxes.
pub(super) mod altact {
    pub(in crate::proto::control) const TOKEN: u64 = 2;
    pub(in crate::proto::control) const ALIAS: u64 = 4;
    pub(in crate::proto::control) const NAME: u64 = 8;
    pub(in crate::proto::control) const EXIT: u64 = 16;
}

/// Flags of [`SPAWN_REPLY`].
pub(super) const SPAWNED_LINK: u64 = 1;
pub(super) const SPAWNED_MONITOR: u64 = 2;
