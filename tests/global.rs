//! `global` between gussets and BEAM nodes of every release: the mesh, the names, the locks, and what
//! happens when somebody leaves, crashes or loses a connection.

mod common;

use std::time::Duration;

use common::node::{self, atom, name_of, until};
use common::{Beam, BeamOptions, Epmd, LATER, SOON, otp, require, unique, within};
use gusset::services::global::{self, Global};
use gusset::{Node, NodeName, Term};

/// A gusset that takes part in `global`.
struct Member {
    node: Node,
    global: Global,
}

impl Member {
    async fn start(epmd: &Epmd, name: &str) -> Self {
        let node = node::builder(epmd, name).without_services().start().await.expect("the node starts");
        let global = global::install(&node).expect("installs");
        Self { node, global }
    }

    async fn knows(&self, others: &[&str]) {
        let mut expected: Vec<NodeName> = others.iter().map(|name| name.parse().expect("a name")).collect();
        expected.sort();
        until("the gusset knows all", LATER, || self.global.known() == expected && self.node.nodes() == expected).await;
    }
}

async fn start(releases: &[u32], epmd: &Epmd) -> Vec<Beam> {
    let mut beams = Vec::new();
    for release in releases {
        let otp = otp::get(*release).expect("installed");
        beams.push(Beam::start(&otp, epmd, BeamOptions::named(&unique(&format!("n{release}")))).await);
    }
    beams
}

fn erlang_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().map(|name| format!("'{name}'")).collect();
    names.sort();
    format!("[{}]", names.join(","))
}

/// Waits until everybody is connected with everybody, and `global` agrees.
async fn meshed(beams: &[Beam], gussets: &[&Member]) {
    let all: Vec<&str> =
        beams.iter().map(|beam| beam.node_name.as_str()).chain(gussets.iter().map(|one| one.node.name().as_str())).collect();
    for beam in beams {
        let others = erlang_list(all.iter().copied().filter(|name| *name != beam.node_name));
        let condition = format!("{{lists:sort(nodes()), lists:sort(global:get_known())}} =:= {{{others}, {others}}}");
        let condition = match beam.otp.release {
            // `get_known/0` is not exported; the server answers the same.
            _ => condition.replace("global:get_known()", "gen_server:call(global_name_server, get_known)"),
        };
        beam.wait_until(&condition, LATER).await.unwrap_or_else(|error| panic!("{}: {error}", beam.node_name));
        assert_eq!(beam.value("global:sync()").await, "ok", "OTP {}", beam.otp.release);
    }
    for gusset in gussets {
        let me = gusset.node.name().as_str();
        gusset.knows(&all.iter().copied().filter(|name| *name != me).collect::<Vec<_>>()).await;
        gusset.global.sync(LATER).await.expect("syncs");
    }
}

async fn connect(from: &Beam, to: &str) {
    assert_eq!(from.value(&format!("net_kernel:connect_node('{to}')")).await, "true");
}

/// A name registered at one node is seen at all, and gone from all when its process ends.
async fn names_work(beams: &[Beam], gussets: &[&Member]) {
    for (number, beam) in beams.iter().enumerate() {
        let name = format!("of_beam_{number}");
        let start = format!(
            "P = spawn(fun() -> receive stop -> ok end end), global:register_name({name}, P)"
        );
        assert_eq!(beam.value(&start).await, "yes");
        let pid = beam.value(&format!("global:whereis_name({name})")).await;
        assert_ne!(pid, "undefined");
        for other in beams {
            other.wait_until(&format!("node(global:whereis_name({name})) =:= {}", beam.atom()), SOON).await.unwrap();
        }
        for gusset in gussets {
            let found = || gusset.global.whereis(&Term::atom(&name).unwrap());
            until("the name at the gusset", SOON, || found().is_some()).await;
            assert_eq!(found().unwrap().node.as_str(), beam.node_name);
        }
        beam.value(&format!("global:send({name}, stop)")).await;
        for other in beams {
            other.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
        for gusset in gussets {
            until("the name is gone", SOON, || gusset.global.whereis(&Term::atom(&name).unwrap()).is_none()).await;
        }
    }
    for (number, gusset) in gussets.iter().enumerate() {
        let name = format!("of_gusset_{number}");
        let mut process = gusset.node.process();
        assert!(within(LATER, "register", gusset.global.register(Term::atom(&name).unwrap(), process.pid())).await.unwrap());
        for beam in beams {
            let here = format!("node(global:whereis_name({name})) =:= {}", atom(&gusset.node));
            beam.wait_until(&here, SOON).await.unwrap();
            beam.value(&format!("global:send({name}, {{hello, {}}})", beam.otp.release)).await;
            assert_eq!(node::next(&mut process).await, format!("{{hello,{}}}", beam.otp.release));
        }
        for other in gussets {
            assert_eq!(other.global.whereis(&Term::atom(&name).unwrap()).as_ref(), Some(process.pid()));
        }
        drop(process);
        for beam in beams {
            beam.wait_until(&format!("global:whereis_name({name}) =:= undefined"), SOON).await.unwrap();
        }
    }
}

async fn logs_are_clean(beams: &[Beam]) {
    for beam in beams {
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn a_gusset_and_a_beam_of_every_release_synchronise_whoever_dials() {
    for otp in otp::available() {
        for we_dial in [true, false] {
            let epmd = Epmd::start(&otp).await;
            let beams = start(&[otp.release], &epmd).await;
            let gusset = Member::start(&epmd, &unique(if we_dial { "a" } else { "z" })).await;
            if we_dial {
                node::connect(&gusset.node, &beams[0]).await;
            } else {
                connect(&beams[0], gusset.node.name().as_str()).await;
            }
            meshed(&beams, &[&gusset]).await;
            names_work(&beams, &[&gusset]).await;
            logs_are_clean(&beams).await;
            gusset.node.shutdown().await;
        }
    }
}
