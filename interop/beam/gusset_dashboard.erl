%% What Phoenix.LiveDashboard.SystemInfo (0.8) asks a node over rpc, for tests without hex packages: the module is
%% looked for, sent where it is missing, and its callbacks are called. And what such pages ask by themselves.
-module(gusset_dashboard).

-export([ensure_loaded/1, pages/1, plain/1]).

-define(INFO, 'Elixir.Phoenix.LiveDashboard.SystemInfo').

%% As the original: its error is what the page shows.
ensure_loaded(Node) ->
    case rpc:call(Node, code, ensure_loaded, [?INFO]) of
        {module, _} -> rpc:call(Node, ?INFO, capabilities_callback, []);
        {error, nofile} -> load(Node);
        {error, Reason} -> error({failed_to_load, ?INFO, Node, Reason})
    end.

load(Node) ->
    {_, Binary, File} = code:get_object_code(?MODULE),
    rpc:call(Node, code, load_binary, [?INFO, File, Binary]),
    rpc:call(Node, ?INFO, capabilities_callback, []).

%% Every callback, and the sending of the code whatever the node said: {Microseconds of the slowest, Answers}.
pages(Node) ->
    Table = [nil, memory, asc, 50],
    {_, Binary, File} = code:get_object_code(?MODULE),
    timed(Node, [
        {code, load_binary, [?INFO, File, Binary]},
        {?INFO, capabilities_callback, []}, {?INFO, info_callback, [[<<"PATH">>]]}, {?INFO, usage_callback, []},
        {?INFO, processes_callback, Table}, {?INFO, ets_callback, Table}, {?INFO, sockets_callback, Table},
        {?INFO, ports_callback, Table}, {?INFO, applications_info_callback, Table}, {?INFO, os_mon_callback, []},
        {?INFO, process_info_callback, [rpc:call(Node, erlang, whereis, [rex]), [memory]]},
        {?INFO, started_apps_set, []}, {?INFO, supervisor_children, [self()]}
    ]).

%% What the callbacks themselves call, asked from here.
plain(Node) ->
    Rex = rpc:call(Node, erlang, whereis, [rex]),
    Keys = [registered_name, initial_call, memory, reductions, message_queue_len, current_function],
    timed(Node, [
        {erlang, system_info, [Item]} || Item <- [system_version, system_architecture, atom_limit, port_limit,
            process_limit, atom_count, port_count, process_count, schedulers]
    ] ++ [
        {erlang, statistics, [Item]} || Item <- [io, wall_clock, total_run_queue_lengths_all, total_run_queue_lengths]
    ] ++ [
        {erlang, memory, []}, {erlang, processes, []}, {erlang, process_info, [Rex, Keys]}, {erlang, ports, []},
        {ets, all, []}, {application, loaded_applications, []}, {application, which_applications, []},
        {application, get_application, [os_mon]}, {erlang, whereis, ['Elixir.Phoenix.LiveDashboard.DynamicSupervisor']},
        {os, getenv, ["PATH"]}, {cpu_sup, nprocs, []}, {memsup, get_system_memory_data, []}
    ]).

timed(Node, Calls) ->
    Answers = [
        begin
            {Time, Rpc} = timer:tc(fun() -> answer(rpc:call(Node, M, F, A)) end),
            {Erpc, Same} = timer:tc(fun() -> answer(try erpc:call(Node, M, F, A) catch error:R -> {badrpc, R} end) end),
            {max(Time, Erpc), {M, F, Rpc, Same}}
        end || {M, F, A} <- Calls
    ],
    {Times, Said} = lists:unzip(Answers),
    {lists:max(Times), Said}.

answer({badrpc, {'EXIT', {Reason, _}}}) -> Reason;
answer({badrpc, {exception, Reason, _}}) -> Reason;
answer({badrpc, Reason}) -> {badrpc, Reason};
answer(_) -> answered.
