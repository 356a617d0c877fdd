defmodule MyApp.ClusterLog do
  @moduledoc """
  Logs who comes and who goes: a line for each `{:nodeup, node}` and `{:nodedown, node}`.

  It connects to nobody. Nodes of other kinds that do discovery connect to this one, and `:global` tells it of the rest.
  """
  use GenServer
  require Logger

  def start_link(options), do: GenServer.start_link(__MODULE__, options, name: __MODULE__)

  @doc "The visible nodes as this process has seen them come and go."
  def nodes, do: GenServer.call(__MODULE__, :nodes)

  @impl true
  def init(_options) do
    :ok = :net_kernel.monitor_nodes(true)
    # Whoever connected before that.
    seen = MapSet.new(Node.list())
    Logger.info("#{node()} watches, connected to #{inspect(Node.list())}")
    {:ok, seen}
  end

  @impl true
  def handle_call(:nodes, _from, seen), do: {:reply, Enum.sort(seen), seen}

  @impl true
  def handle_info({:nodeup, node} = event, seen) do
    Logger.info(inspect(event))
    {:noreply, MapSet.put(seen, node)}
  end

  def handle_info({:nodedown, node} = event, seen) do
    Logger.warning(inspect(event))
    {:noreply, MapSet.delete(seen, node)}
  end
end
