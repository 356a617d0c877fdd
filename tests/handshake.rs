//! The handshake and EPMD against real BEAM nodes of every release.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Beam, BeamOptions, COOKIE, Epmd, LATER, Otp, PortLease, Program, SOON, otp, require, unique, within};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gusset::etf::Creation;
use gusset::net::{
    AttemptId, ConnectError, DialOptions, DialTarget, EpmdClient, EpmdMode, EpmdOptions, EpmdPresence, EpmdServer,
    Established, Gatekeeper, Listener, Registration, RegistrationState, Step, Verdict, dial,
};
use gusset::proto::epmd::EpmdEntry;
use gusset::proto::{Cookie, Flags, LocalIdentity, NodeName};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What each release offers when it is visible (`erts_internal:get_dflags/0`, seen on the wire).
fn offered_by(otp: &Otp) -> Flags {
    Flags::from_wire(match otp.release {
        23 => 0x1_01DF_7FBD,
        25 | 27 => 0xD_07DF_7FBD,
        _ => 0x6D_07DF_7FBD,
    })
}

fn cookie() -> Cookie {
    Cookie::new(COOKIE).unwrap()
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// Our own name, a new one for each test.
fn us() -> LocalIdentity {
    LocalIdentity::named(name(&format!("{}@127.0.0.1", unique("gusset"))), Creation(0x6500_0000))
}

fn our_atom(local: &LocalIdentity) -> String {
    format!("'{}'", local.name.as_ref().unwrap())
}

fn options(epmd: &Epmd) -> DialOptions {
    DialOptions { epmd_port: epmd.port(), ..DialOptions::default() }
}

async fn dial_beam(beam: &Beam, epmd: &Epmd, local: &LocalIdentity) -> Result<Established, ConnectError> {
    dial(&name(&beam.node_name).into(), local, &cookie(), &options(epmd), || true).await
}

/// What the acceptor asked.
#[derive(Debug, PartialEq)]
enum Asked {
    Arrival,
    BeforeAck,
    Abandoned,
}

struct Gate {
    /// The verdicts to come; `Ok` when there is none.
    verdicts: Mutex<Vec<Verdict>>,
    cookie: Cookie,
    asked: mpsc::UnboundedSender<Asked>,
    connected: mpsc::UnboundedSender<Established>,
    given: Mutex<u32>,
}

impl Gatekeeper for Gate {
    fn arrival(&self, _: &NodeName, _: bool, _: AttemptId) -> Verdict {
        let _ = self.asked.send(Asked::Arrival);
        self.verdicts.lock().pop().unwrap_or(Verdict::Ok)
    }

    fn cookie(&self, _: &NodeName) -> Cookie {
        self.cookie.clone()
    }

    fn dynamic_name(&self, host: &str) -> Option<(NodeName, Creation)> {
        let mut given = self.given.lock();
        *given += 1;
        Some((name(&format!("GIVEN{given}@{host}")), Creation(0x6600_0000 + *given)))
    }

    fn before_ack<'a>(&'a self, _: &'a NodeName, _: AttemptId) -> BoxFuture<'a, Result<(), String>> {
        let _ = self.asked.send(Asked::BeforeAck);
        async { Ok(()) }.boxed()
    }

    fn abandoned(&self, _: &NodeName, _: AttemptId) {
        let _ = self.asked.send(Asked::Abandoned);
    }

    fn connected(&self, established: Established) {
        let _ = self.connected.send(established);
    }
}

/// We, listening and registered.
struct Us {
    local: LocalIdentity,
    gate: Arc<Gate>,
    asked: mpsc::UnboundedReceiver<Asked>,
    connected: mpsc::UnboundedReceiver<Established>,
    _registration: Registration,
    _stop: DropGuard,
}

impl Us {
    async fn start(epmd: &Epmd, cookie: Cookie) -> Self {
        Self::registered_as(epmd, cookie, |entry| entry).await
    }

    async fn registered_as(epmd: &Epmd, cookie: Cookie, change: impl Fn(EpmdEntry) -> EpmdEntry) -> Self {
        Self::named(us(), epmd, cookie, change).await
    }

    async fn named(
        mut local: LocalIdentity,
        epmd: &Epmd,
        cookie: Cookie,
        change: impl Fn(EpmdEntry) -> EpmdEntry,
    ) -> Self {
        let listener = Listener::bind(&[LOOPBACK], 0).await.unwrap();
        let port = listener.port();
        let entry = change(EpmdEntry::new(local.name.as_ref().unwrap().name(), port));
        let registration = EpmdClient::new(LOOPBACK, epmd.port()).register(entry).await.unwrap();
        local.creation = registration.creation();
        let ((asked_in, asked), (connected_in, connected)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let gate = Arc::new(Gate {
            verdicts: Mutex::default(),
            cookie,
            asked: asked_in,
            connected: connected_in,
            given: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(listener.run(local.clone(), gate.clone(), Duration::from_secs(7), stop.clone()));
        Self { local, gate, asked, connected, _registration: registration, _stop: stop.drop_guard() }
    }

    async fn next_connection(&mut self) -> Established {
        within(SOON, "a connection that comes in", self.connected.recv()).await.unwrap()
    }

    async fn next_asked(&mut self) -> Asked {
        within(SOON, "something that is asked", self.asked.recv()).await.unwrap()
    }
}

#[tokio::test]
async fn we_connect_to_every_release_visible_and_hidden() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        for (local, list) in [(us(), "visible"), (us().hidden(), "hidden")] {
            let up = dial_beam(&beam, &epmd, &local).await.unwrap();
            assert_eq!(up.negotiated.peer.as_str(), beam.node_name);
            assert_eq!(up.negotiated.peer_flags, offered_by(&otp), "OTP {}", otp.release);
            assert_eq!(up.negotiated.flags, offered_by(&otp) & local.flags);
            assert_eq!(up.negotiated.hidden, list == "hidden");
            let creation = beam.eval_int("erts_internal:get_creation()").await;
            assert_eq!(i64::from(up.negotiated.peer_creation.0), creation);
            let listed = format!("lists:member({}, nodes({list}))", our_atom(&local));
            beam.wait_until(&listed, SOON).await.unwrap();
            drop(up);
            beam.wait_until(&format!("not lists:member({}, nodes(connected))", our_atom(&local)), SOON).await.unwrap();
        }
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn every_release_connects_to_us() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut us = Us::start(&epmd, cookie()).await;
        for options in [BeamOptions::default(), BeamOptions::default().hidden()] {
            let beam = Beam::start(&otp, &epmd, options).await;
            assert!(beam.eval_bool(&format!("net_kernel:connect_node({})", our_atom(&us.local))).await);
            let up = us.next_connection().await;
            assert_eq!(up.negotiated.peer.as_str(), beam.node_name);
            let creation = beam.eval_int("erts_internal:get_creation()").await;
            assert_eq!(i64::from(up.negotiated.peer_creation.0), creation);
            assert!(up.attempt.is_some());
            beam.wait_until(&format!("lists:member({}, nodes(connected))", our_atom(&us.local)), SOON).await.unwrap();
            assert_eq!([us.next_asked().await, us.next_asked().await], [Asked::Arrival, Asked::BeforeAck]);
            beam.assert_clean_log().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_cookie_is_found_by_every_release_and_by_us() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default().cookie("another")).await;
        let error = dial_beam(&beam, &epmd, &us()).await.unwrap_err();
        assert!(matches!(error, ConnectError::WrongCookie { .. }), "OTP {}: {error}", otp.release);
        assert!(error.to_string().contains("cookie"), "{error}");

        let mut us = Us::start(&epmd, cookie()).await;
        let started = Instant::now();
        assert!(!beam.eval_bool(&format!("net_kernel:connect_node({})", our_atom(&us.local))).await);
        assert!(started.elapsed() < Duration::from_secs(6), "it does not wait for net_setuptime");
        assert_eq!([us.next_asked().await, us.next_asked().await], [Asked::Arrival, Asked::Abandoned]);

        // With the cookie set for us alone it works.
        let set = format!("erlang:set_cookie({}, '{COOKIE}')", our_atom(&us.local));
        assert!(beam.eval_bool(&set).await);
        assert!(beam.eval_bool(&format!("net_kernel:connect_node({})", our_atom(&us.local))).await);
        us.next_connection().await;
    }
}

#[tokio::test]
async fn every_release_gives_us_a_name_and_the_next_creation_when_we_return() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let local = LocalIdentity::unnamed("127.0.0.1");
        let first = dial_beam(&beam, &epmd, &local).await.unwrap().negotiated;
        assert_eq!(first.local_name.host(), "127.0.0.1");
        assert!(first.hidden && first.local_creation.0 > 3, "{first:?}");
        let gone = format!("not lists:member('{}', nodes(connected))", first.local_name);
        beam.wait_until(&gone, SOON).await.unwrap();
        let second = dial_beam(&beam, &epmd, &local).await.unwrap();
        let named = &second.negotiated;
        assert_eq!((&named.local_name, named.local_creation.0), (&first.local_name, first.local_creation.0 + 1));
        beam.wait_until(&format!("nodes(hidden) =:= ['{}']", named.local_name), SOON).await.unwrap();
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn we_give_a_name_to_a_node_of_every_release() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let short = LocalIdentity::named(name(&format!("{}@localhost", unique("gusset"))), Creation(0));
        let mut us = Us::named(short, &epmd, cookie(), |entry| entry).await;
        // With `-name undefined` a node needs a host with a dot, which OTP 23 looks for in vain on many machines.
        let beam = Beam::start(&otp, &epmd, BeamOptions::named("undefined").short()).await;
        let connect = format!("net_kernel:connect_node({})", our_atom(&us.local));
        assert_eq!(beam.value(&connect).await, "true", "OTP {}", otp.release);
        let up = us.next_connection().await;
        assert!(up.negotiated.peer.name().starts_with("GIVEN") && up.negotiated.hidden);
        assert_eq!(beam.value("node()").await, format!("'{}'", up.negotiated.peer));
        let creation = beam.eval_int("erts_internal:get_creation()").await;
        assert_eq!(i64::from(up.negotiated.peer_creation.0), creation);
    }
}

