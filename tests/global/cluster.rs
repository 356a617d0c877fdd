//! Clusters of gussets and BEAM nodes, and what must hold in each.

use std::time::Duration;

use gusset::services::global::Global;
use gusset::{Node, NodeName, Pid, Process, Term};

use crate::common::node::{self, atom, name_of, until};
use crate::common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, unique, within};

/// A gusset that takes part in `global`.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) global: Global,
}

impl Member {
    pub(crate) async fn start(epmd: &Epmd, name: &str) -> Self {
        let node = node::builder(epmd, name).start().await.expect("the node starts");
        let global = node.global().expect("a visible node has it");
        Self { node, global }
    }

    pub(crate) fn has(&self, name: &str) -> Option<Pid> {
        self.global.whereis(&Term::atom(name).expect("a name"))
    }

    pub(crate) async fn knows(&self, others: &[&str]) {
        let mut expected: Vec<NodeName> = others.iter().map(|name| name.parse().expect("a name")).collect();
        expected.sort();
        until("the gusset knows all", LATER, || self.global.known() == expected && self.node.nodes() == expected).await;
    }
}

pub(crate) async fn start(releases: &[u32], epmd: &Epmd) -> Vec<Beam> {
    let mut beams = Vec::new();
    for release in releases {
        let otp = otp::get(*release).expect("installed");
        beams.push(Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await);
    }
    beams
}

pub(crate) fn erlang_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    names.sort();
    format!("[{}]", names.join(","))
}

/// Waits until everybody is connected with everybody, and `global` agrees.
pub(crate) async fn meshed(beams: &[Beam], gussets: &[&Member]) {
    let all: Vec<&str> = beams
        .iter()
        .map(|beam| beam.node_name.as_str())
        .chain(gussets.iter().map(|one| one.node.name().as_str()))
        .collect();
    for beam in beams {
        let others = erlang_list(all.iter().copied().filter(|name| *name != beam.node_name));
        let condition = format!(
            "{{lists:sort(nodes()), lists:sort(lists:map(fun({{N, _}}) -> N; (N) -> N end, gen_server:call(global_name_server, get_known)))}} =:= {{{others}, {others}}}"
        );
        if let Err(error) = beam.wait_until(&condition, LATER).await {
            for gusset in gussets {
                println!("{} has {:?} and knows {:?}", gusset.node.name(), gusset.node.nodes(), gusset.global.known());
            }
            for beam in beams {
                let has = beam.value("{nodes(), gen_server:call(global_name_server, get_known)}").await;
                println!("{} has and knows {has}\n{}", beam.node_name, beam.settled_log().await);
            }
            panic!("{}: {error}", beam.node_name);
        }
        assert_eq!(beam.value("global:sync()").await, "ok", "OTP {}", beam.otp.release);
    }
    for gusset in gussets {
        let me = gusset.node.name().as_str();
        gusset.knows(&all.iter().copied().filter(|name| *name != me).collect::<Vec<_>>()).await;
        gusset.global.sync(LATER).await.expect("syncs");
    }
}

pub(crate) async fn connect(from: &Beam, to: &str) {
    assert_eq!(from.value(&format!("net_kernel:connect_node('{to}')")).await, "true");
}

/// A name registered at one node is seen at all, and gone from all when its process ends.
pub(crate) async fn names_work(beams: &[Beam], gussets: &[&Member]) {
    for (number, beam) in beams.iter().enumerate() {
        let name = format!("of_beam_{number}");
        let start = format!("P = spawn(fun() -> receive stop -> ok end end), global:register_name({name}, P)");
        assert_eq!(beam.value(&start).await, "yes");
        let pid = beam.value(&format!("global:whereis_name({name})")).await;
        assert_ne!(pid, "undefined");
        for other in beams {
            other.wait_until(&format!("node(global:whereis_name({name})) =:= {}", beam.atom()), SOON).await.unwrap();
        }
        for gusset in gussets {
            until("the name at the gusset", SOON, || gusset.has(&name).is_some()).await;
            assert_eq!(gusset.has(&name).unwrap().node.as_str(), beam.node_name);
        }
        beam.value(&format!("global:send({name}, stop)")).await;
        for other in beams {
            other.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
        for gusset in gussets {
            until("the name is gone", SOON, || gusset.has(&name).is_none()).await;
        }
    }
    for (number, gusset) in gussets.iter().enumerate() {
        let name = format!("of_gusset_{number}");
        let mut process = gusset.node.process();
        assert!(register(gusset, &name, &process).await);
        for beam in beams {
            let here = format!("node(global:whereis_name({name})) =:= {}", atom(&gusset.node));
            beam.wait_until(&here, SOON).await.unwrap();
            beam.value(&format!("global:send({name}, {{hello, {}}})", beam.otp.release)).await;
            assert_eq!(node::next(&mut process).await, format!("{{hello,{}}}", beam.otp.release));
        }
        for other in gussets {
            assert_eq!(other.has(&name).as_ref(), Some(process.pid()));
        }
        drop(process);
        for beam in beams {
            beam.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
    }
}

pub(crate) async fn register(gusset: &Member, name: &str, process: &Process) -> bool {
    let name = Term::atom(name).expect("a name");
    within(LATER, "register", gusset.global.register(name, process.pid())).await.expect("registers")
}

/// A gusset in a runtime of its own, to be killed: all of its sockets close at once.
pub(crate) struct Victim {
    runtime: tokio::runtime::Runtime,
    pub(crate) member: Member,
}

impl Victim {
    pub(crate) async fn start(epmd: &Epmd, name: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (port, name) = (epmd.port(), name.to_owned());
        let member = runtime.spawn(async move {
            // EPMD takes a moment to see that the last one of this name is gone.
            let node = loop {
                match node::builder_at(port, &name).start().await {
                    Ok(node) => break node,
                    Err(error) if error.to_string().contains("runs on this host already") => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(error) => panic!("the node starts: {error}"),
                }
            };
            let global = node.global().expect("a visible node has it");
            Member { node, global }
        });
        let member = within(LATER, "a gusset", member).await.expect("starts");
        Self { runtime, member }
    }

    /// Connects; all that belongs to the connection runs in the runtime that will be killed.
    pub(crate) async fn connect(&self, beam: &Beam) {
        let (node, name) = (self.member.node.clone(), name_of(beam));
        let dial = self.runtime.spawn(async move { node.connect(name).await });
        within(SOON, "connect", dial).await.expect("not cancelled").expect("connects");
    }

    pub(crate) async fn kill(self) {
        let stop = move || self.runtime.shutdown_timeout(SOON);
        tokio::task::spawn_blocking(stop).await.expect("stops");
    }
}

pub(crate) async fn logs_are_clean(beams: &[Beam]) {
    for beam in beams {
        beam.assert_clean_log().await;
    }
}

/// For where somebody left: BEAMs that notice one after the other warn each other, which does no harm.
pub(crate) async fn no_server_crashed(beams: &[Beam]) {
    for beam in beams {
        let log = beam.settled_log().await;
        assert!(!log.contains("=ERROR REPORT") && !log.contains("=CRASH REPORT"), "{}: {log}", beam.node_name);
    }
}
