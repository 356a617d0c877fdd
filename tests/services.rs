//! What a BEAM expects to find on a node: net_kernel, output and log events that
//! arrive here. With BEAM nodes of every release.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use common::node::{self, atom, connect, name_of, until, with_each};
use common::{Beam, BeamOptions, Epmd, SOON, otp, within};
use gusset::{Payload, Term, atom as a, tuple};

#[tokio::test]
async fn pings_are_answered_in_both_directions() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        assert_eq!(beam.value(&format!("net_adm:ping({us})")).await, "pong");
        let yes: gusset::Atom =
            node.call(("net_kernel", &name_of(&beam)), &(a!("is_auth"), node.name().as_atom())).await.unwrap();
        assert_eq!(yes, "yes");
        let pong: gusset::Atom = node.rpc(&name_of(&beam), "net_adm", "ping", (node.name().as_atom(),)).await.unwrap();
        assert_eq!(pong, "pong");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_at_once_while_functions_take_their_time() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        node.export(a!("m"), a!("never"), 0, |_, _| std::future::pending());
        node.export(a!("m"), a!("echo"), 1, |_, mut args| async move { Ok(args.remove(0)) });
        let busy = format!(
            "[spawn(fun() -> rpc:block_call({us}, m, never, []) end) || _ <- lists:seq(1, 20)],
             [spawn(fun() -> rpc:call({us}, m, never, []) end) || _ <- lists:seq(1, 200)],
             [spawn(fun L() -> rpc:call({us}, m, echo, [lists:seq(1, 100)]), L() end) || _ <- lists:seq(1, 4)]"
        );
        beam.value(&busy).await;
        let (pings, us_of_each) = (50, format!("element(1, timer:tc(fun() -> pong = net_adm:ping({us}) end))"));
        let slowest = beam.eval_int(&format!("lists:max([{us_of_each} || _ <- lists:seq(1, {pings})])")).await;
        // Milliseconds here; the limit is for a machine that is busy with other things.
        assert!(slowest < 1_000_000, "a ping took {slowest} us");
    })
    .await;
}

#[tokio::test]
async fn a_beam_whose_net_kernel_is_busy_is_waited_for_and_answered() {
    with_each(|node, beam| async move {
        let (us, them) = (atom(&node), name_of(&beam));
        let question = (a!("is_auth"), node.name().as_atom().clone());
        beam.value("sys:suspend(net_kernel)").await;
        let limit = Duration::from_millis(300);
        let asked = node.call_timeout::<gusset::Atom>(("net_kernel", &them), &question, limit).await;
        assert!(asked.as_ref().is_err_and(gusset::CallError::is_timeout), "{asked:?}");
        // The other direction and all other messages have nothing to do with it.
        assert_eq!(beam.value(&format!("net_adm:ping({us})")).await, "pong");
        let here: gusset::Atom = node.rpc(&them, "erlang", "node", ()).await.unwrap();
        assert_eq!(here.as_str(), beam.node_name);
        let waiting = node.call::<gusset::Atom>(("net_kernel", &them), &question);
        let resumed = async {
            beam.wait_until("{message_queue_len, 2} =:= process_info(whereis(net_kernel), message_queue_len)", SOON)
                .await
                .unwrap();
            beam.value("sys:resume(net_kernel)").await
        };
        let (answer, _) = tokio::join!(waiting, resumed);
        assert_eq!(answer.unwrap(), "yes");
        beam.assert_clean_log().await;
    })
    .await;
}

/// Everything that this test program has logged, as lines of text.
fn logged() -> &'static Mutex<Vec<u8>> {
    static LOGGED: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let writer = || {
            struct Writer;
            impl std::io::Write for Writer {
                fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                    logged().lock().unwrap().extend_from_slice(bytes);
                    Ok(bytes.len())
                }
                fn flush(&mut self) -> std::io::Result<()> {
                    Ok(())
                }
            }
            Writer
        };
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        Mutex::default()
    })
}

