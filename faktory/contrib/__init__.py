"""Other people's libraries, one a folder: each imports its library when it is used, and says what to install."""
