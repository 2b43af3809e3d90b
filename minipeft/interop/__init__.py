"""How an adapter goes through the code of others: torch's, transformers', Hugging Face peft's.

Files in peft's layout, peft's keywords, the Trainer, state dicts, FSDP2, gradient checkpointing.
Nothing here is needed to understand an adapter.
"""