#[tokio::test]
async fn a_second_connection_replaces_the_first_on_releases_that_do_so() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let local = us();
        beam.value("gusset_fixture:collect(seen, fun() -> net_kernel:monitor_nodes(true) end)").await;
        let mut first = dial_beam(&beam, &epmd, &local).await.unwrap();
        let up = format!("lists:member({}, nodes())", our_atom(&local));
        beam.wait_until(&up, SOON).await.unwrap();

        let target = DialTarget::from(name(&beam.node_name));
        let error = dial(&target, &local, &cookie(), &options(&epmd), || false).await.unwrap_err();
        assert!(matches!(error, ConnectError::AliveKept { .. }), "{error}");
        assert!(beam.eval_bool(&up).await, "the first connection stays");

        // Until it has noticed that, it closes on a further attempt without a word.
        let at_rest = format!("lists:member(up, tuple_to_list(hd(ets:lookup(sys_dist, {}))))", our_atom(&local));
        beam.wait_until(&at_rest, SOON).await.unwrap();
        let mut again = local.clone();
        again.creation.0 += 1;
        let limited = DialOptions { setup_timeout: Duration::from_secs(1), ..options(&epmd) };
        let second = dial(&target, &again, &cookie(), &limited, || true).await;
        if otp.release < 25 {
            let error = second.unwrap_err();
            assert!(matches!(error, ConnectError::OldConnectionAlive { .. }), "{error}");
            assert_eq!(error.step(), Step::Challenge);
            assert!(beam.eval_bool(&up).await, "the first connection stays");
            continue;
        }
        let _second = second.unwrap();
        let name = our_atom(&local);
        let seen = beam.value("gusset_fixture:collected(seen, 3, 5000)").await;
        assert_eq!(seen, format!("[{{nodeup,{name}}},{{nodedown,{name}}},{{nodeup,{name}}}]"), "OTP {}", otp.release);
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut first.stream, &mut rest);
        let _ = within(SOON, "the end of the first connection", end).await;
    }
}

