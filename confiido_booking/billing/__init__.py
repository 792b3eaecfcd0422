"""Invoices and credit notes (MONEY, Invoices)."""
