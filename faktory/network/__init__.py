"""What both connections, blocking and async, need around a socket."""
