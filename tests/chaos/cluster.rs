//! The six nodes of the test, what they can be told to do, and what each believes.

use std::sync::Mutex;
use std::time::Duration;

use gusset::etf::Pid;
use gusset::net::DialTarget;
use gusset::services::global::Global;
use gusset::services::pg::Scope;
use gusset::{Node, NodeName, Process, Reason, Term, atom};
use tokio::task::JoinSet;

use crate::common::node::{self, name_of};
use crate::common::proxy::Proxy;
use crate::common::{Beam, BeamOptions, Epmd, SOON, otp, unique, within};

/// OTP 25 and OTP 29 cannot share a scope (docs/pubsub.md), so there are two.
const OLD: &str = "chaos_old";
const NEW: &str = "chaos_new";
const SCOPES: [&str; 2] = [OLD, NEW];

/// Enough processes for every name and group, few enough that they meet.
const MOST_WORKERS: usize = 30;

/// What one node is told to do. `which` is any number: it picks one of what there is by then.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Join {
        scope: usize,
        group: String,
        which: usize,
    },
    Leave {
        scope: usize,
        group: String,
        which: usize,
    },
    /// With a process of its own: `global` complains about one that has several names.
    Register {
        name: String,
    },
    Unregister {
        name: String,
    },
    Crash {
        which: usize,
    },
    Connect {
        to: usize,
        through_proxy: bool,
    },
    Disconnect {
        from: usize,
    },
}

/// A BEAM of the cluster.
pub(crate) struct BeamMember {
    pub(crate) beam: Beam,
    scopes: &'static [&'static str],
    /// A way to it that can be cut.
    pub(crate) proxy: Proxy,
}

/// A gusset of the cluster, with what it was told to do and has not done yet.
pub(crate) struct GussetMember {
    pub(crate) node: Node,
    global: Global,
    scopes: Vec<Scope>,
    workers: Mutex<Vec<Process>>,
    doing: JoinSet<Result<(), String>>,
}

/// All six.
pub(crate) struct Cluster {
    pub(crate) beams: Vec<BeamMember>,
    pub(crate) gussets: Vec<GussetMember>,
    pub(crate) names: Vec<NodeName>,
    _epmd: Epmd,
}

