"""Models written from scratch, with the names and numbers of their transformers counterparts."""
