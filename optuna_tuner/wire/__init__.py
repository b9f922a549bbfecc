"""The server's side of HTTP and of OpenAI's completions, for servers that keep exact times and make no real tokens."""
