%% The BEAM side of tests/mnesia.rs: a node of Mnesia with a table of items in memory, and a function for
%% transactions over it.
-module(gusset_shop).

-export([start/0, take/2]).

-record(item, {sku, price = 1.0, stock = 0, note}).

start() ->
    ok = mnesia:start(),
    {atomic, ok} = mnesia:create_table(item, [{attributes, record_info(fields, item)}]),
    {atomic, ok} = mnesia:create_table(tag, [{type, bag}, {attributes, [sku, name]}]),
    ok = mnesia:wait_for_tables([item, tag], 5000).

%% In a transaction: how many are left.
take(Sku, Count) ->
    case mnesia:read(item, Sku, write) of
        [#item{stock = Stock} = Item] when Stock >= Count ->
            mnesia:write(Item#item{stock = Stock - Count}),
            Stock - Count;
        [#item{stock = Stock}] ->
            %% What was written before is undone with the rest.
            mnesia:write(#item{sku = <<"trace">>}),
            mnesia:abort({out_of_stock, Stock});
        [] ->
            error({unknown, Sku})
    end.
