"""A newsletter whose mails are jobs."""
