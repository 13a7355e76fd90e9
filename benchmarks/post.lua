-- The request that wrk repeats: a short chat, not streamed. KEY is the API key; CLOSE=1 asks for a new connection each time.
wrk.method = "POST"
wrk.body = '{"model":"tiny","messages":[{"role":"user","content":"hello world this is a prompt of some length"}],"max_tokens":64}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "none")
if os.getenv("CLOSE") == "1" then wrk.headers["Connection"] = "close" end
