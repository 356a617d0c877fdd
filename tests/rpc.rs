//! Calling functions in both directions: rpc, erpc, rex, spawns, erl_call, with BEAM nodes of every release.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use std::time::Duration;

use common::node::{self, atom, connect, name_of, next};
use common::{Beam, BeamOptions, COOKIE, Epmd, LATER, SOON, otp, within};
use gusset::node::Class;
use gusset::services::Arity;
use gusset::{CallError, Exception, Node, Term, atom as a, tuple};

/// A gusset with the functions of `m`, and a BEAM of every release, connected; `check` runs for each pair.
async fn with_each<F: Future<Output = ()>>(check: impl Fn(Node, Beam, Epmd) -> F) {
    for otp in otp::available() {
        let epmd = Epmd::start(&otp).await;
        let beam = Beam::start(&otp, &epmd, BeamOptions::default()).await;
        let node = node::start(&epmd).await;
        export(&node);
        connect(&node, &beam).await;
        check(node.clone(), beam, epmd).await;
        node.shutdown().await;
    }
}

fn export(node: &Node) {
    node.export(a!("m"), a!("echo"), 1, |_, mut args| async move { args.pop().ok_or_else(Exception::badarg) });
    node.export(a!("m"), a!("count"), Arity::Any, |_, args| async move { Ok(Term::from(args.len())) });
    node.export(a!("m"), a!("raise"), 2, |_, args| async move {
        let [class, reason] = <[Term; 2]>::try_from(args).map_err(|_| Exception::badarg())?;
        Err(match class {
            class if class.is_atom("throw") => Exception::throw(reason),
            class if class.is_atom("exit") => Exception::exit(reason),
            _ => Exception::error(reason),
        })
    });
    node.export(a!("m"), a!("panic"), 0, |_, _| async { panic!("as asked") });
    node.export(a!("m"), a!("print"), 1, |mut context, args| async move {
        let text = format!("printed {}\n", args.first().ok_or_else(Exception::badarg)?);
        gusset::services::put_chars(context.process(), &text).await.map_err(|_| Exception::badarg())?;
        Ok(tuple![a!("ok"), a!("done")])
    });
    node.export(a!("m"), a!("never"), 0, |_, _| std::future::pending());
    node.export(a!("m"), a!("tell"), 2, |mut context, args| async move {
        let [Term::Pid(to), message] = <[Term; 2]>::try_from(args).map_err(|_| Exception::badarg())? else {
            return Err(Exception::badarg());
        };
        let own = context.pid().clone();
        let sent = context.process().send(&to, &tuple![own, message]).await;
        sent.map(|()| Term::from(true)).map_err(|_| Exception::badarg())
    });
    // Appends its argument to a list, after a pause that is longer for earlier calls.
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    node.export(a!("m"), a!("in_order"), 1, move |_, args| {
        let order = order.clone();
        async move {
            let number = args.first().and_then(Term::as_u64).ok_or_else(Exception::badarg)?;
            tokio::time::sleep(Duration::from_millis(60 - number.min(5) * 10)).await;
            let mut order = order.lock().unwrap();
            order.push(Term::from(number));
            Ok(Term::from(order.clone()))
        }
    });
}

