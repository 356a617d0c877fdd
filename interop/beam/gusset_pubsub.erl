%% What Phoenix.PubSub 2.2 with its adapter PG2 does on a node, as far as other nodes see it, for tests without hex
%% packages: a pg scope 'Elixir.Phoenix.PubSub', workers that are registered and joined under the names of the
%% adapter, and the one message {forward_to_local, Topic, Message, Dispatcher}. A worker here is stricter than the
%% original: it crashes on anything else, so that a test finds it in the log.
-module(gusset_pubsub).
-behaviour(gen_server).

-export([start/2, subscribe/2, broadcast/3, broadcast/4, broadcast_from/4, direct_broadcast/4, nodes/1, spread/3]).
%% A dispatcher, as applications have their own.
-export([dispatch/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(SCOPE, 'Elixir.Phoenix.PubSub').

%% {Phoenix.PubSub, name: Name, pool_size: PoolSize}; Name as 'Elixir.MyApp.PubSub'.
start(Name, PoolSize) ->
    Scope = case pg:start(?SCOPE) of
        {ok, Pid} -> Pid;
        {error, {already_started, Pid}} -> Pid
    end,
    Adapter = atom_to_list(Name) ++ ".Adapter",
    Groups = [list_to_atom(Adapter) | [list_to_atom(Adapter ++ "_" ++ integer_to_list(N)) || N <- lists:seq(2, PoolSize)]],
    %% The table of subscribers belongs to somebody who stays.
    Self = self(),
    spawn(fun() ->
        ets:new(Name, [named_table, public, duplicate_bag]),
        persistent_term:put({?MODULE, Name}, list_to_tuple(Groups)),
        Self ! {Name, ready},
        receive stop -> ok end
    end),
    receive {Name, ready} -> ok end,
    [{ok, _} = gen_server:start({local, Group}, ?MODULE, {Name, Group}, []) || Group <- Groups],
    Scope.

init({Name, Group}) ->
    ok = pg:join(?SCOPE, Group, self()),
    {ok, Name}.

handle_call(Request, _From, _Name) -> exit({unexpected, Request}).
handle_cast(Message, _Name) -> exit({unexpected, Message}).

handle_info({forward_to_local, Topic, Message, Dispatcher}, Name) when is_binary(Topic), is_atom(Dispatcher) ->
    local(Name, none, Topic, Message, Dispatcher),
    {noreply, Name}.

subscribe(Name, Topic) -> subscribe(Name, Topic, self()).
subscribe(Name, Topic, Pid) -> ets:insert(Name, {Topic, Pid}), ok.

broadcast(Name, Topic, Message) -> broadcast(Name, Topic, Message, ?SCOPE).

broadcast(Name, Topic, Message, Dispatcher) ->
    forward(Name, Topic, Message, Dispatcher),
    local(Name, none, Topic, Message, Dispatcher).

broadcast_from(Name, From, Topic, Message) ->
    forward(Name, Topic, Message, ?SCOPE),
    local(Name, From, Topic, Message, ?SCOPE).

direct_broadcast(Name, Node, Topic, Message) ->
    {group(Name), Node} ! {forward_to_local, Topic, Message, ?SCOPE},
    ok.

%% The nodes that a broadcast of this process would reach.
nodes(Name) ->
    lists:usort([node(Pid) || Pid <- pg:get_members(?SCOPE, group(Name)), node(Pid) =/= node()]).

%% A broadcast of {Number, Worker} through every worker of the pool, from as many processes as that takes.
spread(Name, Topic, Numbers) ->
    Pool = tuple_size(persistent_term:get({?MODULE, Name})),
    Spread = fun Spread([]) -> ok;
        Spread([Number | Rest]) ->
            {_, Ref} = spawn_monitor(fun() ->
                Worker = erlang:phash2(self(), Pool),
                broadcast(Name, Topic, {Number, Worker}),
                exit({worker, Worker})
            end),
            receive {'DOWN', Ref, process, _, {worker, Worker}} -> put({spread, Worker}, true) end,
            Spread(Rest)
    end,
    Spread(Numbers),
    length([W || {{spread, W}, true} <- get()]).

forward(Name, Topic, Message, Dispatcher) ->
    [Pid ! {forward_to_local, Topic, Message, Dispatcher}
        || Pid <- pg:get_members(?SCOPE, group(Name)), node(Pid) =/= node()].

local(Name, From, Topic, Message, Dispatcher) ->
    Entries = [Pid || {_, Pid} <- ets:lookup(Name, Topic)],
    case Dispatcher of
        ?SCOPE -> [Pid ! Message || Pid <- Entries, Pid =/= From], ok;
        Module -> Module:dispatch(Entries, From, Message)
    end.

dispatch(Entries, _From, Message) ->
    [Pid ! {dispatched, Message} || Pid <- Entries],
    ok.

group(Name) ->
    Groups = persistent_term:get({?MODULE, Name}),
    element(erlang:phash2(self(), tuple_size(Groups)) + 1, Groups).
