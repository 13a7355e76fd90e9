"""The slow lane: what is not HTTP/1.1, read by mitmproxy's layers and served like everything else."""