#[tokio::test]
async fn old_releases_take_the_new_connection_when_the_old_one_closes() {
    let otp = require!(otp::get(23));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let local = us();
    let first = dial_beam(&beam, &epmd, &local).await.unwrap();
    beam.wait_until(&format!("lists:member({}, nodes())", our_atom(&local)), SOON).await.unwrap();
    // The question whether to replace is asked when the peer has decided to wait: only then the old one goes.
    let first = Mutex::new(Some(first));
    let still_wanted = || {
        drop(first.lock().take());
        true
    };
    let target = DialTarget::from(name(&beam.node_name));
    dial(&target, &local, &cookie(), &options(&epmd), still_wanted).await.unwrap();
}

#[tokio::test]
async fn a_beam_answers_our_question_whether_to_replace_with_yes() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut us = Us::start(&epmd, cookie()).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        us.gate.verdicts.lock().push(Verdict::Alive);
        assert!(beam.eval_bool(&format!("net_kernel:connect_node({})", our_atom(&us.local))).await);
        us.next_connection().await;
        assert_eq!([us.next_asked().await, us.next_asked().await], [Asked::Arrival, Asked::BeforeAck]);
    }
}

#[tokio::test]
async fn after_our_nok_the_peer_is_satisfied_by_our_own_attempt() {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let mut us = Us::start(&epmd, cookie()).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        assert!(us.local.name.as_ref().unwrap().as_str() > beam.node_name.as_str(), "ours is the greater name");
        us.gate.verdicts.lock().push(Verdict::Nok);
        let started = Instant::now();
        let connect = format!("net_kernel:connect_node({})", our_atom(&us.local));
        let ours = async {
            assert_eq!(us.next_asked().await, Asked::Arrival);
            dial_beam(&beam, &epmd, &us.local).await.unwrap()
        };
        let (connected, _up) = tokio::join!(beam.eval_bool(&connect), ours);
        assert!(connected, "OTP {}", otp.release);
        assert!(started.elapsed() < Duration::from_secs(6), "without waiting for net_setuptime");
        beam.assert_clean_log().await;
    }
}

