"""A fake vLLM: it answers as vLLM 0.32.0 was recorded to answer, with made-up text, exact counts and failures on demand.

`server` speaks HTTP, and `routes` has the table of what answers a path. Each family of endpoints has a file: its requests, its
answers, and the function that the table names. `generate` drives a request through the engine; a family's format writes what
the client reads. What was read and generated stands in `metrics` under vLLM's names and, one line a request, in the log, so
that a meter in front can be compared with both.

Unlike a vLLM, which either generates or only reads, the simulator does both; and where a real model would need tools, images
or a schema, it goes on saying words.
"""
