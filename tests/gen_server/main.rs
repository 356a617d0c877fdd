//! Servers of ours that a BEAM calls, servers of a BEAM that we call, what `sys` and supervisors are asked
//! ([`looks`]). With BEAM nodes of every release.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

#[path = "../common/mod.rs"]
mod common;
mod looks;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::node::{self, atom, connect, name_of, next, until, with_each};
use common::{Beam, BeamOptions, Epmd, Iex, LATER, SOON, otp, require, unique, within};
use gusset::etf::DecodeError;
use gusset::services::{Answer, GenServer, Next, ReplyTo, Unreadable};
use gusset::{CallError, Message, Payload, Pid, Process, Reason, Term, atom as a, global_name, tuple};
use serde::Deserialize;

/// Counts, keeps the last caller that waits, and tells somebody when it stops.
#[derive(Default)]
struct Counter {
    count: i64,
    waiting: Option<ReplyTo>,
    tell: Option<Pid>,
    stopped: Arc<AtomicUsize>,
    unreadable: Option<Unreadable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Echo(Term),
    From,
    Wait,
    Later(u64),
    Stop,
    Panic,
    NotANumber,
}

impl GenServer for Counter {
    type Call = Question;
    type Cast = i64;
    type Reply = Term;

    async fn handle_call(&mut self, question: Question, from: ReplyTo, process: &mut Process) -> Answer<Term> {
        match question {
            Question::Echo(term) => Answer::Reply(tuple![a!("got"), term]),
            Question::From => Answer::Reply(tuple![from.pid(), process.pid()]),
            Question::Wait => {
                self.waiting = Some(from);
                Answer::Later
            }
            Question::Later(number) => {
                let node = process.node();
                node.clone().spawn_task(async move { from.reply_from(&node, &number).await.unwrap() });
                Answer::Later
            }
            Question::Stop => Answer::Stop(Reason::from_term(&a!("as_asked").into()), Some(a!("stopping").into())),
            Question::Panic => panic!("as asked"),
            Question::NotANumber => Answer::Reply(f64::NAN.into()),
        }
    }

    async fn handle_cast(&mut self, more: i64, process: &mut Process) -> Next {
        self.count += more;
        if let Some(caller) = self.waiting.take() {
            caller.reply(process, &self.count).await.unwrap();
        }
        Next::Continue
    }

    async fn handle_info(&mut self, message: Message, _process: &mut Process) -> Next {
        match message.term() {
            Ok(term) if term.is_atom("tick") => self.count += 1000,
            Ok(Term::Pid(pid)) => self.tell = Some(pid),
            _ => {}
        }
        Next::Continue
    }

    async fn terminate(&mut self, reason: &Reason, process: &mut Process) {
        // Something that takes its time: nobody may be in a hurry here.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.stopped.fetch_add(1, Ordering::SeqCst);
        if let Some(tell) = &self.tell {
            process.send(tell, &tuple![a!("terminating"), reason.term().unwrap()]).await.unwrap();
        }
    }

    fn unreadable(&mut self, _request: &Payload, _error: &DecodeError) -> Unreadable {
        self.unreadable.unwrap_or(Unreadable::Refuse)
    }

    fn state(&self) -> Term {
        tuple![a!("counter"), self.count]
    }

    fn module(&self) -> gusset::Atom {
        a!("Elixir.Counter")
    }
}

