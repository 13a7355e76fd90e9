"""Large request bodies: passed to vLLM as they come, and admitted at their end, before vLLM can begin to work."""
