//! `appmon_info` of runtime_tools: the tab "Applications". The one application is this program, and its tree is what
//! runs under `gusset_sup`.

use std::time::Duration;

use super::backend::say;
use crate::etf::{Pid, Term};
use crate::node::{Exception, Message, Node, Process, Reason};
use crate::services::builtins::on;
use crate::services::gen_server::ReplyTo;
use crate::services::serve::serve;
use crate::services::server::{Answer, GenServer, Next};
use crate::services::supervisor::SUPERVISOR;
use crate::{atom, list, tuple};

/// How often it looks whether something has changed (`appmon_info.erl:default/1`).
const PAUSE: Duration = Duration::from_secs(2);

/// What one client may follow at a time: `observer` follows one application, and the list of them.
const MOST_TASKS: usize = 64;

/// Exports `start_link2`.
pub(super) fn install(node: &Node) {
    on(node, atom!("appmon_info"), atom!("start_link2"), |node, [_starter, client, _options]| {
        let client = client.as_pid().ok_or_else(Exception::badarg)?.clone();
        let pid =
            node.spawn_labelled("appmon_info:init/1", |process| serve(process, Appmon { client, tasks: Vec::new() }));
        Ok(tuple![atom!("ok"), pid])
    });
}

/// Serves one client, and ends with it.
struct Appmon {
    client: Pid,
    tasks: Vec<Task>,
}

/// Something that is told, and told again when it has changed.
struct Task {
    what: Term,
    about: Term,
    to: Pid,
    told: Option<Term>,
}

impl GenServer for Appmon {
    type Call = Term;
    type Cast = Term;
    type Reply = Term;

    async fn init(&mut self, process: &mut Process) -> Next {
        process.trap_exits(true);
        process.link(&self.client).await;
        Next::Continue
    }

    async fn handle_call(&mut self, _request: Term, _from: ReplyTo, _process: &mut Process) -> Answer<Term> {
        Answer::Reply(Term::Atom(atom!("ok")))
    }

    /// `{From, What, About, OnOff, Options}`.
    async fn handle_cast(&mut self, request: Term, process: &mut Process) -> Next {
        if let Some([Term::Pid(to), what, about, on, _options]) = request.as_tuple_of() {
            self.tasks.retain(|task| !(task.to == *to && task.what == *what && task.about == *about));
            if on.as_bool() == Some(true) && self.tasks.len() < MOST_TASKS {
                self.tasks.push(Task { what: what.clone(), about: about.clone(), to: to.clone(), told: None });
                self.tell(process);
            }
        }
        Next::Continue
    }

    async fn handle_info(&mut self, message: Message, _process: &mut Process) -> Next {
        match message {
            Message::Exit { from, .. } if from == self.client => Next::Stop(Reason::normal()),
            _ => Next::Continue,
        }
    }

    fn idle_after(&self) -> Option<Duration> {
        (!self.tasks.is_empty()).then_some(PAUSE)
    }

    async fn idle(&mut self, process: &mut Process) -> Next {
        self.tell(process);
        Next::Continue
    }
}

impl Appmon {
    /// Tells what has changed.
    fn tell(&mut self, process: &Process) {
        let node = process.node();
        for task in &mut self.tasks {
            let now = if task.what.is_atom("app_ctrl") {
                applications(&node)
            } else if task.what.is_atom("app") {
                tree(&node, &task.about)
            } else {
                continue;
            };
            if task.told.as_ref() != Some(&now) {
                let delivery =
                    tuple![atom!("delivery"), process.pid(), task.what.clone(), task.about.clone(), now.clone()];
                say(process, &task.to, &delivery);
                task.told = Some(now);
            }
        }
    }
}

/// `[{Master, Application, {Application, Description, Version}}]`.
fn applications(node: &Node) -> Term {
    let Some(root) = node.whereis(SUPERVISOR.as_str()) else { return Term::NIL };
    let text = Term::charlist;
    let about = tuple![atom!("gusset"), text(env!("CARGO_PKG_DESCRIPTION")), text(env!("CARGO_PKG_VERSION"))];
    list![tuple![root, atom!("gusset"), about]]
}

/// `{Root, [{Pid, Name}], [{Parent, Child}], OtherLinks}`, the ends of links by their names.
fn tree(node: &Node, application: &Term) -> Term {
    let root = node.whereis(SUPERVISOR.as_str()).filter(|_| application.is_atom("gusset"));
    let Some(root) = root else { return tuple![Term::NIL, Term::NIL, Term::NIL, Term::NIL] };
    let processes = node.processes();
    let name = |pid: &Pid| {
        let registered = processes.binary_search_by(|process| process.pid.cmp(pid)).ok();
        let registered = registered.and_then(|at| processes[at].names.first());
        Term::charlist(&registered.map_or_else(|| format!("<0.{}.{}>", pid.id, pid.serial), ToString::to_string))
    };
    let children: Vec<Pid> = node.children().into_iter().map(|child| child.pid).filter(|pid| *pid != root).collect();
    let rows = std::iter::once(&root).chain(&children).map(|pid| tuple![pid, name(pid)]);
    let links = children.iter().map(|child| tuple![name(&root), name(child)]);
    tuple![name(&root), Term::list(rows), Term::list(links), Term::NIL]
}
