//! The state of `global` without a node: several of them joined in memory, and one against messages
//! as BEAMs send them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::state::{Action, GlobalState, Peer, ToLocker, WatchId};
use super::terms::{Entry, Op, global_resource, locker_requester, server_on};
use crate::atom;
use crate::etf::{Atom, Creation, Pid, Term};
use crate::node::Target;
use crate::proto::NodeName;
use crate::{list, tuple};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn pid(node: &str, id: u32) -> Pid {
    Pid { node: Atom::new(node).unwrap(), id, serial: 0, creation: Creation(1) }
}

fn locker(node: &str) -> Pid {
    pid(node, 7)
}

fn method() -> Term {
    Term::export(atom!("global"), atom!("random_exit_name"), 3)
}

fn parse(text: &str) -> Term {
    text.parse().unwrap()
}

/// One node, and what it wants to be done.
struct One(GlobalState);

impl One {
    fn new(node: &str) -> Self {
        Self(GlobalState::new(name(node), locker(node), 77))
    }

    fn hear(&mut self, message: Term) -> Vec<Action> {
        self.0.message(&message, Instant::now());
        self.0.take_actions()
    }

    /// The answer to a call of a process.
    fn call(&mut self, caller: &Pid, request: Term) -> Term {
        let actions = self.hear(tuple![atom!("$gen_call"), tuple![caller.clone(), atom!("tag")], request]);
        let answer = actions.iter().find_map(|action| match action {
            Action::Send(Target::Pid(to), message) if to == caller => match message.as_tuple_of() {
                Some([tag, answer]) if tag.is_atom("tag") => Some(answer.clone()),
                _ => None,
            },
            _ => None,
        });
        answer.unwrap_or_else(|| panic!("no answer in {actions:?}"))
    }

    fn lock(&mut self, owner: &Pid, requester: Term) -> bool {
        let request = tuple![atom!("set_lock"), tuple![global_resource(), requester]];
        self.call(owner, request).as_bool().unwrap()
    }

    fn register(&mut self, text: &str, pid: &Pid) {
        let request = tuple![atom!("register"), Term::from(text), pid.clone(), method()];
        assert!(self.call(pid, request).is_atom("yes"));
    }

    fn cast(&mut self, body: Term) -> Vec<Action> {
        self.hear(tuple![atom!("$gen_cast"), body])
    }

    fn pid_of(&self, text: &str) -> Option<Pid> {
        self.0.names().pid(&Term::from(text)).cloned()
    }

    /// The session with a BEAM of a version up to the point where both know each other.
    fn meet(&mut self, peer: &str, version: u8) -> (i64, Vec<Action>) {
        self.0.node_up(&name(peer));
        let sent = self.0.take_actions();
        let [Action::Send(to, init)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!(*to, server_on(&name(peer)));
        let [_, body] = init.as_tuple_of().unwrap();
        let [kind, version_and_tag, _, _] = body.as_tuple_of().unwrap();
        assert!(kind.is_atom("init_connect"));
        let [_, tag] = version_and_tag.as_tuple_of().unwrap();
        let tag = tag.as_i64().unwrap();
        let theirs = tuple![atom!("locker"), atom!("no_longer_a_pid"), parse("#{}"), locker(peer)];
        let peer_atom = Atom::new(peer).unwrap();
        let actions = self.cast(tuple![atom!("init_connect"), tuple![version, 4711], peer_atom, theirs]);
        (tag, actions)
    }

    /// The whole session with a BEAM that has these names and knows these nodes.
    fn join(&mut self, peer: &str, version: u8, names: Term, known: Term) -> Vec<Action> {
        let actions = self.join_locked(peer, version, names, known);
        let me = self.0.me.as_str().to_owned();
        let requester = locker_requester(&locker(&me), &locker(peer));
        self.call(&locker(&me), tuple![atom!("del_lock"), tuple![global_resource(), requester]]);
        actions
    }

    fn join_locked(&mut self, peer: &str, version: u8, names: Term, known: Term) -> Vec<Action> {
        let (tag, _) = self.meet(peer, version);
        let me = self.0.me.as_str().to_owned();
        let requester = locker_requester(&locker(&me), &locker(peer));
        assert!(self.lock(&locker(&me), requester.clone()));
        self.0.lock_is_set(&name(peer), tag, requester.clone());
        let mut actions = self.0.take_actions();
        let peer_atom = Atom::new(peer).unwrap();
        actions.extend(self.cast(tuple![atom!("exchange"), peer_atom.clone(), names, Term::NIL, tag]));
        let unused = atom!("unused");
        actions.extend(self.cast(tuple![atom!("resolved"), peer_atom, Term::NIL, known, unused, Term::NIL, tag]));
        actions
    }
}

fn sent_to<'a>(actions: &'a [Action], node: &str) -> Vec<&'a Term> {
    let to = server_on(&name(node));
    let sent = |action: &'a Action| match action {
        Action::Send(target, message) if *target == to => Some(message),
        _ => None,
    };
    actions.iter().filter_map(sent).collect()
}

