//! `observer` and `etop` of real BEAM nodes look at a gusset: what their windows call, taken apart as they take it
//! apart, with the programs' own code where it runs without a screen.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers too

mod common;

use common::LATER;
use common::node::{atom, with_each};
use gusset::{Term, atom as a};

#[tokio::test]
async fn the_system_tab_has_real_figures() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        // As observer_sys_wx takes it: with its own formatting, and a value for each of its rows.
        let shown = format!(
            "I = rpc:call({us}, observer_backend, sys_info, []),
             [] = [K || K <- [uptime, run_queue, io_input, io_output, logical_processors, schedulers, schedulers_online,
                 schedulers_available, process_count, process_limit, port_count, wordsize_internal, wordsize_external, total,
                 processes, atom, binary, code, ets, dist_buf_busy_limit, thread_pool_size], not is_integer(proplists:get_value(K, I))],
             [] = [K || K <- [otp_release, version, system_architecture], not io_lib:printable_list(proplists:get_value(K, I))],
             [] = proplists:get_value(alloc_info, I),
             [{{\"System\", Rows}}] = observer_lib:fill_info([{{\"System\", [{{\"Total\", {{bytes, total}}}}, {{\"Up\", {{time_ms, uptime}}}},
                 {{\"Release\", otp_release}}]}}], I),
             3 = length(Rows),
             {{proplists:get_value(schedulers, I), proplists:get_value(process_count, I) > 4, proplists:get_value(total, I) > 1000000,
                 proplists:get_value(io_input, I) > 0, proplists:get_value(io_output, I) > 0}}"
        );
        // The runtime of a test has one worker.
        assert_eq!(beam.value(&shown).await, "{1,true,true,true,true}");
        let sum = format!(
            "M = rpc:call({us}, erlang, memory, []), G = fun(K) -> proplists:get_value(K, M) end,
             true = G(total) =:= G(processes) + G(system),
             {{total, T}} = hd(rpc:call({us}, erlang, memory, [[total, code]])), true = T > 0,
             {{badrpc, {{'EXIT', {{badarg, _}}}}}} = rpc:call({us}, erlang, memory, [nothing]),
             G(total) - G(processes) - G(atom) - G(binary) - G(code) - G(ets) >= 0"
        );
        assert_eq!(beam.value(&sum).await, "true");
        let statistics = format!(
            "S = fun(W) -> rpc:call({us}, erlang, statistics, [W]) end,
             {{A, _}} = S(wall_clock), {{B, _}} = S(wall_clock), true = B >= A, {{_, _}} = S(runtime), true = is_integer(S(run_queue)),
             {{{{input, _}}, {{output, _}}}} = S(io), [{{1, Busy, Total}}] = S(scheduler_wall_time), true = Busy =< Total, Busy > 0"
        );
        assert_eq!(beam.value(&statistics).await, "true");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn the_load_charts_get_figures_until_somebody_says_stop() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let charts = format!(
            "process_flag(trap_exit, true), 0 = rpc:call({us}, erlang, system_info, [dirty_cpu_schedulers]),
             P = spawn_link({us}, observer_backend, fetch_stats, [self(), 50]),
             Next = fun() -> receive {{stats, 1, [{{1, A, T}} | _], {{{{input, I}}, {{output, O}}}}, M}} -> {{A, T, I, O, proplists:get_value(total, M)}}
                 after 5000 -> error(no_stats) end end,
             {{_, T1, I1, O1, M1}} = Next(), {{_, T2, I2, O2, _}} = Next(), true = T2 > T1 andalso I2 >= I1 andalso O2 > O1 andalso M1 > 0,
             P ! done, receive {{'EXIT', P, R}} -> R after 5000 -> still_running end"
        );
        assert_eq!(beam.value(&charts).await, "normal");
        // Without a link, the end of who looks ends it.
        let watched = format!("spawn({us}, observer_backend, fetch_stats, [spawn(fun() -> ok end), 50])");
        let gone = format!(
            "P = {watched}, gusset_fixture:wait_until(fun() -> false =:= rpc:call({us}, erlang, is_process_alive, [P]) end, 5000)"
        );
        beam.value(&gone).await;
    })
    .await;
}

#[tokio::test]
async fn every_process_in_the_list_can_be_looked_at() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let mut waiting = node.register("gusset_waits").unwrap();
        waiting.monitor("user").await.unwrap();
        let list = format!(
            "true = rpc:call({us}, erlang, function_exported, [observer_backend, procs_info, 1]),
             {{module, _}} = rpc:call({us}, code, ensure_loaded, [observer_backend]),
             {{gusset_waits, {us}}} ! one, {{gusset_waits, {us}}} ! two,
             P = spawn_link({us}, observer_backend, procs_info, [self()]),
             L = receive {{procs_info, P, Is}} -> Is after 5000 -> error(no_list) end,
             true = [] =/= L andalso lists:all(fun({{etop_proc_info, Pid, Mem, Reds, Name, 0, {{M, F, A}}, Q}}) -> node(Pid) =:= {us} andalso
                 is_integer(Mem + Reds + A + Q) andalso is_atom(M) andalso is_atom(F) andalso (is_atom(Name) orelse tuple_size(Name) =:= 3) end, L),
             [{{etop_proc_info, W, _, 0, _, _, _, 2}}] = [I || I <- L, element(5, I) =:= gusset_waits],
             [{{etop_proc_info, U, _, _, _, _, _, _}}] = [I || I <- L, element(5, I) =:= user],
             [{{monitors, [{{process, {{user, {us}}}}}]}}, {{messages, [T]}}, {{registered_name, gusset_waits}}] =
                 rpc:call({us}, erlang, process_info, [W, [monitors, messages, registered_name]]), true = is_binary(T),
             {{monitored_by, By}} = rpc:call({us}, erlang, process_info, [U, monitored_by]), true = lists:member(W, By),
             Keys = [binary, catchlevel, current_function, error_handler, garbage_collection, group_leader, heap_size, initial_call,
                 last_calls, links, memory, message_queue_len, monitored_by, monitors, priority, reductions, registered_name,
                 sequential_trace_token, stack_size, status, suspending, total_heap_size, trace, trap_exit],
             Look = fun(Pid) -> case rpc:call({us}, erlang, process_info, [Pid, Keys]) of
                 undefined -> gone;
                 V -> Keys = [K || {{K, _}} <- V],
                     true = is_pid(proplists:get_value(group_leader, V)),
                     true = is_integer(proplists:get_value(min_heap_size, proplists:get_value(garbage_collection, V))),
                     {{dictionary, D}} = rpc:call({us}, erlang, process_info, [Pid, dictionary]), true = is_list(D),
                     {{current_stacktrace, []}} = rpc:call({us}, erlang, process_info, [Pid, current_stacktrace]),
                     {{messages, Ms}} = rpc:call({us}, erlang, process_info, [Pid, messages]), true = is_list(Ms),
                     all end end,
             lists:usort([Look(element(2, I)) || I <- L, I =/= P]) -- [gone]"
        );
        assert_eq!(beam.value(&list).await, "[all]");
        assert_eq!(waiting.recv().await.unwrap().term().unwrap(), Term::Atom(a!("one")));
        // The collector of the list of processes was one itself, and has ended.
        let reductions = format!(
            "W = rpc:call({us}, erlang, whereis, [gusset_waits]), rpc:call({us}, erlang, process_info, [W, [reductions, message_queue_len]])"
        );
        assert_eq!(beam.value(&reductions).await, "[{reductions,1},{message_queue_len,1}]");
        // The state of servers, as observer_procinfo asks for it.
        let state = format!(
            "P = rpc:call({us}, erlang, whereis, [net_kernel]), {{M, _, _}} = rpc:call({us}, proc_lib, translate_initial_call, [P]),
             A = rpc:call({us}, M, module_info, [attributes]), {{behaviour, [B]}} = lists:keyfind(behaviour, 1, A),
             true = is_list(rpc:call({us}, M, module_info, [exports])),
             {{status, P, {{module, _}}, [_, running, _, _, [{{header, _}}, {{data, F}}, {{data, S}} | _]]}} =
                 rpc:call({us}, sys, get_status, [P, 200]), true = is_list(F ++ S),
             W = rpc:call({us}, erlang, whereis, [gusset_waits]), {{proc_lib, init_p, 5}} = rpc:call({us}, proc_lib, translate_initial_call, [W]),
             {{badrpc, {{'EXIT', {{timeout, _}}}}}} = rpc:call({us}, sys, get_status, [W, 20]),
             {{badrpc, {{'EXIT', {{undef, _}}}}}} = rpc:call({us}, no_such_module, module_info, [attributes]),
             B"
        );
        assert_eq!(beam.value(&state).await, "gen_server");
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn the_applications_tab_shows_what_runs_and_what_is_added() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        // The client side is that of runtime_tools.
        let open = format!("{{ok, P}} = appmon_info:start_link({us}, self(), []), appmon_info:app_ctrl(P, {us}, true, []), P");
        beam.eval_in("gui", &open).await.unwrap();
        let applications = format!(
            "receive {{delivery, P, app_ctrl, {us}, [{{Master, gusset, {{gusset, D, V}}}}]}} -> true = is_pid(Master) andalso io_lib:printable_list(D ++ V) end,
             appmon_info:app(P, gusset, true, []), shown"
        );
        assert_eq!(beam.eval_in("gui", &applications).await.unwrap(), "shown");
        let tree = "receive {delivery, P, app, gusset, {Root, Ps, Links, []}} ->
            Names = [N || {Pid, N} <- Ps, is_pid(Pid)], [] = [L || {A, B} = L <- Links, not lists:member(A, Names) orelse not lists:member(B, Names)],
            true = length(Links) =:= length(Ps) - 1, {Root, lists:member(\"net_kernel\", Names), lists:member(\"added\", Names)}
            after 8000 -> nothing_new end";
        assert_eq!(beam.eval_in("gui", tree).await.unwrap(), "{\"gusset_sup\",true,false}");
        let added = node.start_server("added", Nothing).unwrap();
        // It looks again every two seconds.
        let again = "receive {delivery, P, app, gusset, {_, Ps2, _, []}} -> lists:keymember(\"added\", 2, Ps2) after 8000 -> nothing_new end";
        assert_eq!(beam.eval_in("gui", again).await.unwrap(), "true");
        drop(added);
        let unknown = "appmon_info:app(P, kernel, true, []), receive {delivery, P, app, kernel, X} -> X end";
        assert_eq!(beam.eval_in("gui", unknown).await.unwrap(), "{[],[],[],[]}");
        let closed = format!(
            "unlink(P), exit(P, normal), gusset_fixture:wait_until(fun() -> false =:= rpc:call({us}, erlang, is_process_alive, [P]) end, 5000), closed"
        );
        assert_eq!(beam.eval_in("gui", &closed).await.unwrap(), "closed");
    })
    .await;
}

/// A server that does nothing.
struct Nothing;

impl gusset::services::GenServer for Nothing {
    type Call = Term;
    type Cast = Term;
    type Reply = Term;

    async fn handle_call(
        &mut self,
        _: Term,
        _: gusset::services::ReplyTo,
        _: &mut gusset::Process,
    ) -> gusset::services::Answer<Term> {
        gusset::services::Answer::Reply(Term::Atom(a!("ok")))
    }
}

#[tokio::test]
async fn ports_sockets_and_tables_are_empty() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let empty = format!(
            "[] = rpc:call({us}, observer_backend, get_port_list, []), [] = rpc:call({us}, observer_backend, get_socket_list, []),
             [] = rpc:call({us}, observer_backend, socket_info, []), [] = rpc:call({us}, erlang, ports, []),
             [] = rpc:call({us}, observer_backend, get_table_list, [ets, [{{sys_hidden, true}}]]),
             T = rpc:call({us}, observer_backend, get_table, [self(), some_table, ets]),
             receive {{T, E}} -> E after 5000 -> nothing end"
        );
        assert_eq!(beam.value(&empty).await, "'$end_of_table'");
    })
    .await;
}

