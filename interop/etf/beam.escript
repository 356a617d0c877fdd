#!/usr/bin/env escript
%% -*- erlang -*-
%%! -noinput +pc unicode
%% The BEAM's side of the tests of etf/.
%%
%%   beam.escript corpus   prints terms of every kind, one per line: name, tab, text, tab, hex.
%%                         The text is `-` where it cannot be read back.
%%   beam.escript serve    answers requests on standard input and output, both framed by a length
%%                         of four bytes. A request is an encoded tuple, so is the answer:
%%                           {echo, Binary}      -> term_to_binary(binary_to_term(Binary))
%%                           {same, A, B}        -> binary_to_term(A) =:= binary_to_term(B)
%%                           {sort, Binary}      -> the list, sorted by lists:sort/1
%%                           {print, Binary}     -> text of the term
%%                           {parse, Text}       -> term of the text
-module(beam_escript).
-mode(compile).

main(["corpus"]) ->
    ok = io:setopts([{encoding, unicode}]),
    lists:foreach(fun line/1, corpus());
main(["serve"]) ->
    serve(open_port({fd, 0, 1}, [binary, eof, {packet, 4}])).

serve(Port) ->
    receive
        {Port, {data, Request}} ->
            Answer = try {ok, answer(binary_to_term(Request))} catch _:Reason -> {error, Reason} end,
            port_command(Port, term_to_binary(Answer)),
            serve(Port);
        {Port, eof} ->
            ok
    end.

answer({echo, Binary}) -> term_to_binary(binary_to_term(Binary));
answer({same, A, B}) -> binary_to_term(A) =:= binary_to_term(B);
answer({sort, Binary}) -> term_to_binary(lists:sort(binary_to_term(Binary)));
answer({print, Binary}) -> print(binary_to_term(Binary));
answer({parse, Text}) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list([Text, "."])),
    {ok, Exprs} = erl_parse:parse_exprs(Tokens),
    {value, Term, _} = erl_eval:exprs(Exprs, []),
    term_to_binary(Term).