#[tokio::test]
async fn otp_23_speaks_the_old_name_message_to_who_is_registered_with_version_5() {
    let otp = require!(otp::get(23));
    let epmd = Epmd::start(&otp).await;
    let old = |entry| EpmdEntry { highest_version: 5, ..entry };
    let mut us = Us::registered_as(&epmd, cookie(), old).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    assert!(beam.eval_bool(&format!("net_kernel:connect_node({})", our_atom(&us.local))).await);
    let up = us.next_connection().await;
    assert_eq!(up.negotiated.peer_flags, offered_by(&otp));
    let creation = beam.eval_int("erts_internal:get_creation()").await;
    assert_eq!(i64::from(up.negotiated.peer_creation.0), creation, "it came with the complement");
}

#[tokio::test]
async fn who_does_not_let_us_in_and_why_is_told() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;

    let poor = LocalIdentity { flags: Flags::OFFERED - Flags::V4_NC, ..us() };
    let error = dial_beam(&beam, &epmd, &poor).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAllowed { .. }), "{error}");
    assert!(error.to_string().contains("V4_NC (OTP 26"), "{error}");

    let client = EpmdClient::new(LOOPBACK, epmd.port());
    let entry = client.port_of(name(&beam.node_name).name()).await.unwrap().unwrap();
    let other = DialTarget::at(name("other@127.0.0.1"), LOOPBACK).with_port(entry.port);
    let error = dial(&other, &us(), &cookie(), &options(&epmd), || true).await.unwrap_err();
    assert!(matches!(error, ConnectError::OtherName { .. }), "{error}");

    beam.value("net_kernel:allow(['somebody@127.0.0.1'])").await;
    let error = dial_beam(&beam, &epmd, &us()).await.unwrap_err();
    assert!(error.to_string().contains("net_kernel:allow"), "{error}");
}