#[tokio::test]
async fn a_beam_calls_a_server_of_ours() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let server = node.start_server("counter", Counter::default()).unwrap();
        let call = async |request: &str| {
            let call = format!("gen_server:call({{counter, {us}}}, {request})");
            beam.value(&format!("try {call} catch C:R -> {{C, R}} end")).await
        };
        assert_eq!(call("{echo, {a, [1]}}").await, "{got,{a,[1]}}");
        assert!(beam.eval_bool(&format!(
            "K = gusset_fixture:kinds(), {{got, K}} =:= gen_server:call({{counter, {us}}}, {{echo, K}})"
        )).await);
        let from_self = format!("{{P, S}} = gen_server:call({{counter, {us}}}, from), P =:= self() andalso node(S) =:= {us}");
        assert!(beam.eval_bool(&from_self).await);
        // A call that never leaves the node.
        let got: Term = node.call("counter", &(a!("echo"), a!("x"))).await.unwrap();
        assert_eq!(got, tuple![a!("got"), a!("x")]);
        assert_eq!(server.call::<Term>(&(a!("echo"), 1)).await.unwrap(), tuple![a!("got"), 1]);
        // A reply that comes later, from a cast and from a task.
        let waits = format!(
            "S = self(), spawn(fun() -> S ! {{later, gen_server:call({{counter, {us}}}, wait)}} end),
             gusset_fixture:wait_until(fun() -> gen_server:cast({{counter, {us}}}, 1), receive {{later, N}} -> N >= 1 after 20 -> false end end, 5000)"
        );
        assert_eq!(beam.value(&waits).await, "true");
        assert_eq!(call("{later, 7}").await, "7");
        let by_pid = format!("P = rpc:call({us}, erlang, whereis, [counter]), gen_server:call(P, {{echo, x}})");
        assert_eq!(beam.value(&by_pid).await, "{got,x}");
        let multi = format!("gen_server:multi_call([node(), {us}], counter, {{echo, y}}, 2000)");
        assert_eq!(beam.value(&multi).await, format!("{{[{{{us},{{got,y}}}}],[{}]}}", beam.atom()));
        let request = format!("gen_server:receive_response(gen_server:send_request({{counter, {us}}}, {{echo, z}}), 5000)");
        if beam.otp.release > 23 {
            assert_eq!(beam.value(&request).await, "{reply,{got,z}}");
        }
        let timeout = format!("catch gen_server:call({{counter, {us}}}, wait, 50)");
        assert!(beam.value(&timeout).await.starts_with("{'EXIT',{timeout,"));
        let started = Instant::now();
        let unknown = format!("catch gen_server:call({{nobody, {us}}}, x, 60000)");
        assert!(beam.value(&unknown).await.starts_with("{'EXIT',{noproc,"));
        assert!(started.elapsed() < Duration::from_secs(5), "an unknown name is known to be so at once");
        assert_eq!(call("stop").await, "stopping");
        assert_eq!(within(SOON, "the end", server.ended()).await.to_string().as_str(), "as_asked");
        assert!(call("from").await.starts_with("{exit,{noproc,"));
        node.start_server("counter", Counter::default()).unwrap();
        assert!(call("panic").await.starts_with("{exit,{{panic,<<\"as asked\">>},"));
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_of_another_type_fails_for_its_caller_and_for_nobody_else() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let server = node.start_server("counter", Counter::default()).unwrap();
        beam.value(&format!("gen_server:cast({{counter, {us}}}, 5)")).await;
        // Somebody else who watches the server hears nothing of it, be it the same process.
        let call = format!(
            "R = monitor(process, {{counter, {us}}}), {{'EXIT', {{Why, _}}}} = (catch gen_server:call({{counter, {us}}}, {{wait, 1}}, 60000)),
             {{Why, receive Message -> Message after 0 -> nothing end}}"
        );
        let started = Instant::now();
        let (said, none) = ("{bad_call,<<\"", "\">>},nothing}");
        let failed = beam.value(&call).await;
        assert!(failed.starts_with(&format!("{{{said}")) && failed.ends_with(none), "{failed}");
        assert!(failed.contains("wait"), "the caller reads what is wrong: {failed}");
        let unknown = beam.value(&format!("catch gen_server:call({{counter, {us}}}, bogus, 60000)")).await;
        assert!(unknown.contains("unknown variant `bogus`, expected one of `echo`, `from`"), "{unknown}");
        let unanswerable = beam.value(&format!("catch gen_server:call({{counter, {us}}}, not_a_number, 60000)")).await;
        assert!(unanswerable.starts_with("{'EXIT',{{bad_reply,<<\""), "{unanswerable}");
        if beam.otp.release > 25 {
            let multi = beam.value(&format!("gen_server:multi_call([{us}], counter, bogus, 60000)")).await;
            assert_eq!(multi, format!("{{[],[{us}]}}"));
        }
        assert!(started.elapsed() < Duration::from_secs(10), "nobody waits for a time-out");
        beam.value(&format!("gen_server:cast({{counter, {us}}}, bogus)")).await;
        assert_eq!(beam.value(&format!("sys:get_state({{counter, {us}}})")).await, "{counter,5}");
        // Our own callers, and those that ask from a process of theirs.
        let ours = node.call::<Term>("counter", &a!("bogus")).await;
        assert!(matches!(&ours, Err(CallError::Down(why)) if why.to_string().starts_with("{bad_call,")), "{ours:?}");
        let mut process = node.process();
        let ours = process.call::<Term>("counter", &a!("bogus"), SOON).await;
        assert!(matches!(&ours, Err(CallError::Down(why)) if why.to_string().starts_with("{bad_call,")), "{ours:?}");
        assert_eq!(process.queue_len(), 0);
        assert!(server.is_alive());

        let ignoring = Counter { unreadable: Some(Unreadable::Ignore), ..Counter::default() };
        node.start_server("ignoring", ignoring).unwrap();
        let ignored = beam.value(&format!("catch gen_server:call({{ignoring, {us}}}, bogus, 100)")).await;
        assert!(ignored.starts_with("{'EXIT',{timeout,"), "{ignored}");
        let crashing = Counter { unreadable: Some(Unreadable::Crash), ..Counter::default() };
        let crashing = node.start_server("crashing", crashing).unwrap();
        let crashed = beam.value(&format!("catch gen_server:call({{crashing, {us}}}, bogus, 60000)")).await;
        assert!(crashed.starts_with("{'EXIT',{{bad_call,<<\""), "{crashed}");
        within(SOON, "the end", crashing.ended()).await;
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_cleans_up_and_those_who_watch_and_link_hear_why() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let mut inbox = node.process();
        let start = async |name: &str| {
            let server = node.start_server(name, Counter::default()).unwrap();
            inbox.send(&server, inbox.pid()).await.unwrap();
            let watch = format!(
                "process_flag(trap_exit, true), P = rpc:call({us}, erlang, whereis, [{name}]), link(P), R = monitor(process, P),
                 gen_server:call({{{name}, {us}}}, from)"
            );
            beam.eval_in(name, &watch).await.unwrap();
            server
        };
        let heard = async |name: &str| {
            let heard = "{receive {'DOWN', R, process, P, Why} -> Why after 5000 -> late end, receive {'EXIT', P, Because} -> Because after 5000 -> late end}";
            beam.eval_in(name, heard).await.unwrap()
        };
        start("by_stop").await;
        assert_eq!(beam.value(&format!("gen_server:stop({{by_stop, {us}}}, enough, 5000)")).await, "ok");
        assert_eq!(heard("by_stop").await, "{enough,enough}");
        start("by_panic").await;
        beam.value(&format!("catch gen_server:call({{by_panic, {us}}}, panic)")).await;
        assert_eq!(heard("by_panic").await, "{{panic,<<\"as asked\">>},{panic,<<\"as asked\">>}}");
        let server = start("by_us").await;
        server.stop(Reason::normal(), SOON).await.unwrap();
        assert_eq!(heard("by_us").await, "{normal,normal}");
        // A signal ends it without a word, as in Erlang.
        start("by_signal").await;
        beam.value(&format!("exit(rpc:call({us}, erlang, whereis, [by_signal]), out)")).await;
        assert_eq!(heard("by_signal").await, "{out,out}");
        for expected in ["{terminating,enough}", "{terminating,{panic,<<\"as asked\">>}}", "{terminating,normal}"] {
            assert_eq!(next(&mut inbox).await, expected);
        }
        assert_eq!(inbox.queue_len(), 0);
        // The node shuts down: what has been started may clean up, whatever its handler does at the moment.
        let stopped = Arc::new(AtomicUsize::new(0));
        for name in ["one", "two"] {
            node.start_server(name, Counter { stopped: stopped.clone(), ..Counter::default() }).unwrap();
        }
        node.start_anonymous_server(Counter { stopped: stopped.clone(), ..Counter::default() });
        node.shutdown().await;
        assert_eq!(stopped.load(Ordering::SeqCst), 3);
    })
    .await;
}

