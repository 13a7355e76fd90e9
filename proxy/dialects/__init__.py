"""One file for each API of vLLM: what a request asks for, and where its usage stands in the answer."""