fn log_has(text: &str) -> bool {
    String::from_utf8_lossy(&logged().lock().unwrap()).contains(text)
}

#[tokio::test]
async fn what_a_beam_prints_for_us_arrives_in_our_log() {
    logged();
    with_each(|node, beam| async move {
        let them = name_of(&beam);
        let mark = beam.node_name.clone();
        let format = Term::charlist("~ts has ~p and ~s~n");
        let args = gusset::list![mark.as_str(), gusset::list![1, 2], Term::charlist("text")];
        let ok: gusset::Atom = node.rpc(&them, "io", "format", (format, args)).await.unwrap();
        assert_eq!(ok, "ok");
        until("the line", SOON, || log_has(&format!("{mark} has [1,2] and text"))).await;
        // Other shapes of output, without the end of a line, and what we do not have.
        let expression = "io:put_chars([<<\"chars of \">>, \"NODE\"]), io:nl(), io:write({tuple, \"NODE\"}), \
            {io:get_line(\"> \"), io:columns(), io:getopts(), io:read(\"\"), io:request(group_leader(), what), \
             io:requests(group_leader(), [{put_chars, unicode, \"x\"}, nl])}";
        let expression = expression.replace("NODE", &mark);
        let user = format!(
            "U = rpc:call({}, erlang, whereis, [user]), true = group_leader(U, self()), {expression}",
            atom(&node)
        );
        let results = beam.value(&user).await;
        assert!(results.starts_with("{eof,{error,enotsup},["), "{results}");
        assert!(results.contains("{encoding,unicode}"), "{results}");
        assert!(results.contains(",eof,{error,request},"), "{results}");
        until("the other lines", SOON, || log_has(&format!("chars of {mark}"))).await;
        until("the unfinished line", SOON, || log_has("{tuple,")).await;
    })
    .await;
}

