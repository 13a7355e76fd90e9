"""A fake vLLM: it answers as vLLM 0.32.0 was recorded to answer, with made-up text, exact counts and failures on demand.

`server` speaks HTTP, `routes` finds what answers a path, `generate` drives one request through the engine, and `chat` and
`completions` write what the client reads. What was generated stands in `metrics` under vLLM's names and, one line a request,
in the log, so that a meter in front can be compared with both.
"""
