"""All that enters the sandbox of a submission: no exercise, no score."""