print(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

line({Name, Term}) ->
    Text = print(Term),
    Readable = case binary:match(Text, <<"#Ref<">>) of nomatch -> Text; _ -> <<"-">> end,
    line({Name, Readable, term_to_binary(Term)});
line({Name, Text, Binary}) when is_binary(Binary) ->
    Hex = [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Binary],
    io:put_chars(unicode:characters_to_list([Name, "\t", Text, "\t", Hex, "\n"])).

corpus() ->
    [{"integer", N} || N <- integers()]
    ++ [{"float", F} || F <- [0.0, 1.5, -1.5, 0.1, 1.0e100, 5.0e-324, 1.7976931348623157e308, 123456789.0, 1.0e-7]]
    ++ [{"float", <<"-">>, <<131, 70, 128, 0:56>>}]
    ++ [{"float31", print(F), term_to_binary(F, [{minor_version, 0}])} || F <- [1.5, -0.1, 1.0e100]]
    ++ [{"atom", A} || A <- atoms()]
    ++ [{"tuple", T} || T <- [{}, {a}, {a, 1}, {{}, {{}}}, list_to_tuple(lists:seq(1, 255)), list_to_tuple(lists:seq(1, 256))]]
    ++ [{"list", L} || L <- lists_()]
    ++ [{"map", M} || M <- maps_()]
    ++ [{"binary", B} || B <- [<<>>, <<0>>, <<1, 2>>, <<"text">>, <<"h\303\251"/utf8>>, unicode:characters_to_binary([960, $a]),
                               binary:copy(<<128>>, 64), binary:copy(<<7>>, 65), binary:copy(<<1>>, 300)]]
    ++ [{"bitstring", <<(N band ((1 bsl Bits) - 1)):Bits>>} || Bits <- [1, 2, 3, 4, 5, 6, 7, 9, 15, 65], N <- [16#155555555555555555]]
    ++ [{"export", fun lists:map/2}, {"export", fun 'Elixir.Enum':'map!'/3}]
    ++ [{"compressed", print(T), term_to_binary(T, [{compressed, 9}])} || T <- [lists:duplicate(100, again)]]
    ++ [{"pid", <<"-">>, t2b(B)} || B <- pids()]
    ++ [{"port", <<"-">>, t2b(B)} || B <- ports()]
    ++ [{"reference", <<"-">>, t2b(B)} || B <- references()]
    ++ [{"fun", <<"-">>, term_to_binary(F)} || F <- funs()]
    ++ [{"record", <<"-">>, t2b(B)} || B <- records()].

t2b(Binary) -> term_to_binary(binary_to_term(Binary)).

integers() ->
    Powers = [1 bsl Bits || Bits <- [8, 31, 32, 59, 60, 62, 63, 64, 128, 2032, 2040, 2048]],
    [0, 1, 255, -1] ++ lists:append([[N - 1, N, -N, -N - 1] || N <- Powers]).

atoms() ->
    [true, false, '', a, 'A', 'a b', 'Elixir.Foo', 'end', 'it\'s', 'a@b.c', '\n', list_to_atom([233]), list_to_atom([960]),
     list_to_atom(lists:duplicate(255, $a)), list_to_atom(lists:duplicate(255, 16#1F600)), list_to_atom(lists:duplicate(128, 233))].

lists_() ->
    [[], [1, 2], "hi", [300], [a | b], [0, 1, 2, 3, 256], [[], [[]]], [a, [b, "c"] | {d}], [1 | 2],
     [alias | binary_to_term(foreign_ref([1, 2, 3]))],
     "quote \" and \\ and \n", [960, 961], [255], [-1], lists:seq(0, 255), lists:duplicate(300, 0)].

maps_() ->
    [#{}, #{a => 1}, #{1 => a, 1.0 => b}, #{#{a => 1} => #{}}, #{"k" => <<"v">>, {1} => []},
     maps:from_list([{N, N * N} || N <- lists:seq(1, 32)]), maps:from_list([{N, -N} || N <- lists:seq(1, 33)]),
     maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 100)])].

node_atom() -> <<119, 6, "peer@h">>.

foreign_ref(Words) ->
    Bytes = << <<W:32>> || W <- Words >>,
    <<131, 90, (length(Words)):16, (node_atom())/binary, 7:32, Bytes/binary>>.

pids() ->
    [<<131, 88, (node_atom())/binary, Id:32, Serial:32, Creation:32>>
     || {Id, Serial, Creation} <- [{1, 0, 0}, {32767, 8191, 7}, {10, 0, 4294967295}]]
    ++ [<<131, 103, (node_atom())/binary, 1:32, 0:32, 3>>].

ports() ->
    [<<131, 89, (node_atom())/binary, Id:32, Creation:32>> || {Id, Creation} <- [{0, 0}, {268435455, 7}]]
    ++ [<<131, 102, (node_atom())/binary, 5:32, 2>>]
    ++ [<<131, 120, (node_atom())/binary, (1 bsl 40):64, 7:32>> || otp() >= 24].

references() ->
    [foreign_ref(Words) || Words <- [[1], [1, 2], [1, 2, 3], [262143, 4294967295, 4294967295]]]
    ++ [foreign_ref([1, 2, 3, 4, 5]) || otp() >= 24]
    ++ [<<131, 114, 3:16, (node_atom())/binary, 1, 9:32, 8:32, 7:32>>, <<131, 101, (node_atom())/binary, 9:32, 2>>].

funs() ->
    X = {some, "values"},
    [fun() -> ok end, fun(Y) -> {X, Y} end, fun(A, B) -> {A, X, B, otp()} end].

records() ->
    [<<131, 67, 2:32, 1, 119, 2, "nr", 119, 2, "pt", 119, 1, "x", 119, 1, "y", 97, 10, 97, 2>> || otp() >= 29].

otp() -> list_to_integer(erlang:system_info(otp_release)).
