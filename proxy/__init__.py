"""The sidecar in front of one vLLM server: checks keys, meters what passes, records it, publishes it."""