#[test]
fn a_session_with_a_beam_is_acknowledged_and_ends_in_a_common_table() {
    let mut us = One::new("b@h");
    us.register("ours", &pid("b@h", 50));
    let (tag, actions) = us.meet("a@h", 8);
    let peer = Peer { node: name("a@h"), locker: locker("a@h"), version: 8, my_tag: tag, their_tag: 4711.into() };
    assert!(actions.contains(&Action::Locker(ToLocker::Peer(peer))));
    assert_eq!(sent_to(&actions, "a@h"), [&tuple![atom!("init_connect_ack"), atom!("b@h"), 4711, tag]]);

    let requester = list![locker("a@h"), locker("b@h")];
    assert!(us.lock(&locker("a@h"), requester.clone()) && us.lock(&locker("b@h"), requester.clone()));
    us.0.lock_is_set(&name("a@h"), tag, requester);
    let ours = list![tuple!["ours", pid("b@h", 50), method()]];
    let exchange = tuple![atom!("exchange"), atom!("b@h"), ours, Term::NIL, 4711];
    assert_eq!(sent_to(&us.0.take_actions(), "a@h"), [&tuple![atom!("$gen_cast"), exchange]]);

    let theirs = list![tuple!["theirs", pid("a@h", 60), method()]];
    let actions = us.cast(tuple![atom!("exchange"), atom!("a@h"), theirs, Term::NIL, tag]);
    let resolved = tuple![atom!("resolved"), atom!("b@h"), Term::NIL, Term::NIL, atom!("unused"), Term::NIL, 4711];
    assert_eq!(sent_to(&actions, "a@h"), [&tuple![atom!("$gen_cast"), resolved]]);
    assert_eq!(us.pid_of("theirs"), None);

    let known = list![tuple![atom!("c@h"), 8], tuple![atom!("b@h"), 8]];
    let body = tuple![atom!("resolved"), atom!("a@h"), Term::NIL, known, atom!("unused"), Term::NIL, tag];
    let actions = us.cast(body);
    assert_eq!(us.pid_of("theirs"), Some(pid("a@h", 60)));
    assert!(actions.contains(&Action::TellInSync(name("c@h"))));
    assert!(!actions.contains(&Action::TellInSync(name("a@h"))));
    assert!(actions.contains(&Action::Locker(ToLocker::Cancel { node: name("a@h"), tag })));
    assert_eq!((us.0.known(), us.0.synced()), (vec![name("a@h"), name("c@h")], vec![name("a@h")]));
}

#[test]
fn an_old_peer_gets_no_acknowledgement_and_lists_without_versions() {
    let mut us = One::new("b@h");
    us.join("c@h", 8, Term::NIL, Term::NIL);
    let actions = us.join("a@h", 5, Term::NIL, list![atom!("d@h")]);
    let to_old = sent_to(&actions, "a@h");
    let last = to_old.last().unwrap().as_tuple().unwrap();
    assert_eq!(last[1].as_tuple().unwrap()[3], list![atom!("c@h")]);
    let to_new = sent_to(&actions, "c@h");
    let [_, news] = to_new.last().unwrap().as_tuple_of().unwrap();
    let news = news.as_tuple().unwrap();
    assert!(news[0].is_atom("new_nodes"));
    assert_eq!(news[4], list![tuple![atom!("a@h"), 5], tuple![atom!("d@h"), 0]]);
    let requester = locker_requester(&locker("a@h"), &locker("b@h"));
    let lock = tuple![atom!("lock"), tuple![atom!("global"), requester]];
    assert_eq!(news[5], list![tuple![atom!("vsn"), 5], lock]);
}