impl BeamMember {
    async fn start(release: u32, scopes: &'static [&'static str], epmd: &Epmd) -> Self {
        let otp = otp::get(release).expect("installed");
        let beam = Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await;
        assert_eq!(beam.value(&format!("gusset_chaos:start([{}])", scopes.join(","))).await, "ok");
        let (alive, _) = beam.node_name.split_once('@').expect("a full name");
        let ports = epmd.names().await;
        let port = ports.iter().find(|(name, _)| name == alive).expect("registered").1;
        Self { beam, scopes, proxy: Proxy::start(async move { port }).await }
    }

    async fn tell(&self, step: &Step, names: &[NodeName]) {
        let text = match step {
            Step::Join { scope, group, which } => format!("{{join, {}, {group}, {which}}}", self.scope(*scope)),
            Step::Leave { scope, group, which } => format!("{{leave, {}, {group}, {which}}}", self.scope(*scope)),
            Step::Register { name } => format!("{{register, {name}}}"),
            Step::Unregister { name } => format!("{{unregister, {name}}}"),
            Step::Crash { which } => format!("{{crash, {which}}}"),
            Step::Connect { to, .. } => format!("{{connect, '{}'}}", names[*to]),
            Step::Disconnect { from } => format!("{{disconnect, '{}'}}", names[*from]),
        };
        assert_eq!(self.beam.value(&format!("gusset_chaos:do({text})")).await, "ok");
    }

    fn scope(&self, index: usize) -> &'static str {
        self.scopes[index % self.scopes.len()]
    }

    async fn view(&self) -> Vec<String> {
        let view = self.beam.value("gusset_chaos:view()").await;
        let mut lines: Vec<String> = view.trim_matches('"').split('|').map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl GussetMember {
    async fn start(name: &str, epmd: &Epmd) -> Self {
        let node = node::builder(epmd, &unique(name)).start().await.expect("the node starts");
        let global = node.global().expect("a visible node has it");
        let scopes = SCOPES.map(|scope| node.pg(scope).expect("a scope")).into();
        Self { node, global, scopes, workers: Mutex::default(), doing: JoinSet::new() }
    }

    /// A process of those that live, or a new one.
    fn worker(&self, which: usize) -> Pid {
        let mut workers = self.workers.lock().expect("not poisoned");
        workers.retain(|worker| self.node.is_alive(worker.pid()));
        if workers.is_empty() || which.is_multiple_of(3) && workers.len() < MOST_WORKERS {
            drop(workers);
            return self.new_worker();
        }
        workers[which % workers.len()].pid().clone()
    }

    fn new_worker(&self) -> Pid {
        let worker = self.node.process();
        let pid = worker.pid().clone();
        self.workers.lock().expect("not poisoned").push(worker);
        pid
    }

    fn tell(&mut self, step: &Step, cluster: &[NodeName], way: Option<u16>) {
        let text = format!("{step:?}");
        let failed = move |error: &dyn std::fmt::Display| format!("{text}: {error}");
        match step {
            Step::Join { scope, group, which } => {
                let (scope, group, worker) = (self.scopes[scope % 2].clone(), term(group), self.worker(*which));
                self.doing.spawn(async move { scope.join(group, vec![worker]).await.map_err(|error| failed(&error)) });
            }
            Step::Leave { scope, group, which } => {
                let (scope, group) = (self.scopes[scope % 2].clone(), term(group));
                let members = scope.local_members(group.clone());
                if !members.is_empty() {
                    let member = members[which % members.len()].clone();
                    let leave = async move { scope.leave(group, vec![member]).await.map(drop) };
                    self.doing.spawn(async move { leave.await.map_err(|error| failed(&error)) });
                }
            }
            Step::Register { name } => {
                let (global, name, worker) = (self.global.clone(), term(name), self.new_worker());
                let register = async move { global.register(name, &worker).await.map(drop) };
                self.doing.spawn(async move { register.await.map_err(|error| failed(&error)) });
            }
            Step::Unregister { name } => {
                let (global, name) = (self.global.clone(), term(name));
                let unregister = async move { global.unregister(name).await.map(drop) };
                self.doing.spawn(async move { unregister.await.map_err(|error| failed(&error)) });
            }
            Step::Crash { which } => {
                let worker = self.worker(*which);
                self.node.exit(&worker, &Reason::from_term(&Term::from(atom!("crashed"))));
            }
            Step::Connect { to, through_proxy } => {
                let mut target = DialTarget::from(cluster[*to].clone());
                if let Some(port) = way.filter(|_| *through_proxy) {
                    target = target.with_port(port);
                }
                let node = self.node.clone();
                self.doing.spawn(async move {
                    // That it fails is one of the things that happen.
                    let _ = node.connect(target).await;
                    Ok(())
                });
            }
            Step::Disconnect { from } => {
                self.node.disconnect(&cluster[*from]);
            }
        }
    }

    fn view(&self) -> Vec<String> {
        let known = |pid: &Pid| {
            let dead = pid.node == *self.node.name().as_atom() && !self.node.is_alive(pid);
            let note = if dead { "dead " } else { "" };
            format!("{note}{}.{}.{}@{}", pid.id, pid.serial, pid.creation.0, pid.node.as_str())
        };
        let mut lines = vec![format!("node {}", self.node.name())];
        lines.extend(self.node.nodes().iter().map(|node| format!("node {node}")));
        for name in self.global.names() {
            let holder = self.global.whereis(&name);
            lines.push(format!("name {name} {}", holder.as_ref().map_or_else(|| "nobody".to_owned(), known)));
        }
        for scope in &self.scopes {
            for group in scope.which_groups() {
                let members = scope.members(group.clone());
                lines.extend(members.iter().map(|pid| format!("member {} {group} {}", scope.name(), known(pid))));
            }
        }
        lines.sort();
        lines
    }
}

impl Cluster {
    /// Nodes of all three releases and three gussets, not connected yet. Who wins when two dial each other at once is
    /// decided by their names, so those of the gussets are before, among and after the others.
    ///
    /// With `beams_only` there are BEAMs in place of the gussets, to see what they come to by themselves.
    pub(crate) async fn start(beams_only: bool) -> Self {
        let epmd = Epmd::start(&otp::get(25).expect("installed")).await;
        let mut beams = Vec::new();
        let releases = [(25, &SCOPES[..1]), (27, &SCOPES[..]), (29, &SCOPES[1..])];
        for (release, scopes) in releases.into_iter().cycle().take(if beams_only { 6 } else { 3 }) {
            beams.push(BeamMember::start(release, scopes, &epmd).await);
        }
        let mut gussets = Vec::new();
        for name in ["a", "n26", "z"].iter().filter(|_| !beams_only) {
            gussets.push(GussetMember::start(name, &epmd).await);
        }
        let names = beams.iter().map(|member| name_of(&member.beam));
        let names = names.chain(gussets.iter().map(|member| member.node.name().clone())).collect();
        Self { beams, gussets, names, _epmd: epmd }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells a node what to do, and does not wait until it is done.
    pub(crate) async fn tell(&mut self, who: usize, step: &Step) {
        match who.checked_sub(self.beams.len()) {
            None => self.beams[who].tell(step, &self.names).await,
            Some(gusset) => {
                let way = match step {
                    Step::Connect { to, .. } => self.beams.get(*to).map(|member| member.proxy.port()),
                    _ => None,
                };
                self.gussets[gusset].tell(step, &self.names, way);
            }
        }
    }

    /// Waits until everybody has done what he was told.
    pub(crate) async fn all_done(&mut self, limit: Duration) {
        for BeamMember { beam, .. } in &self.beams {
            let done = beam.wait_until("gusset_chaos:unfinished() =:= {[], []}", limit).await;
            done.unwrap_or_else(|error| panic!("{} has not done its steps: {error}", beam.node_name));
        }
        for member in &mut self.gussets {
            let name = member.node.name().clone();
            while let Some(done) = within(limit, &format!("the steps of {name}"), member.doing.join_next()).await {
                done.expect("no step panics").unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }

    /// What each node believes, in lines that are the same where two believe the same.
    pub(crate) async fn views(&self) -> Vec<Vec<String>> {
        let mut views = Vec::new();
        for member in &self.beams {
            views.push(member.view().await);
        }
        views.extend(self.gussets.iter().map(GussetMember::view));
        views
    }

    /// One who is in all scopes, so that the others can be compared with it: a gusset, else the first BEAM of OTP 27.
    pub(crate) fn measure(&self) -> usize {
        if self.gussets.is_empty() { 1 } else { self.beams.len() }
    }

    /// Where the views differ; empty when all nodes see all nodes, and agree.
    pub(crate) async fn disagreements(&self) -> Vec<String> {
        let views = self.views().await;
        let expected = &views[self.measure()];
        let mut found = Vec::new();
        for (who, view) in views.iter().enumerate() {
            let mut wanted: Vec<&String> = expected.iter().collect();
            if let Some(member) = self.beams.get(who) {
                let not_there = |line: &str| {
                    let scope = line.strip_prefix("member ").and_then(|rest| rest.split(' ').next());
                    scope.is_some_and(|scope| !member.scopes.contains(&scope))
                };
                wanted.retain(|line| !not_there(line));
            }
            let name = &self.names[who];
            let odd = view.iter().filter(|line| line.contains(" dead ") || line.ends_with(" nobody"));
            found.extend(odd.map(|line| format!("{name} has {line:?}")));
            let nodes = view.iter().filter(|line| line.starts_with("node ")).count();
            if nodes != self.len() {
                found.push(format!("{name} sees {nodes} nodes: {view:?}"));
            } else if view.iter().ne(wanted.iter().copied()) {
                let missing: Vec<_> = wanted.iter().filter(|line| !view.contains(line)).collect();
                let more: Vec<_> = view.iter().filter(|line| !wanted.contains(line)).collect();
                found.push(format!("unlike {}, {name} lacks {missing:?}, has {more:?}", self.names[self.measure()]));
            }
        }
        found
    }

    /// No process that a BEAM lives by was lost, and none crashed.
    pub(crate) async fn unharmed(&self) {
        for BeamMember { beam, .. } in &self.beams {
            assert_eq!(beam.value("gusset_chaos:unharmed()").await, "[]", "{}", beam.node_name);
            let log = beam.settled_log().await;
            for bad in ["=ERROR REPORT", "=CRASH REPORT", "=SUPERVISOR REPORT", "Invalid distribution message"] {
                assert!(!log.contains(bad), "the log of {} has {bad:?}:\n{log}", beam.node_name);
            }
        }
    }

    pub(crate) async fn shutdown(&self) {
        for member in &self.gussets {
            within(SOON, "shutdown", member.node.shutdown()).await;
        }
    }
}

fn term(text: &str) -> Term {
    Term::atom(text).expect("an atom")
}
