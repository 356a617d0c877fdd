%% The BEAM side of tests/common/beam.rs: a node under test dials the test over a private TCP socket on loopback
%% and evaluates what it is asked. Compiles and runs on every OTP from 23 on.
%%
%% A request is one {packet,4} message "Id\nSession\nSource". An empty session means a fresh process; a named one
%% is a process that lives on and keeps its bindings, its links and its mailbox, like a shell. The answer is
%% "Id\nok\nPrinted" or "Id\nerror\nText"; answers come in any order.
-module(gusset_fixture).
-behaviour(gen_server).

-export([start/0]).
%% For the expressions of tests.
-export([wait_until/2, flush_log/1, collect/1, collect/2, collected/1, collected/3, echo/1, server/1, kinds/0]).
-export([individual/1, older/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

start() ->
    Port = list_to_integer(os:getenv("GUSSET_CONTROL_PORT")),
    spawn(fun() ->
        Options = [binary, {packet, 4}, {active, true}, {nodelay, true}],
        {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, Options),
        answer(Socket, <<"0">>, {ok, node()}),
        serve(Socket, #{})
    end).

%% The test holds the other end: when that is gone, however it went, this node has no more use.
serve(Socket, Sessions) ->
    receive
        {tcp, Socket, Request} ->
            [Id, Rest] = binary:split(Request, <<"\n">>),
            [Session, Source] = binary:split(Rest, <<"\n">>),
            {Evaluator, Sessions1} = evaluator(Session, Sessions),
            spawn(fun() -> ask(Socket, Id, Evaluator, Source) end),
            serve(Socket, Sessions1);
        {tcp_closed, Socket} ->
            erlang:halt(0);
        {tcp_error, Socket, _} ->
            erlang:halt(0)
    end.

evaluator(<<>>, Sessions) ->
    {fresh, Sessions};
evaluator(Name, Sessions) ->
    case Sessions of
        #{Name := Pid} ->
            case is_process_alive(Pid) of
                true -> {Pid, Sessions};
                false -> evaluator(Name, maps:remove(Name, Sessions))
            end;
        _ ->
            Pid = spawn(fun() -> session(erl_eval:new_bindings()) end),
            {Pid, Sessions#{Name => Pid}}
    end.

session(Bindings) ->
    receive
        {gusset_eval, Asker, Ref, Source} ->
            {Answer, Bindings1} = eval(Source, Bindings),
            Asker ! {Ref, Answer},
            session(Bindings1)
    end.

%% The evaluating process may die while it evaluates; the asker tells.
ask(Socket, Id, fresh, Source) ->
    Asker = self(),
    Ref = make_ref(),
    {_, Down} = spawn_monitor(fun() ->
        {Answer, _} = eval(Source, erl_eval:new_bindings()),
        Asker ! {Ref, Answer}
    end),
    await(Socket, Id, Ref, Down);
ask(Socket, Id, Session, Source) ->
    Ref = make_ref(),
    Down = erlang:monitor(process, Session),
    Session ! {gusset_eval, self(), Ref, Source},
    await(Socket, Id, Ref, Down).

await(Socket, Id, Ref, Down) ->
    receive
        {Ref, Answer} -> answer(Socket, Id, Answer);
        {'DOWN', Down, process, _, Reason} -> answer(Socket, Id, {error, {evaluator_died, Reason}})
    end.

answer(Socket, Id, {Status, Term}) ->
    Printed = unicode:characters_to_binary(io_lib:format("~0tp", [Term])),
    gen_tcp:send(Socket, [Id, $\n, atom_to_binary(Status, utf8), $\n, Printed]).

eval(Source, Bindings) ->
    try
        {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Source)),
        {ok, Expressions} = erl_parse:parse_exprs(Tokens),
        {value, Value, Bindings1} = erl_eval:exprs(Expressions, Bindings),
        {{ok, Value}, Bindings1}
    catch
        Class:Reason:_ -> {{error, {Class, Reason}}, Bindings}
    end.

%% Polls here, close to what it looks at, so that a test needs no sleep of its own.
wait_until(Fun, Milliseconds) ->
    wait_until(Fun, erlang:monotonic_time(millisecond) + Milliseconds, Milliseconds).

wait_until(Fun, Deadline, Milliseconds) ->
    case Fun() of
        true ->
            true;
        Other ->
            case erlang:monotonic_time(millisecond) >= Deadline of
                true -> exit({not_within, Milliseconds, last_value, Other});
                false -> timer:sleep(5), wait_until(Fun, Deadline, Milliseconds)
            end
    end.

%% Everything logged before the call stands in the captured output before Marker. Warnings of the emulator itself
%% pass through the process `logger` on their way to the handler.
flush_log(Marker) ->
    try sys:get_status(logger, 5000) catch _:_ -> ok end,
    [try Module:filesync(Id) catch _:_ -> ok end || #{id := Id, module := Module} <- logger:get_handler_config(),
        erlang:function_exported(Module, filesync, 1)],
    io:put_chars(user, ["\n", Marker, "\n"]).

%% A registered process that keeps every message, in order. Prepare runs in it first.
collect(Name) ->
    collect(Name, fun() -> ok end).

collect(Name, Prepare) ->
    Self = self(),
    Pid = spawn(fun() ->
        true = register(Name, self()),
        _ = Prepare(),
        Self ! {self(), ready},
        collecting([], [])
    end),
    Ref = erlang:monitor(process, Pid),
    receive
        {Pid, ready} -> erlang:demonitor(Ref, [flush]), Pid;
        {'DOWN', Ref, _, _, Reason} -> exit(Reason)
    end.

collecting(Messages, Waiting) ->
    receive
        {gusset_collected, From, Ref, Count} ->
            collecting(Messages, told(Messages, [{From, Ref, Count} | Waiting]));
        Message ->
            All = [Message | Messages],
            collecting(All, told(All, Waiting))
    end.

told(Messages, Waiting) ->
    [W || {From, Ref, Count} = W <- Waiting,
        length(Messages) < Count orelse begin From ! {Ref, lists:reverse(Messages)}, false end].

collected(Name) ->
    collected(Name, 0, 5000).

%% All messages as soon as there are Count of them.
collected(Name, Count, Milliseconds) ->
    Ref = make_ref(),
    Name ! {gusset_collected, self(), Ref, Count},
    receive
        {Ref, Messages} -> Messages
    after Milliseconds ->
        exit({not_within, Milliseconds, messages, Count, only, collected(Name)})
    end.

%% A registered process that sends {Tag, Payload} back for {Pid, Tag, Payload}.
echo(Name) ->
    Pid = spawn(fun Loop() ->
        receive
            {To, Tag, Payload} -> To ! {Tag, Payload}
        end,
        Loop()
    end),
    true = register(Name, Pid),
    Pid.

%% A wrapper of a cluster singleton as Elixir's Individual makes one: a name in global whose conflicts are settled by
%% age, with a fun that only this node can run.
individual(Name) ->
    {ok, Pid} = gen_server:start(?MODULE, [], []),
    {global:register_name(Name, Pid, fun(N, One, Other) -> older(N, One, Other) end), Pid}.

older(_Name, One, Other) ->
    [{_, Younger}, {_, Older}] = lists:sort([{gen_server:call(Pid, time_alive), Pid} || Pid <- [One, Other]]),
    persistent_term:put(younger, Younger),
    exit(Younger, kill),
    Older.

%% A registered gen_server: {ping, I} -> {pong, I}, {echo, T} -> T, casts -> the list of casts, stop, crash, silence.
server(Name) ->
    {ok, Pid} = gen_server:start({local, Name}, ?MODULE, [], []),
    Pid.

init([]) ->
    put(started, erlang:monotonic_time(nanosecond)),
    {ok, []}.
handle_call({ping, I}, _From, Casts) -> {reply, {pong, I}, Casts};
handle_call({echo, Term}, _From, Casts) -> {reply, Term, Casts};
handle_call(time_alive, _From, Casts) -> {reply, erlang:monotonic_time(nanosecond) - get(started), Casts};
handle_call(casts, _From, Casts) -> {reply, lists:reverse(Casts), Casts};
handle_call(silence, _From, Casts) -> {noreply, Casts};
handle_call(stop, _From, Casts) -> {stop, normal, ok, Casts};
handle_call(crash, _From, _) -> exit(crashed_as_asked).
handle_cast(Message, Casts) -> {noreply, [Message | Casts]}.
handle_info(_, Casts) -> {noreply, Casts}.

%% One of every kind of term a node can send, with the edges of its ranges.
kinds() ->
    Here = 42,
    [
        0, 1, -1, 255, 256, -256, 1 bsl 27 - 1, 1 bsl 27, 1 bsl 31 - 1, 1 bsl 31, -(1 bsl 31), -(1 bsl 31) - 1,
        1 bsl 59, 1 bsl 62, 1 bsl 63 - 1, 1 bsl 63, -(1 bsl 63), -(1 bsl 63) - 1, 1 bsl 64, -(1 bsl 64),
        1 bsl 2039, 1 bsl 2040, -(1 bsl 5000),
        0.0, -0.0, 1.5, -1.0e300, 4.9e-324, 1.7976931348623157e308,
        '', a, true, nil, undefined, 'with blank', list_to_atom([228, 246]), list_to_atom([955, 26085, 128512]),
        list_to_atom(lists:duplicate(255, $x)), list_to_atom(lists:duplicate(255, 955)),
        [], [1], "text", lists:duplicate(65535, $s), lists:duplicate(65536, $s), [256], [a | b], [[], [[]]],
        [1, 2 | <<"tail">>],
        {}, {a}, {{{}}}, list_to_tuple(lists:seq(1, 255)), list_to_tuple(lists:seq(1, 256)),
        <<>>, <<"binary">>, <<0, 255>>, binary:copy(<<7>>, 65), binary:copy(<<8>>, 70000),
        <<1:1>>, <<5:3>>, <<255, 127:7>>,
        #{}, #{a => 1}, #{1 => a, 1.0 => b, "k" => #{}}, maps:from_list([{I, {I}} || I <- lists:seq(1, 100)]),
        self(), whereis(init), group_leader(), make_ref(), hd(erlang:ports()),
        fun erlang:node/0, fun lists:map/2, fun ?MODULE:echo/1,
        fun() -> ok end, fun(X) -> X + Here end
    ].
