"""Money as it came and went: the collection ``payments``, and what its entries do to sessions and invoices (MONEY)."""
