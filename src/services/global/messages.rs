//! What other nodes send to the server of `global`, by kind: casts between servers, calls of those who
//! want locks and names, and plain messages.

use std::time::Instant;

use super::state::{Action, GlobalState, Gone, ToLocker};
use super::terms::{Entry, Op, VERSION, node_of, node_term, read_nodes};
use crate::atom;
use crate::etf::{Pid, Term};
use crate::node::Target;
use crate::proto::NodeName;
use crate::tuple;

impl GlobalState {
    /// A message from another server, a locker, or anybody.
    pub(crate) fn message(&mut self, message: &Term, now: Instant) {
        let understood = match message.as_tuple() {
            Some([Term::Atom(kind), body]) if *kind == "$gen_cast" => self.cast(body),
            Some([Term::Atom(kind), from, request]) if *kind == "$gen_call" => self.call(from, request),
            Some([Term::Atom(kind), rest @ ..]) => self.plain(kind.as_str(), rest, message, now),
            _ => None,
        };
        if understood.is_none() {
            tracing::debug!(%message, "global: a message that means nothing here");
        }
    }

    fn cast(&mut self, body: &Term) -> Option<()> {
        let (kind, arguments) = body.as_tuple()?.split_first()?;
        match (kind.as_atom()?.as_str(), arguments) {
            ("init_connect", [version, node, init]) => self.init_connect(version, node_of(node)?, init),
            ("lock_set", [Term::Pid(locker), set, _known, tag]) => {
                // A tag of another session is a late message: nobody waits for it.
                let tag = tag.as_i64()?;
                let session = self.sessions.get(&NodeName::try_from(&locker.node).ok()?);
                if session.is_some_and(|session| session.my_tag == tag) {
                    self.lock_set(locker, set.as_bool()?, Some(tag));
                }
                Some(())
            }
            ("lock_set", [Term::Pid(locker), set, _known]) => {
                self.lock_set(locker, set.as_bool()?, None);
                Some(())
            }
            ("exchange", [node, names, _external, tag]) => self.exchange(node_of(node)?, names, tag),
            ("resolved", [node, ops, known, _unused, external, tag]) => {
                self.resolved_there(node_of(node)?, Op::read_all(ops), read_nodes(known), external, tag)
            }
            ("new_nodes", [node, ops, external, nodes, extra]) => {
                self.new_nodes(node_of(node)?, ops, external, nodes, extra)
            }
            ("in_sync", [node, _is_known]) => self.in_sync(node_of(node)?),
            // Of releases before R14; the monitors do the work.
            ("async_del_name" | "async_del_lock", [_, _]) => Some(()),
            _ => None,
        }
    }

    fn lock_set(&mut self, locker: &Pid, set: bool, tag: Option<i64>) {
        self.act(Action::Locker(ToLocker::LockSet { locker: locker.clone(), set, tag }));
    }

    fn call(&mut self, from: &Term, request: &Term) -> Option<()> {
        let [Term::Pid(caller), _tag] = from.as_tuple_of()? else { return None };
        let answer = match request {
            Term::Atom(request) => match request.as_str() {
                "get_known" => Term::list(self.known.keys().map(node_term)),
                "get_synced" => Term::list(self.synced.iter().map(node_term)),
                "get_protocol_version" => Term::from(VERSION),
                "get_names_ext" => self.names.externals(),
                _ => return None,
            },
            Term::Tuple(request) => {
                let (kind, arguments) = request.split_first()?;
                match (kind.as_atom()?.as_str(), arguments) {
                    ("set_lock", [lock]) => {
                        let [resource, requester] = lock.as_tuple_of()?;
                        self.set_lock(resource, requester, caller).into()
                    }
                    ("del_lock", [lock]) => {
                        let [resource, requester] = lock.as_tuple_of()?;
                        if let Some(watch) = self.locks.delete(resource, requester, caller) {
                            self.unwatch(watch);
                        }
                        true.into()
                    }
                    ("register", [name, Term::Pid(pid), method]) => {
                        let entry = Entry { name: name.clone(), pid: pid.clone(), method: method.clone() };
                        self.register(entry, None, caller)
                    }
                    ("register_ext", [name, Term::Pid(pid), method, Term::Atom(node)]) => {
                        let entry = Entry { name: name.clone(), pid: pid.clone(), method: method.clone() };
                        self.register(entry, Some(node.clone()), caller)
                    }
                    ("unregister", [name]) => {
                        self.delete_name(name);
                        atom!("ok").into()
                    }
                    ("sync", [nodes]) => {
                        self.sync(from.clone(), nodes);
                        return Some(());
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        self.reply(from, answer);
        Some(())
    }

    fn plain(&mut self, kind: &str, arguments: &[Term], message: &Term, now: Instant) -> Option<()> {
        match (kind, arguments) {
            ("whereis", [name, from]) => {
                if self.locks.global_is_set() {
                    self.act(Action::Again(message.clone()));
                } else {
                    let pid = self.names.pid(name).cloned();
                    self.reply(from, pid.map_or_else(|| atom!("undefined").into(), Term::Pid));
                }
                Some(())
            }
            ("init_connect_ack", [node, mine, theirs]) => self.init_connect_ack(node_of(node)?, mine, theirs),
            ("cancel_connect", [node, mine]) => self.cancel_connect(&node_of(node)?, mine),
            ("lost_connection", [reporter, creation, number, lost]) => {
                let (reporter, lost) = (node_of(reporter)?, node_of(lost)?);
                if self.reports_losses && self.reports.is_new((&reporter, &lost), creation, number, now) {
                    self.lost_connection(&reporter, &lost, message);
                }
                Some(())
            }
            ("remove_connection", [node]) => {
                let node = node_of(node)?;
                if self.is_familiar(&node) {
                    tracing::warn!(peer = %node, "global: disconnects a node that has thrown this one out");
                    self.act(Action::Disconnect(node.clone(), "overlapping partition: it has thrown us out"));
                    self.forget(&node, Gone::Removed);
                }
                Some(())
            }
            ("prepare_shutdown", [Term::Pid(from), reference]) => {
                self.prepare_shutdown();
                self.act(Action::Send(Target::Pid(from.clone()), tuple![reference.clone(), atom!("ok")]));
                Some(())
            }
            _ => None,
        }
    }
}