#[tokio::test]
async fn functions_of_ours_return_and_raise_as_those_of_a_beam() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        let rpc = async |mfa: &str| beam.value(&format!("rpc:call({us}, {mfa})")).await;
        assert_eq!(rpc("m, echo, [{a, [1, <<\"x\">>], #{k => 1.5}}]").await, "{a,[1,<<\"x\">>],#{k => 1.5}}");
        assert!(beam.eval_bool(&format!("K = gusset_fixture:kinds(), rpc:call({us}, m, echo, [K]) =:= K")).await);
        assert_eq!(rpc("m, count, []").await, "0");
        assert_eq!(rpc("m, count, lists:seq(1, 255)").await, "255");
        assert_eq!(rpc("m, raise, [throw, up]").await, "up");
        assert_eq!(rpc("m, raise, [exit, out]").await, "{badrpc,{'EXIT',out}}");
        assert_eq!(rpc("m, raise, [error, wrong]").await, "{badrpc,{'EXIT',{wrong,[]}}}");
        assert_eq!(rpc("m, panic, []").await, "{badrpc,{'EXIT',{{panic,<<\"as asked\">>},[]}}}");
        assert_eq!(rpc("m, nothing, [1]").await, "{badrpc,{'EXIT',{undef,[{m,nothing,[1],[]}]}}}");
        assert_eq!(rpc("lists, seq, [1, 2]").await, "{badrpc,{'EXIT',{undef,[{lists,seq,[1,2],[]}]}}}");
        assert_eq!(rpc("m, never, [], 100").await, "{badrpc,timeout}");
        let erpc = async |mfa: &str| beam.value(&format!("try erpc:call({us}, {mfa}) catch C:R -> {{C, R}} end")).await;
        assert_eq!(erpc("m, echo, [1]").await, "1");
        assert_eq!(erpc("m, raise, [throw, up]").await, "{throw,up}");
        assert_eq!(erpc("m, raise, [exit, out]").await, "{exit,{exception,out}}");
        assert_eq!(erpc("m, raise, [error, wrong]").await, "{error,{exception,wrong,[]}}");
        assert_eq!(erpc("m, nothing, [1]").await, "{error,{exception,undef,[{m,nothing,[1],[]}]}}");
        assert_eq!(erpc("m, count, lists:seq(1, 256)").await, "{error,{erpc,system_limit}}");
        assert_eq!(erpc("m, never, [], 100").await, "{error,{erpc,timeout}}");
        let fun = erpc("fun() -> ok end").await;
        assert!(fun.starts_with("{error,{exception,undef,[{#Fun<"), "{fun}");
        assert_eq!(erpc("fun erlang:node/0").await, us);
        assert_eq!(erpc("erlang, apply, [m, echo, [1]]").await, "1");
        let both = beam.value(&format!("rpc:multicall([node(), {us}], erlang, node, [])")).await;
        assert_eq!(both, format!("{{[{},{us}],[]}}", beam.atom()));
        let erpc_both = beam.value(&format!("erpc:multicall([{us}, {us}], m, raise, [throw, up])")).await;
        assert_eq!(erpc_both, "[{throw,up},{throw,up}]");
        assert_eq!(beam.value(&format!("net_adm:ping({us})")).await, "pong");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn casts_and_blocking_calls_reach_our_functions() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        let mut inbox = node.register("inbox").unwrap();
        let inbox_there = format!("rpc:call({us}, erlang, whereis, [inbox])");
        for (cast, word) in [("rpc:cast", "one"), ("erpc:cast", "two"), ("gen_server:cast", "three")] {
            let cast = match word {
                "three" => format!("{cast}({{rex, {us}}}, {{cast, m, tell, [P, {word}], group_leader()}})"),
                _ => format!("{cast}({us}, m, tell, [P, {word}])"),
            };
            beam.value(&format!("P = {inbox_there}, {cast}")).await;
            let told = next(&mut inbox).await;
            assert!(told.ends_with(&format!(",{word}}}")), "{told}");
        }
        // Each of them pauses longer than the next, so that only waiting for each other keeps them in order.
        let block = format!("rpc:block_call({us}, m, in_order, [I])");
        let calls = format!(
            "S = self(), [begin spawn(fun() -> S ! {{done, {block}}} end), timer:sleep(10) end || I <- lists:seq(1, 5)],
             lists:last(lists:sort([receive {{done, L}} -> {{length(L), L}} after 5000 -> late end || _ <- lists:seq(1, 5)]))"
        );
        assert_eq!(beam.value(&calls).await, "{5,[1,2,3,4,5]}");
        // A blocking call that takes its time does not hold up the others.
        beam.value(&format!("spawn(fun() -> rpc:block_call({us}, m, never, []) end)")).await;
        let call = format!("gen_server:call({{rex, {us}}}, {{call, m, echo, [1], group_leader()}})");
        assert_eq!(beam.value(&call).await, "1");
        let undef = format!("gen_server:call({{rex, {us}}}, {{call, no, no, [], group_leader()}})");
        assert_eq!(beam.value(&undef).await, "{badrpc,{'EXIT',{undef,[{no,no,[],[]}]}}}");
        let plain = async |request: &str| {
            beam.value(&format!("{{rex, {us}}} ! {{self(), {request}}}, receive M -> M after 5000 -> late end")).await
        };
        assert_eq!(plain("features_request").await, format!("{{features_reply,{us},[erpc]}}"));
        assert_eq!(plain("{sbcast, inbox, hello}").await, format!("{{rex,{us},{us}}}"));
        assert_eq!(next(&mut inbox).await, "hello");
        assert_eq!(plain("{sbcast, nobody, hello}").await, format!("{{rex,{us},{{nonexisting_name,nobody}}}}"));
        assert_eq!(plain("{call, m, echo, [7], user}").await, "{rex,7}");
        let everywhere = format!("P = {inbox_there}, rpc:eval_everywhere([{us}], m, tell, [P, four])");
        assert_eq!(beam.value(&everywhere).await, "abcast");
        assert!(next(&mut inbox).await.ends_with(",four}"));
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_process_is_killed_is_answered() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        for (call, expected) in [
            (
                format!("gen_server:call({{rex, {us}}}, {{call, m, never, [], group_leader()}})"),
                "{badrpc,{'EXIT',killed}}",
            ),
            (format!("catch erpc:call({us}, m, never, [])"), "{'EXIT',{signal,killed}}"),
        ] {
            beam.value(&format!("gusset_fixture:collect(done), spawn(fun() -> done ! ({call}) end)")).await;
            let labels = ["m:never/0", "erpc:execute_call/4"];
            let victim = within(SOON, "the call runs", async {
                loop {
                    let found = node.processes().into_iter().find(|process| labels.contains(&process.label.as_str()));
                    match found {
                        Some(process) => return process.pid,
                        None => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
            .await;
            assert!(node.exit(&victim, &gusset::Reason::kill()));
            assert_eq!(beam.value("gusset_fixture:collected(done, 1, 5000)").await, format!("[{expected}]"));
            beam.value(
                "exit(whereis(done), kill), gusset_fixture:wait_until(fun() -> whereis(done) =:= undefined end, 5000)",
            )
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn functions_of_ours_can_be_spawned() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        let told = "receive {P, word} -> P after 5000 -> late end";
        for spawn in ["spawn", "spawn_link"] {
            let same = format!("P = {spawn}({us}, m, tell, [self(), word]), P =:= {told}");
            assert!(beam.eval_bool(&same).await, "{spawn}");
        }
        let down = "receive {'DOWN', R, process, P, Why} -> Why after 5000 -> late end";
        let monitored = async |mfa: &str| beam.value(&format!("{{P, R}} = spawn_monitor({us}, {mfa}), {down}")).await;
        assert_eq!(monitored("m, echo, [1]").await, "normal");
        assert_eq!(monitored("m, raise, [exit, out]").await, "out");
        assert_eq!(monitored("m, raise, [error, wrong]").await, "{wrong,[]}");
        assert_eq!(monitored("m, raise, [throw, up]").await, "{{nocatch,up},[]}");
        assert_eq!(monitored("no, no, [1]").await, "{undef,[{no,no,[1],[]}]}");
        let fun = beam.value(&format!("{{P, R}} = spawn_monitor({us}, fun() -> ok end), {down}")).await;
        assert!(fun.starts_with("{undef,[{#Fun<"), "{fun}");
        let request = format!(
            "R = spawn_request({us}, m, never, [], [monitor]),
             P = receive {{spawn_reply, R, ok, Pid}} -> Pid after 5000 -> late end, exit(P, enough), {down}"
        );
        assert_eq!(beam.value(&request).await, "enough");
        // As nodes before OTP 23 ask for it.
        let old = format!("gen_server:call({{net_kernel, {us}}}, {{spawn, m, tell, [self(), word], group_leader()}})");
        assert!(beam.eval_bool(&format!("P = {old}, P =:= {told}")).await);
        let old_link = format!(
            "process_flag(trap_exit, true),
             P = gen_server:call({{net_kernel, {us}}}, {{spawn_link, m, raise, [exit, out], group_leader()}}),
             receive {{'EXIT', P, Why}} -> Why after 5000 -> late end"
        );
        assert_eq!(beam.value(&old_link).await, "out");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn rust_functions_are_called_as_they_are() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        let module = "Elixir.MyRust";
        node.export_fn(module, "add", |a: i64, b: i64| a + b).unwrap();
        node.export_fn(module, "shout", |text: String| async move { text.to_uppercase() }).unwrap();
        node.export_fn(module, "divide", |a: i64, b: i64| {
            a.checked_div(b).ok_or_else(|| Exception::error(Term::Atom(a!("badarith"))))
        })
        .unwrap();
        node.export_fn(module, "find", |key: String| if key == "k" { Ok(1) } else { Err(a!("not_found")) }).unwrap();
        node.export_fn(module, "nothing", || ()).unwrap();
        node.export_fn(module, "panic", || -> i64 { panic!("as asked") }).unwrap();
        node.export_fn(module, "nan", || f64::NAN).unwrap();
        let rpc = async |fa: &str| beam.value(&format!("rpc:call({us}, 'Elixir.MyRust', {fa})")).await;
        assert_eq!(rpc("add, [20, 22]").await, "42");
        assert_eq!(rpc("shout, [<<\"hey\">>]").await, "<<\"HEY\">>");
        assert_eq!(rpc("divide, [7, 2]").await, "3");
        assert_eq!(rpc("divide, [7, 0]").await, "{badrpc,{'EXIT',{badarith,[]}}}");
        assert_eq!(rpc("find, [<<\"k\">>]").await, "{ok,1}");
        assert_eq!(rpc("find, [<<\"x\">>]").await, "{error,not_found}");
        assert_eq!(rpc("nothing, []").await, "{}");
        assert_eq!(
            rpc("add, [1, x]").await,
            "{badrpc,{'EXIT',{{badarg,<<\"argument 2: expected an integer, found an atom (at byte 0)\">>},[{'Elixir.MyRust',add,[1,x],[]}]}}}"
        );
        assert_eq!(rpc("add, [1]").await, "{badrpc,{'EXIT',{undef,[{'Elixir.MyRust',add,[1],[]}]}}}");
        assert_eq!(rpc("panic, []").await, "{badrpc,{'EXIT',{{panic,<<\"as asked\">>},[]}}}");
        assert!(rpc("nan, []").await.starts_with("{badrpc,{'EXIT',{{bad_return_value,"));
        let add = "'Elixir.MyRust', add, [1, 2]";
        assert_eq!(beam.value(&format!("rpc:block_call({us}, {add})")).await, "3");
        assert_eq!(beam.value(&format!("rpc:yield(rpc:async_call({us}, {add}))")).await, "3");
        assert_eq!(beam.value(&format!("erpc:receive_response(erpc:send_request({us}, {add}), 5000)")).await, "3");
        let both = format!("erpc:multicall([{us}, 'nobody@127.0.0.1'], {add})");
        assert_eq!(beam.value(&both).await, "[{ok,3},{error,{erpc,noconnection}}]");
        let many = format!("rpc:multicall([{us}, {us}, 'nobody@127.0.0.1'], {add})");
        assert_eq!(beam.value(&many).await, "{[3,3],['nobody@127.0.0.1']}");
        let mut inbox = node.register("inbox").unwrap();
        let tell = format!("m, tell, [rpc:call({us}, erlang, whereis, [inbox]), word]");
        for cast in ["erpc:multicast([X], CALL)", "rpc:cast(X, CALL)", "spawn_opt(X, CALL, [link, {priority, high}])"] {
            beam.value(&cast.replace("X", &us).replace("CALL", &tell)).await;
            let told = next(&mut inbox).await;
            assert!(told.ends_with(",word}"), "{cast}: {told}");
        }
        let own: i64 = node.rpc(node.name(), module, "add", (1, 2)).await.unwrap();
        assert_eq!(own, 3);
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn one_call_to_many_nodes_tells_how_it_went_on_each() {
    let mut beams = Vec::new();
    let Some(oldest) = otp::available().into_iter().next() else { return };
    let epmd = Epmd::start(&oldest).await;
    for otp in otp::available() {
        beams.push(Beam::start(&otp, &epmd, BeamOptions::default().kernel("connect_all", "false")).await);
    }
    let node = node::start(&epmd).await;
    let (last, others) = beams.split_last().unwrap();
    last.value("persistent_term:put(special, 1)").await;
    let mut nodes: Vec<_> = beams.iter().map(name_of).collect();
    nodes.extend(["nobody@127.0.0.1".parse().unwrap(), node.name().clone()]);
    let limit = Duration::from_millis(500);
    let results = node.rpc_multicall::<i64>(&nodes, "persistent_term", "get", (a!("special"),), limit).await;
    assert_eq!(results.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), nodes);
    let result = |at: usize| &results[at].1;
    assert_eq!(*result(others.len()).as_ref().unwrap(), 1);
    for (at, _) in others.iter().enumerate() {
        let raised = result(at).as_ref().unwrap_err().exception().unwrap();
        assert_eq!((raised.class, raised.reason.to_string().as_str()), (Class::Error, "badarg"));
        assert!(!raised.stack.is_empty());
    }
    assert!(result(beams.len()).as_ref().unwrap_err().is_noconnection(), "{results:?}");
    assert!(result(beams.len() + 1).as_ref().unwrap_err().is_undef(), "{results:?}");
    let sleepy = node.rpc_multicall::<Term>(&nodes[..1], "timer", "sleep", (60_000,), limit).await;
    assert!(sleepy[0].1.as_ref().unwrap_err().is_timeout(), "{sleepy:?}");
    node.shutdown().await;
}

#[tokio::test]
async fn erl_call_talks_to_us() {
    with_each(|node, beam, epmd| async move {
        let home = tempfile::tempdir().unwrap();
        let run = async |arguments: &[&str]| {
            let mut command = tokio::process::Command::new(beam.otp.program("erl_call"));
            command.env("ERL_EPMD_PORT", epmd.port().to_string()).env("HOME", home.path()).kill_on_drop(true);
            command.args(["-c", COOKIE, "-name", node.name().as_str()]).args(arguments);
            let output = within(LATER, "erl_call", command.output()).await.unwrap();
            (String::from_utf8_lossy(&output.stdout).into_owned(), output)
        };
        let (answer, output) = run(&["-a", "m echo [{a,[b,1.5]}]"]).await;
        assert_eq!(answer, "{a, [b, 1.500000]}", "{output:?}");
        let (answer, output) = run(&["-a", "no no [1]"]).await;
        assert!(answer.contains("undef"), "{output:?}");
        let (answer, output) = run(&["-a", "erlang node []"]).await;
        assert_eq!(answer.trim_matches('\''), node.name().as_str(), "{output:?}");
        if beam.otp.release >= 25 {
            let (answer, output) = run(&["-fetch_stdout", "-a", "m print [hello]"]).await;
            assert_eq!(answer, "printed hello\n{ok, done}", "{output:?}");
        }
        let (answer, output) = run(&["-q"]).await;
        assert!(!node.is_shutting_down(), "{answer} {output:?}");
    })
    .await;
}

#[tokio::test]
async fn functions_of_a_beam_return_and_raise_here() {
    with_each(|node, beam, _epmd| async move {
        let them = name_of(&beam);
        let sum: i64 = node.rpc(&them, "lists", "sum", (vec![1, 2, 3],)).await.unwrap();
        assert_eq!(sum, 6);
        let name: gusset::Atom = node.rpc(&them, "erlang", "node", ()).await.unwrap();
        assert_eq!(name, them.as_str());
        let exception =
            async |module, function, args: Vec<Term>| match node.rpc::<Term>(&them, module, function, args).await {
                Err(CallError::Exception(exception)) => exception,
                other => panic!("{other:?}"),
            };
        let undef = exception("no", "no", vec![Term::from(1)]).await;
        assert_eq!(undef, Exception::undef(&a!("no"), &a!("no"), vec![Term::from(1)]));
        let thrown = exception("erlang", "throw", vec![Term::from(1)]).await;
        assert_eq!((thrown.class, thrown.reason), (Class::Throw, Term::from(1)));
        let exited = exception("erlang", "exit", vec![Term::from(1)]).await;
        assert_eq!((exited.class, exited.reason), (Class::Exit, Term::from(1)));
        let wrong = exception("erlang", "atom_to_list", vec![Term::from(1)]).await;
        assert_eq!((wrong.class, wrong.reason.to_string()), (Class::Error, "badarg".to_owned()));
        assert!(!wrong.stack.is_empty());
        let timeout = Duration::from_millis(100);
        let late = node.rpc_timeout::<Term>(&them, "timer", "sleep", (500,), timeout).await;
        assert!(matches!(late, Err(CallError::Timeout(after)) if after == timeout), "{late:?}");
        let other = node.rpc::<i64>(&them, "erlang", "node", ()).await;
        assert!(matches!(other, Err(CallError::Decode(_))), "{other:?}");
        beam.value("gusset_fixture:collect(box)").await;
        node.rpc_cast(&them, "erlang", "send", (a!("box"), a!("hello"))).await.unwrap();
        assert_eq!(beam.value("gusset_fixture:collected(box, 1, 5000)").await, "[hello]");
        let own: gusset::Atom = node.rpc(node.name(), "erlang", "node", ()).await.unwrap();
        assert_eq!(own, node.name().as_str());
        beam.assert_clean_log().await;
        // The connection goes while the call runs (the one that came too late ends first).
        let sleeping =
            "[P || P <- processes(), process_info(P, current_function) =:= {current_function, {timer, sleep, 1}}]";
        beam.wait_until(&format!("{sleeping} =:= []"), SOON).await.unwrap();
        let call = node.rpc::<Term>(&them, "timer", "sleep", (60_000,));
        let (lost, _) = tokio::join!(call, async {
            beam.wait_until(&format!("{sleeping} =/= []"), SOON).await.unwrap();
            node.disconnect(&them)
        });
        assert!(matches!(&lost, Err(CallError::Down(reason)) if reason.is("noconnection")), "{lost:?}");
    })
    .await;
}

#[tokio::test]
async fn what_people_ask_any_node_has_an_honest_answer() {
    with_each(|node, beam, _epmd| async move {
        let us = atom(&node);
        let rpc = async |mfa: &str| beam.value(&format!("rpc:call({us}, {mfa})")).await;
        assert_eq!(rpc("erlang, nodes, []").await, format!("[{}]", beam.atom()));
        assert_eq!(rpc("erlang, nodes, [hidden]").await, "[]");
        assert_eq!(rpc("erlang, nodes, [[this, visible]]").await.matches('@').count(), 2);
        assert!(rpc("erlang, system_info, [system_version]").await.starts_with("\"gusset "));
        assert!(rpc("erlang, system_info, [process_count]").await.parse::<u32>().unwrap() > 3);
        assert!(rpc("erlang, system_info, [no_such_key]").await.contains("badarg"));
        assert!(rpc("erlang, memory, [total]").await.parse::<u64>().unwrap() > 1 << 20);
        assert_eq!(rpc("net_kernel, get_net_ticktime, []").await, "60");
        assert_eq!(rpc("net_adm, ping, [node()]").await, "pong");
        assert_eq!(rpc("net_adm, ping, ['nobody@127.0.0.1']").await, "pang");
        assert_eq!(rpc("code, ensure_loaded, [m]").await, "{module,m}");
        assert_eq!(rpc("code, ensure_loaded, [lists]").await, "{error,nofile}");
        assert_eq!(rpc("erlang, function_exported, [m, echo, 1]").await, "true");
        let info = rpc("gusset, info, []").await;
        assert!(info.contains(&format!("name => {us}")) && info.contains("uptime_ms => "), "{info}");
        for name in ["net_kernel", "rex", "user", "logger_proxy", "error_logger"] {
            let alive = format!("P = rpc:call({us}, erlang, whereis, [{name}]), rpc:call({us}, erlang, is_process_alive, [P])");
            assert!(beam.eval_bool(&alive).await, "{name}");
            let known = format!("P = rpc:call({us}, erlang, whereis, [{name}]), rpc:call({us}, erlang, process_info, [P, registered_name])");
            assert_eq!(beam.value(&known).await, format!("{{registered_name,{name}}}"));
        }
        beam.assert_clean_log().await;
    })
    .await;
}
