//! What other nodes expect to find here.
