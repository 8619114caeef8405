"""What to do next, as functions and small objects that get the time as an argument. See faktory/README.md."""
