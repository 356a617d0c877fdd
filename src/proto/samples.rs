//! Messages for the tests of this room.

use crate::atom;
use crate::etf::{Atom, Creation, Pid, Ref};

use super::control::{Control, ExitTarget, ProcRef, SpawnOptions};

pub(super) fn pid(node: &str, id: u32) -> Pid {
    Pid { node: Atom::new(node).unwrap(), id, serial: 0, creation: Creation(7) }
}

pub(super) fn reference(node: &str) -> Ref {
    Ref::from_three(Atom::new(node).unwrap(), Creation(7), [1, 2, 3])
}

/// Every control message in every shape.
pub(super) fn every_control() -> Vec<Control> {
    let (from, to) = (pid("a@h", 1), pid("b@h", 2));
    let refs = || reference("a@h");
    let names = || ProcRef::Name(atom!("rex"));
    let spawn = |options| Control::SpawnRequest {
        reference: refs(),
        parent: from.clone(),
        group_leader: from.clone(),
        module: atom!("m"),
        function: atom!("f"),
        arity: 255,
        options,
    };
    let pair = || (from.clone(), to.clone());
    let spawned =
        |link, result| Control::SpawnReply { reference: refs(), to: to.clone(), link, monitor: !link, result };
    vec![
        pack(pair(), |from, to| Control::Link { from, to }),
        pack(pair(), |from, to| Control::Unlink { id: Some(u64::MAX), from, to }),
        pack(pair(), |from, to| Control::Unlink { id: None, from, to }),
        pack(pair(), |from, to| Control::UnlinkAck { id: 1, from, to }),
        pack(pair(), |from, to| Control::Send { from: Some(from), to }),
        pack(pair(), |_, to| Control::Send { from: None, to }),
        Control::RegSend { from: from.clone(), to: atom!("rex") },
        Control::AliasSend { from: from.clone(), to: reference("b@h") },
        pack(pair(), |leader, to| Control::GroupLeader { leader, to }),
        pack(pair(), |from, to| Control::Exit { from, to }),
        pack(pair(), |from, to| Control::Exit2 { from, to: ExitTarget::Pid(to) }),
        Control::Exit2 { from: from.clone(), to: ExitTarget::Name(atom!("rex")) },
        Control::Exit2 { from: from.clone(), to: ExitTarget::Alias(reference("b@h")) },
        pack(pair(), |from, to| Control::Monitor { from, target: ProcRef::Pid(to), reference: refs() }),
        Control::Monitor { from: from.clone(), target: names(), reference: refs() },
        pack(pair(), |from, to| Control::Demonitor { from, target: ProcRef::Pid(to), reference: refs() }),
        Control::Demonitor { from: from.clone(), target: names(), reference: refs() },
        pack(pair(), |from, to| Control::MonitorExit { from: ProcRef::Pid(from), to, reference: refs() }),
        Control::MonitorExit { from: names(), to: to.clone(), reference: refs() },
        spawn(SpawnOptions::default()),
        spawn(SpawnOptions { link: true, monitor: true, bad: None }),
        spawned(true, Ok(from.clone())),
        spawned(false, Err(atom!("notsup"))),
    ]
}

fn pack(pair: (Pid, Pid), control: impl FnOnce(Pid, Pid) -> Control) -> Control {
    control(pair.0, pair.1)
}