#[tokio::test]
async fn we_call_a_server_of_a_beam() {
    with_each(|node, beam| async move {
        let them = name_of(&beam);
        beam.value("gusset_fixture:server(server)").await;
        let server = ("server", &them);
        let echoed: Term = node.call(server, &(a!("echo"), tuple![1, "x"])).await.unwrap();
        assert_eq!(echoed, tuple![1, "x"]);
        let pong: (gusset::Atom, i64) = node.call(server, &(a!("ping"), 7)).await.unwrap();
        assert_eq!(pong, (a!("pong"), 7));
        node.cast(server, &a!("one")).await.unwrap();
        let mut process = node.process();
        process.cast(server, &a!("two")).await.unwrap();
        node.abcast(std::slice::from_ref(&them), "server", &a!("three")).await;
        let mut casts: Vec<gusset::Atom> = process.call(server, &a!("casts"), SOON).await.unwrap();
        casts.sort();
        assert_eq!(casts, [a!("one"), a!("three"), a!("two")]);
        let answers = node.multi_call::<Term>(&[them.clone(), node.name().clone()], "server", &a!("casts"), SOON).await;
        assert!(answers[0].1.is_ok() && answers[1].1.as_ref().is_err_and(CallError::is_noproc));
        let timeout = Duration::from_millis(50);
        let late = process.call::<Term>(server, &a!("silence"), timeout).await;
        assert!(matches!(late, Err(CallError::Timeout(after)) if after == timeout), "{late:?}");
        let started = Instant::now();
        let nobody = node.call_timeout::<Term>(("nobody", &them), &a!("x"), Duration::from_secs(60)).await;
        assert!(nobody.as_ref().is_err_and(CallError::is_noproc), "{nobody:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let nowhere = node.call::<Term>(("server", "nobody@127.0.0.1"), &a!("x")).await;
        assert!(nowhere.as_ref().is_err_and(CallError::is_noconnection), "{nowhere:?}");
        let crashed = node.call::<Term>(server, &a!("crash")).await;
        assert!(
            matches!(&crashed, Err(CallError::Down(reason)) if reason.to_string() == "crashed_as_asked"),
            "{crashed:?}"
        );
        beam.value("gusset_fixture:server(server)").await;
        assert!(node.stop_server(server, Reason::normal(), SOON).await.is_ok());
        assert!(node.stop_server(server, Reason::normal(), SOON).await.is_err_and(|error| error.is_noproc()));
        // Nothing of all that is left in the mailbox.
        assert_eq!(process.queue_len(), 0);
        assert_eq!(beam.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    })
    .await;
}

#[tokio::test]
async fn several_requests_are_on_their_way_at_once() {
    with_each(|node, beam| async move {
        let them = name_of(&beam);
        beam.value("gusset_fixture:server(server)").await;
        let server = ("server", &them);
        let mut requests = Vec::new();
        for number in 0..20 {
            requests.push(node.send_request::<(gusset::Atom, i64)>(server, &(a!("ping"), number)).await.unwrap());
        }
        for (number, request) in requests.into_iter().enumerate().rev() {
            assert_eq!(request.await.unwrap(), (a!("pong"), number as i64));
        }
        let mut request = node.send_request::<i64>(server, &(a!("echo"), 5)).await.unwrap();
        let mut answer = None;
        until("the answer", SOON, || {
            answer = answer.take().or_else(|| request.try_response());
            answer.is_some()
        })
        .await;
        assert_eq!(answer.unwrap().unwrap(), 5);
        assert!(request.try_response().is_none());
        let silence = node.send_request::<Term>(server, &a!("silence")).await.unwrap();
        let late = silence.response(Duration::from_millis(50)).await;
        assert!(late.as_ref().is_err_and(CallError::is_timeout), "{late:?}");
        let nobody = node.send_request::<Term>(("nobody", &them), &a!("x")).await.unwrap().await;
        assert!(nobody.as_ref().is_err_and(CallError::is_noproc), "{nobody:?}");
        let nowhere = node.send_request::<Term>(("x", "nobody@127.0.0.1"), &a!("x")).await.unwrap().await;
        assert!(nowhere.as_ref().is_err_and(CallError::is_noconnection), "{nowhere:?}");
        let other = node.send_request::<i64>(server, &(a!("echo"), a!("no_integer"))).await.unwrap().await;
        assert!(matches!(other, Err(CallError::Decode(_))), "{other:?}");
        // The server ends while one waits.
        let waiting = node.send_request::<Term>(server, &a!("silence")).await.unwrap();
        // The answer says that the request before it, and its monitor, have come.
        assert_eq!(node.call::<i64>(server, &(a!("echo"), 6)).await.unwrap(), 6);
        beam.value("gen_server:stop(server)").await;
        let ended = waiting.await;
        assert!(matches!(&ended, Err(CallError::Down(reason)) if reason.is("normal")), "{ended:?}");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn servers_are_called_by_their_names_in_global() {
    with_each(|node, beam| async move {
        let global = node.global().unwrap();
        beam.value("gen_server:start({global, {theirs, 1}}, gusset_fixture, [], [])").await;
        let theirs = || global_name(tuple![a!("theirs"), 1]);
        let known = tuple![a!("theirs"), 1];
        until("the name", LATER, || global.whereis(&known).is_some()).await;
        assert_eq!(node.call::<i64>(theirs(), &(a!("echo"), 3)).await.unwrap(), 3);
        node.cast(theirs(), &a!("one")).await.unwrap();
        let mut process = node.process();
        assert_eq!(process.call::<Vec<gusset::Atom>>(theirs(), &a!("casts"), SOON).await.unwrap(), [a!("one")]);
        let nobody = node.call::<Term>(global_name("nobody"), &a!("x")).await;
        assert!(nobody.as_ref().is_err_and(CallError::is_noproc), "{nobody:?}");
        assert_eq!(
            nobody.unwrap_err().to_string(),
            "the request was not sent: nobody is registered as <<\"nobody\">> in `global`"
        );
        assert!(node.cast(global_name("nobody"), &a!("x")).await.is_err());

        let ours = node.start_anonymous_server(Counter::default());
        assert!(within(LATER, "register", global.register(a!("ours"), ours.pid())).await.unwrap());
        beam.wait_until("is_pid(global:whereis_name(ours))", SOON).await.unwrap();
        assert_eq!(beam.value("gen_server:call({global, ours}, {echo, x})").await, "{got,x}");
        assert_eq!(beam.value("gen_server:call({via, global, ours}, {echo, x})").await, "{got,x}");
        let taken = "{error, {already_started, P}} = gen_server:start({global, ours}, gusset_fixture, [], []), node(P)";
        assert_eq!(beam.value(taken).await, atom(&node));
        assert_eq!(beam.value("gen_server:stop({global, ours})").await, "ok");
        beam.wait_until("global:whereis_name(ours) =:= undefined", SOON).await.unwrap();
        let again = node.start_anonymous_server(Counter::default());
        assert!(within(LATER, "register", global.register(a!("ours"), again.pid())).await.unwrap());
        let third = node.start_anonymous_server(Counter::default());
        within(LATER, "register", global.re_register(a!("ours"), third.pid())).await.unwrap();
        let third = third.pid().clone();
        assert_eq!(global.whereis(&a!("ours").into()), Some(third));
        assert_eq!(global.names(), [Term::from(a!("ours")), tuple![a!("theirs"), 1]]);
        beam.wait_until("lists:sort(global:registered_names()) =:= [ours, {theirs, 1}]", SOON).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn elixir_calls_servers_and_functions_of_ours() {
    for release in [25, 27, 29] {
        let otp = require!(otp::get(release));
        let epmd = Epmd::start(&otp).await;
        let node = node::start(&epmd).await;
        node.start_server("counter", Counter::default()).unwrap();
        node.export_fn("Elixir.MyRust", "add", |a: i64, b: i64| a + b).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let tell = told.clone();
        node.export_fn("Elixir.MyRust", "tell", move |n: usize| {
            tell.fetch_add(n, Ordering::SeqCst);
        })
        .unwrap();
        let mut iex = Iex::start(&otp, &epmd, BeamOptions::named(&unique("iex"))).await;
        let us = format!(":\"{}\"", node.name());
        iex.ask(&format!("n = {us}; Node.connect(n)"), "true", SOON).await;
        iex.ask("GenServer.call({:counter, n}, {:echo, %{a: [1]}})", "{:got, %{a: [1]}}", SOON).await;
        iex.ask("GenServer.cast({:counter, n}, 4)", ":ok", SOON).await;
        iex.ask(":sys.get_state({:counter, n})", "{:counter, 4}", SOON).await;
        iex.ask("GenServer.call({:counter, n}, :bogus)", "unknown variant `bogus`", SOON).await;
        iex.ask(":sys.get_state({:counter, n})", "{:counter, 4}", SOON).await;
        iex.ask("Supervisor.count_children({:gusset_sup, n}).workers", "7", SOON).await;
        iex.ask("Supervisor.which_children({:gusset_sup, n}) |> List.last() |> elem(0)", ":counter", SOON).await;
        iex.ask(":rpc.call(n, MyRust, :add, [20, 22])", "42", SOON).await;
        iex.ask(":erpc.call(n, MyRust, :add, [1, \"x\"])", "argument 2: expected an integer", SOON).await;
        iex.ask("Node.spawn(n, MyRust, :tell, [5])", "#PID<", SOON).await;
        until("the spawned function has run", SOON, || told.load(Ordering::SeqCst) == 5).await;
        iex.ask("GenServer.stop({:counter, n})", ":ok", SOON).await;
        node.shutdown().await;
    }
}

/// A BEAM that is connected, for tests of one release.
async fn pair(release: u32, epmd: &Epmd) -> (gusset::Node, Beam) {
    let beam = Beam::start(&otp::get(release).unwrap(), epmd, BeamOptions::default()).await;
    let node = node::start(epmd).await;
    connect(&node, &beam).await;
    (node, beam)
}

#[tokio::test]
async fn a_call_that_waits_hears_that_the_node_is_gone() {
    let otp = require!(otp::get(27));
    let epmd = Epmd::start(&otp).await;
    let (node, mut beam) = pair(27, &epmd).await;
    beam.value("gusset_fixture:server(server)").await;
    let waiting = node.send_request::<Term>(("server", &name_of(&beam)), &a!("silence")).await.unwrap();
    beam.kill9().await;
    let gone = within(SOON, "the news", waiting.response(LATER)).await;
    assert!(gone.as_ref().is_err_and(CallError::is_noconnection), "{gone:?}");
    node.shutdown().await;
}
