"""The spool: a journal on disk that remembers every request until the ledger has it.

`record` is the format of one record, `segment` a preallocated and memory-mapped file, `backlog` what the ledger has not
acknowledged, `spool` the journal of one epoch, `recovery` reads what a dead process left, `adoption` takes it over, and
`flusher` brings to disk, off the event loop, what was appended.
"""
