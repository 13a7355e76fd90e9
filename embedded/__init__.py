"""What stands in for servers on one machine, each behind the real wire protocol, and the supervisor of `up`."""