#[test]
fn the_smaller_name_settles_a_conflict_and_the_greater_one_leaves_it() {
    let theirs = list![tuple!["same", pid("m@h", 60), method()]];
    let mut greater = One::new("z@h");
    greater.register("same", &pid("z@h", 50));
    let actions = greater.join("m@h", 8, theirs.clone(), Term::NIL);
    assert!(!actions.iter().any(|action| matches!(action, Action::Resolve { .. })));
    assert_eq!(greater.pid_of("same"), Some(pid("z@h", 50)));

    let mut smaller = One::new("a@h");
    smaller.register("same", &pid("a@h", 50));
    let actions = smaller.join_locked("m@h", 8, theirs, Term::NIL);
    let resolve = actions.iter().find_map(|action| match action {
        Action::Resolve { tag, conflicts, .. } => Some((*tag, conflicts.clone())),
        _ => None,
    });
    let (tag, conflicts) = resolve.unwrap();
    assert_eq!((conflicts[0].theirs.pid.clone(), conflicts[0].ours.pid.clone()), (pid("m@h", 60), pid("a@h", 50)));
    let winner = Entry { name: "same".into(), pid: pid("m@h", 60), method: method() };
    smaller.0.resolved_here(&name("m@h"), tag, vec![Op::Insert(winner)], Vec::new());
    assert_eq!(smaller.pid_of("same"), Some(pid("m@h", 60)));
    assert_eq!(smaller.0.known(), [name("m@h")]);
}

#[test]
fn a_message_of_an_older_session_is_not_taken() {
    let mut us = One::new("b@h");
    let (tag, _) = us.meet("a@h", 8);
    let late = us.cast(tuple![atom!("exchange"), atom!("a@h"), Term::NIL, Term::NIL, tag + 100]);
    assert_eq!(late, [Action::Locker(ToLocker::Cancel { node: name("a@h"), tag: tag + 100 })]);
    let lock_set = |tag: i64| tuple![atom!("lock_set"), locker("a@h"), true, Term::NIL, tag];
    assert_eq!(us.cast(lock_set(tag + 100)), []);
    let set = ToLocker::LockSet { locker: locker("a@h"), set: true, tag: Some(tag) };
    assert_eq!(us.cast(lock_set(tag)), [Action::Locker(set)]);
    // The other side disagrees about the session: it is told, and a new one begins.
    let actions = us.hear(tuple![atom!("init_connect_ack"), atom!("a@h"), tag, 4712]);
    let sent = sent_to(&actions, "a@h");
    assert!(sent.contains(&&tuple![atom!("cancel_connect"), atom!("b@h"), 4712]), "{sent:?}");
    assert!(sent.last().unwrap().to_string().contains("init_connect"), "{sent:?}");
}

/// As seen with OTP 25 and 27: when both sides begin anew at once, each answers a session that the other has given up.
#[test]
fn sides_that_are_out_of_step_pause_and_meet() {
    let mut us = One::new("b@h");
    let (mut tag, _) = us.meet("a@h", 8);
    let mut theirs = 4712;
    let init = |theirs: i64| {
        tuple![atom!("init_connect"), tuple![8, theirs], atom!("a@h"), tuple![atom!("locker"), 1, 2, locker("a@h")]]
    };
    let later = loop {
        assert!(theirs < 4800, "they miss each other for ever");
        let mut actions = us.cast(init(theirs));
        actions.extend(us.hear(tuple![atom!("init_connect_ack"), atom!("a@h"), tag - 1, theirs]));
        if let Some(later) = actions.into_iter().find(|action| matches!(action, Action::BeginLater { .. })) {
            break later;
        }
        (tag, theirs) = (tag + 1, theirs + 1);
    };
    assert_eq!(later, Action::BeginLater { node: name("a@h"), attempt: 0 });
    // In the pause nothing is begun; what comes is answered when it is over.
    assert_eq!(us.cast(init(5000)), []);
    us.0.begin_now(&name("a@h"));
    let actions = us.0.take_actions();
    let sent = sent_to(&actions, "a@h");
    assert!(sent[0].to_string().contains("init_connect"), "{sent:?}");
    assert!(sent[1].to_string().starts_with("{init_connect_ack,b@h,5000,"), "{sent:?}");
}

#[test]
fn a_cancelled_session_begins_anew_and_a_stale_cancel_does_nothing() {
    let mut us = One::new("b@h");
    let (tag, _) = us.meet("a@h", 8);
    assert_eq!(us.hear(tuple![atom!("cancel_connect"), atom!("a@h"), tag + 1]), []);
    let actions = us.hear(tuple![atom!("cancel_connect"), atom!("a@h"), tag]);
    assert_eq!(sent_to(&actions, "a@h").len(), 1, "{actions:?}");
    assert!(actions.contains(&Action::Locker(ToLocker::Cancel { node: name("a@h"), tag })));
}

