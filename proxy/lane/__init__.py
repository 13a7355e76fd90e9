"""Plain HTTP/1.1: client and upstream connections of our own, without mitmproxy in between."""
