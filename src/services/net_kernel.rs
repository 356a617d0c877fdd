//! `net_kernel`: says that this node is here (`net_adm:ping/1`), and spawns for callers of old.

use super::gen_server::ReplyTo;
use super::server::{Answer, GenServer};
use crate::etf::{Atom, Payload, Term};
use crate::node::{Exception, Node, Process, Reason};
use crate::{atom, tuple};

/// The server of that name. Whoever pings waits without a time limit, so it answers at once and does
/// nothing that takes time.
pub(crate) struct NetKernel {
    pub(crate) node: Node,
}

impl GenServer for NetKernel {
    type Call = Payload;
    type Cast = Payload;
    type Reply = Term;

    async fn handle_call(&mut self, request: Payload, from: ReplyTo, process: &mut Process) -> Answer<Term> {
        if is_auth(&request) {
            return Answer::Reply(Term::Atom(atom!("yes")));
        }
        let Ok(Term::Tuple(request)) = request.term() else { return Answer::Later };
        match Spawn::parse(request) {
            Some(spawn) => spawn.start(&self.node, from, process),
            // As `net_kernel:handle_call/3` has it for what it does not know.
            None => Answer::Later,
        }
    }

    fn state(&self) -> Term {
        tuple![
            atom!("state"),
            self.node.name().as_atom(),
            Term::list(self.node.connected_nodes().into_iter().map(|name| Term::Atom(name.into()))),
        ]
    }

    fn module(&self) -> Atom {
        atom!("net_kernel")
    }
}

/// `{is_auth, Node}`, without building anything.
fn is_auth(request: &Payload) -> bool {
    let mut reader = request.reader();
    reader.tuple_of(2).is_ok() && reader.atom().is_ok_and(|what| what == "is_auth")
}

/// `{spawn, M, F, A, GroupLeader}` and its relatives, of nodes before OTP 23 and of C nodes.
#[derive(Debug, PartialEq)]
struct Spawn {
    module: Atom,
    function: Atom,
    args: Vec<Term>,
    link: bool,
    monitor: bool,
    group_leader: Option<Term>,
}

impl Spawn {
    fn parse(request: Vec<Term>) -> Option<Self> {
        let mut parts = request.into_iter();
        let kind = parts.next()?;
        let kind = kind.as_atom()?.as_str();
        let (Term::Atom(module), Term::Atom(function), Term::List(args)) =
            (parts.next()?, parts.next()?, parts.next()?)
        else {
            return None;
        };
        let has = |options: &Term, option: &str| {
            options.as_list().is_some_and(|options| options.iter().any(|known| known.is_atom(option)))
        };
        let rest: Vec<Term> = parts.collect();
        let (link, monitor, group_leader) = match (kind, rest.as_slice()) {
            ("spawn", [leader]) => (false, false, leader),
            ("spawn_link", [leader]) => (true, false, leader),
            ("spawn_opt", [options, link, leader]) => {
                (link.is_atom("link") || has(options, "link"), has(options, "monitor"), leader)
            }
            _ => return None,
        };
        let group_leader = Some(group_leader.clone());
        Some(Self { module, function, args: args.into_vec(), link, monitor, group_leader })
    }

    fn start(self, node: &Node, from: ReplyTo, process: &Process) -> Answer<Term> {
        if self.monitor {
            // Only SPAWN_REQUEST can set a monitor from the first moment on.
            return Answer::Reply(tuple![atom!("EXIT"), tuple![atom!("notsup"), Term::NIL]]);
        }
        let Self { module, function, args, link, group_leader, .. } = self;
        let arity = args.len();
        tracing::debug!(by = %from.pid(), %module, %function, arity, pid = %process.pid(), "spawn by net_kernel");
        let run = u8::try_from(arity).ok().and_then(|arity| node.exported(&module, &function, arity));
        let label = format!("{module}:{function}/{arity}");
        let parent = from.pid().clone();
        node.spawn_labelled(&label, move |process| {
            if let Some(Term::Pid(leader)) = group_leader {
                process.set_group_leader(leader);
            }
            async move {
                if link {
                    process.link(&parent).await;
                }
                let pid = Payload::from_term(&Term::Pid(process.pid().clone()));
                if let Ok(pid) = pid
                    && let Err(error) = from.reply_payload(&process, &pid).await
                {
                    tracing::debug!(to = %from.pid(), %error, "a reply did not get away");
                }
                match run {
                    Some(run) => run(process, args).await,
                    None => reason_undef(&module, &function, args),
                }
            }
        });
        Answer::Later
    }
}

fn reason_undef(module: &Atom, function: &Atom, args: Vec<Term>) -> Reason {
    Exception::undef(module, function, args).into_reason()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list;

    #[test]
    fn is_auth_is_seen_without_a_tree() {
        let of = |term: Term| is_auth(&Payload::from_term(&term).unwrap());
        assert!(of(tuple![atom!("is_auth"), atom!("a@h")]));
        assert!(!of(tuple![atom!("other"), atom!("a@h")]));
        assert!(!of(Term::Atom(atom!("is_auth"))));
    }

    #[test]
    fn spawns_of_old_callers_are_understood() {
        let parse = |term: Term| match term {
            Term::Tuple(parts) => Spawn::parse(parts),
            _ => None,
        };
        let spawn = parse(tuple![atom!("spawn"), atom!("m"), atom!("f"), list![1], atom!("user")]).unwrap();
        assert_eq!((spawn.link, spawn.args), (false, vec![Term::from(1)]));
        assert!(parse(tuple![atom!("spawn_link"), atom!("m"), atom!("f"), list![], atom!("user")]).unwrap().link);
        let opt =
            tuple![atom!("spawn_opt"), atom!("m"), atom!("f"), list![], list![atom!("monitor")], atom!("link"), 1];
        let opt = parse(opt).unwrap();
        assert!(opt.link && opt.monitor);
        assert_eq!(parse(tuple![atom!("spawn"), atom!("m"), atom!("f"), 7, atom!("user")]), None);
    }
}