#[test]
fn a_known_node_that_does_not_know_us_is_met_again() {
    for in_time in [true, false] {
        let mut us = One::new("b@h");
        us.join("a@h", 8, Term::NIL, list![tuple![atom!("c@h"), 8]]);
        us.0.node_up(&name("c@h"));
        assert_eq!(us.0.take_actions(), []);
        let theirs = tuple![atom!("locker"), atom!("no_longer_a_pid"), Term::NIL, locker("c@h")];
        let actions = us.cast(tuple![atom!("init_connect"), tuple![8, 9], atom!("c@h"), theirs]);
        assert_eq!(actions, [Action::AskUnmet { node: name("c@h"), tag: 9.into() }]);
        us.0.still_unmet(&name("c@h"), &Term::from(8));
        assert_eq!(us.0.take_actions(), []);
        if in_time {
            us.cast(tuple![atom!("in_sync"), atom!("c@h"), true]);
            us.0.still_unmet(&name("c@h"), &Term::from(9));
            assert_eq!(us.0.take_actions(), []);
        } else {
            us.0.still_unmet(&name("c@h"), &Term::from(9));
            let actions = us.0.take_actions();
            assert_eq!(sent_to(&actions, "c@h").len(), 2, "{actions:?}");
            assert_eq!(us.0.known(), [name("a@h")]);
            us.cast(tuple![atom!("in_sync"), atom!("c@h"), true]);
        }
        assert_eq!(us.0.known(), [name("a@h"), name("c@h")]);
    }
}

#[test]
fn a_node_that_knows_us_and_is_not_known_here_is_let_go() {
    for news in [true, false] {
        let mut us = One::new("b@h");
        us.0.node_up(&name("c@h"));
        us.0.take_actions();
        let actions = us.cast(tuple![atom!("in_sync"), atom!("c@h"), true]);
        assert!(actions.contains(&Action::AskUnknown(name("c@h"))), "{actions:?}");
        if news {
            us.join("a@h", 8, Term::NIL, list![tuple![atom!("c@h"), 8]]);
        }
        us.0.still_unknown(&name("c@h"));
        let lets_go = |action: &Action| matches!(action, Action::Disconnect(node, _) if *node == name("c@h"));
        assert_eq!(us.0.take_actions().iter().any(lets_go), !news);
    }
}

#[test]
fn locks_and_names_go_with_their_processes_and_nodes() {
    let mut us = One::new("b@h");
    us.join("a@h", 8, Term::NIL, Term::NIL);
    let owner = pid("a@h", 60);
    assert!(us.lock(&owner, Term::from(1)));
    assert!(!us.lock(&pid("b@h", 1), Term::from(2)));
    us.register("theirs", &owner);
    us.0.node_down(&name("a@h"));
    assert_eq!(us.pid_of("theirs"), None);
    assert!(us.lock(&pid("b@h", 1), Term::from(2)));

    us.call(&pid("b@h", 1), tuple![atom!("del_lock"), tuple![global_resource(), 2]]);
    let actions = us.hear(tuple![
        atom!("$gen_call"),
        tuple![pid("b@h", 1), 1],
        tuple![atom!("register"), "mine", pid("b@h", 1), method()]
    ]);
    let watch = actions.iter().find_map(|action| match action {
        Action::Watch(watch, _) => Some(*watch),
        _ => None,
    });
    us.0.ended(WatchId(9999));
    assert!(us.pid_of("mine").is_some());
    us.0.ended(watch.unwrap());
    assert_eq!(us.pid_of("mine"), None);
}

