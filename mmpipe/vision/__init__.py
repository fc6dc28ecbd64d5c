"""Pictures: reading them, what is in them, and the text that they hold."""
