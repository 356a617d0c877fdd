//! What `sys`, and whoever looks at supervisors, asks of servers of ours.

use super::*;

#[tokio::test]
async fn sys_looks_at_servers_of_ours() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let counter = node.start_server("counter", Counter::default()).unwrap();
        let sys = async |request: &str| beam.value(&format!("try sys:{request} catch C:R -> {{C, R}} end")).await;
        let server = format!("{{counter, {us}}}");
        let state = format!("get_state({server})");
        assert_eq!(sys(&state).await, "{counter,0}");
        let status = format!(
            "{{status, P, {{module, gen_server}}, [D, running, S, [], M]}} = sys:get_status({server}),
            true = S =:= rpc:call({us}, erlang, whereis, [gusset_sup]),
            {{is_pid(P), D, [element(1, I) || I <- M]}}"
        );
        assert_eq!(
            beam.value(&status).await,
            "{true,[{'$ancestors',[gusset_sup]},{'$initial_call',{'Elixir.Counter',init,1}}],[header,data,data]}"
        );
        assert_eq!(sys(&format!("suspend({server})")).await, "ok");
        // Nothing is lost, nothing is done: a call waits until it goes on.
        let waiting =
            format!("gusset_fixture:collect(box), spawn(fun() -> box ! gen_server:call({server}, {{echo, x}}) end)");
        beam.value(&format!("{server} ! tick, gen_server:cast({server}, 5), {waiting}")).await;
        assert_eq!(sys(&state).await, "{counter,0}");
        let suspended = format!("{{status, _, _, [_, S, _, _, _]}} = sys:get_status({server}), S");
        assert_eq!(beam.value(&suspended).await, "suspended");
        assert_eq!(beam.value("gusset_fixture:collected(box)").await, "[]");
        assert_eq!(sys(&format!("resume({server})")).await, "ok");
        beam.wait_until(&format!("sys:get_state({server}) =:= {{counter, 1005}}"), SOON).await.unwrap();
        assert_eq!(beam.value("gusset_fixture:collected(box, 1, 5000)").await, "[{got,x}]");
        let replaced = sys(&format!("replace_state({server}, fun(S) -> S end)")).await;
        assert!(replaced.contains("callback_failed"), "{replaced}");
        assert_eq!(sys(&format!("log({server}, get)")).await, "{ok,[]}");
        assert_eq!(sys(&format!("trace({server}, true)")).await, "ok");
        assert_eq!(sys(&format!("terminate({server}, enough)")).await, "ok");
        within(SOON, "the end", counter.ended()).await;
        for standard in ["net_kernel", "rex", "user", "logger_proxy", "error_logger", "gusset_sup"] {
            let looked = format!("element(1, sys:get_status({{{standard}, {us}}}))");
            assert_eq!(beam.value(&looked).await, "status", "{standard}");
        }
        beam.assert_clean_log().await;
    })
    .await;
}

#[tokio::test]
async fn a_supervisor_shows_what_runs() {
    with_each(|node, beam| async move {
        let us = atom(&node);
        let counter = node.start_server("counter", Counter::default()).unwrap();
        let sup = format!("{{gusset_sup, {us}}}");
        let ids = format!("[I || {{I, _, _, _}} <- supervisor:which_children({sup})]");
        let standard = "[user,net_kernel,rex,logger_proxy,error_logger,global_name_server,counter]";
        assert_eq!(beam.value(&ids).await, standard);
        let shape = format!(
            "lists:all(fun({{_, P, worker, [M]}}) -> node(P) =:= {us} andalso is_atom(M); (_) -> false end, supervisor:which_children({sup}))"
        );
        assert!(beam.eval_bool(&shape).await);
        let ours = format!("{{_, P, worker, M}} = lists:keyfind(counter, 1, supervisor:which_children({sup})), {{gen_server:call(P, {{echo, x}}), M}}");
        assert_eq!(beam.value(&ours).await, "{{got,x},['Elixir.Counter']}");
        let count = format!("supervisor:count_children({sup})");
        assert_eq!(beam.value(&count).await, "[{specs,7},{active,7},{supervisors,0},{workers,7}]");
        for (request, expected) in [
            ("start_child(S, #{id => x, start => {m, f, []}})", "{error,not_supported}"),
            ("terminate_child(S, counter)", "{error,not_supported}"),
            ("terminate_child(S, nobody)", "{error,not_found}"),
            ("restart_child(S, counter)", "{error,running}"),
            ("restart_child(S, nobody)", "{error,not_found}"),
            ("delete_child(S, counter)", "{error,running}"),
            ("get_childspec(S, nobody)", "{error,not_found}"),
        ] {
            let request = request.replace('S', &sup);
            assert_eq!(beam.value(&format!("supervisor:{request}")).await, expected, "{request}");
        }
        let spec = format!("{{ok, #{{id := I, type := T, modules := M}}}} = supervisor:get_childspec({sup}, counter), {{I, T, M}}");
        assert_eq!(beam.value(&spec).await, "{counter,worker,['Elixir.Counter']}");
        // `supervisor:which_child/2`, which the newest releases have.
        let (newest, old) = ("erlang:function_exported(supervisor, which_child, 2)", beam.otp.release < 28);
        assert_eq!(beam.value(newest).await, if old { "false" } else { "true" });
        let which_child = async |id: &str| {
            let ask = if old { format!("gen_server:call({sup}, {{which_child, {id}}})") } else { format!("supervisor:which_child({sup}, {id})") };
            beam.value(&format!("case {ask} of {{ok, {{I, P, T, M}}}} -> {{I, node(P), T, M}}; E -> E end")).await
        };
        assert_eq!(which_child("counter").await, format!("{{counter,{us},worker,['Elixir.Counter']}}"));
        assert_eq!(which_child("nobody").await, "{error,not_found}");
        assert_eq!(beam.value(&format!("gen_server:call({sup}, {{what, is, that}})")).await, "{error,not_supported}");
        assert_eq!(beam.value(&format!("length(sys:get_state({sup}))")).await, "7");

        let child = node.children().into_iter().find(|child| child.pid == *counter.pid()).unwrap();
        assert_eq!((child.id, child.module), (a!("counter").into(), a!("Elixir.Counter")));
        assert!(child.started.elapsed().unwrap() < LATER);
        // Whoever has ended is out of the list, however it ended.
        node.exit(counter.pid(), &Reason::kill());
        assert_eq!(beam.value(&ids).await, standard.replace(",counter", ""));
        beam.assert_clean_log().await;
    })
    .await;
}
