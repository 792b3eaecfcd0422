"""Payment providers, attempts to pay, what providers tell, and whether it all agrees."""
