"""Imported by every Python that a test starts, before its own first line."""

import offline_guard

offline_guard.block()
