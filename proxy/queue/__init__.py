"""The fair queue in front of one instance: who is let in next when it has no room for all."""