#[tokio::test]
async fn etop_shows_the_node() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let _waiting = node.register("gusset_on_top").unwrap();
        beam.value(&format!("[{{gusset_on_top, {us}}} ! N || N <- lists:seq(1, 7)]")).await;
        let start = match beam.otp.release {
            // That of 27 traces a remote node whatever it is told, and then waits in dbg for ever: only what draws runs here,
            // with the record of options that it gets.
            27 => format!(
                "spawn(fun() -> T = ets:new(accum_tab, [set, public, {{keypos, 2}}]),
                     etop_txt:init({{opts, {us}, 8415, false, 1000, 10, 700, 340, msg_q, off, etop_txt, undefined, self(),
                         undefined, undefined, undefined, undefined, T, undefined}}) end)"
            ),
            _ => format!(
                "spawn(fun() -> etop:start([{{node, {us}}}, {{output, text}}, {{tracing, off}}, {{lines, 10}}, {{interval, 1}},
                     {{sort, msg_q}}]) end)"
            ),
        };
        beam.value(&start).await;
        let screens = |text: &str| {
            let screens = text.matches("Load:  cpu").count();
            (screens >= 3).then(|| text.to_owned())
        };
        let text = beam.output().until("three screens of etop", LATER, screens).await.unwrap_or_else(|error| panic!("{error}"));
        println!("OTP {}:\n{text}", beam.otp.release);
        let screen = text.rsplit("Load:  cpu").nth(1).unwrap();
        let total: u64 = screen.split("total").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert!(total > 1000, "the memory of this program in KiB: {screen}");
        let row = screen.lines().find(|line| line.contains("gusset_on_top")).unwrap_or_else(|| panic!("{screen}"));
        assert!(row.split_whitespace().any(|word| word == "7"), "{row}");
        if beam.otp.release != 27 {
            beam.value("etop:stop()").await;
        }
    })
    .await;
}

