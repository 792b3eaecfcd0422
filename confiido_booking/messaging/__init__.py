"""Messages to clients and experts: what is told, when, and whether it still holds (MONEY, Events)."""
