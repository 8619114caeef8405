"""Jobs with signatures: values to JSON and back by annotation, and where jobs are sent."""