#[test]
fn what_others_may_ask_is_answered() {
    let mut us = One::new("b@h");
    us.join("a@h", 8, Term::NIL, Term::NIL);
    let caller = pid("a@h", 90);
    assert_eq!(us.call(&caller, atom!("get_known").into()), list![atom!("a@h")]);
    assert_eq!(us.call(&caller, atom!("get_synced").into()), list![atom!("a@h")]);
    assert_eq!(us.call(&caller, atom!("get_protocol_version").into()), Term::from(8));
    assert_eq!(us.call(&caller, atom!("get_names_ext").into()), Term::NIL);
    assert!(us.call(&caller, tuple![atom!("sync"), list![atom!("a@h"), atom!("b@h")]]).is_atom("ok"));
    us.call(&caller, tuple![atom!("register_ext"), "c", pid("a@h", 91), method(), atom!("a@h")]);
    assert_eq!(us.call(&caller, atom!("get_names_ext").into()), list![tuple!["c", pid("a@h", 91), atom!("a@h")]]);
    assert!(us.call(&caller, tuple![atom!("unregister"), "c"]).is_atom("ok"));
    assert!(us.hear(tuple![atom!("whereis"), "c", tuple![caller.clone(), 1]]).len() == 1);
    assert!(us.lock(&caller, Term::from(1)));
    let again = tuple![atom!("whereis"), "c", tuple![caller, 1]];
    assert_eq!(us.hear(again.clone()), [Action::Again(again)]);
    for nonsense in ["x", "{}", "{'$gen_call', 1, 2}", "{'$gen_cast', {init_connect, 1, 2, 3}}", "{lost_connection}"] {
        assert_eq!(us.hear(parse(nonsense)), [], "{nonsense}");
    }
}

#[test]
fn somebody_who_waits_for_a_node_is_answered_when_it_is_in_sync_or_gone() {
    for gone in [false, true] {
        let mut us = One::new("b@h");
        us.meet("a@h", 8);
        let caller = pid("b@h", 90);
        let request = tuple![atom!("sync"), list![atom!("a@h"), atom!("nobody@h")]];
        let from = tuple![caller.clone(), atom!("tag")];
        assert_eq!(us.hear(tuple![atom!("$gen_call"), from, request]), []);
        let actions = if gone {
            us.0.node_down(&name("a@h"));
            us.0.take_actions()
        } else {
            us.cast(tuple![atom!("in_sync"), atom!("a@h"), true])
        };
        assert!(actions.contains(&Action::Send(Target::Pid(caller), tuple![atom!("tag"), atom!("ok")])), "{actions:?}");
    }
}

#[test]
fn a_lost_node_is_reported_once_and_not_when_this_node_leaves() {
    let mut us = One::new("b@h");
    us.join("a@h", 8, Term::NIL, list![tuple![atom!("c@h"), 8], tuple![atom!("old@h"), 5]]);
    us.0.node_up(&name("c@h"));
    us.0.node_down(&name("a@h"));
    let actions = us.0.take_actions();
    assert_eq!(sent_to(&actions, "c@h"), [&tuple![atom!("lost_connection"), atom!("b@h"), 77, 1, atom!("a@h")]]);
    assert_eq!(sent_to(&actions, "old@h"), [&Term::NIL; 0]);
    us.0.node_down(&name("a@h"));
    assert_eq!(us.0.take_actions(), []);
    us.0.prepare_shutdown();
    us.0.node_down(&name("c@h"));
    assert!(!us.0.take_actions().iter().any(|action| format!("{action:?}").contains("lost_connection")));
}

#[test]
fn a_reported_loss_is_passed_on_once_and_the_lost_node_thrown_out() {
    let mut us = One::new("b@h");
    us.join("a@h", 8, Term::NIL, list![tuple![atom!("c@h"), 8], tuple![atom!("d@h"), 8]]);
    let report = tuple![atom!("lost_connection"), atom!("a@h"), 1i64 << 40, 5, atom!("c@h")];
    let actions = us.hear(report.clone());
    assert_eq!(sent_to(&actions, "d@h"), [&report]);
    assert_eq!(sent_to(&actions, "a@h"), [&Term::NIL; 0]);
    assert_eq!(sent_to(&actions, "c@h"), [&report, &tuple![atom!("remove_connection"), atom!("b@h")]]);
    assert_eq!(us.hear(report), []);
    assert_eq!(us.0.known(), [name("a@h"), name("d@h")]);
    // The connection that then goes down is no loss that anybody has to hear of.
    us.0.node_up(&name("c@h"));
    us.0.take_actions();
}

#[test]
fn who_throws_us_out_is_disconnected_and_who_is_unknown_is_not() {
    let mut us = One::new("b@h");
    us.join("a@h", 8, Term::NIL, list![tuple![atom!("c@h"), 8]]);
    assert_eq!(us.hear(tuple![atom!("remove_connection"), atom!("x@h")]), []);
    let actions = us.hear(tuple![atom!("remove_connection"), atom!("a@h")]);
    assert!(matches!(&actions[0], Action::Disconnect(node, _) if *node == name("a@h")), "{actions:?}");
    us.0.node_down(&name("a@h"));
    assert_eq!(us.0.take_actions(), []);
    assert_eq!(us.0.known(), [name("c@h")]);
}