/// From reading `Phoenix.LiveDashboard.SystemInfo`: `nofile` would make it send code, and go on whatever the answer.
#[tokio::test]
async fn phoenix_live_dashboard_is_refused_at_once() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let (release, limit) = (beam.otp.release, 2_000_000);
        let shown = format!("try gusset_dashboard:ensure_loaded({us}) catch error:R -> element(4, R) end");
        assert_eq!(beam.value(&shown).await, "embedded", "OTP {release}");
        // A dashboard that goes on: every callback, and the code that it sends, is unknown here, and said to be.
        let pages = format!(
            "{{Slowest, Said}} = gusset_dashboard:pages({us}), {{Slowest < {limit}, [S || S = {{_, _, A, B}} <- Said, {{A, B}} =/= {{undef, undef}}]}}"
        );
        assert_eq!(beam.value(&pages).await, "{true,[]}", "OTP {release}");
        // What such pages are made of: figures, `undef`, or `badarg` (atom_limit, port_limit, atom_count: there are no
        // such tables here); in the same way by `rpc` and `erpc`.
        let plain = format!(
            "{{Slowest, Said}} = gusset_dashboard:plain({us}),
             {{Slowest < {limit}, [S || S = {{_, _, A, B}} <- Said, A =/= B],
              [F || {{_, F, undef, _}} <- Said], [F || {{_, F, badarg, _}} <- Said],
              [S || S = {{_, _, A, _}} <- Said, not lists:member(A, [answered, undef, badarg])]}}"
        );
        let unknown = "[all,get_application,getenv,nprocs,get_system_memory_data]";
        let expected = format!("{{true,[],{unknown},[system_info,system_info,system_info],[]}}");
        assert_eq!(beam.value(&plain).await, expected, "OTP {release}");
        beam.assert_clean_log().await;
    })
    .await;
}
