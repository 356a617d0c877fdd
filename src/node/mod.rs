//! The node: peers, processes, names, links and monitors, node events.