/// Several nodes, a network that delivers at once, and lockers that always win.
struct Cluster(BTreeMap<NodeName, GlobalState>);

impl Cluster {
    fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|text| (name(text), GlobalState::new(name(text), locker(text), 77))).collect())
    }

    fn connect(&mut self, a: &str, b: &str) {
        self.0.get_mut(&name(a)).unwrap().node_up(&name(b));
        self.0.get_mut(&name(b)).unwrap().node_up(&name(a));
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for node in self.0.keys().cloned().collect::<Vec<_>>() {
                for action in self.0.get_mut(&node).unwrap().take_actions() {
                    quiet = false;
                    self.perform(&node, action);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn perform(&mut self, node: &NodeName, action: Action) {
        match action {
            Action::Send(Target::NameOn(_, to), message) => {
                let to = self.0.get_mut(&to).unwrap();
                if to.is_connected(node) {
                    to.message(&message, Instant::now());
                }
            }
            Action::Locker(ToLocker::Peer(peer)) => {
                let mine = locker(node.as_str());
                let requester = locker_requester(&mine, &peer.locker);
                let lock = tuple![atom!("set_lock"), tuple![global_resource(), requester.clone()]];
                self.of(node).message(&tuple![atom!("$gen_call"), tuple![mine, 1], lock], Instant::now());
                self.of(node).lock_is_set(&peer.node, peer.my_tag, requester);
            }
            Action::Locker(ToLocker::Cancel { node: peer, .. }) => {
                let mine = locker(node.as_str());
                let requester = locker_requester(&mine, &locker(peer.as_str()));
                let lock = tuple![atom!("del_lock"), tuple![global_resource(), requester]];
                self.of(node).message(&tuple![atom!("$gen_call"), tuple![mine, 1], lock], Instant::now());
            }
            Action::TellInSync(peer) => {
                self.of(node).node_up(&peer);
                let to = self.0.get_mut(&peer).unwrap();
                to.node_up(node);
                let body = tuple![atom!("in_sync"), node.as_atom().clone(), true];
                to.message(&tuple![atom!("$gen_cast"), body], Instant::now());
            }
            Action::Disconnect(peer, _) => {
                self.of(node).node_down(&peer);
                self.0.get_mut(&peer).unwrap().node_down(node);
            }
            _ => {}
        }
    }

    fn of(&mut self, node: &NodeName) -> &mut GlobalState {
        self.0.get_mut(node).unwrap()
    }

    fn known(&self, node: &str) -> Vec<NodeName> {
        self.0.get(&name(node)).unwrap().known()
    }
}

#[test]
fn nodes_that_meet_one_after_the_other_form_a_mesh_with_one_table() {
    let all = ["a@h", "b@h", "c@h", "d@h"];
    let mut cluster = Cluster::new(&all);
    for node in all {
        let owner = pid(node, 50);
        let request = tuple![atom!("register"), node, owner.clone(), method()];
        let message = tuple![atom!("$gen_call"), tuple![owner, 1], request];
        cluster.0.get_mut(&name(node)).unwrap().message(&message, Instant::now());
    }
    cluster.connect("a@h", "b@h");
    cluster.connect("c@h", "d@h");
    cluster.connect("d@h", "a@h");
    for node in all {
        let others: Vec<_> = all.iter().filter(|other| **other != node).map(|other| name(other)).collect();
        assert_eq!(cluster.known(node), others, "{node}");
        assert_eq!(cluster.0.get(&name(node)).unwrap().names().names().len(), 4, "{node}");
        assert!(!cluster.0.get(&name(node)).unwrap().locks().global_is_set(), "{node}");
    }
}

#[test]
fn when_one_link_breaks_all_agree_on_who_is_out() {
    let all = ["a@h", "b@h", "c@h", "d@h"];
    let mut cluster = Cluster::new(&all);
    cluster.connect("a@h", "b@h");
    cluster.connect("c@h", "b@h");
    cluster.connect("d@h", "c@h");
    assert_eq!(cluster.known("a@h").len(), 3);
    cluster.perform(&name("a@h"), Action::Disconnect(name("b@h"), "test"));
    cluster.settle();
    // Both ends of the link are out, each alone; the rest stays together.
    assert_eq!((cluster.known("a@h"), cluster.known("b@h")), (vec![], vec![]));
    assert_eq!((cluster.known("c@h"), cluster.known("d@h")), (vec![name("d@h")], vec![name("c@h")]));
}
