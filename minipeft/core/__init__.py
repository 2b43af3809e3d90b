"""What an adapter is: a config, the layers that it adapts, its files. No method is named here."""
