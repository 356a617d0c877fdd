%% The BEAM side of tests/chaos.rs: does one step after the other without waiting for any, keeps count of those that are
%% not done, and says what this node believes in a form that all nodes have in common.
-module(gusset_chaos).

-export([start/1, do/1, unfinished/0, unharmed/0, view/0]).

-define(MOST_WORKERS, 30).

start(Scopes) ->
    [{ok, _} = pg:start(Scope) || Scope <- Scopes],
    Servers = [{Name, whereis(Name)} || Name <- [global_name_server | Scopes]],
    persistent_term:put(?MODULE, {Scopes, Servers}),
    Self = self(),
    spawn(fun() -> register(?MODULE, self()), Self ! started, keep([], #{}, []) end),
    receive started -> ok end.

%% {join, Scope, Group, Which}, {leave, Scope, Group, Which}, {register, Name}, {unregister, Name}, {crash, Which},
%% {connect, Node}, {disconnect, Node}; Which is any number. A name gets a process of its own: `global` complains about
%% one that has several.
do(Step) ->
    ?MODULE ! {do, Step},
    ok.

%% Steps that are under way, and those that raised.
unfinished() ->
    call(unfinished).

%% The processes that were there at the start and are not any more.
unharmed() ->
    {_, Servers} = persistent_term:get(?MODULE),
    [{Name, Pid, whereis(Name)} || {Name, Pid} <- Servers, whereis(Name) =/= Pid].

call(Request) ->
    Ref = make_ref(),
    ?MODULE ! {Request, self(), Ref},
    receive {Ref, Answer} -> Answer after 5000 -> exit(late) end.

keep(Workers, Doing, Failed) ->
    receive
        {do, Step} ->
            {_, Ref} = spawn_monitor(fun() -> step(Step) end),
            keep(Workers, Doing#{Ref => Step}, Failed);
        {{worker, Which}, From, Ref} when
            Which =:= new; Workers =:= []; Which rem 3 =:= 0, length(Workers) < ?MOST_WORKERS
        ->
            Worker = spawn(fun() -> receive stop -> ok end end),
            erlang:monitor(process, Worker),
            From ! {Ref, Worker},
            keep([Worker | Workers], Doing, Failed);
        {{worker, Which}, From, Ref} ->
            From ! {Ref, nth(Which, Workers)},
            keep(Workers, Doing, Failed);
        {unfinished, From, Ref} ->
            From ! {Ref, {maps:values(Doing), Failed}},
            keep(Workers, Doing, Failed);
        {'DOWN', Ref, process, Pid, Reason} ->
            case Doing of
                #{Ref := _} when Reason =:= normal -> keep(Workers, maps:remove(Ref, Doing), Failed);
                #{Ref := Step} -> keep(Workers, maps:remove(Ref, Doing), [{Step, Reason} | Failed]);
                _ -> keep(lists:delete(Pid, Workers), Doing, Failed)
            end
    end.

step({join, Scope, Group, Which}) -> ok = pg:join(Scope, Group, call({worker, Which}));
step({leave, Scope, Group, Which}) ->
    case pg:get_local_members(Scope, Group) of
        [] -> ok;
        Members -> pg:leave(Scope, Group, nth(Which, Members))
    end;
step({register, Name}) -> global:register_name(Name, call({worker, new}));
step({unregister, Name}) -> global:unregister_name(Name);
step({crash, Which}) -> exit(call({worker, Which}), kill);
step({connect, Node}) -> net_kernel:connect_node(Node);
step({disconnect, Node}) -> erlang:disconnect_node(Node).

nth(Which, List) ->
    lists:nth(Which rem length(List) + 1, List).

%% One line for each node, name and membership, with `|` between them.
view() ->
    {Scopes, _} = persistent_term:get(?MODULE),
    Lines = [["node ", atom_to_list(Node)] || Node <- [node() | nodes()]] ++
        [["name ", print(Name), " ", pid(global:whereis_name(Name))] || Name <- global:registered_names()] ++
        [["member ", print(Scope), " ", print(Group), " ", pid(Pid)]
            || Scope <- Scopes, Group <- pg:which_groups(Scope), Pid <- pg:get_members(Scope, Group)],
    lists:flatten(lists:join($|, Lines)).

print(Term) ->
    io_lib:format("~0tp", [Term]).

%% As it is known everywhere: `id.serial.creation@node`.
pid(undefined) ->
    "nobody";
pid(Pid) when node(Pid) =:= node() ->
    case is_process_alive(Pid) of
        true -> known(Pid);
        false -> ["dead ", known(Pid)]
    end;
pid(Pid) ->
    known(Pid).

known(Pid) ->
    External = term_to_binary(Pid),
    Before = byte_size(External) - 12,
    <<_:Before/binary, Id:32, Serial:32, Creation:32>> = External,
    io_lib:format("~b.~b.~b@~s", [Id, Serial, Creation, node(Pid)]).
