# A BEAM node that gossips on the wire as libcluster's strategy Gossip does, and prints what it hears.
#
#   elixir --name a@127.0.0.1 --cookie c gossip.exs PORT multicast|broadcast dial|listen LONGEST_PAUSE_MS [SECRET]
#
# On loopback: the default group by way of 127.0.0.1, or broadcasts to 127.255.255.255.

defmodule Gossip do
  @prefix "heartbeat::"
  @group {233, 252, 1, 32}
  @loopback {127, 0, 0, 1}
  # SOL_SOCKET and SO_REUSEPORT of Linux
  @reuseport {:raw, 1, 15, <<1::native-32>>}

  def main([port, how, dial, pause | secret]) do
    state = %{
      port: String.to_integer(port),
      to: if(how == "multicast", do: @group, else: {127, 255, 255, 255}),
      dial: dial == "dial",
      pause: String.to_integer(pause),
      key: if(secret == [], do: nil, else: :crypto.hash(:sha256, hd(secret)))
    }

    options = [:binary, @reuseport, active: true, ip: {0, 0, 0, 0}, reuseaddr: true, broadcast: true]

    group =
      if how == "multicast",
        do: [multicast_ttl: 1, multicast_loop: true, multicast_if: @loopback, add_membership: {@group, @loopback}],
        else: []

    {:ok, socket} = :gen_udp.open(state.port, options ++ group)
    :ok = :net_kernel.monitor_nodes(true, node_type: :all)
    IO.puts("ready #{node()}")
    send(self(), :beat)
    loop(Map.put(state, :socket, socket))
  end

  defp loop(state) do
    receive do
      :beat ->
        :ok = :gen_udp.send(state.socket, state.to, state.port, packet(state.key))
        Process.send_after(self(), :beat, :rand.uniform(state.pause))

      {:udp, _socket, _ip, _port, packet} ->
        case name(packet, state.key) do
          {:ok, name} when name == node() -> :ok
          {:ok, name} -> heard(name, state)
          {:error, reason} -> IO.puts("dropped #{reason}")
        end

      {:nodeup, name, _info} ->
        IO.puts("nodeup #{name}")

      {:nodedown, name, _info} ->
        IO.puts("nodedown #{name}")
    end

    loop(state)
  end

  defp heard(name, state) do
    IO.puts("heard #{name}")
    if state.dial and name not in Node.list(:connected), do: :net_kernel.connect_node(name)
  end

  defp packet(nil), do: @prefix <> :erlang.term_to_binary(%{node: node()})

  defp packet(key) do
    iv = :crypto.strong_rand_bytes(16)
    plain = packet(nil)
    fill = 16 - rem(byte_size(plain), 16)
    padded = plain <> :binary.copy(<<fill>>, fill)
    iv <> :crypto.crypto_one_time(:aes_256_cbc, key, iv, padded, true)
  end

  defp name(@prefix <> term, nil) do
    %{node: name} = :erlang.binary_to_term(term)
    {:ok, name}
  end

  defp name(@prefix <> _, _key), do: {:error, "unencrypted"}

  defp name(<<iv::binary-size(16), encrypted::binary>>, key) when key != nil and rem(byte_size(encrypted), 16) == 0 do
    padded = :crypto.crypto_one_time(:aes_256_cbc, key, iv, encrypted, false)
    plain = binary_part(padded, 0, byte_size(padded) - :binary.last(padded))
    name(plain, nil)
  rescue
    _ -> {:error, "undecipherable"}
  end

  defp name(_, _), do: {:error, "unknown"}
end

Gossip.main(System.argv())