#[tokio::test]
async fn beams_of_every_release_find_each_other_and_us_through_our_epmd() {
    let Some(oldest) = otp::available().into_iter().next() else { return };
    let unused = Epmd::start(&oldest).await;
    let server = EpmdServer::bind(&[LOOPBACK], 0).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let client = EpmdClient::new(LOOPBACK, port);
    let mut beams = Vec::new();
    for otp in otp::available() {
        let options = BeamOptions::default().env("ERL_EPMD_PORT", &port.to_string());
        beams.push(Beam::start(&otp, &unused, options).await);
    }
    assert_eq!(server.names().len(), beams.len());
    for (beam, entry) in beams.iter().map(|beam| (beam, name(&beam.node_name))) {
        let entry = client.port_of(entry.name()).await.unwrap().expect("the node is registered");
        assert_eq!((entry.highest_version, entry.lowest_version), (6, 5));
        let creation = beam.eval_int("erts_internal:get_creation()").await;
        assert!(creation > 1_600_000_000, "our EPMD gave it the time as creation: {creation}");
        for other in &beams {
            // OTP 23 lacks what 26 and later ask for, so those do not connect.
            if beam.otp.release.min(other.otp.release) < 25 && beam.otp.release.max(other.otp.release) > 25 {
                continue;
            }
            assert_eq!(beam.value(&format!("net_adm:ping({})", other.atom())).await, "pong");
        }
        let names = beam.value("{ok, N} = net_adm:names({127,0,0,1}), length(N)").await;
        assert_eq!(names, beams.len().to_string());
    }
    // The program `epmd` reads our list as well.
    let mut command = tokio::process::Command::new(oldest.program("epmd"));
    command.args(["-port", &port.to_string(), "-names"]).env("ERL_EPMD_ADDRESS", "127.0.0.1");
    let mut epmd = Program::start("epmd", command).unwrap();
    epmd.wait(LATER).await;
    let last = name(&beams.last().unwrap().node_name);
    epmd.output().line_with(&format!("name {} at port", last.name()), SOON).await.unwrap();

    // A node that ends is forgotten, and returns with the next creation.
    let mut first = beams.remove(0);
    let creation = first.eval_int("erts_internal:get_creation()").await;
    let node = name(&first.node_name);
    first.kill9().await;
    let gone = async {
        while client.port_of(node.name()).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(SOON, "the killed node is forgotten", gone).await;
    let options = BeamOptions::named(node.as_str()).env("ERL_EPMD_PORT", &port.to_string());
    let again = Beam::start(&oldest, &unused, options).await;
    assert_eq!(again.eval_int("erts_internal:get_creation()").await, creation + 1);
}

#[tokio::test]
async fn we_stay_registered_with_a_real_epmd_that_is_killed_and_restarted() {
    for otp in otp::available() {
        let mut epmd = Epmd::start(&otp).await;
        let client = EpmdClient::new(LOOPBACK, epmd.port());
        let registration = client.register(EpmdEntry::new("gusset", 4711)).await.unwrap();
        let creation = registration.creation();
        let mut states = registration.state();
        assert!(client.dump().await.unwrap().contains("active name     <gusset> at port 4711"));
        epmd.kill().await;
        let lost = states.wait_for(|state| *state != RegistrationState::Registered);
        within(SOON, "the loss is noticed", lost).await.unwrap();
        epmd.restart().await;
        let back = states.wait_for(|state| *state == RegistrationState::Registered);
        within(SOON, "it is registered again", back).await.unwrap();
        assert_eq!(epmd.names().await, [("gusset".to_owned(), 4711)]);
        assert_eq!(registration.creation(), creation);

        assert!(matches!(client.kill().await, Err(gusset::net::EpmdError::Refused { .. })), "a node is registered");
        assert!(client.stop("gusset").await.is_err());
        let again = client.register(EpmdEntry::new("gusset", 1)).await.unwrap_err();
        assert!(matches!(again, gusset::net::EpmdError::NameTaken { .. }), "{again}");
        drop(registration);
        let gone = async {
            while !client.names().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(SOON, "the name is free again", gone).await;
        client.kill().await.unwrap();
    }
}

#[tokio::test]
async fn beams_register_with_us_when_we_take_over_from_their_epmd() {
    let otp = require!(otp::get(27));
    let mut epmd = Epmd::start(&otp).await;
    let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let options = EpmdOptions {
        mode: EpmdMode::Auto,
        port: epmd.port(),
        addresses: vec![LOOPBACK],
        take_over_after: Duration::from_secs(1),
        ..EpmdOptions::default()
    };
    let node = EpmdPresence::start(&options, EpmdEntry::new("gusset", 4711)).await.unwrap();
    assert!(!node.is_serving());
    epmd.kill().await;
    let client = EpmdClient::new(LOOPBACK, options.port);
    let both = async {
        // Nobody listens for a while, then it is us; the BEAM comes when its own pause is over.
        while client.names().await.map_or(0, |names| names.len()) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(LATER, "both are registered with our EPMD", both).await;
    assert!(node.is_serving());
    assert!(client.port_of(name(&beam.node_name).name()).await.unwrap().is_some());
}

#[tokio::test]
async fn nodes_without_epmd_meet_on_their_fixed_port() {
    let otp = require!(otp::get(27));
    let unused = Epmd::start(&otp).await;
    let lease = PortLease::new();
    let beam = Beam::start(&otp, &unused, BeamOptions::default().fixed_port(lease.port())).await;
    let options = DialOptions { fixed_port: Some(lease.port()), epmd_port: 1, ..DialOptions::default() };
    let target = DialTarget::from(name(&beam.node_name));
    let up = dial(&target, &us(), &cookie(), &options, || true).await.unwrap();
    assert_eq!(up.address.port(), lease.port());
    assert!(up.negotiated.peer_creation.0 > 3);
}
