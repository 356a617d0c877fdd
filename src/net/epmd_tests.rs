//! EPMD over loopback: our client and our server, each also against erl_dist and against raw bytes.
