%% What a replica of Phoenix.Tracker 2.2 does on a node, as far as others see it, for tests without hex packages: one
%% process per shard on the topic <<"phx_presence:…_shardN">> of gusset_pubsub. It needs Elixir's modules on the code
%% path: sets are made, joined and asked by MapSet of that very release, and a struct that lacks one of its ten keys
%% ends the process, so that a test finds it in the log.
-module(gusset_tracker).
-behaviour(gen_server).

-export([start/3, stop/1, track/4, update/4, untrack/3, list/2, get_by_key/3, replicas/1, events/1, vsn/1, oblivious/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(SET, 'Elixir.MapSet').
-define(STATE, 'Elixir.Phoenix.Tracker.State').
-define(KEYS, ['__struct__', clouds, context, delta, mode, pids, range, replica, replicas, values]).

%% Options: #{pubsub, pool_size, broadcast_period, max_silent_periods, down_period, permdown_period}, times in ms.
start(Name, PubSub, Options0) ->
    Defaults = #{pool_size => 1, broadcast_period => 1500, max_silent_periods => 10, down_period => 30000,
        permdown_period => 1200000, deltas => true},
    Options = maps:merge(Defaults, Options0),
    PoolSize = maps:get(pool_size, Options),
    [{ok, _} = gen_server:start({local, shard(Name, N)}, ?MODULE, {shard(Name, N), PubSub, Options}, [])
        || N <- lists:seq(0, PoolSize - 1)],
    persistent_term:put({?MODULE, Name}, PoolSize),
    ok.

stop(Name) -> [gen_server:call(shard(Name, N), graceful_permdown) || N <- lists:seq(0, pool_size(Name) - 1)], ok.
track(Name, Pid, {Topic, Key}, Meta) -> call(Name, Topic, {track, Pid, Topic, Key, Meta}).
update(Name, Pid, {Topic, Key}, Meta) -> call(Name, Topic, {update, Pid, Topic, Key, Meta}).
untrack(Name, Pid, {Topic, Key}) -> call(Name, Topic, {untrack, Pid, Topic, Key}).
%% [{Key, Meta}] in order of the keys.
list(Name, Topic) -> lists:sort([{Key, Meta} || {_, Key, Meta} <- call(Name, Topic, {list, Topic})]).
get_by_key(Name, Topic, Key) -> [{Pid, Meta} || {Pid, K, Meta} <- call(Name, Topic, {list, Topic}), K =:= Key].
%% The nodes of the replicas of shard 0, with what they are.
replicas(Name) -> gen_server:call(shard(Name, 0), replicas).
%% What handle_diff got so far, oldest first: {join | leave, Topic, Key}.
events(Name) -> lists:append([gen_server:call(shard(Name, N), events) || N <- lists:seq(0, pool_size(Name) - 1)]).
vsn(Name) -> gen_server:call(shard(Name, 0), vsn).
%% From now on transfers are always of the whole state.
oblivious(Name) -> gen_server:call(shard(Name, 0), oblivious).

shard(Name, N) -> list_to_atom(atom_to_list(Name) ++ "_shard" ++ integer_to_list(N)).
pool_size(Name) -> persistent_term:get({?MODULE, Name}).
call(Name, Topic, Request) -> gen_server:call(shard(Name, erlang:phash2(Topic, pool_size(Name))), Request).

%% values: #{Tag => {Pid, Topic, Key, Meta}}; heard: #{Node => {Vsn, Time, up | down}}; history: deltas, newest first.
init({Shard, PubSub, Options}) ->
    process_flag(trap_exit, true),
    Ref = {node(), os:system_time(microsecond) + erlang:unique_integer([positive])},
    Topic = <<"phx_presence:", (atom_to_binary(Shard, utf8))/binary>>,
    gusset_pubsub:subscribe(PubSub, Topic),
    self() ! heartbeat,
    {ok, Options#{pubsub_name => PubSub, topic => Topic, ref => Ref, context => #{Ref => 0}, clouds => #{}, values => #{},
        heard => #{}, pending => #{}, samples => 2, silent => 1000000, delta => delta(Ref, 0), history => [], events => []}}.

handle_call({track, Pid, Topic, Key, Meta}, _, S) ->
    case own(Pid, Topic, Key, S) of
        [] ->
            link(Pid),
            {reply, {ok, phx_ref(Meta)}, join(Pid, Topic, Key, Meta#{phx_ref => phx_ref(Meta)}, S)};
        _ -> {reply, {error, {already_tracked, Pid, Topic, Key}}, S}
    end;
handle_call({update, Pid, Topic, Key, Meta}, _, S) ->
    [{Tag, {_, _, _, #{phx_ref := Old}}}] = own(Pid, Topic, Key, S),
    New = Meta#{phx_ref => phx_ref(Meta), phx_ref_prev => Old},
    {reply, ok, join(Pid, Topic, Key, New, leave(Tag, S))};
handle_call({untrack, Pid, Topic, Key}, _, S) ->
    {reply, ok, lists:foldl(fun({Tag, _}, Acc) -> leave(Tag, Acc) end, S, own(Pid, Topic, Key, S))};
handle_call({list, Topic}, _, #{values := Values} = S) ->
    {reply, [{P, K, M} || {{R, _}, {P, T, K, M}} <- maps:to_list(Values), T =:= Topic, is_up(R, S)], S};
handle_call(replicas, _, #{heard := Heard} = S) ->
    {reply, lists:sort([{Node, Status} || {Node, {_, _, Status}} <- maps:to_list(Heard)]), S};
handle_call(events, _, #{events := Events} = S) -> {reply, lists:reverse(Events), S};
handle_call(vsn, _, #{ref := {_, Vsn}} = S) -> {reply, Vsn, S};
handle_call(oblivious, _, S) -> {reply, ok, S#{deltas := false, history := []}};
handle_call(graceful_permdown, _, #{ref := Ref} = S) ->
    broadcast({pub, graceful_permdown, Ref}, S),
    {stop, normal, ok, S}.

handle_cast(Message, _) -> exit({unexpected, Message}).

handle_info(heartbeat, #{broadcast_period := Period} = S) ->
    erlang:send_after(Period, self(), heartbeat),
    {noreply, detect_downs(sample(speak(S)))};
handle_info({pub, heartbeat, {Node, Vsn} = Ref, Delta, {Ref, Clock}}, S0) when is_atom(Node), is_integer(Vsn), is_map(Clock) ->
    S = heard(Ref, S0),
    S1 = case Delta of empty -> S; _ -> merge(Delta, maps:get(values, Delta), S) end,
    #{pending := Pending} = S1,
    {noreply, S1#{pending := Pending#{Ref => Clock}}};
handle_info({pub, transfer_req, ReqRef, {Node, _}, {_, Clock}}, #{ref := Ref} = S) when is_reference(ReqRef) ->
    direct(Node, {pub, transfer_ack, ReqRef, Ref, answer(Clock, S)}, S),
    {noreply, S};
handle_info({pub, transfer_ack, ReqRef, _, {State, Values}}, S) when is_reference(ReqRef) ->
    normal = maps:get(mode, State),
    {noreply, merge(State, Values, S)};
handle_info({pub, transfer_ack, ReqRef, _, Delta}, S) when is_reference(ReqRef) ->
    delta = maps:get(mode, Delta),
    {noreply, merge(Delta, maps:get(values, Delta), S)};
handle_info({pub, graceful_permdown, {Node, Vsn} = Ref}, #{heard := Heard} = S) ->
    case Heard of
        #{Node := {Vsn, _, _}} -> {noreply, permdown(Ref, down(Ref, S))};
        _ -> {noreply, S}
    end;
handle_info({'EXIT', Pid, _}, #{values := Values, ref := Ref} = S) ->
    Tags = [Tag || {{R, _} = Tag, {P, _, _, _}} <- maps:to_list(Values), R =:= Ref, P =:= Pid],
    {noreply, lists:foldl(fun leave/2, S, Tags)}.

%% The own part of the set.

own(Pid, Topic, Key, #{values := Values, ref := Ref}) ->
    [E || {{R, _}, {P, T, K, _}} = E <- maps:to_list(Values), R =:= Ref, P =:= Pid, T =:= Topic, K =:= Key].

join(Pid, Topic, Key, Meta, S0) ->
    {Tag, S} = bump(S0),
    #{values := Values, delta := #{values := New} = Delta} = S,
    Value = {Pid, Topic, Key, Meta},
    event(join, Value, S#{values := Values#{Tag => Value}, delta := Delta#{values := New#{Tag => Value}}}).

leave(Tag, #{values := Values, delta := #{values := New, clouds := Clouds} = Delta, ref := Ref} = S0) ->
    {Value, Rest} = maps:take(Tag, Values),
    Delta1 = Delta#{values := maps:remove(Tag, New), clouds := put_tag(Ref, Tag, Clouds)},
    {_, S} = bump(event(leave, Value, S0#{values := Rest, delta := Delta1})),
    S.

bump(#{ref := Ref, context := Context, delta := Delta} = S) ->
    N = maps:get(Ref, Context) + 1,
    #{clouds := Clouds, range := {Start, _}} = Delta,
    Delta1 = Delta#{clouds := put_tag(Ref, {Ref, N}, Clouds), range := {Start, #{Ref => N}}},
    {{Ref, N}, S#{context := Context#{Ref := N}, delta := Delta1}}.

put_tag(Ref, Tag, Clouds) -> Clouds#{Ref => ?SET:put(maps:get(Ref, Clouds, ?SET:new()), Tag)}.

delta(Ref, N) ->
    #{'__struct__' => ?STATE, replica => Ref, mode => delta, context => #{}, clouds => #{}, values => #{},
        range => {#{Ref => N}, #{Ref => N}}, replicas => #{}, delta => unset, pids => nil}.

event(Kind, {_, Topic, Key, _}, #{events := Events} = S) -> S#{events := [{Kind, Topic, Key} | Events]}.

phx_ref(Meta) -> base64:encode(<<(erlang:phash2(Meta)):32, (erlang:unique_integer([positive])):64>>).

%% Merging.

merge(#{'__struct__' := ?STATE} = Remote, New, #{ref := Own, context := Context, values := Values, clouds := Clouds} = S0) ->
    ?KEYS = lists:sort(maps:keys(Remote)),
    #{context := TheirContext, clouds := TheirClouds, range := {#{}, #{}}, replicas := #{}, delta := unset, pids := nil} = Remote,
    Known = fun(R) -> R =/= Own andalso maps:is_key(R, Context) end,
    Joins = [E || {{R, _} = Tag, {P, T, _, M}} = E <- maps:to_list(New), Known(R), not seen(Tag, Context, Clouds),
        is_pid(P), is_binary(T), is_binary(maps:get(phx_ref, M))],
    Leaves = [E || {{R, _} = Tag, _} = E <- maps:to_list(Values), Known(R), seen(Tag, TheirContext, TheirClouds),
        not maps:is_key(Tag, New)],
    S1 = lists:foldl(fun({_, Value}, Acc) -> event(leave, Value, Acc) end, S0, Leaves),
    S2 = lists:foldl(fun({_, Value}, Acc) -> event(join, Value, Acc) end, S1, Joins),
    Values1 = maps:merge(maps:without([Tag || {Tag, _} <- Leaves], Values), maps:from_list(Joins)),
    Context1 = maps:map(fun(R, N) -> case Known(R) of true -> max(N, maps:get(R, TheirContext, 0)); false -> N end end, Context),
    Clouds1 = maps:fold(fun(R, Cloud, Acc) ->
        case Known(R) of true -> Acc#{R => ?SET:union(maps:get(R, Acc, ?SET:new()), Cloud)}; false -> Acc end
    end, Clouds, TheirClouds),
    {Context2, Clouds2} = maps:fold(fun compact/3, {Context1, #{}}, Clouds1),
    S2#{values := Values1, context := Context2, clouds := Clouds2}.

compact(R, Cloud, {Context, Clouds}) ->
    {N, Rest} = lists:foldl(fun
        ({_, M}, {N, Rest}) when M =< N -> {N, Rest};
        ({_, M}, {N, Rest}) when M =:= N + 1 -> {M, Rest};
        (Tag, {N, Rest}) -> {N, [Tag | Rest]}
    end, {maps:get(R, Context), []}, lists:sort(?SET:to_list(Cloud))),
    {Context#{R := N}, Clouds#{R => ?SET:new(Rest)}}.

seen({R, N} = Tag, Context, Clouds) ->
    N =< maps:get(R, Context, -1) orelse (maps:is_key(R, Clouds) andalso 'Elixir.MapSet':'member?'(maps:get(R, Clouds), Tag)).

%% Heartbeats and transfers.

speak(#{delta := #{clouds := Clouds} = Delta, ref := Ref, history := History, deltas := Keep} = S) when map_size(Clouds) > 0 ->
    broadcast({pub, heartbeat, Ref, Delta, clock(S)}, S),
    #{context := #{Ref := N}} = S,
    S#{delta := delta(Ref, N), silent := 0, history := [D || D <- [Delta | History], Keep]};
speak(#{silent := Silent, max_silent_periods := Max, ref := Ref} = S) when Silent >= Max ->
    broadcast({pub, heartbeat, Ref, empty, clock(S)}, S),
    S#{silent := 0};
speak(#{silent := Silent} = S) ->
    S#{silent := Silent + 1}.

clock(#{ref := Ref, context := Context} = S) -> {Ref, maps:filter(fun(R, _) -> is_up(R, S) end, Context)}.

is_up(Ref, #{ref := Ref}) -> true;
is_up({Node, Vsn}, #{heard := Heard}) -> case Heard of #{Node := {Vsn, _, up}} -> true; _ -> false end.

sample(#{samples := 1, pending := Pending, context := Context, ref := Own} = S) ->
    Ahead = [R || {R, Clock} <- maps:to_list(Pending), R =/= Own,
        lists:any(fun({Q, N}) -> maps:is_key(Q, Context) andalso N > maps:get(Q, Context) end, maps:to_list(Clock))],
    [direct(Node, {pub, transfer_req, make_ref(), Own, clock(S)}, S) || {Node, _} <- Ahead],
    S#{samples := 2, pending := #{}};
sample(#{samples := N} = S) ->
    S#{samples := N - 1}.

%% A delta of this replica's own, where one that was kept begins where the asker is; else the whole set.
answer(Clock, #{ref := Ref, history := History, context := Context, clouds := Clouds, values := Values}) ->
    Fits = [D || #{range := {#{Ref := Start}, #{Ref := End}}} = D <- History, maps:get(Ref, Clock, 0) >= Start, End =:= maps:get(Ref, Context)],
    case Fits of
        [Delta | _] -> Delta;
        [] ->
            Asked = maps:keys(Clock),
            State = (delta(Ref, 0))#{mode := normal, context := maps:with(Asked, Context), clouds := maps:with(Asked, Clouds),
                values := nil, range := {#{}, #{}}},
            {State, maps:filter(fun({R, _}, _) -> lists:member(R, Asked) end, Values)}
    end.

%% Replicas that come and go.

heard({Node, Vsn} = Ref, #{heard := Heard, context := Context} = S) ->
    Now = erlang:monotonic_time(millisecond),
    S1 = case Heard of
        #{Node := {Vsn, _, up}} -> S;
        #{Node := {Vsn, _, down}} -> S;
        #{Node := {Old, _, _}} -> permdown({Node, Old}, down({Node, Old}, S));
        _ -> S
    end,
    Was = is_up(Ref, S),
    Context1 = maps:merge(#{Ref => 0}, maps:get(context, S1)),
    #{heard := Heard1} = S1,
    _ = Context,
    S2 = S1#{heard := Heard1#{Node => {Vsn, Now, up}}, context := Context1},
    case Was of true -> S2; false -> tell(join, Ref, S2) end.

tell(Kind, Ref, #{values := Values} = S) ->
    lists:foldl(fun(Value, Acc) -> event(Kind, Value, Acc) end, S, [V || {{R, _}, V} <- maps:to_list(Values), R =:= Ref]).

down({Node, Vsn} = Ref, #{heard := Heard} = S) ->
    case Heard of
        #{Node := {Vsn, Time, up}} -> tell(leave, Ref, S#{heard := Heard#{Node := {Vsn, Time, down}}});
        _ -> S
    end.

permdown({Node, _} = Ref, #{heard := Heard, context := Context, clouds := Clouds, values := Values} = S) ->
    S#{heard := maps:remove(Node, Heard), context := maps:remove(Ref, Context), clouds := maps:remove(Ref, Clouds),
        values := maps:filter(fun({R, _}, _) -> R =/= Ref end, Values)}.

detect_downs(#{heard := Heard, down_period := Down, permdown_period := Perm} = S) ->
    Now = erlang:monotonic_time(millisecond),
    maps:fold(fun
        (Node, {Vsn, Time, _}, Acc) when Now - Time > Perm -> permdown({Node, Vsn}, down({Node, Vsn}, Acc));
        (Node, {Vsn, Time, _}, Acc) when Now - Time > Down -> down({Node, Vsn}, Acc);
        (_, _, Acc) -> Acc
    end, S, Heard).

broadcast(Message, #{pubsub_name := PubSub, topic := Topic}) ->
    gusset_pubsub:broadcast_from(PubSub, self(), Topic, Message).

direct(Node, Message, #{pubsub_name := PubSub, topic := Topic}) ->
    gusset_pubsub:direct_broadcast(PubSub, Node, Topic, Message).
