"""The spool: a journal on disk that remembers every request until the ledger has it.

`record` is the format of one record, `segment` a preallocated and memory-mapped file, `backlog` what the ledger has not
acknowledged, `spool` what one epoch appends to, `recovery` reads what a dead process left, and `adoption` takes it over.
`proxy.journal` runs it: it syncs off the event loop and hands acknowledgements to whom they concern.
"""
