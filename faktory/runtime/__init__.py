"""The process and the Python that the package runs in: clocks, threads, forks, imports, signals, log lines."""
