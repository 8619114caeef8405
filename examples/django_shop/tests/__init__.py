"""The shop's tests: `python manage.py test`. They need no server: faktory's test kit keeps the jobs."""
