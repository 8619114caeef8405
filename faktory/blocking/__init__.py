"""The shell for threads: carries out what `core` decides, over blocking sockets."""