#[tokio::test]
async fn log_events_of_processes_that_we_lead_arrive_in_our_log() {
    logged();
    with_each(|node, beam| async move {
        let us = atom(&node);
        let mark = beam.node_name.clone();
        // As the logger of a BEAM forwards them, and as anybody may send them.
        let own = format!("spawn(fun() -> U = rpc:call({us}, erlang, whereis, [user]), group_leader(U, self()),
            logger:error(\"event ~ts\", [\"{mark}\"]), logger:error(#{{report_of => '{mark}'}}), exit({{crash_of, '{mark}'}}) end)");
        beam.value(&own).await;
        until("the event", SOON, || log_has(&format!("event {mark}"))).await;
        until("the report", SOON, || log_has(&format!("#{{report_of => '{mark}'}}"))).await;
        // The group leader of what a call starts is that of the call: ours.
        let crashing = (a!("erlang"), a!("error"), vec![tuple![a!("crashed"), mark.as_str()]]);
        let crashed: gusset::Pid = node.rpc(&name_of(&beam), "proc_lib", "spawn", crashing).await.unwrap();
        let line = format!("crash of {crashed}");
        until("the crash report", SOON, || log_has(&line)).await;
        let log = String::from_utf8_lossy(&logged().lock().unwrap()).into_owned();
        let line = log.lines().find(|have| have.contains(&line)).unwrap();
        let (node_of, what) = (format!("node={mark} pid={crashed} level=\"error\""), format!("{{crashed,<<\"{mark}\">>}}"));
        assert!(line.contains("ERROR") && line.contains(&node_of) && line.contains(&what), "{line}");
        let events = [
            format!("{{logger_proxy, {us}}} ! {{log, info, \"plain {mark}\", #{{}}}}"),
            format!("{{logger_proxy, {us}}} ! {{log, info, \"~p\", [], #{{}}}}"),
            format!("{{logger_proxy, {us}}} ! {{log, strange, 7, #{{}}}}"),
            format!("{{logger_proxy, {us}}} ! junk"),
            format!("{{error_logger, {us}}} ! {{notify, {{error, group_leader(), {{self(), \"old ~ts\", [\"{mark}\"]}}}}}}"),
            format!("{{error_logger, {us}}} ! {{notify, junk}}"),
            format!("{{user, {us}}} ! junk"),
            format!("{{rex, {us}}} ! junk, gen_server:cast({{rex, {us}}}, junk)"),
            format!("{{net_kernel, {us}}} ! junk, gen_server:cast({{net_kernel, {us}}}, junk)"),
        ];
        for event in events {
            beam.value(&event).await;
        }
        until("the plain event", SOON, || log_has(&format!("plain {mark}"))).await;
        until("the old event", SOON, || log_has(&format!("old {mark}"))).await;
        for service in ["logger_proxy", "error_logger", "user", "rex", "net_kernel"] {
            assert!(node.whereis(service).is_some(), "{service}");
            assert_eq!(beam.value(&format!("element(1, sys:get_status({{{service}, {us}}}))")).await, "status");
        }
        assert_eq!(beam.value(&format!("net_adm:ping({us})")).await, "pong");
    })
    .await;
}

#[tokio::test]
async fn a_process_of_ours_prints_where_its_group_leader_is() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        node.export(a!("m"), a!("print"), 0, |mut context, _| async move {
            gusset::services::put_chars(context.process(), "printed here\n").await.unwrap();
            Ok(a!("done").into())
        });
        let printed = format!("rpc:call({us}, m, print, [])");
        assert_eq!(within(SOON, "a call", beam.value(&printed)).await, "done");
        beam.output().line_with("printed here", SOON).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn remote_shells_are_refused_with_a_word_about_it() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let loaded = async |module: &str| beam.value(&format!("rpc:call({us}, code, ensure_loaded, [{module}])")).await;
        for module in ["shell", "iex", "'Elixir.IEx'"] {
            assert_eq!(loaded(module).await, "{error,nofile}");
        }
        // As a client of OTP 25 and before begins, and as it waits for the end.
        let refused = format!(
            "P = rpc:call({us}, shell, start, []), R = monitor(process, P), receive {{'DOWN', R, _, _, _}} -> ended end"
        );
        assert_eq!(beam.value(&refused).await, "ended");
        beam.output().line_with("There is no shell here", SOON).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_up_nobody_else() {
    let otp = common::require!(otp::get(25));
    let epmd = Epmd::start(&otp).await;
    let mut deaf = Beam::start(&otp, &epmd, BeamOptions::default()).await;
    let other = Beam::start(&otp, &epmd, BeamOptions::default().kernel("connect_all", "false")).await;
    let node = node::start(&epmd).await;
    connect(&node, &deaf).await;
    deaf.value("gusset_fixture:collect(box)").await;
    let peer = name_of(&deaf);
    let caller: gusset::Pid = node.rpc(&peer, "erlang", "whereis", (a!("box"),)).await.unwrap();
    deaf.sigstop();
    // Fills the queue to the deaf node to its limit.
    let chunk = Payload::from_term(&Term::binary(vec![1u8; 64 << 10])).unwrap();
    let filler = node.process();
    let fill = async { while filler.forward(("box", &peer), &chunk).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(2), fill).await.is_err(), "the queue never got full");
    // A call of the deaf node, as it would have come: the reply cannot get away.
    let call = (a!("$gen_call"), (&caller, node.make_ref()), (a!("is_auth"), a!("deaf@nowhere")));
    filler.send("net_kernel", &call).await.unwrap();
    let asked = Instant::now();
    assert_eq!(other.value(&format!("net_adm:ping({})", atom(&node))).await, "pong");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    deaf.sigcont();
    deaf.wait_until("lists:any(fun({_, yes}) -> true; (_) -> false end, gusset_fixture:collected(box))", SOON)
        .await
        .unwrap();
    node.shutdown().await;
}
