"""What single lessons compute beside their own cells: counts, budgets, what was recorded once."""
